//! The clients against servers that go away, come back, or answer strangely.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri};
use millrace_engine::Tasks;
use millrace_engine::health::Health;
use millrace_net::grpc::{Channel, ChannelOptions, Code, Status};
use millrace_net::http::{Client, ClientOptions};
use millrace_net::{Encoding, Endpoint};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATH: &str = "/test.Service/Prompt";

fn channel(address: SocketAddr) -> Channel {
    let options = ChannelOptions::new(Endpoint::parse(&address.to_string()).unwrap());
    Channel::new(options, Tasks::new(Health::starting()))
}

async fn call(channel: &Channel) -> Result<Bytes, Status> {
    let parts = [Bytes::from_static(b"in "), Bytes::new(), Bytes::from_static(b"parts")];
    let called = channel.unary(&channel.uri(PATH).unwrap(), channel.headers(), &parts).await;
    called.map(|reply| reply.message).map_err(|error| error.status().clone())
}

/// A stream that is not to be reset yet.
type Kept = Option<SendStream<Bytes>>;

/// A server that answers each call of one connection after the other with what `answer` makes of it.
async fn strange(answer: impl Fn(&mut SendResponse<Bytes>) -> Kept + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            // Streams that are let go of are reset.
            let mut kept = Vec::new();
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                kept.extend(answer(&mut respond));
            }
        }
    });
    address
}

fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

#[tokio::test]
async fn parts_arrive_as_one_message() {
    let server = serve(64 << 20, None).await;
    assert_eq!(call(&channel(server.address)).await.unwrap(), "8");
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let server = serve(64 << 20, None).await;
    let channel = std::sync::Arc::new(channel(server.address));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let channel = std::sync::Arc::clone(&channel);
            tokio::spawn(async move { call(&channel).await.unwrap() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), "8");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let nobody = support::Nobody::new();
    let status = call(&channel(nobody.address())).await.unwrap_err();
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.message.contains("cannot connect"), "{status}");
}

#[tokio::test]
async fn a_server_that_stopped_and_came_back_is_found_again() {
    // given a channel whose server has stopped in good order
    let first = serve(64 << 20, None).await;
    let (address, channel) = (first.address, channel(first.address));
    call(&channel).await.unwrap();
    first.running.stop(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(call(&channel).await.unwrap_err().code, Code::Unavailable);

    // when there is a server again
    let _second = support::serve_at(address, 64 << 20, None).await;

    // then the next call reaches it
    assert_eq!(call(&channel).await.unwrap(), "8");
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_middle_of_a_call_is_unavailable_and_forgotten() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broken = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let _request = connection.accept().await;
    });
    let channel = channel(address);
    assert_eq!(call(&channel).await.unwrap_err().code, Code::Unavailable);
    broken.await.unwrap();

    let _server = support::serve_at(address, 64 << 20, None).await;
    assert_eq!(call(&channel).await.unwrap(), "8");
}

#[tokio::test]
async fn a_server_that_never_speaks_costs_only_the_callers_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(listener.local_addr().unwrap());
    let called = tokio::time::timeout(Duration::from_millis(200), call(&channel)).await;
    assert!(called.is_err());
}

#[tokio::test]
async fn a_proxys_answers_mean_what_grpc_says_they_mean() {
    for (http, code) in [(401, Code::Unauthenticated), (404, Code::Unimplemented), (503, Code::Unavailable)] {
        let address = strange(move |respond| {
            respond.send_response(head(http), true).unwrap();
            None
        })
        .await;
        assert_eq!(call(&channel(address)).await.unwrap_err().code, code, "{http}");
    }
}

#[tokio::test]
async fn an_answer_without_a_status_is_none() {
    let address = strange(|respond| {
        respond.send_response(head(200), false).unwrap().send_data(Bytes::new(), true).unwrap();
        None
    })
    .await;
    assert_eq!(call(&channel(address)).await.unwrap_err().code, Code::Internal);
}

#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let address = strange(|respond| {
        let mut body = respond.send_response(head(200), false).unwrap();
        body.send_data(vec![0; 17 << 20].into(), false).unwrap();
        Some(body)
    })
    .await;
    assert_eq!(call(&channel(address)).await.unwrap_err().code, Code::ResourceExhausted);
}

