//! The way to a running collector for commands that want something done with what it keeps in a directory.
//!
//! While a process has the directory, its files are its own, and a command asks it through a socket in the directory:
//! whoever may write there may ask. One line of JSON each way, then the connection is closed.

use super::directory::LOCK;
use millrace_engine::Tasks;
use millrace_engine::storage::{Directory, NoPlace, Outcome, Selection, Task};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The socket.
const SOCKET: &str = ".millrace.sock";
/// The longest request or answer, in bytes.
const LINE_MAX: u64 = 64 << 10;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How many are answered at once.
const AT_ONCE: usize = 4;
/// Paths of sockets have 108 bytes at most, on some systems 104.
const PATH_MAX: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The folder in the directory.
    pub folder: String,
    /// What is to be done with what is in it.
    pub task: Task,
    /// With which.
    #[serde(default)]
    pub which: Selection,
}

/// What has been done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// As far as it went.
    Done(Outcome),
    /// Nothing, and why.
    Refused(String),
}

/// Asks the process that has `directory`. Blocks until it is done.
///
/// # Errors
/// If there is no such process, or it ends before it has answered.
pub fn ask(directory: &Path, request: &Request) -> io::Result<Answer> {
    let address = Address::of(directory)?;
    let mut stream = BlockingStream::connect(&address.path)?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
    if line.len() as u64 >= LINE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many numbers in one request"));
    }
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the collector ended before it had answered",
        ));
    }
    serde_json::from_str(&answer).map_err(io::Error::other)
}

/// Whether a process has `directory` now. A directory without its lock has never been used.
///
/// # Errors
/// If that cannot be found out.
pub fn is_in_use(directory: &Path) -> io::Result<bool> {
    let file = match File::open(directory.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Answers in a directory for as long as this is there. Those who share the directory share it, so that it goes on when
/// one extension takes another's place.
pub(super) struct Control {
    task: JoinHandle<Option<()>>,
    address: Address,
}

impl Control {
    /// Answers in `directory`, or finds that somebody does.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub(super) fn of(directory: &Arc<Directory>, tasks: &Tasks) -> Result<Arc<Self>, NoPlace> {
        directory.open(SOCKET, || {
            Self::serve(directory, tasks).map_err(|error| NoPlace(format!("no socket can be made: {error}")))
        })
    }

    fn serve(directory: &Arc<Directory>, tasks: &Tasks) -> io::Result<Self> {
        let address = Address::of(directory.path())?;
        // This process has the lock, so whoever made it is gone.
        match fs::remove_file(&address.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&address.path)?;
        fs::set_permissions(&address.path, Permissions::from_mode(0o600))?;
        let task = tasks.spawn("storage control", listen(listener, Arc::downgrade(directory), tasks.clone()));
        Ok(Self { task, address })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        // The next process removes what is left.
        let _ = fs::remove_file(&self.address.path);
    }
}

async fn listen(listener: UnixListener, directory: Weak<Directory>, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a command could not be heard");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let directory = directory.clone();
        tasks.spawn("storage command", async move {
            if let Err(error) = answer(stream, &directory).await {
                tracing::debug!(%error, "a command went away");
            }
            drop(slot);
        });
    }
}

async fn answer(mut stream: UnixStream, directory: &Weak<Directory>) -> io::Result<()> {
    let mut line = String::new();
    let read = async {
        let (reader, _) = stream.split();
        tokio::io::BufReader::new(reader.take(LINE_MAX)).read_line(&mut line).await
    };
    timeout(REQUEST_TIMEOUT, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => act(request, directory).await,
        Err(error) => Answer::Refused(format!("the request cannot be understood: {error}")),
    };
    let mut line = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn act(request: Request, directory: &Weak<Directory>) -> Answer {
    let Request { folder, task, which } = request;
    let custodian = directory.upgrade().and_then(|directory| directory.custodian(&folder));
    let Some(custodian) = custodian else {
        return Answer::Refused(format!("no component of this collector keeps anything in {folder}"));
    };
    let verb = match task {
        Task::Replay => "replayed",
        Task::Drop => "dropped",
    };
    let outcome = custodian.go_through(task, which).await;
    let Outcome { requests, items, stopped } = &outcome;
    tracing::info!(folder, requests, items, stopped, "dead letters were {verb} by command");
    Answer::Done(outcome)
}

/// Where the socket is, by a path that is short enough for one.
struct Address {
    path: PathBuf,
    /// What the path goes by.
    _directory: Option<File>,
}

impl Address {
    fn of(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        if path.as_os_str().len() <= PATH_MAX || !cfg!(target_os = "linux") {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(directory)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(SOCKET);
        Ok(Self { path, _directory: Some(directory) })
    }
}
