//! One contender's turn at relaying: load through it to the sink, its processor time over the items that arrived.

use super::Args;
use super::case::{Case, Relay};
use super::child::Tools;
use super::contender::Contender;
use super::control::{Load, SinkProcess};
use super::proc::{Cpu, Memory};
use super::results::{MIB, Turn};
use crate::compression::Compression;
use crate::loadgen::Report;
use crate::tls::Certificates;
use clap::ValueEnum as _;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Load goes on a little beyond the window that is measured.
const TAIL_S: f64 = 0.3;

pub(super) async fn turn(
    args: &Args,
    tools: &Tools,
    player: &Contender,
    case: &Case,
    relay: &Relay,
) -> io::Result<Turn> {
    let dir = tempfile::tempdir()?;
    let certificates = if relay.tls { Some(Certificates::make(dir.path())?) } else { None };
    let mut sink_options = vec![format!("--frame-size={}", relay.frame_size)];
    sink_options.extend(certificates.iter().flat_map(Certificates::sink_options));
    let sink = SinkProcess::start(tools, &sink_options, dir.path()).await?;
    let forward = sink.addr(relay.protocol);
    let (mut contender, listen) = player.start(args, case, forward, certificates.as_ref(), dir.path())?;
    contender.ready(listen).await?;
    let mut options = load_options(args, relay, listen);
    options.extend(certificates.iter().map(Certificates::load_option));
    let load = Load::start(tools, &options, dir.path())?;

    tokio::time::sleep(Duration::from_secs_f64(args.warmup)).await;
    let before = (Instant::now(), Cpu::of(contender.pid())?, sink.totals(relay.signal).await?);
    tokio::time::sleep(Duration::from_secs_f64(args.measure)).await;
    let after = (Instant::now(), Cpu::of(contender.pid())?, sink.totals(relay.signal).await?);
    let memory = Memory::of(contender.pid())?;
    let report = load.report(Duration::from_secs(60)).await?;
    let arrived = sink.totals(relay.signal).await?;
    contender.kill().await;
    sink.child.kill().await;

    let items = after.2.items - before.2.items;
    let mut turn = relayed(items, after.1.since(before.1), after.0 - before.0, &memory, &report)?;
    turn.set("out_bytes_per_item", (after.2.body_bytes - before.2.body_bytes) as f64 / items as f64);
    turn.set("in_bytes_per_item", report.body_bytes as f64 / report.offered.items.max(1) as f64);
    turn.set("not_acked_requests", (report.offered.requests - report.acked.requests) as f64);
    turn.set("acked_not_arrived", report.acked.items.saturating_sub(arrived.items) as f64);
    Ok(turn)
}

/// What so many items have taken of the contender in that time.
pub(super) fn relayed(
    items: u64,
    cpu: Cpu,
    time: Duration,
    memory: &Memory,
    report: &Report,
) -> io::Result<Turn> {
    if items == 0 {
        let why = report.failed.iter().chain(&report.retried).next();
        let why = why.map_or_else(String::new, |(code, seen)| format!(": {code} {}", seen.example));
        return Err(io::Error::other(format!("nothing arrived at the sink{why}")));
    }
    let seconds = time.as_secs_f64();
    let mut turn = Turn::default();
    turn.set("cpu_us_per_item", cpu.total().as_secs_f64() * 1e6 / items as f64);
    turn.set("kernel_share", cpu.kernel_share());
    turn.set("cores", cpu.total().as_secs_f64() / seconds);
    turn.set("items_per_second", items as f64 / seconds);
    turn.set("p50_ms", report.latency_ms.p50);
    turn.set("p99_ms", report.latency_ms.p99);
    turn.set("rss_mib", memory.resident as f64 / MIB);
    turn.set("peak_rss_mib", memory.peak as f64 / MIB);
    Ok(turn)
}

/// What the load generator is told.
pub(super) fn load_options(args: &Args, relay: &Relay, listen: SocketAddr) -> Vec<String> {
    let signal =
        relay.signal.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    // Compressing fresh identities would cost the generator more than the contender's own work.
    let ids = if relay.compression == Compression::None { "unique" } else { "fixed" };
    let (connections, in_flight) = relay.streams.unwrap_or((args.connections, args.in_flight));
    vec![
        format!("--signal={signal}"),
        format!("--protocol={}", relay.protocol.name()),
        format!("--endpoint={listen}"),
        format!("--connections={connections}"),
        format!("--in-flight={in_flight}"),
        format!("--items-per-request={}", relay.items),
        format!("--duration={}", args.warmup + args.measure + TAIL_S),
        format!("--warmup={}", args.warmup),
        "--grace=10".into(),
        format!("--compression={}", relay.compression.name()),
        format!("--ids={ids}"),
        format!("--frame-size={}", relay.frame_size),
    ]
}
