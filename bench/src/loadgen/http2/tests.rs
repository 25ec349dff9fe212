//! Against a server of another make.

use super::*;
use crate::tls::ClientStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};

const FRAME: usize = 16_384;
const WINDOW: u32 = 1 << 20;

/// A connection to what `serve` makes of the other end.
async fn connected<F>(serve: impl FnOnce(TcpStream) -> F) -> Calls
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let near = TcpStream::connect(address).await.unwrap();
    tokio::spawn(serve(listener.accept().await.unwrap().0));
    let request = Request::new("http", address.to_string(), "/a.Service/Export", Some("gzip"));
    Calls::open(ClientStream::Left(near), request, FRAME, WINDOW)
}

/// Answers every call with the sum of its bytes, once all of it has arrived.
async fn summing(builder: Builder, stream: TcpStream) {
    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let headers = request.headers();
        assert!(request.uri().path() == "/a.Service/Export" && headers["te"] == "trailers");
        assert!(headers["grpc-encoding"] == "gzip" && headers["content-type"] == "application/grpc");
        tokio::spawn(sum(request.into_body(), respond));
    }
}

async fn sum(mut body: h2::RecvStream, mut respond: SendResponse<Bytes>) {
    let (mut sum, mut len) = (0_u64, 0);
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        assert!(chunk.len() <= FRAME);
        body.flow_control().release_capacity(chunk.len()).unwrap();
        sum += chunk.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        len += chunk.len();
    }
    // A partial success tells a number.
    let mut message = vec![0x0a, 11, 0x08];
    let mut rest = sum;
    for _ in 0..9 {
        message.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    message.push(0);
    let framed = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    if len % 2 == 0 {
        stream.send_data(framed.into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers).unwrap();
    } else {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        trailers.insert("grpc-message", HeaderValue::from_static("busy"));
        stream.send_trailers(trailers).unwrap();
    }
}

#[tokio::test]
async fn calls_of_every_size_get_through_narrow_windows_and_wide_ones() {
    for (window, table) in [(1000, 4096), (65_535, 0), (8 << 20, 4096)] {
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        builder.header_table_size(table);
        let calls = connected(move |stream| summing(builder, stream)).await;
        let mut under_way = tokio::task::JoinSet::new();
        for len in [2, 3, 1000, 16_384, 16_386, 65_536, 300_000, 300_001] {
            let (calls, body) = (calls.clone(), Bytes::from(vec![len as u8 | 1; len]));
            under_way.spawn(async move {
                let sum = len as u64 * u64::from(len as u8 | 1);
                match calls.call(body).await {
                    Outcome::Acked { rejected } => assert!(rejected == sum && len % 2 == 0, "{len}"),
                    Outcome::Refused(refusal) => {
                        assert_eq!((&*refusal.code, &*refusal.message), ("grpc UNAVAILABLE", "busy"));
                        assert!(len % 2 == 1, "{len}");
                    }
                }
            });
        }
        while let Some(ended) = under_way.join_next().await {
            ended.unwrap();
        }
        assert!(!calls.is_over());
    }
}

#[tokio::test]
async fn no_more_streams_are_open_than_the_server_allows() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let calls = connected(move |stream| summing(builder, stream)).await;
    assert!(matches!(calls.call(Bytes::from_static(b"ab")).await, Outcome::Acked { .. }));
    let mut under_way = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let calls = calls.clone();
        under_way.spawn(async move { calls.call(Bytes::from_static(b"ab")).await });
    }
    while let Some(ended) = under_way.join_next().await {
        assert!(matches!(ended.unwrap(), Outcome::Acked { rejected: 195 }));
    }
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_makes_way() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let (tell, arrived) = oneshot::channel();
    let calls = connected(|stream| async move {
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(sum(request.into_body(), respond));
        let _unanswered = connection.accept().await.unwrap().unwrap();
        tell.send(()).unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(sum(request.into_body(), respond));
        }
    })
    .await;
    let body = || Bytes::from_static(b"ab");
    // From the first answer on the limit is known.
    assert!(matches!(calls.call(body()).await, Outcome::Acked { .. }));
    let silent = calls.clone();
    let silent = tokio::spawn(async move { silent.call(body()).await });
    arrived.await.unwrap();
    let (next, ()) = tokio::join!(calls.call(body()), async { silent.abort() });
    assert!(matches!(next, Outcome::Acked { rejected: 195 }));
}

#[tokio::test]
async fn a_connection_that_ends_tells_all_its_calls() {
    let calls = connected(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        // The first is reset, the second never answered.
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let _: &mut SendResponse<Bytes> = &mut respond;
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        let _second = connection.accept().await.unwrap().unwrap();
    })
    .await;
    let transport = |outcome| match outcome {
        Outcome::Refused(refusal) => {
            assert_eq!(refusal.code, "transport");
            refusal.message
        }
        Outcome::Acked { .. } => panic!("nobody has acknowledged it"),
    };
    let body = || Bytes::from_static(b"abc");
    assert_eq!(transport(calls.call(body()).await), "the stream was reset, reason 7");
    transport(calls.call(body()).await);
    assert!(calls.is_over());
    transport(calls.call(body()).await);
}
