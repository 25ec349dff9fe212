//! Where components keep things on disk: a folder of its own for each, in a directory that no other process uses.
//!
//! A component names a storage extension by its id (`sending_queue: {storage: file_storage/queues}`) and gets a
//! [`Place`] from it: a folder, and the rules for what is kept there. What a component opens in its place is shared with
//! whoever asks for the same place while it is open. So a component that takes another one's place on a reload finds
//! everything open where that one has it, and nothing is ever open twice.

pub use crate::custody::{Custodian, Outcome, Selection, Task};
use crate::status::Status;
use millrace_config::ComponentId;
use millrace_wire::Signal;
use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Who keeps something, and what. It is found again as long as none of this changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `exporter`, `processor`, …
    pub kind: &'static str,
    /// Its id.
    pub id: ComponentId,
    /// Other ids under which it may have kept the same: those that it has under other names of its type, and that nobody
    /// else has.
    pub namesakes: Arc<[ComponentId]>,
    /// The pipeline, where there is an instance for each.
    pub pipeline: Option<String>,
    /// The signal, as each has a place of its own.
    pub signal: Signal,
    /// What it is: `queue`, …
    pub what: &'static str,
}

/// The rules for what is kept in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The most bytes on disk; `None` leaves it to the disk.
    pub max_bytes: Option<u64>,
    /// The size of one file.
    pub segment_bytes: u64,
    /// How long something is kept; `None` is for ever.
    pub max_age: Option<Duration>,
    /// Whether what is acknowledged has been written through to the disk.
    pub sync: bool,
    /// How long to wait for others before writing through.
    pub commit_delay: Duration,
}

/// What gives components places on disk (`storage`).
pub trait Storage: Send + Sync {
    /// The place of an owner, which may be empty still.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    fn place(&self, owner: &Owner) -> Result<Place, NoPlace>;
}

/// There is no place on disk. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoPlace(pub String);

/// A folder for one owner's things.
#[derive(Clone, Debug)]
pub struct Place {
    directory: Arc<Directory>,
    name: String,
    status: Status,
    /// The rules for what is kept here.
    pub rules: Rules,
}

impl Place {
    /// The folder `name` in `directory`. `status` is where it is told that the disk does not take what it should.
    #[must_use]
    pub fn new(directory: &Arc<Directory>, name: String, rules: Rules, status: Status) -> Self {
        Self { directory: Arc::clone(directory), name, status, rules }
    }

    /// The disk does not take what it should, here.
    pub fn fails(&self, error: &str) {
        lock(&self.directory.failing).insert(self.name.clone());
        self.status.fails(&format!("{}: {error}", self.folder().display()));
    }

    /// It does again. The whole is well when all places are.
    pub fn works(&self) {
        let mut failing = lock(&self.directory.failing);
        failing.remove(&self.name);
        if failing.is_empty() {
            self.status.works();
        }
    }

    /// The folder, which may not be there yet.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }

    /// What is open here: what somebody else has opened and still holds, or else what `open` gives.
    ///
    /// # Errors
    /// Those of `open`, and when something of another type is open here, which is a bug.
    pub fn open<T: Any + Send + Sync, E: From<NoPlace>>(
        &self,
        open: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        self.directory.open(&self.name, || open(self))
    }

    /// What is kept here is `custodian`'s, for as long as that is there: it can be asked for by the name of the folder.
    pub fn answer_with<C: Custodian + 'static>(&self, custodian: &Arc<C>) {
        let weak: Weak<C> = Arc::downgrade(custodian);
        let mut custodians = lock(&self.directory.custodians);
        custodians.retain(|_, custodian| custodian.strong_count() > 0);
        custodians.insert(self.name.clone(), weak);
    }
}

/// A directory that this process has for itself, for as long as anybody holds this.
pub struct Directory {
    path: PathBuf,
    open: Mutex<HashMap<String, Weak<dyn Any + Send + Sync>>>,
    /// Folders that are used for what should be in one of another name, by that name.
    stand_ins: Mutex<HashMap<String, String>>,
    /// The places in it that cannot be written to.
    failing: Mutex<BTreeSet<String>>,
    /// Whom to ask about what is in its folders.
    custodians: Mutex<HashMap<String, Weak<dyn Custodian>>>,
    /// Keeps other processes out.
    _lock: Box<dyn Any + Send + Sync>,
}

impl Directory {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is open under a name: what somebody else has opened and still holds, or else what `open` gives.
    ///
    /// # Errors
    /// Those of `open`, and when something of another type is open there, which is a bug.
    pub fn open<T: Any + Send + Sync, E: From<NoPlace>>(
        &self,
        name: &str,
        open: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        // Held meanwhile, so that nobody else opens the same.
        let mut things = lock(&self.open);
        if let Some(open) = things.get(name).and_then(Weak::upgrade) {
            return open.downcast().map_err(|_| {
                NoPlace(format!("{} is in use for something else", self.path.join(name).display())).into()
            });
        }
        let opened = Arc::new(open()?);
        let weak: Weak<T> = Arc::downgrade(&opened);
        things.insert(name.to_owned(), weak);
        Ok(opened)
    }

