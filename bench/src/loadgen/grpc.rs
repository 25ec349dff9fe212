//! One connection that carries unary gRPC calls, opened when first needed and again when it breaks.

use super::http2::{Calls, Request};
use super::outcome::{Outcome, Refusal};
use super::{Args, SignalArg};
use crate::compression::Compression;
use crate::tls::Opener;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use tokio::sync::Mutex;

/// A connection shared by the workers that keep requests in flight on it.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: SocketAddr,
    opener: Opener,
    request: Request,
    frame_size: usize,
    window: u32,
    open: Mutex<Option<Calls>>,
}

impl Connection {
    pub(super) fn new(args: &Args) -> io::Result<Self> {
        let opener = Opener::new(args.tls_ca.as_deref(), "h2")?;
        let path = match args.signal {
            SignalArg::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            SignalArg::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            SignalArg::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        };
        let encoding = (args.compression != Compression::None).then(|| args.compression.name());
        let request = Request::new(opener.scheme(), args.endpoint().to_string(), path, encoding);
        Ok(Self {
            endpoint: args.endpoint(),
            opener,
            request,
            frame_size: args.frame_size as usize,
            window: args.window,
            open: Mutex::default(),
        })
    }

    /// Sends one message (with its gRPC prefix) and waits for the answer.
    pub(super) async fn attempt(&self, body: Bytes) -> Outcome {
        match self.calls().await {
            Ok(calls) => calls.call(body).await,
            Err(error) => Outcome::Refused(Refusal::transport(&error)),
        }
    }

    async fn calls(&self) -> io::Result<Calls> {
        let mut open = self.open.lock().await;
        if let Some(calls) = open.as_ref().filter(|calls| !calls.is_over()) {
            return Ok(calls.clone());
        }
        let stream = self.opener.open(self.endpoint).await?;
        let calls = Calls::open(stream, self.request.clone(), self.frame_size, self.window);
        *open = Some(calls.clone());
        Ok(calls)
    }
}
