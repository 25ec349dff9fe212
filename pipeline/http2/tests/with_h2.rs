//! Against the client of the `h2` crate, which shares no code with this one: whatever it sends, in whatever pieces,
//! through windows of whatever size, arrives as it was, and so does the answer.

#![allow(missing_docs, reason = "a test")]

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use millrace_http2::{Connection, Event, Options};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What has arrived of a request.
struct Arrived {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Answers each request with its own headers and its own body, reading at most `read` bytes at a time.
async fn serve(mut stream: DuplexStream, options: Options, read: usize) {
    let mut http2 = Connection::<Arrived>::new(&options);
    let mut buffer = vec![0; read];
    // Windows of a byte take many updates, for which there is patience in real time only.
    let mut now = Instant::now();
    loop {
        now += Duration::from_secs(1);
        // A client that has all it wants hangs up, and does not hear of the last windows.
        let Ok(()) = stream.write_all(&http2.take_out()).await else { return };
        let len = stream.read(&mut buffer).await.expect("a pipe");
        if len == 0 {
            return;
        }
        let mut input = &buffer[..len];
        let mut whole = Vec::new();
        while let Some(event) = http2.receive(&mut input, now).expect("the client keeps the rules") {
            match event {
                Event::Request { stream, request, ended } => {
                    http2.keep(stream, Arrived { headers: request.headers, body: Vec::new() });
                    whole.extend(ended.then_some(stream));
                }
                Event::Data { stream, bytes } => {
                    http2.kept(stream).expect("it is open").body.extend_from_slice(bytes);
                }
                Event::End { stream } => whole.push(stream),
                Event::Reset { .. } | Event::Ping => {}
            }
        }
        for stream in whole {
            let Arrived { headers, body } = http2.take(stream).expect("it is open");
            http2.send_head(stream, StatusCode::OK, &headers, false);
            http2.send_data(stream, body.into());
            http2.send_trailers(stream, &headers);
        }
    }
}

fn text(random: &mut fastrand::Rng, longest: usize) -> HeaderValue {
    let text: String = (0..random.usize(..=longest)).map(|_| random.char('!'..='~')).collect();
    HeaderValue::from_str(&text).expect("visible")
}

fn headers(random: &mut fastrand::Rng) -> HeaderMap {
    let names = ["content-type", "user-agent", "x-first", "x-second", "authorization", "accept-encoding"];
    let mut headers = HeaderMap::new();
    for _ in 0..random.usize(..8) {
        let name = HeaderName::from_static(names[random.usize(..names.len())]);
        let longest = [3, 30, 800][random.usize(..3)];
        let mut value = text(random, longest);
        value.set_sensitive(random.u8(..4) == 0);
        headers.append(name, value);
    }
    headers
}

#[tokio::test]
async fn whatever_a_client_sends_comes_back() {
    for seed in 0..40 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let pipe = [50, 3000, 1 << 20][random.usize(..3)];
        let read = [1, 7, 1000, 65_536][random.usize(..4)];
        let window = [65_535, 70_000, 1 << 20][random.usize(..3)];
        let options = Options { max_streams: 100, window, max_frame: 1 << 20, max_header_list: 64 << 10 };
        let (near, far) = duplex(pipe);
        let server = tokio::spawn(serve(near, options, read));

        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size([0, 1, 100, 65_535, 1 << 20][random.usize(1..5)])
            .initial_connection_window_size([65_535, 1 << 20][random.usize(..2)])
            .header_table_size([0, 100, 4096, 65_536][random.usize(..4)])
            .max_frame_size([16_384, 1 << 20][random.usize(..2)]);
        let (mut client, connection) = builder.handshake::<_, Bytes>(far).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let mut under_way = JoinSet::new();
        for _ in 0..random.usize(1..12) {
            let headers = headers(random);
            let longest = [0, 10, 2_000, if read == 1 { 3_000 } else { 200_000 }][random.usize(..4)];
            let body = Bytes::from((0..random.usize(..=longest)).map(|_| random.u8(..)).collect::<Vec<_>>());
            let mut request = Request::post("http://test/path?query").body(()).expect("a request");
            *request.headers_mut() = headers.clone();
            client = client.ready().await.expect("it is open");
            let (answer, mut sending) = client.send_request(request, body.is_empty()).expect("it is open");
            let (piece, has_trailers) = (random.usize(1..50_000), random.bool());
            under_way.spawn(async move {
                if !body.is_empty() {
                    let mut rest = body.clone();
                    while !rest.is_empty() {
                        let piece = rest.split_to(piece.min(rest.len()));
                        sending.send_data(piece, !has_trailers && rest.is_empty()).expect("it is open");
                    }
                    if has_trailers {
                        sending.send_trailers(HeaderMap::new()).expect("it is open");
                    }
                }
                let (head, mut answer) = answer.await.expect("an answer").into_parts();
                assert_eq!((head.status, head.headers), (StatusCode::OK, headers.clone()));
                let mut received = BytesMut::new();
                while let Some(chunk) = answer.data().await {
                    let chunk = chunk.expect("an answer");
                    answer.flow_control().release_capacity(chunk.len()).expect("it was taken");
                    received.extend_from_slice(&chunk);
                }
                assert!(received == body);
                assert_eq!(answer.trailers().await.expect("trailers"), Some(headers));
            });
        }
        drop(client);
        let all = async {
            while let Some(ended) = under_way.join_next().await {
                ended.expect("as it was");
            }
        };
        timeout(Duration::from_secs(60), all).await.unwrap_or_else(|_| panic!("{seed} does not end"));
        connection.await.expect("no panic").expect("no error");
        server.await.expect("no panic");
    }
}
