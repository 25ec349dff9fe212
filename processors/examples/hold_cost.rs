//! What a request costs in memory beside its bytes while it waits: the basis of `budget::REQUEST_BYTES`.
//!
//! Fills a `batch` processor whose destination is away with small requests and divides what the process has grown by
//! their number. `cargo run --release -p millrace-processors --example hold_cost`

use millrace_engine::component::{Context, ProcessorConfig, Shared};
use millrace_engine::entry::Route;
use millrace_engine::{
    Batch, BoxFuture, Cost, Entry, Failure, Fault, Health, Origin, Permit, Piece, Reason, Reservation, Stage,
    Until,
};
use millrace_processors::batch::Config;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;
use millrace_wire::validate::{Policy, validate};
use millrace_wire::write::{LogRecord, Logs};
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

const REQUESTS: usize = 200_000;

/// Nobody there.
struct Away;

impl Stage for Away {
    fn reserve(&self, _: Cost) -> Reservation<'_> {
        Reservation::Now(Err(Failure::transient(Fault::Destination, Reason::Unreachable, "away")))
    }

    fn commit<'a>(&'a self, _: Permit, _: Batch, _: Until) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn drain(&self, _: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) << 10
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shared =
        Shared::new(Registry::new(Level::Normal), &Health::starting(), 8 << 30, 1 << 30, "hold_cost");
    let context = Context { shared: shared.clone(), kind: "processor", id: "batch".parse()?, pipeline: None };
    let route = Config::default().build(context, Signal::Logs, Arc::new(Route::Commit(Arc::new(Away))))?;
    let entry = Entry::new(Arc::new(route));
    let request = Logs::build(|logs| {
        logs.record(LogRecord::default(), |_| {});
    });
    let before = resident_bytes();
    for request_number in 0..REQUESTS {
        let body = bytes::Bytes::copy_from_slice(request.bytes());
        let charge = shared.intake.try_charge(body.len() as u64).ok_or("the budget is spent")?;
        let payload = validate(Signal::Logs, body, &Policy::default())?.payload;
        let batch = Batch::of(Piece { payload, origin: Origin::local(), charge });
        entry.submit(batch, Until::Stored).await?;
        if request_number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let grown = resident_bytes() - before;
    writeln!(
        std::io::stdout(),
        "{REQUESTS} requests of {} bytes: {} bytes each in memory, {} beside their own",
        request.len(),
        grown / REQUESTS as u64,
        grown / REQUESTS as u64 - request.len() as u64
    )?;
    Ok(())
}
