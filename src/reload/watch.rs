//! The files of a configuration: which they are, and whether they have changed.

use crate::cli::Input;
use crate::fetch::Web;
use crate::plan::read_with;
use millrace_config::{Outside, Parsed};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often the files are looked at, and how long they have to stay the same before they are read.
const LOOK: Duration = Duration::from_secs(1);

/// The files that the latest reading has asked for; clones share them.
#[derive(Clone, Default)]
pub struct Files {
    read: Arc<Mutex<BTreeSet<PathBuf>>>,
    is_watched: bool,
}

impl Files {
    /// None yet; `is_watched` says whether they are to be looked at.
    pub fn new(is_watched: bool) -> Self {
        Self { read: Arc::default(), is_watched }
    }

    /// Reads what the command line names, for the first time or again.
    pub fn read(&self, input: &Input, occasion: Occasion) -> Parsed {
        let recording = Recording { occasion, read: Mutex::default() };
        let parsed = read_with(input, &recording);
        let Recording { read, .. } = recording;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) =
            read.into_inner().unwrap_or_else(PoisonError::into_inner);
        parsed
    }

    /// Looks at the files from now on.
    pub(super) fn watch(&self) -> Watch {
        Watch { files: self.clone(), seen: self.look() }
    }

    fn look(&self) -> Vec<Look> {
        let files = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        files.into_iter().map(|path| (is_now(&path), path)).collect()
    }
}

type Look = (Option<(u64, u64, i64, i64, u64)>, PathBuf);

/// What tells a file from what it was: device, number, time and size; `None` if it is not there. A link is followed, so
/// that one that is turned elsewhere counts as a change.
fn is_now(path: &Path) -> Option<(u64, u64, i64, i64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
}

/// When a configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// When the process starts. What comes through a pipe can be read then.
    Start,
    /// Later.
    Reload,
}

/// Notes which files are asked for.
struct Recording {
    occasion: Occasion,
    read: Mutex<BTreeSet<PathBuf>>,
}

impl Outside for Recording {
    fn file(&self, path: &str) -> Result<String, String> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into());
        if self.occasion == Occasion::Reload && fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err("it is not a file; what comes through a pipe cannot be read again".to_owned());
        }
        Web.file(path)
    }

    fn fetch(&self, url: &str) -> Result<String, String> {
        Web.fetch(url)
    }
}

/// Waits for changes.
pub(super) struct Watch {
    files: Files,
    seen: Vec<Look>,
}

impl Watch {
    /// Resolves when a file has changed and has then stayed the same for a while; never where nobody wants to know.
    pub(super) async fn changed(&mut self) {
        if !self.files.is_watched {
            return std::future::pending().await;
        }
        loop {
            sleep(LOOK).await;
            let now = self.look().await;
            if now == self.seen {
                continue;
            }
            let mut last = now;
            loop {
                sleep(LOOK).await;
                let now = self.look().await;
                if now == last {
                    break;
                }
                last = now;
            }
            self.seen = last;
            return;
        }
    }

    /// Off the workers: a file may lie on a network.
    async fn look(&self) -> Vec<Look> {
        let files = self.files.clone();
        spawn_blocking(move || files.look()).await.unwrap_or_else(|_| self.seen.clone())
    }
}
