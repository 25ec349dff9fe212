//! The way to a running collector for commands that want something done with what it keeps in a directory.
//!
//! While a process has the directory, its files are its own, and a command asks it through a socket in the directory:
//! whoever may write there may ask. One line of JSON each way, then the connection is closed. While something is being
//! done, spaces in front of the answer say that it is.

use super::directory::LOCK;
use millrace_engine::Tasks;
use millrace_engine::storage::{Directory, NoPlace, Outcome, Selection, Task};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The socket.
const SOCKET: &str = ".millrace.sock";
/// The longest request or answer, in bytes.
const LINE_MAX: u64 = 64 << 10;
/// How long a request may take to arrive, and its answer to leave.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How many may be connected; others are sent away at once.
const CONNECTED_MAX: usize = 64;
/// How many of their requests are carried out at once.
const AT_ONCE: usize = 4;
/// How often a command is told that its request is in hand.
const BEAT: Duration = Duration::from_secs(2);
/// How long the end waits for the socket to be removed. A disk that hangs is to hold up nothing else.
const REMOVAL_TIMEOUT: Duration = Duration::from_millis(500);
/// The space that says so. Before an answer it means nothing.
const BEING_DONE: &[u8] = b" ";
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

/// How long a command waits.
#[derive(Debug, Clone, Copy)]
struct Waits {
    /// Before it says that it does.
    patience: Duration,
    /// For a sign of life.
    silence: Duration,
}

const WAITS: Waits = Waits { patience: Duration::from_secs(5), silence: Duration::from_secs(30) };

/// Asks the process that has `directory`. Blocks until it is done, which takes as long as it takes; calls `waiting` once
/// if that is more than a moment.
///
/// # Errors
/// If there is no such process, it ends before it has answered, or there is no sign of it.
pub fn ask(directory: &Path, request: &Request, waiting: impl FnOnce()) -> io::Result<Answer> {
    ask_within(WAITS, directory, request, waiting)
}

fn ask_within(
    waits: Waits,
    directory: &Path,
    request: &Request,
    waiting: impl FnOnce(),
) -> io::Result<Answer> {
    let address = Address::of(directory)?;
    let mut stream = BlockingStream::connect(&address.path)?;
    stream.set_write_timeout(Some(waits.silence))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
    if line.len() as u64 >= LINE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many numbers in one request"));
    }
    line.push(b'\n');
    // Who sends us away says why before it has heard us out.
    let sent = stream.write_all(&line);
    let answer = hear(waits, stream, waiting)?;
    if answer.is_empty() {
        sent?;
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the collector ended before it had answered",
        ));
    }
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// The answer, or what there is of it when the connection ends.
fn hear(waits: Waits, stream: BlockingStream, waiting: impl FnOnce()) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(waits.patience.min(waits.silence) / 4))?;
    let mut stream = stream.take(LINE_MAX);
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    let begun = Instant::now();
    let (mut heard, mut waiting) = (begun, Some(waiting));
    while answer.last() != Some(&b'\n') {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => {
                answer.extend_from_slice(&chunk[..len]);
                heard = Instant::now();
            }
            Err(error) if is_timeout(&error) => {
                if heard.elapsed() >= waits.silence {
                    let text = format!(
                        "there has been no sign of it for {} s; what was asked for may still be done when it goes on: \
                         see whether its process is stopped or overloaded, and look (`list`) before asking again",
                        waits.silence.as_secs()
                    );
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= waits.patience
            && let Some(waiting) = waiting.take()
        {
            waiting();
        }
    }
    Ok(answer)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Whether a process has `directory` now. A directory without its lock has never been used.
///
/// # Errors
/// If that cannot be found out.
pub fn is_in_use(directory: &Path) -> io::Result<bool> {
    // A pipe keeps nobody waiting.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(directory.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{LOCK} is no regular file: remove it")));
    }
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
    /// Taken when it ends.
    address: Option<Address>,
    /// No other process makes a socket there before this one is removed.
    directory: Arc<Directory>,
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
        Ok(Self { task, address: Some(address), directory: Arc::clone(directory) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let Some(address) = self.address.take() else { return };
        let directory = Arc::clone(&self.directory);
        let (tell, told) = sync_channel(1);
        let remove = move || {
            let _ = fs::remove_file(&address.path);
            drop(directory);
            // Nobody listens if it took too long.
            let _ = tell.send(());
        };
        // What is left the next process removes.
        if std::thread::Builder::new().name("storage control".to_owned()).spawn(remove).is_ok() {
            let _ = told.recv_timeout(REMOVAL_TIMEOUT);
        }
    }
}

async fn listen(listener: UnixListener, directory: Weak<Directory>, tasks: Tasks) {
    let connected = Arc::new(Semaphore::new(CONNECTED_MAX));
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a command could not be heard");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&connected).try_acquire_owned() else {
            send_away(&stream);
            continue;
        };
        let (directory, slots) = (directory.clone(), Arc::clone(&slots));
        tasks.spawn("storage command", async move {
            if let Err(error) = answer(stream, &directory, &slots).await {
                tracing::debug!(%error, "a command went away");
            }
            drop(place);
        });
    }
}

