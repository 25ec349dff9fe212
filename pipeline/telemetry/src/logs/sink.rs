//! Where lines go: a bounded buffer, emptied into the outputs by a thread of its own.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::encode::timestamp;
use crate::catalogue::millrace::LOG_LINES_DROPPED;
use crate::metrics::{Counter, Labels, Registry};

/// How many bytes of lines wait at most.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A buffer that has grown beyond this is given back once it is written.
const KEPT_BYTES: usize = 64 * 1024;

/// Failing writes are reported once in this time.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// An output of the logs that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A path that is neither a file's nor `stdout` or `stderr`.
    #[error("cannot log to {path:?}: use stderr, stdout, a file's path, or file:// and an absolute path")]
    Scheme {
        /// As configured.
        path: String,
    },
    /// A file that could not be opened for appending.
    #[error("cannot open {path:?} to log to: {source}")]
    Open {
        /// As configured.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes logs: {0}")]
    Thread(io::Error),
}

/// Takes lines and has them written.
pub(super) struct Sink {
    shared: Arc<Shared>,
    full: Counter,
}

struct Shared {
    state: Mutex<State>,
    /// Rings when there is something to write or nothing more will come.
    filled: Condvar,
    /// Rings when something has been written.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    lines: u64,
    /// Lines ever taken, and of those the ones that have been through the outputs.
    taken: u64,
    done: u64,
    is_closed: bool,
}

enum Output {
    Stderr,
    Stdout,
    File(File),
}

impl Output {
    fn open(path: &str) -> Result<Self, OutputError> {
        let file_path = match path {
            "stderr" => return Ok(Self::Stderr),
            "stdout" => return Ok(Self::Stdout),
            path => match path.split_once("://") {
                None => path,
                Some(("file", rest)) if rest.starts_with('/') => rest,
                Some(_) => return Err(OutputError::Scheme { path: path.to_owned() }),
            },
        };
        let opened = OpenOptions::new().append(true).create(true).open(file_path);
        opened.map(Self::File).map_err(|source| OutputError::Open { path: path.to_owned(), source })
    }

    fn open_all(paths: &[String]) -> Result<Vec<Self>, OutputError> {
        paths.iter().map(|path| Self::open(path)).collect()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(bytes),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(bytes),
        }
    }
}

impl Sink {
    pub(super) fn open(
        outputs: &[String],
        error_outputs: &[String],
        registry: &Registry,
    ) -> Result<Self, OutputError> {
        let dropped = |reason| registry.counter(&LOG_LINES_DROPPED, &Labels::from([("reason", reason)]));
        let shared =
            Arc::new(Shared { state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() });
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            outputs: Output::open_all(outputs)?,
            error_outputs: Output::open_all(error_outputs)?,
            failed: dropped("write_error"),
            reported: None,
        };
        std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || writer.run())
            .map_err(OutputError::Thread)?;
        Ok(Self { shared, full: dropped("buffer_full") })
    }

    /// Takes a line, unless the buffer is full.
    pub(super) fn push(&self, line: &str) {
        {
            let mut state = self.shared.lock();
            if state.is_closed || state.buffer.len() + line.len() > BUFFER_BYTES {
                drop(state);
                self.full.add(1);
                return;
            }
            state.buffer.extend_from_slice(line.as_bytes());
            state.lines += 1;
            state.taken += 1;
        }
        self.shared.filled.notify_one();
    }

    /// Waits until what has been taken so far is written; says whether it is.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let goal = state.taken;
        let waited = self.shared.emptied.wait_timeout_while(state, timeout, |state| state.done < goal);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.done >= goal
    }

    /// Takes no more lines; the thread ends when it has written what there is.
    pub(super) fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.filled.notify_one();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("lines", &self.shared.lock().lines).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    shared: Arc<Shared>,
    outputs: Vec<Output>,
    error_outputs: Vec<Output>,
    failed: Counter,
    reported: Option<Instant>,
}

