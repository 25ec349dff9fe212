//! The files of a configuration: which they are, and whether they have changed.

use crate::cli::Input;
use crate::fetch::Web;
use crate::plan::read_with;
use millrace_config::{Outside, Parsed};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often the files are looked at, and how long they have to stay the same before they are read.
const LOOK: Duration = Duration::from_secs(1);

/// The files that the latest reading has asked for, and what they were then; clones share them.
#[derive(Clone, Default)]
pub struct Files {
    read: Arc<Mutex<Looks>>,
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

    /// Looks at the files from now on. What has changed since they were read has changed.
    pub(super) fn watch(&self) -> Watch {
        Watch { files: self.clone(), seen: self.as_read() }
    }

    fn as_read(&self) -> Looks {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self) -> Looks {
        self.as_read().into_keys().map(|path| (path.clone(), is_now(&path))).collect()
    }
}

type Looks = BTreeMap<PathBuf, Look>;

/// What tells a file from what it was: device, number, time and size; `None` if it is not there.
type Look = Option<(u64, u64, i64, i64, u64)>;

/// A link is followed, so that one that is turned elsewhere counts as a change.
fn is_now(path: &Path) -> Look {
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

/// Notes which files are asked for, and what they are before they are read.
struct Recording {
    occasion: Occasion,
    read: Mutex<Looks>,
}

impl Outside for Recording {
    fn file(&self, path: &str) -> Result<String, String> {
        let look = is_now(Path::new(path));
        self.read.lock().unwrap_or_else(PoisonError::into_inner).entry(path.into()).or_insert(look);
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
    seen: Looks,
}

impl Watch {
    /// Resolves when a file has changed and has then stayed the same for a while; never where nobody wants to know.
    pub(super) async fn changed(&mut self) {
        if !self.files.is_watched {
            return std::future::pending().await;
        }
        loop {
            sleep(LOOK).await;
            self.keep_up();
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

    /// Other files may have been read since, which is no change of theirs.
    fn keep_up(&mut self) {
        let read = self.files.as_read();
        if read.keys().ne(self.seen.keys()) {
            self.seen = read;
        }
    }

    /// Off the workers: a file may lie on a network.
    async fn look(&self) -> Looks {
        let files = self.files.clone();
        spawn_blocking(move || files.look()).await.unwrap_or_else(|_| self.seen.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn what_changes_before_anybody_looks_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        fs::write(&path, "receivers:\n").expect("written");
        let files = Files::new(true);
        let input = Input { configs: vec![path.display().to_string()], ..Input::default() };
        files.read(&input, Occasion::Start);
        // As while it starts.
        fs::write(&path, "receivers:\nexporters:\n").expect("written");

        let mut watch = files.watch();

        timeout(60 * LOOK, watch.changed()).await.expect("it is noticed");
    }

    #[tokio::test]
    async fn a_further_file_is_no_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] =
            ["one.yaml", "other.yaml"].map(|name| folder.path().join(name).display().to_string());
        for path in [&one, &other] {
            fs::write(path, "receivers:\n").expect("written");
        }
        let files = Files::new(true);
        files.read(&Input { configs: vec![one.clone()], ..Input::default() }, Occasion::Start);
        let mut watch = files.watch();
        files.read(&Input { configs: vec![one, other.clone()], ..Input::default() }, Occasion::Reload);

        watch.keep_up();
        assert_eq!(watch.look().await, watch.seen);

        fs::write(&other, "receivers:\nexporters:\n").expect("written");
        timeout(60 * LOOK, watch.changed()).await.expect("it is noticed");
    }
}
