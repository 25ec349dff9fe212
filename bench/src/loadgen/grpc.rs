//! One HTTP/2 connection that carries unary gRPC calls, opened when first needed and again when it breaks.

use super::outcome::{Outcome, Refusal, rejected};
use super::{Args, SignalArg, corked};
use crate::compression::Compression;
use crate::status::{Code, decode_retry_info};
use crate::tls::Opener;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use std::io;
use std::net::SocketAddr;
use tokio::sync::Mutex;
use tokio_util::either::Either;

/// Answers longer than this are cut; an export response is a few bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// A connection shared by the workers that keep requests in flight on it.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: SocketAddr,
    opener: Opener,
    path: &'static str,
    encoding: Option<&'static str>,
    frame_size: usize,
    window: u32,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    sender: Option<SendRequest<Bytes>>,
    /// Which connection it is, so that only the first worker that sees it break closes it.
    generation: u64,
}

impl Connection {
    pub(super) fn new(args: &Args) -> io::Result<Self> {
        Ok(Self {
            endpoint: args.endpoint(),
            opener: Opener::new(args.tls_ca.as_deref(), "h2")?,
            path: match args.signal {
                SignalArg::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                SignalArg::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                SignalArg::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            },
            encoding: (args.compression != Compression::None).then(|| args.compression.name()),
            frame_size: args.frame_size as usize,
            window: args.window,
            open: Mutex::default(),
        })
    }

    /// Sends one message (with its gRPC prefix) and waits for the answer.
    pub(super) async fn attempt(&self, body: Bytes) -> Outcome {
        let (sender, generation) = match self.sender().await {
            Ok(open) => open,
            Err(error) => return Outcome::Refused(Refusal::transport(&error)),
        };
        match self.call(sender, body).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // A reset concerns the stream alone; anything else the connection.
                if !error.is_reset() {
                    self.close(generation).await;
                }
                Outcome::Refused(Refusal::transport(&error))
            }
        }
    }

    async fn sender(&self) -> Result<(SendRequest<Bytes>, u64), Box<dyn std::error::Error + Send + Sync>> {
        let mut open = self.open.lock().await;
        if let Some(sender) = &open.sender {
            return Ok((sender.clone(), open.generation));
        }
        // The end of a connection shows as the failure of the calls on it.
        let sender = match self.opener.open(self.endpoint).await? {
            Either::Left(plain) => {
                let (stream, cork) = corked::split(plain);
                let (sender, connection) = self.builder().handshake(stream).await?;
                tokio::spawn(async move { drop(cork.drive(connection).await) });
                sender
            }
            Either::Right(secured) => {
                let (sender, connection) = self.builder().handshake(secured).await?;
                tokio::spawn(async move { drop(connection.await) });
                sender
            }
        };
        open.sender = Some(sender.clone());
        open.generation += 1;
        Ok((sender, open.generation))
    }

    fn builder(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(self.window)
            .initial_connection_window_size(self.window)
            .enable_push(false);
        builder
    }

    async fn close(&self, generation: u64) {
        let mut open = self.open.lock().await;
        if open.generation == generation {
            open.sender = None;
        }
    }

    async fn call(&self, sender: SendRequest<Bytes>, mut body: Bytes) -> Result<Outcome, h2::Error> {
        let mut sender = sender.ready().await?;
        let (answer, mut stream) = sender.send_request(self.request(), false)?;
        // The library cuts at the peer's frame size; cutting here too keeps to a smaller one. What the windows do
        // not let through yet is held by reference, not copied.
        while body.len() > self.frame_size {
            stream.send_data(body.split_to(self.frame_size), false)?;
        }
        stream.send_data(body, true)?;

        let (head, mut incoming) = answer.await?.into_parts();
        if head.status != http::StatusCode::OK {
            return Ok(Outcome::Refused(Refusal::http(head.status.as_u16(), b"not a gRPC answer", None)));
        }
        if head.headers.contains_key("grpc-status") {
            return Ok(conclude(&head.headers, &[]));
        }
        let mut message = Vec::new();
        while let Some(chunk) = incoming.data().await {
            let chunk = chunk?;
            // The window is small and the connection may be going away: an error shows at the next read.
            let _ = incoming.flow_control().release_capacity(chunk.len());
            if message.len() < MAX_RESPONSE {
                message.extend_from_slice(&chunk);
            }
        }
        let trailers = incoming.trailers().await?.unwrap_or_default();
        Ok(conclude(&trailers, message.get(5..).unwrap_or_default()))
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = format!("{}://{}{}", self.opener.scheme(), self.endpoint, self.path)
            .parse()
            .expect("an address and a path");
        let headers = request.headers_mut();
        headers.insert("te", http::HeaderValue::from_static("trailers"));
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        if let Some(encoding) = self.encoding {
            headers.insert("grpc-encoding", http::HeaderValue::from_static(encoding));
        }
        request
    }
}

fn conclude(trailers: &HeaderMap, response: &[u8]) -> Outcome {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(Code::parse).unwrap_or(Code(2));
    if code == Code(0) {
        return Outcome::Acked { rejected: rejected(response) };
    }
    let retry_after = text("grpc-status-details-bin").and_then(decode_retry_info);
    Outcome::Refused(Refusal::grpc(code, text("grpc-message").unwrap_or_default(), retry_after))
}
