//! Files of credentials, read again when they change.
//!
//! The content is compared every second: times and sizes may stay the same when a mounted secret is replaced, and
//! files of credentials are small.

use millrace_config::files::{FileError, read_file};
use millrace_engine::Tasks;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The largest file of credentials.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file of credentials.
///
/// # Errors
/// Why it cannot be read; nothing that stands in it.
pub(crate) fn read_credentials(path: &Path) -> Result<Vec<u8>, String> {
    read_file(path, MAX_BYTES).map_err(|error| match error {
        FileError::TooLong(_) => format!("{} is larger than {} MiB", path.display(), MAX_BYTES >> 20),
        error => format!("cannot read {}: {error}", path.display()),
    })
}

/// The watch over one file; ends when it is told to, or dropped.
#[derive(Debug, Default)]
pub(crate) struct WatchedFile(Mutex<Option<JoinHandle<Option<()>>>>);

impl WatchedFile {
    /// Calls `changed` with the content whenever it differs from what it was before, `known` at first. What `changed`
    /// finds wrong with it, and that the file cannot be read, is logged once; what was there before stays in force.
    pub(crate) fn start(
        &self,
        tasks: &Tasks,
        path: Box<Path>,
        known: Vec<u8>,
        changed: impl Fn(&[u8]) -> Result<(), String> + Send + 'static,
    ) {
        let watching = tasks.spawn("watch credentials", watch(path, known, changed));
        if let Some(before) = self.locked().replace(watching) {
            before.abort();
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(watching) = self.locked().take() {
            watching.abort();
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<Option<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn watch(path: Box<Path>, known: Vec<u8>, changed: impl Fn(&[u8]) -> Result<(), String>) {
    let mut known = Ok(known);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let file = path.clone();
        let Ok(found) = spawn_blocking(move || read_credentials(&file)).await else {
            // The runtime is shutting down.
            return;
        };
        if found == known {
            continue;
        }
        let outcome = match &found {
            Ok(bytes) => changed(bytes),
            Err(problem) => Err(problem.clone()),
        };
        match outcome {
            Ok(()) => tracing::info!(file = %path.display(), "Read changed credentials"),
            Err(problem) => {
                tracing::error!(file = %path.display(), error = problem, "cannot use changed credentials; the former ones stay in force");
            }
        }
        known = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Health;
    use std::fs;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn changes_are_told_and_failures_leave_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        fs::write(&path, "one").expect("written");
        let (tell, mut told) = mpsc::channel(8);
        let watched = WatchedFile::default();
        let tasks = Tasks::new(Health::starting());
        let changed = move |bytes: &[u8]| {
            tell.try_send(bytes.to_vec()).expect("there is room");
            Ok(())
        };
        watched.start(&tasks, path.clone().into(), b"one".to_vec(), changed);

        // As mounted secrets are replaced: another file takes the place. Same length, and perhaps the same time.
        let other = folder.path().join("other");
        fs::write(&other, "two").expect("written");
        fs::rename(&other, &path).expect("renamed");
        assert_eq!(told.recv().await.as_deref(), Some(&b"two"[..]));
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "three").expect("written");
        assert_eq!(told.recv().await.as_deref(), Some(&b"three"[..]));
        watched.stop();
        assert_eq!(told.recv().await, None, "it has ended");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing");
        let problem = read_credentials(&missing).expect_err("it is not there");
        assert!(problem.starts_with(&format!("cannot read {}: ", missing.display())), "{problem}");
        let large = folder.path().join("large");
        fs::write(&large, vec![b'x'; (MAX_BYTES + 1) as usize]).expect("written");
        assert!(read_credentials(&large).expect_err("it is too large").ends_with("is larger than 1 MiB"));
        assert!(read_credentials(folder.path()).is_err(), "a folder is no file");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        assert!(read_credentials(&pipe).expect_err("it would wait").ends_with("must be a file"));
    }
}