/// A command that does not send its request is gone after [`REQUEST_TIMEOUT`]: nobody is sent away for long by others
/// that say nothing.
fn send_away(stream: &UnixStream) {
    let problem =
        format!("{CONNECTED_MAX} other commands are being listened to already; try again in a few seconds");
    let mut line = serde_json::to_vec(&Answer::Refused(problem)).unwrap_or_default();
    line.push(b'\n');
    // A new connection has room for it.
    let _ = stream.try_write(&line);
}

async fn answer(mut stream: UnixStream, directory: &Weak<Directory>, slots: &Semaphore) -> io::Result<()> {
    let mut line = String::new();
    let read = async {
        let (reader, _) = stream.split();
        tokio::io::BufReader::new(reader.take(LINE_MAX)).read_line(&mut line).await
    };
    timeout(REQUEST_TIMEOUT, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let mut acting = pin!(async {
                let _slot = slots.acquire().await;
                act(request, directory).await
            });
            loop {
                match timeout(BEAT, &mut acting).await {
                    Ok(answer) => break answer,
                    // Whoever has gone away meanwhile is told nothing; what they asked for is done.
                    Err(_) => _ = stream.try_write(BEING_DONE),
                }
            }
        }
        Err(error) => Answer::Refused(format!("the request cannot be understood: {error}")),
    };
    let mut line = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    line.push(b'\n');
    timeout(REQUEST_TIMEOUT, stream.write_all(&line)).await.map_err(|_| io::ErrorKind::TimedOut)?
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
    let Outcome { requests, items, stopped, is_for_now } = &outcome;
    // Whoever waits for room asks often.
    if *requests > 0 || !is_for_now {
        tracing::info!(folder, requests, items, stopped, "dead letters were {verb} by command");
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Health;
    use std::os::unix::net::UnixListener as BlockingListener;

    const QUICK: Waits = Waits { patience: Duration::from_millis(40), silence: Duration::from_secs(2) };

    fn request() -> Request {
        Request { folder: "exporter-nop".to_owned(), task: Task::Replay, which: Selection::default() }
    }

    fn bound(directory: &Path) -> BlockingListener {
        BlockingListener::bind(directory.join(SOCKET)).expect("a socket")
    }

    fn refusal(answer: io::Result<Answer>) -> String {
        match answer {
            Ok(Answer::Refused(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    /// What a command hears that asks now.
    async fn heard(socket: &Path) -> String {
        let mut stream = UnixStream::connect(socket).await.expect("it listens");
        let mut line = serde_json::to_vec(&request()).expect("JSON");
        line.push(b'\n');
        // Who is sent away is not heard out.
        let _ = stream.write_all(&line).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        refusal(serde_json::from_slice(&answer).map_err(io::Error::other))
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_connect_and_say_nothing_keep_no_command_out_for_long() {
        let there = tempfile::tempdir().expect("a directory");
        let socket = there.path().join(SOCKET);
        let listener = UnixListener::bind(&socket).expect("a socket");
        let listening = tokio::spawn(listen(listener, Weak::new(), Tasks::new(Health::starting())));
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(UnixStream::connect(&socket).await.expect("it listens"));
        }
        let begun = tokio::time::Instant::now();
        let answer = heard(&socket).await;
        assert!(answer.contains("try again in a few seconds"), "{answer}");
        assert_eq!(begun.elapsed(), Duration::ZERO, "at once");
        // The clock goes on when nobody has anything else to do.
        tokio::time::sleep(REQUEST_TIMEOUT + Duration::from_secs(1)).await;
        let answer = heard(&socket).await;
        assert!(answer.contains("keeps anything in exporter-nop"), "{answer}");
        drop(silent);
        listening.abort();
    }

    #[test]
    fn a_command_says_that_it_waits_and_gives_up_where_there_is_no_sign_of_the_collector() {
        let there = tempfile::tempdir().expect("a directory");
        let _stopped = bound(there.path());
        let mut said = false;
        let error = ask_within(QUICK, there.path(), &request(), || said = true).expect_err("nobody answers");
        assert!(said && error.to_string().contains("no sign of it"), "{error}");
    }

    #[test]
    fn a_command_waits_for_as_long_as_it_is_told_that_its_request_is_in_hand() {
        let there = tempfile::tempdir().expect("a directory");
        let listener = bound(there.path());
        let (told, waits) = sync_channel(1);
        let slow = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a command");
            let begun = Instant::now();
            // For longer than it would wait for a sign.
            while begun.elapsed() < 2 * QUICK.silence {
                stream.write_all(BEING_DONE).expect("it listens");
                let _ = waits.recv_timeout(QUICK.silence / 8);
            }
            stream.write_all(b"{\"refused\":\"no\"}\n").expect("it listens");
        });
        let answer = ask_within(QUICK, there.path(), &request(), || told.send(()).expect("it listens"));
        assert_eq!(refusal(answer), "no");
        slow.join().expect("no panic");
    }
}
