//! The sink: a backend that accepts OTLP, counts what arrives without decoding it, and can be made slow or unwilling.
//!
//! # Invariants
//! - Nothing is counted as received before its lengths have been hopped over to the end; damage is counted apart and
//!   refused as the sender's fault.
//! - What is answered with success has been counted and, with `--check-ids`, recorded.
//! - Bodies, streams, identity bitmaps and header waits are bounded.

mod cli;
mod grpc;
mod http1;
mod state;
mod stats;
mod throttle;

pub use cli::Args;
pub use state::{SignalTotals, Totals};

use crate::acked::AckedRange;
use crate::ledger::Verdict;
use crate::run;
use crate::tls::{ServerStream, Taker};
use state::Sink;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A sink that is serving. It stops when dropped.
#[derive(Debug)]
pub struct Running {
    sink: Arc<Sink>,
    stop: CancellationToken,
    /// Where OTLP/gRPC is accepted.
    pub grpc: SocketAddr,
    /// Where OTLP/HTTP is accepted.
    pub http: SocketAddr,
    /// Where totals are served.
    pub stats: SocketAddr,
}

/// Listens and begins to serve; must be called within a runtime.
///
/// # Errors
/// An address that cannot be listened on, or arguments that make no sense.
pub fn start(args: &Args) -> io::Result<Running> {
    args.check()?;
    let stop = CancellationToken::new();
    let sink = Arc::new(Sink::new(args));
    let (grpc, http, stats) = (run::listen(args.grpc)?, run::listen(args.http)?, run::listen(args.stats)?);
    let running = Running {
        sink: sink.clone(),
        stop: stop.clone(),
        grpc: grpc.local_addr()?,
        http: http.local_addr()?,
        stats: stats.local_addr()?,
    };
    let grpc_server = Arc::new(grpc::Server::new(args, sink.clone()));
    let identity = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let (h2, http1) = (Taker::new(identity, "h2")?, Taker::new(identity, "http/1.1")?);
    tokio::spawn(serve(grpc, stop.clone(), move |stream| {
        let server = grpc_server.clone();
        taken(h2.clone(), stream, move |stream| grpc::connection(server, stream))
    }));
    let http_sink = sink.clone();
    tokio::spawn(serve(http, stop.clone(), move |stream| {
        let sink = http_sink.clone();
        taken(http1.clone(), stream, move |stream| http1::connection(sink, stream))
    }));
    tokio::spawn(serve(stats, stop, move |stream| stats::connection(sink.clone(), stream)));
    Ok(running)
}

impl Running {
    /// All totals at this moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.sink.totals()
    }

    /// Compares acknowledged ranges with what arrived; `None` without `--check-ids`.
    #[must_use]
    pub fn verify(&self, acked: &[AckedRange]) -> Option<Verdict> {
        self.sink.verify(acked)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves until a signal or the end of `--duration`, and gives the totals.
///
/// # Errors
/// Whatever [`start`] reports.
pub async fn run(args: &Args) -> io::Result<Totals> {
    let interrupted = CancellationToken::new();
    run::cancel_on_signal(interrupted.clone())?;
    let running = start(args)?;
    match args.duration {
        Some(seconds) => {
            // Either way it is time to stop.
            let _ = tokio::time::timeout(Duration::from_secs_f64(seconds), interrupted.cancelled()).await;
        }
        None => interrupted.cancelled().await,
    }
    Ok(running.totals())
}

/// Serves a connection once the peer has shaken hands; one that does not is its own loss.
async fn taken<F: Future<Output = ()> + Send>(
    taker: Taker,
    stream: TcpStream,
    connection: impl FnOnce(ServerStream) -> F + Send,
) {
    if let Ok(stream) = taker.take(stream).await {
        connection(stream).await;
    }
}

async fn serve<F>(listener: TcpListener, stop: CancellationToken, connection: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are small writes: without this each would wait for the peer's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream));
            }
            // Out of descriptors: let some connections end before the next try.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
