//! The load generator: pre-encoded OTLP requests, sent as fast as answers come or at a fixed rate, each item with an
//! identity of its own.
//!
//! # Invariants
//! - A request is acknowledged, partly rejected, failed, or abandoned; each is counted once, and a resend carries the
//!   same identities as the first attempt.
//! - In-flight requests never exceed connections × in-flight; there is no queue in the generator.
//! - A run ends: by duration, by count, or by a signal, plus the grace period for what is in flight.

mod cli;
mod grpc;
mod http1;
mod http2;
mod outcome;
mod pace;
mod report;
mod source;
mod worker;

pub use cli::{Args, Protocol, SignalArg};
pub use report::{Counted, FailedCode, Report};

use crate::run;
use pace::Pacer;
use source::Source;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{Link, Tally, Worker};

/// Runs the generator to its end and reports.
///
/// # Errors
/// Arguments that make no sense, an endpoint that nobody listens on, an acknowledged-items file that cannot be written.
pub async fn run(args: &Args) -> io::Result<Report> {
    args.check()?;
    // One probe, so that a wrong endpoint is a clear message and not a report of nothing but failures.
    drop(run::connect(args.endpoint()).await?);
    let stop = CancellationToken::new();
    let abort = CancellationToken::new();
    run::cancel_on_signal(stop.clone())?;

    let source = Arc::new(Source::new(args)?);
    let pacer = Arc::new(Pacer::new(args, Instant::now(), stop.clone()));
    let workers = spawn_workers(args, &source, &pacer, &abort)?;
    spawn_grace(args.grace(), pacer.clone(), stop, abort);

    let mut tally = Tally::default();
    let mut workers = workers;
    while let Some(joined) = workers.join_next().await {
        tally.absorb(joined.map_err(io::Error::other)?);
    }
    let skipped = pacer.skipped.load(Ordering::Relaxed);
    let (report, acked) = report::conclude(args, &source, tally, skipped, pacer.start);
    if let Some(path) = &args.acked_file {
        std::fs::write(path, crate::acked::render(&acked)).map_err(|error| {
            io::Error::new(error.kind(), format!("could not write {}: {error}", path.display()))
        })?;
    }
    Ok(report)
}

fn spawn_workers(
    args: &Args,
    source: &Arc<Source>,
    pacer: &Arc<Pacer>,
    abort: &CancellationToken,
) -> io::Result<JoinSet<Tally>> {
    let mut workers = JoinSet::new();
    for _ in 0..args.connections {
        let shared = match args.protocol {
            Protocol::Grpc => Some(Arc::new(grpc::Connection::new(args)?)),
            Protocol::Http => None,
        };
        for _ in 0..args.in_flight {
            let link = match &shared {
                Some(connection) => Link::Grpc(connection.clone()),
                None => Link::Http(Box::new(http1::Connection::new(args)?)),
            };
            let worker = Worker::new(args, source.clone(), pacer.clone(), abort.clone(), link);
            workers.spawn(worker.run());
        }
    }
    Ok(workers)
}

/// Cuts off what is still in flight when the grace period after the end of offering has passed.
fn spawn_grace(grace: Duration, pacer: Arc<Pacer>, stop: CancellationToken, abort: CancellationToken) {
    tokio::spawn(async move {
        let over = async {
            match pacer.end {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            () = stop.cancelled() => {}
        }
        tokio::time::sleep(grace).await;
        abort.cancel();
    });
}