impl Writer {
    fn run(&mut self) {
        let mut bytes = Vec::new();
        loop {
            let lines = {
                let state = self.shared.lock();
                let waited =
                    self.shared.filled.wait_while(state, |state| state.buffer.is_empty() && !state.is_closed);
                let mut state = waited.unwrap_or_else(PoisonError::into_inner);
                if state.buffer.is_empty() {
                    return;
                }
                std::mem::swap(&mut state.buffer, &mut bytes);
                std::mem::take(&mut state.lines)
            };
            self.write(&bytes, lines);
            bytes.clear();
            bytes.shrink_to(KEPT_BYTES);
            self.shared.lock().done += lines;
            self.shared.emptied.notify_all();
        }
    }

    fn write(&mut self, bytes: &[u8], lines: u64) {
        let failures = self.outputs.iter_mut().filter_map(|output| output.write(bytes).err());
        let Some(error) = failures.last() else { return };
        self.failed.add(lines);
        if self.reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            return;
        }
        self.reported = Some(Instant::now());
        let mut report = String::new();
        timestamp(&mut report, SystemTime::now());
        report.push_str(&format!(" write error: {error}\n"));
        for output in &mut self.error_outputs {
            // There is nowhere left to say that this failed too.
            let _ = output.write(report.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Level;

    const ENOUGH: Duration = Duration::from_secs(20);

    fn dropped(registry: &Registry, reason: &'static str) -> u64 {
        registry.counter(&LOG_LINES_DROPPED, &Labels::from([("reason", reason)])).value()
    }

    fn sink(outputs: &[&str], error_outputs: &[&str], registry: &Registry) -> Result<Sink, OutputError> {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        Sink::open(&owned(outputs), &owned(error_outputs), registry)
    }

    #[test]
    fn lines_are_appended_to_every_file_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, "before\n").expect("a file");
        let registry = Registry::new(Level::Basic);
        let url = format!("file://{}", two.display());
        let sink = sink(&[&one.to_string_lossy(), &url], &[], &registry).expect("files");

        for number in 0..100 {
            sink.push(&format!("line {number}\n"));
        }
        assert!(sink.flush(ENOUGH));

        let expected = (0..100).fold(String::new(), |text, number| text + &format!("line {number}\n"));
        assert_eq!(std::fs::read_to_string(&one).expect("a file"), format!("before\n{expected}"));
        assert_eq!(std::fs::read_to_string(&two).expect("a file"), expected);
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let registry = Registry::new(Level::Basic);
        let sink = sink(&[], &[], &registry).expect("no outputs");
        sink.push(&"x".repeat(BUFFER_BYTES + 1));
        assert!(sink.flush(ENOUGH));
        assert_eq!(dropped(&registry, "buffer_full"), 1);
        sink.close();
        sink.push("too late\n");
        assert_eq!(dropped(&registry, "buffer_full"), 2);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn failing_writes_are_counted_and_reported_once_in_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let errors = folder.path().join("errors");
        let registry = Registry::new(Level::Basic);
        let sink = sink(&["/dev/full"], &[&errors.to_string_lossy()], &registry).expect("files");

        for _ in 0..3 {
            sink.push("line\n");
            assert!(sink.flush(ENOUGH));
        }

        assert_eq!(dropped(&registry, "write_error"), 3);
        let report = std::fs::read_to_string(&errors).expect("a file");
        assert_eq!(report.lines().count(), 1, "{report}");
        assert!(report.contains("write error"), "{report}");
    }

    #[test]
    fn outputs_that_cannot_be_used_are_refused() {
        let registry = Registry::new(Level::Basic);
        for path in ["http://x/y", "file://relative"] {
            assert!(matches!(sink(&[path], &[], &registry), Err(OutputError::Scheme { .. })), "{path}");
        }
        let error = sink(&["/nowhere/at/all"], &[], &registry).expect_err("no such folder");
        assert!(error.to_string().starts_with("cannot open \"/nowhere/at/all\" to log to: "), "{error}");
    }
}
