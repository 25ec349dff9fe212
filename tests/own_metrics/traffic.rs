//! The traffic: every signal over both protocols, and every way of being refused at the door that has a label.

use crate::support::grpc::{Client, framed};
use crate::support::http1::{Connection, JSON, PROTOBUF, post};
use crate::support::requests;
use std::net::SocketAddr;

pub async fn send(grpc: SocketAddr, http: SocketAddr) {
    over_grpc(grpc).await;
    over_http(http).await;
}

async fn over_grpc(to: SocketAddr) {
    let mut client = Client::connect(to).await.expect("a connection");
    for (signal, message) in all() {
        let reply = client.export(signal, &message).await.expect("an answer");
        assert_eq!(reply.code, Some(0), "{signal}: {reply:?}");
    }
    // A message that does not arrive as it should.
    let reply = client.call("traces", &[("grpc-encoding", "br")], &framed(1, b"x")).await.expect("an answer");
    assert_ne!(reply.code, Some(0), "{reply:?}");
}

async fn over_http(to: SocketAddr) {
    let host = format!("127.0.0.1:{}", to.port());
    for (signal, message) in all() {
        let path = format!("/v1/{signal}");
        assert_eq!(status(to, &host, &path, PROTOBUF, &message).await, 200);
    }
    assert_eq!(status(to, &host, "/v1/logs", JSON, b"{bad").await, 400);
    assert_eq!(status(to, &host, "/v1/logs", "content-type: text/plain\r\n", b"x").await, 415);
    assert_eq!(status(to, &host, "/nowhere", PROTOBUF, b"").await, 404);
    // Names without a port, and methods that nobody knows.
    let reply = post(to, "/v1/traces", PROTOBUF, &requests::traces(1)).await.expect("an answer");
    assert_eq!(reply.status, 200);
    for method in ["GET", "PATCH", "FROB"] {
        let mut connection = Connection::open(to).await.expect("a connection");
        let head = format!("{method} /v1/metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        connection.write(head.as_bytes()).await.expect("sent");
        assert_eq!(connection.reply().await.expect("an answer").status, 405);
    }
}

async fn status(to: SocketAddr, host: &str, path: &str, headers: &str, body: &[u8]) -> u16 {
    let mut connection = Connection::open(to).await.expect("a connection");
    let len = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {len}\r\n\r\n");
    connection.write(&[head.as_bytes(), body].concat()).await.expect("sent");
    connection.reply().await.expect("an answer").status
}

fn all() -> [(&'static str, Vec<u8>); 3] {
    [("traces", requests::traces(2)), ("metrics", requests::metrics(2)), ("logs", requests::logs(2))]
}