/// Answers every call with such a frame, in gzip as it says.
async fn framed_answers(frame: &'static [u8]) -> SocketAddr {
    strange(move |respond| {
        let mut head = head(200);
        head.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        let mut body = respond.send_response(head, false).unwrap();
        body.send_data(Bytes::from_static(frame), false).unwrap();
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
        body.send_trailers(trailers).unwrap();
        None
    })
    .await
}

#[tokio::test]
async fn an_answer_is_read_whether_it_is_compressed_or_not() {
    let message = b"\x0a\0";
    let gzip = Encoding::Gzip.compress([&message[..]].into_iter(), message.len()).unwrap();
    let mut compressed = vec![1, 0, 0, 0, u8::try_from(gzip.len()).unwrap()];
    compressed.extend(gzip);
    let compressed: &'static [u8] = compressed.leak();
    for frame in [compressed, b"\0\0\0\0\x02\x0a\0"] {
        assert_eq!(call(&channel(framed_answers(frame).await)).await.unwrap(), message[..]);
    }
    for damaged in [&b"\x01\0\0\0\x02\x0a\0"[..], b"\0\0\0\0\x03\x0a\0", b"\x02\0\0\0\x02\x0a\0"] {
        assert_eq!(call(&channel(framed_answers(damaged).await)).await.unwrap_err().code, Code::Internal);
    }
    assert_eq!(call(&channel(framed_answers(b"").await)).await.unwrap(), "");
}

#[tokio::test]
async fn a_status_in_the_head_needs_no_trailers() {
    let address = strange(|respond| {
        let mut head = head(200);
        let status = Status {
            code: Code::Unavailable,
            message: "full".into(),
            retry_delay: Some(Duration::from_secs(7)),
        };
        head.headers_mut().extend(status.to_trailers());
        respond.send_response(head, true).unwrap();
        None
    })
    .await;
    let status = call(&channel(address)).await.unwrap_err();
    assert_eq!(
        (status.code, &status.message[..], status.retry_delay),
        (Code::Unavailable, "full", Some(Duration::from_secs(7)))
    );
}

/// A server that answers every request on every connection with the same bytes, and then does as `then` says.
async fn canned(answer: Vec<u8>, hang_up: bool) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/v1/x", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let Ok(byte) = stream.read_u8().await else { return };
                    seen.push(byte);
                    if seen.ends_with(b"end") {
                        stream.write_all(&answer).await.unwrap();
                        if hang_up {
                            return;
                        }
                        seen.clear();
                    }
                }
            });
        }
    });
    uri
}

fn http_client(uri: &Uri) -> Client {
    let endpoint = Endpoint::parse(&uri.to_string()).unwrap();
    Client::new(ClientOptions::new(endpoint), Tasks::new(Health::starting()))
}

fn body() -> Vec<Bytes> {
    vec![Bytes::from_static(b"parts "), Bytes::new(), Bytes::from_static(b"to the end")]
}

#[tokio::test]
async fn http_answers_are_read_with_their_headers() {
    let answer = b"HTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nfull".to_vec();
    let uri = canned(answer, false).await;
    let client = http_client(&uri);
    for _ in 0..3 {
        let answer = client.post(&uri, &HeaderMap::new(), &body()).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (503, &b"full"[..]));
        assert_eq!(answer.headers.get("retry-after"), Some(&HeaderValue::from_static("7")));
    }
}

#[tokio::test]
async fn an_http_answer_of_more_than_64_kib_counts_without_its_body() {
    let mut answer = b"HTTP/1.1 400 x\r\nContent-Length: 1000000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 1_000_000, b'x');
    let uri = canned(answer, false).await;
    let answer = http_client(&uri).post(&uri, &HeaderMap::new(), &body()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (400, 0));
}

#[tokio::test]
async fn an_http_server_that_hangs_up_without_an_answer_is_an_error() {
    let uri = canned(Vec::new(), true).await;
    assert!(http_client(&uri).post(&uri, &HeaderMap::new(), &body()).await.is_err());
}
