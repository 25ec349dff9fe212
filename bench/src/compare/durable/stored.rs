//! One contender's turn at acknowledging what its queue has on disk, while the queue is being delivered to the sink, or
//! while there is nobody at the destination.

use crate::compare::Args;
use crate::compare::case::{Case, Stored};
use crate::compare::child::{Tools, free_port};
use crate::compare::contender::Contender;
use crate::compare::control::{Load, SinkProcess};
use crate::compare::proc::{Cpu, Memory, writes};
use crate::compare::results::{MIB, Turn};
use crate::loadgen::SignalArg;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The thread of ours that writes a group of requests with one call, and syncs it. At the end of a segment, which has
/// room for hundreds of requests, there is one call more.
const WRITER: &str = "log-writer";

/// Load goes on a little beyond the window that is measured.
const TAIL_S: f64 = 0.3;

pub(in crate::compare) async fn turn(
    args: &Args,
    tools: &Tools,
    player: &Contender,
    case: &Case,
    stored: &Stored,
) -> io::Result<Turn> {
    let dir = super::folder(args)?;
    let sink = SinkProcess::start(tools, &[], dir.path()).await?;
    let destination = if stored.delivers { sink.addr(stored.protocol) } else { free_port()? };
    let (mut contender, listen) = player.start(args, case, destination, None, dir.path())?;
    contender.ready(listen).await?;
    let load = Load::start(tools, &load_options(args, stored, listen), dir.path())?;

    tokio::time::sleep(Duration::from_secs_f64(args.warmup)).await;
    let cpu = || -> io::Result<[Cpu; 3]> {
        Ok([Cpu::of(contender.pid())?, Cpu::of(load.pid())?, Cpu::of(sink.child.pid())?])
    };
    let before = (Instant::now(), cpu()?, writes(contender.pid(), WRITER)?);
    tokio::time::sleep(Duration::from_secs_f64(args.measure)).await;
    let after = (Instant::now(), cpu()?, writes(contender.pid(), WRITER)?);
    let memory = Memory::of(contender.pid())?;
    let report = load.report(Duration::from_secs(60)).await?;
    let arrived = sink.totals(SignalArg::Traces).await?;
    contender.kill().await;
    sink.child.kill().await;

    let request_bytes = report.body_bytes as f64 / report.offered.requests.max(1) as f64;
    let seconds = (after.0 - before.0).as_secs_f64();
    let mut turn = Turn::default();
    turn.set("acked_per_second", report.items_per_second);
    if after.2 > before.2 {
        let requests = report.items_per_second / stored.items as f64 * seconds;
        turn.set("per_sync", requests / (after.2 - before.2) as f64);
    }
    turn.set("mb_per_second", report.items_per_second / stored.items as f64 * request_bytes / 1e6);
    turn.set("p50_ms", report.latency_ms.p50);
    turn.set("p99_ms", report.latency_ms.p99);
    for (at, name) in ["cores", "load_cores", "sink_cores"].into_iter().enumerate() {
        turn.set(name, after.1[at].since(before.1[at]).total().as_secs_f64() / seconds);
    }
    turn.set("behind_items", report.acked.items.saturating_sub(arrived.items) as f64);
    turn.set("not_acked_requests", (report.offered.requests - report.acked.requests) as f64);
    turn.set("peak_rss_mib", memory.peak as f64 / MIB);
    turn.set("request_bytes", request_bytes);
    turn.note(&report.retried, "retried");
    turn.note(&report.failed, "failed");
    Ok(turn)
}

fn load_options(args: &Args, stored: &Stored, listen: SocketAddr) -> Vec<String> {
    vec![
        "--signal=traces".into(),
        format!("--protocol={}", stored.protocol.name()),
        format!("--endpoint={listen}"),
        format!("--connections={}", stored.connections),
        "--in-flight=1".into(),
        format!("--items-per-request={}", stored.items),
        format!("--duration={}", args.warmup + args.measure + TAIL_S),
        format!("--warmup={}", args.warmup),
        "--grace=10".into(),
    ]
}
