//! gRPC on the `h2` crate, with everything that a client may get wrong left to the caller.

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How a call ended.
#[derive(Debug)]
pub struct Reply {
    pub http: u16,
    /// `grpc-status`, if there was one.
    pub code: Option<u16>,
    pub message: String,
    /// Whether it says when to come back (`google.rpc.RetryInfo`).
    pub has_delay: bool,
    /// The messages with their prefixes.
    pub body: Vec<u8>,
}

/// A connection.
pub struct Client {
    pub sender: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Result<Self, String> {
        Self::over(TcpStream::connect(to).await.map_err(|error| error.to_string())?).await
    }

    /// Over any stream.
    pub async fn over<S>(stream: S) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(async {
            // What becomes of the connection shows in the calls.
            let _ = connection.await;
        });
        Ok(Self { sender, connection })
    }

    /// A request of OTLP/HTTP; the status of its answer.
    pub async fn post(&mut self, uri: &str, body: &[u8]) -> Result<u16, String> {
        let text = |error: h2::Error| error.to_string();
        let request = Request::post(uri).header("content-type", "application/x-protobuf").body(());
        let mut sender = self.sender.clone().ready().await.map_err(text)?;
        let (response, mut stream) = sender.send_request(request.expect("a request"), false).map_err(text)?;
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        let answer = timeout(super::PATIENCE, response).await.expect("an answer in time");
        Ok(answer.map_err(text)?.status().as_u16())
    }

    /// A good call.
    pub async fn export(&mut self, signal: &str, message: &[u8]) -> Result<Reply, String> {
        self.call(signal, &[], &framed(0, message)).await
    }

    /// A call with further headers and any body.
    pub async fn call(
        &mut self,
        signal: &str,
        headers: &[(&'static str, &'static str)],
        body: &[u8],
    ) -> Result<Reply, String> {
        let text = |error: h2::Error| error.to_string();
        let mut sender = self.sender.clone().ready().await.map_err(text)?;
        let (response, mut stream) = sender.send_request(request(signal, headers), false).map_err(text)?;
        // The answer may come before the server has read everything.
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        reply(response).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The head of a call: an export of a signal, or a path.
pub fn request(signal: &str, headers: &[(&'static str, &'static str)]) -> Request<()> {
    let path = match signal {
        path if path.starts_with('/') => path.to_owned(),
        signal => format!("/opentelemetry.proto.collector.{}/Export", service(signal)),
    };
    let mut request = Request::post(format!("http://x{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    request
}

fn service(signal: &str) -> &'static str {
    match signal {
        "traces" => "trace.v1.TraceService",
        "metrics" => "metrics.v1.MetricsService",
        "profiles" => "profiles.v1development.ProfilesService",
        _ => "logs.v1.LogsService",
    }
}

/// A message behind its prefix.
pub fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

/// Reads an answer to its end.
pub async fn reply(response: h2::client::ResponseFuture) -> Result<Reply, String> {
    let reading = async {
        let response = response.await?;
        let (head, mut body) = response.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            let _ = body.flow_control().release_capacity(chunk.len());
            bytes.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok(Reply {
            http: head.status.as_u16(),
            code: value(&head.headers, &trailers, "grpc-status").parse().ok(),
            message: value(&head.headers, &trailers, "grpc-message"),
            has_delay: !value(&head.headers, &trailers, "grpc-status-details-bin").is_empty(),
            body: bytes.to_vec(),
        })
    };
    let replied: Result<Reply, h2::Error> =
        timeout(super::PATIENCE, reading).await.expect("an answer in time");
    replied.map_err(|error| error.to_string())
}

fn value(head: &HeaderMap, trailers: &HeaderMap, name: &str) -> String {
    let value = trailers.get(name).or_else(|| head.get(name));
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}
