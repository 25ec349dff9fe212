//! Child processes: started, awaited, and never left behind.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::process::Command;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// How much of a failed child's log is quoted.
const LOG_TAIL: u64 = 2000;

/// The instruments, found beside this program.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) loadgen: PathBuf,
    pub(super) sink: PathBuf,
}

impl Tools {
    pub(super) fn find() -> io::Result<Self> {
        Ok(Self { loadgen: beside("millrace-loadgen")?, sink: beside("millrace-sink")? })
    }
}

/// The program of that name beside this one.
pub(super) fn beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    let message =
        format!("{} is missing; build it with `cargo build --release -p millrace-bench`", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    process: tokio::process::Child,
    pid: u32,
    log: File,
    started: Instant,
}

impl Child {
    /// Starts `command` with its output in a file under `dir`.
    pub(super) fn start(name: &str, mut command: Command, dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).read(true).open(&path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        let process = command.spawn().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("could not start {}: {error}", Path::new(&program).display()),
            )
        })?;
        let pid = process.id().ok_or_else(|| io::Error::other(format!("{name} has ended at once")))?;
        Ok(Self { name: name.to_owned(), process, pid, log, started: Instant::now() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the child accepts connections; the time since its start.
    pub(super) async fn ready(&mut self, addr: SocketAddr) -> io::Result<Duration> {
        loop {
            if TcpStream::connect(addr).await.is_ok() {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(self.complaint(&format!("ended before it was ready ({status})")));
            }
            if self.started.elapsed() > READY_WITHIN {
                return Err(self.complaint(&format!("does not listen on {addr} after {READY_WITHIN:?}")));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for the end of a child that ends by itself.
    pub(super) async fn finish(&mut self, within: Duration) -> io::Result<()> {
        let status = tokio::time::timeout(within, self.process.wait())
            .await
            .map_err(|_| self.complaint(&format!("did not end within {within:?}")))??;
        if status.success() { Ok(()) } else { Err(self.complaint(&format!("failed ({status})"))) }
    }

    /// Whether the child has ended, and how.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Kills the child and waits for its end, so that its ports and memory are free for the next turn.
    pub(super) async fn kill(mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill().await;
    }

    fn complaint(&mut self, what: &str) -> io::Error {
        let mut tail = String::new();
        let len = self.log.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = Vec::new();
        if self.log.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL))).is_ok()
            && self.log.read_to_end(&mut bytes).is_ok()
        {
            tail = String::from_utf8_lossy(&bytes).into_owned();
        }
        io::Error::other(format!("{} {what}; its last words:\n{}", self.name, tail.trim_end()))
    }
}

/// A loopback port that was free a moment ago, below those that the system gives to connections that go out: one of
/// these may take a port of its choice before whoever is to listen there does.
pub(super) fn free_port() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 100 * 100;
    let ports = (0..10_000).map(|_| 10_000 + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % 10_000);
    let mut addresses = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses
        .find(|address| TcpListener::bind(address).is_ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "no port is free"))
}
