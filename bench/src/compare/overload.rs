//! One contender's turn under ten times the load that its destination manages: does memory stay put, and does every
//! acknowledged item arrive in the end?

use super::Args;
use super::case::{Case, Overload};
use super::child::{Child, Tools};
use super::contender::Contender;
use super::control::{Load, SinkProcess};
use super::proc::Memory;
use super::results::{MIB, Turn};
use crate::ledger::Verdict;
use crate::loadgen::SignalArg;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Bodies of about 350 KB: a few hundred of them in flight are far more than the memory limit.
const ITEMS_PER_REQUEST: usize = 500;
/// After the overload, senders may finish what they have begun.
const GRACE_S: f64 = 10.0;
/// The drain has ended when nothing new has arrived for so long.
const QUIET: Duration = Duration::from_secs(8);
const DRAIN_WITHIN: Duration = Duration::from_secs(120);

/// The highest and last memory seen.
#[derive(Debug, Default)]
struct Watch {
    peak: u64,
    last: u64,
}

pub(super) async fn turn(
    args: &Args,
    tools: &Tools,
    player: &Contender,
    case: &Case,
    overload: &Overload,
) -> io::Result<Turn> {
    let dir = tempfile::tempdir()?;
    let capacity = args.overload_rate / 10.0;
    let sink =
        SinkProcess::start(tools, &["--check-ids".into(), format!("--rate={capacity}")], dir.path()).await?;
    let (mut contender, listen) = player.start(args, case, sink.addr(overload.protocol), None, dir.path())?;
    contender.ready(listen).await?;
    let idle = Memory::of(contender.pid())?;

    let acked_file = dir.path().join("acked.txt");
    let load = Load::start(tools, &load_options(args, overload, listen, &acked_file), dir.path())?;
    let mut watch = Watch::default();
    watch.over(&mut contender, Duration::from_secs_f64(args.overload_seconds)).await?;
    let during = sink.totals(SignalArg::Traces).await?;

    sink.lift_rate().await?;
    let report = {
        let load = load.report(Duration::from_secs_f64(GRACE_S + 60.0));
        tokio::pin!(load);
        loop {
            tokio::select! {
                report = &mut load => break report?,
                watched = watch.over(&mut contender, SAMPLE_EVERY) => watched?,
            }
        }
    };
    let (verdict, drain) = drain(&sink, &acked_file, &mut watch, &mut contender).await?;
    let rested = watch.last;
    contender.kill().await;
    sink.child.kill().await;

    let mut turn = Turn::default();
    turn.set("idle_rss_mib", idle.resident as f64 / MIB);
    turn.set("peak_rss_mib", watch.peak as f64 / MIB);
    turn.set("rss_after_mib", rested as f64 / MIB);
    turn.set("offered_items", report.offered.items as f64);
    turn.set("acked_items", report.acked.items as f64);
    turn.set("missing_items", verdict.missing as f64);
    turn.set("duplicate_items", verdict.duplicates as f64);
    turn.set("retried_requests", report.retried.values().map(|seen| seen.count).sum::<u64>() as f64);
    turn.set("failed_requests", report.failed.values().map(|seen| seen.count).sum::<u64>() as f64);
    turn.set("destination_use", during.items as f64 / (capacity * args.overload_seconds));
    turn.set("drain_s", drain.as_secs_f64());
    turn.set("p99_ms", report.latency_ms.p99);
    turn.note(&report.retried, "retried");
    turn.note(&report.failed, "failed");
    Ok(turn)
}

impl Watch {
    /// Samples memory until `time` has passed. A contender that ends has failed.
    async fn over(&mut self, contender: &mut Child, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if let Some(status) = contender.ended()? {
                return Err(io::Error::other(format!("the contender ended under load ({status})")));
            }
            let memory = Memory::of(contender.pid())?;
            self.peak = self.peak.max(memory.peak);
            self.last = memory.resident;
            tokio::time::sleep(SAMPLE_EVERY).await;
        }
        Ok(())
    }
}

/// Waits until everything acknowledged has arrived, or nothing moves any more; the verdict and how long that took.
async fn drain(
    sink: &SinkProcess,
    acked_file: &Path,
    watch: &mut Watch,
    contender: &mut Child,
) -> io::Result<(Verdict, Duration)> {
    let began = Instant::now();
    let mut moved = (Instant::now(), 0);
    loop {
        let verdict = sink.verify(acked_file).await?;
        let arrived = verdict.unique + verdict.duplicates;
        if arrived != moved.1 {
            moved = (Instant::now(), arrived);
        }
        if verdict.missing == 0 || moved.0.elapsed() > QUIET || began.elapsed() > DRAIN_WITHIN {
            return Ok((verdict, began.elapsed()));
        }
        watch.over(contender, SAMPLE_EVERY).await?;
    }
}

fn load_options(
    args: &Args,
    overload: &Overload,
    listen: std::net::SocketAddr,
    acked_file: &Path,
) -> Vec<String> {
    vec![
        "--signal=traces".into(),
        format!("--protocol={}", overload.protocol.name()),
        format!("--endpoint={listen}"),
        format!("--connections={}", overload.connections),
        format!("--in-flight={}", overload.in_flight),
        format!("--items-per-request={ITEMS_PER_REQUEST}"),
        format!("--rate={}", args.overload_rate),
        format!("--duration={}", args.overload_seconds),
        format!("--grace={GRACE_S}"),
        "--timeout=60".into(),
        format!("--acked-file={}", acked_file.display()),
    ]
}
