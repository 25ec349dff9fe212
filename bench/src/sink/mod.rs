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

use crate::run;
use state::Sink;
use std::io;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Serves until a signal or the end of `--duration`, and gives the totals.
///
/// # Errors
/// An address that cannot be listened on, or arguments that make no sense.
pub async fn run(args: &Args) -> io::Result<Totals> {
    args.check()?;
    let stop = CancellationToken::new();
    run::cancel_on_signal(stop.clone())?;
    let sink = Arc::new(Sink::new(args));
    let (grpc, http, stats) = (run::listen(args.grpc)?, run::listen(args.http)?, run::listen(args.stats)?);

    let grpc_server = Arc::new(grpc::Server::new(args, sink.clone()));
    tokio::spawn(serve(grpc, stop.clone(), move |stream| grpc::connection(grpc_server.clone(), stream)));
    let http_sink = sink.clone();
    tokio::spawn(serve(http, stop.clone(), move |stream| http1::connection(http_sink.clone(), stream)));
    let stats_sink = sink.clone();
    tokio::spawn(serve(stats, stop.clone(), move |stream| stats::connection(stats_sink.clone(), stream)));

    match args.duration {
        Some(seconds) => {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)) => {}
            }
        }
        None => stop.cancelled().await,
    }
    Ok(sink.totals())
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
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}