    /// Whether something is open under that name.
    #[must_use]
    pub fn is_open(&self, name: &str) -> bool {
        lock(&self.open).get(name).is_some_and(|open| open.strong_count() > 0)
    }

    /// What should be in the folder `name` is opened in `other`.
    pub fn use_instead(&self, name: &str, other: &str) {
        lock(&self.stand_ins).insert(name.to_owned(), other.to_owned());
    }

    /// Whether what should be in the folder `name` has been opened in `other`, and still is.
    #[must_use]
    pub fn is_used_instead(&self, name: &str, other: &str) -> bool {
        lock(&self.stand_ins).get(name).is_some_and(|used| used == other) && self.is_open(other)
    }

    /// Whom to ask about what is in the folder of that name.
    #[must_use]
    pub fn custodian(&self, name: &str) -> Option<Arc<dyn Custodian>> {
        lock(&self.custodians).get(name)?.upgrade()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.path).finish()
    }
}

/// The directories that this process has, by where they are; clones share them.
#[derive(Clone, Default, Debug)]
pub struct Directories(Arc<Mutex<HashMap<PathBuf, Weak<Directory>>>>);

impl Directories {
    /// The directory at `path`, which has to be absolute and without detours to be recognised: one that is held
    /// already, or else `claim` makes it this process's own and gives what keeps others out.
    ///
    /// # Errors
    /// Those of `claim`.
    pub fn get<L: Any + Send + Sync, E>(
        &self,
        path: &Path,
        claim: impl FnOnce() -> Result<L, E>,
    ) -> Result<Arc<Directory>, E> {
        let mut known = lock(&self.0);
        if let Some(directory) = known.get(path).and_then(Weak::upgrade) {
            return Ok(directory);
        }
        let directory = Arc::new(Directory {
            path: path.to_owned(),
            open: Mutex::default(),
            stand_ins: Mutex::default(),
            failing: Mutex::default(),
            custodians: Mutex::default(),
            _lock: Box::new(claim()?),
        });
        known.insert(path.to_owned(), Arc::downgrade(&directory));
        Ok(directory)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Components, Condition, Instance};
    use std::convert::Infallible;

    fn place(directory: &Arc<Directory>, name: &str) -> Place {
        let id = "file_storage".parse().expect("an id");
        let instance = Instance { kind: "extension", id, signal: None, pipeline: None };
        let rules = Rules {
            max_bytes: None,
            segment_bytes: 1 << 20,
            max_age: None,
            sync: true,
            commit_delay: Duration::ZERO,
        };
        Place::new(directory, name.to_owned(), rules, Components::default().status(&instance))
    }

    fn open(place: &Place, what: u32) -> Arc<u32> {
        place.open(|_| Ok::<_, NoPlace>(what)).expect("it opens")
    }

    #[test]
    fn what_is_open_in_a_place_is_found_there_until_nobody_holds_it() {
        let directory = Directories::default().get(Path::new("/d"), || Ok::<_, Infallible>(()));
        let directory = directory.expect("claimed");
        let (one, other) = (place(&directory, "one"), place(&directory, "other"));
        let first = open(&one, 1);
        assert_eq!((*open(&one, 2), *open(&other, 3)), (1, 3));
        assert!(directory.is_open("one") && !directory.is_open("other"));
        drop(first);
        assert_eq!(*open(&one, 4), 4);
        let _held = open(&one, 5);
        assert!(one.open(|_| Ok::<_, NoPlace>("text")).is_err(), "another type");
    }

    #[test]
    fn a_directory_is_well_when_all_places_in_it_are() {
        let directory = Directories::default().get(Path::new("/d"), || Ok::<_, Infallible>(()));
        let directory = directory.expect("claimed");
        let one = place(&directory, "one");
        let other = Place { name: "other".to_owned(), ..one.clone() };
        let condition = || one.status.event().condition;
        one.fails("no space left");
        other.fails("no space left");
        one.works();
        assert_eq!(condition(), Condition::RecoverableError);
        other.works();
        assert_eq!(condition(), Condition::Ok);
    }

    #[test]
    fn a_directory_is_claimed_once_while_anybody_holds_it() {
        let directories = Directories::default();
        let held = directories.get(Path::new("/d"), || Ok::<_, &str>(())).expect("claimed");
        let again = directories.get(Path::new("/d"), || Err::<(), _>("claimed twice")).expect("held");
        assert!(Arc::ptr_eq(&held, &again));
        drop((held, again));
        assert!(directories.get(Path::new("/d"), || Err::<(), _>("claimed anew")).is_err());
    }
}
