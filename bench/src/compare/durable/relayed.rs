//! One contender's turn at relaying what ours acknowledges from disk: its processor time from the first request until
//! everything acknowledged has been delivered, over all of that.
//!
//! What a queue is behind when the load stops has been taken in but not sent: a window in time would count the one
//! without the other.

use crate::compare::Args;
use crate::compare::case::{Case, Relay};
use crate::compare::child::Tools;
use crate::compare::contender::Contender;
use crate::compare::control::{Load, SinkProcess};
use crate::compare::proc::{Cpu, Memory};
use crate::compare::relay::{load_options, relayed};
use crate::compare::results::Turn;
use crate::loadgen::SignalArg;
use std::io;
use std::time::{Duration, Instant};

/// The drain has ended when nothing new has arrived for so long.
const QUIET: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// What a queue does afterwards counts, too: writing down what has been delivered, and removing it.
const REST: Duration = Duration::from_millis(500);

pub(in crate::compare) async fn turn(
    args: &Args,
    tools: &Tools,
    player: &Contender,
    case: &Case,
    relay: &Relay,
) -> io::Result<Turn> {
    let dir = super::folder(args)?;
    let sink = SinkProcess::start(tools, &[format!("--frame-size={}", relay.frame_size)], dir.path()).await?;
    let (mut contender, listen) = player.start(args, case, sink.addr(relay.protocol), None, dir.path())?;
    contender.ready(listen).await?;

    let before = (Instant::now(), Cpu::of(contender.pid())?);
    let load = Load::start(tools, &load_options(args, relay, listen), dir.path())?;
    let report = load.report(Duration::from_secs(120)).await?;
    let stopped = Instant::now();
    let acked = report.acked.items;
    let behind = acked.saturating_sub(sink.totals(relay.signal).await?.items);
    let (arrived, drained) = drain(&sink, relay.signal, acked).await?;
    tokio::time::sleep(REST).await;
    let cpu = Cpu::of(contender.pid())?.since(before.1);
    let memory = Memory::of(contender.pid())?;
    contender.kill().await;
    sink.child.kill().await;

    // What arrives twice was not asked for twice.
    let items = arrived.min(acked);
    let mut turn = relayed(items, cpu, drained - before.0, &memory, &report)?;
    turn.set("behind_items", behind as f64);
    turn.set("drain_ms", drained.saturating_duration_since(stopped).as_secs_f64() * 1e3);
    turn.set("not_acked_requests", (report.offered.requests - report.acked.requests) as f64);
    turn.set("acked_not_arrived", acked.saturating_sub(arrived) as f64);
    Ok(turn)
}

/// Waits until all of `acked` has arrived, or nothing moves any more: how much has arrived, and when that was so.
async fn drain(sink: &SinkProcess, signal: SignalArg, acked: u64) -> io::Result<(u64, Instant)> {
    let mut moved = (Instant::now(), 0);
    loop {
        let arrived = sink.totals(signal).await?.items;
        if arrived != moved.1 {
            moved = (Instant::now(), arrived);
        }
        if arrived >= acked || moved.0.elapsed() > QUIET {
            return Ok((arrived, moved.0));
        }
        tokio::time::sleep(POLL).await;
    }
}
