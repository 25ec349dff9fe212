//! One contender's turn at coming back: its destination is down until a backlog is on disk, then it is killed, and
//! what the system had cached of its files is forgotten. How soon does it serve, and what does draining take?

use crate::compare::Args;
use crate::compare::case::Case;
use crate::compare::child::{Child, Tools, free_port};
use crate::compare::contender::Contender;
use crate::compare::control::{Load, SinkProcess};
use crate::compare::proc::Memory;
use crate::compare::results::{MIB, Turn};
use crate::ledger::Verdict;
use crate::loadgen::Protocol;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Spans of each request of the backlog, and about how many bytes that is.
const ITEMS: usize = 1000;
const REQUEST_BYTES: u64 = 708_000;
const REST: Duration = Duration::from_secs(1);
const FILL_WITHIN: Duration = Duration::from_secs(300);
/// The drain has ended when nothing new has arrived for so long.
const QUIET: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

pub(in crate::compare) async fn turn(
    args: &Args,
    tools: &Tools,
    player: &Contender,
    case: &Case,
) -> io::Result<Turn> {
    let dir = super::folder(args)?;
    let acked_file = dir.path().join("acked.txt");

    // Nobody listens there.
    let (mut contender, listen) = player.start(args, case, free_port()?, None, dir.path())?;
    contender.ready(listen).await?;
    tokio::time::sleep(REST).await;
    let idle = Memory::of(contender.pid())?;
    let requests = (args.backlog_mib << 20) / REQUEST_BYTES;
    let filling = Instant::now();
    let options = load_options(listen, ITEMS, requests, Some(&acked_file));
    let filled = Load::start(tools, &options, dir.path())?.report(FILL_WITHIN).await?;
    let fill = filling.elapsed();
    let full = Memory::of(contender.pid())?;
    if !filled.is_clean() {
        let why = filled.failed.iter().chain(&filled.retried).next();
        let why = why.map_or_else(String::new, |(code, seen)| format!(": {code} {}", seen.example));
        return Err(io::Error::other(format!("the backlog could not be filled{why}")));
    }
    contender.kill().await;
    forget(dir.path())?;

    let sink = SinkProcess::start(tools, &["--check-ids".into()], dir.path()).await?;
    let begun = Instant::now();
    let (mut contender, listen) = player.start(args, case, sink.addr(Protocol::Grpc), None, dir.path())?;
    let ready = contender.ready(listen).await?;
    let first =
        Load::start(tools, &load_options(listen, 1, 1, None), dir.path())?.report(FILL_WITHIN).await?;
    let serving = begun.elapsed();
    let (verdict, drain) = drain(&sink, &acked_file, &mut contender).await?;
    let memory = Memory::of(contender.pid())?;
    contender.kill().await;
    sink.child.kill().await;

    let mib = filled.body_bytes as f64 / MIB;
    let mut turn = Turn::default();
    turn.set("serving_ms", serving.as_secs_f64() * 1e3);
    turn.set("ready_ms", ready.as_secs_f64() * 1e3);
    turn.set("first_ack_ms", first.latency_ms.max);
    turn.set("backlog_mib", mib);
    turn.set("fill_mib_per_second", mib / fill.as_secs_f64());
    turn.set("drain_mib_per_second", mib / drain.as_secs_f64());
    turn.set("idle_rss_mib", idle.resident as f64 / MIB);
    turn.set("filling_over_idle_mib", full.peak.saturating_sub(idle.resident) as f64 / MIB);
    turn.set("draining_over_idle_mib", memory.peak.saturating_sub(idle.resident) as f64 / MIB);
    turn.set("missing_items", verdict.missing as f64);
    turn.set("duplicate_items", verdict.duplicates as f64);
    Ok(turn)
}

/// Waits until everything acknowledged has arrived, or nothing moves any more.
async fn drain(
    sink: &SinkProcess,
    acked_file: &Path,
    contender: &mut Child,
) -> io::Result<(Verdict, Duration)> {
    let begun = Instant::now();
    let mut moved = (Instant::now(), 0);
    loop {
        let verdict = sink.verify(acked_file).await?;
        let arrived = verdict.unique + verdict.duplicates;
        if arrived != moved.1 {
            moved = (Instant::now(), arrived);
        }
        if verdict.missing == 0 || moved.0.elapsed() > QUIET {
            return Ok((verdict, moved.0 - begun));
        }
        if let Some(status) = contender.ended()? {
            return Err(io::Error::other(format!("the contender ended while draining ({status})")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Has everything under `dir` written, and nothing of it in memory. Where the system lets us (as root), nothing of
/// anything: then the contender's binary has to be read again as well.
fn forget(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget(&entry.path())?;
        } else if kind.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    // Forgetting the rest, too, is for those who may.
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    Ok(())
}

fn load_options(listen: SocketAddr, items: usize, requests: u64, acked_file: Option<&Path>) -> Vec<String> {
    let mut options = vec![
        "--signal=traces".into(),
        "--protocol=grpc".into(),
        format!("--endpoint={listen}"),
        "--connections=4".into(),
        format!("--in-flight={}", if requests > 4 { 4 } else { 1 }),
        format!("--items-per-request={items}"),
        format!("--requests={requests}"),
        format!("--duration={}", FILL_WITHIN.as_secs() / 2),
        "--backoff=10".into(),
        "--templates=1".into(),
    ];
    options.extend(acked_file.map(|path| format!("--acked-file={}", path.display())));
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_passed_over() {
        // given: a socket, as a collector may leave one behind, which cannot be opened
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("within")).unwrap();
        std::fs::write(dir.path().join("within/file"), b"kept").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();

        forget(dir.path()).unwrap();

        assert_eq!(std::fs::read(dir.path().join("within/file")).unwrap(), b"kept");
    }
}
