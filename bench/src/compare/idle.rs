//! One contender's turn at doing nothing.

use super::Args;
use super::case::Case;
use super::child::free_port;
use super::contender::Contender;
use super::proc::{Cpu, Memory};
use super::results::{MIB, Turn};
use std::io;
use std::time::Duration;

/// Long enough for lazy start-up work to end.
const REST: Duration = Duration::from_secs(3);

pub(super) async fn turn(args: &Args, player: &Contender, case: &Case) -> io::Result<Turn> {
    let dir = tempfile::tempdir()?;
    // Nobody listens there: an idle relay has nothing to send.
    let (mut contender, listen) = player.start(args, case, free_port()?, None, dir.path())?;
    let ready = contender.ready(listen).await?;
    let started = Cpu::of(contender.pid())?;
    tokio::time::sleep(REST).await;
    let (memory, rested) = (Memory::of(contender.pid())?, Cpu::of(contender.pid())?);
    contender.kill().await;

    let mut turn = Turn::default();
    turn.set("ready_ms", ready.as_secs_f64() * 1e3);
    turn.set("start_cpu_ms", started.total().as_secs_f64() * 1e3);
    turn.set("rest_cpu_ms_per_s", rested.since(started).total().as_secs_f64() * 1e3 / REST.as_secs_f64());
    turn.set("rss_mib", memory.resident as f64 / MIB);
    turn.set("peak_rss_mib", memory.peak as f64 / MIB);
    Ok(turn)
}
