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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
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
    /// How long to wait for another process to let go of the folder.
    pub lock_timeout: Duration,
}

/// What gives components places on disk (`storage`).
pub trait Storage: Send + Sync {
    /// The directory that they are in.
    fn directory(&self) -> &Path;

    /// The place of an owner, which may be empty still. May have to wait for the disk.
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
    /// Whose it is, for as long as this is held.
    claim: Option<Arc<ComponentId>>,
    /// The rules for what is kept here.
    pub rules: Rules,
}

impl Place {
    /// The folder `name` in `directory`. `status` is where it is told that the disk does not take what it should.
    #[must_use]
    pub fn new(directory: &Arc<Directory>, name: String, rules: Rules, status: Status) -> Self {
        Self { directory: Arc::clone(directory), name, status, claim: None, rules }
    }

    /// The same, for the use of `owner` for as long as this is held.
    ///
    /// # Errors
    /// The id of another component that uses it: one that the owner is not under any of its names.
    pub fn claimed_by(mut self, owner: &Owner) -> Result<Self, ComponentId> {
        let mut claims = lock(&self.directory.claims);
        claims.retain(|_, claims| {
            claims.retain(|claim| claim.strong_count() > 0);
            !claims.is_empty()
        });
        let claims_here = claims.entry(self.name.clone()).or_default();
        let is_other = |id: &Arc<ComponentId>| **id != owner.id && !owner.namesakes.contains(id);
        if let Some(other) = claims_here.iter().filter_map(Weak::upgrade).find(is_other) {
            return Err((*other).clone());
        }
        let claim = Arc::new(owner.id.clone());
        claims_here.push(Arc::downgrade(&claim));
        drop(claims);
        self.claim = Some(claim);
        Ok(self)
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

    /// The folder, by the other paths that lead to the directory.
    #[must_use]
    pub fn folder_elsewhere(&self) -> Vec<PathBuf> {
        lock(&self.directory.called).paths.values().map(|path| path.join(&self.name)).collect()
    }

    /// What is open here: what somebody else has opened and still holds, or else what `open` gives. That may outlive
    /// whoever opens it, and so gets the place without its claim.
    ///
    /// # Errors
    /// Those of `open`, and when something of another type is open here, which is a bug.
    pub fn open<T: Any + Send + Sync, E: From<NoPlace>>(
        &self,
        open: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        self.directory.open(&self.name, || open(&Self { claim: None, ..self.clone() }))
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
    open: Mutex<HashMap<String, Arc<Mutex<Open>>>>,
    /// Folders that are used for what should be in one of another name, by that name.
    stand_ins: Mutex<HashMap<String, String>>,
    /// Who uses its folders.
    claims: Mutex<HashMap<String, Vec<Weak<ComponentId>>>>,
    /// The places in it that cannot be written to.
    failing: Mutex<BTreeSet<String>>,
    /// Whom to ask about what is in its folders.
    custodians: Mutex<HashMap<String, Weak<dyn Custodian>>>,
    /// Other paths that lead here, through links, by who calls it so.
    called: Mutex<Called>,
    /// Keeps other processes out.
    _lock: Box<dyn Any + Send + Sync>,
}

/// What is open under a name. Locked while somebody opens it: a disk may hang, and that holds up nobody who opens another
/// one.
type Open = Option<Weak<dyn Any + Send + Sync>>;

/// The paths that lead to a directory, by the numbers of those who call it so.
#[derive(Debug, Default)]
struct Called {
    next: u64,
    paths: HashMap<u64, PathBuf>,
}

/// Somebody calls a directory by another path, for as long as this is held.
#[derive(Debug)]
#[must_use = "dropping it forgets the path"]
pub struct Calling {
    directory: Arc<Directory>,
    number: u64,
}

impl Drop for Calling {
    fn drop(&mut self) {
        lock(&self.directory.called).paths.remove(&self.number);
    }
}

impl Directory {
    /// It is looked for at that path, too, which leads here now and may be pointed elsewhere.
    pub fn call(self: &Arc<Self>, path: PathBuf) -> Calling {
        let mut called = lock(&self.called);
        let number = called.next;
        called.next += 1;
        called.paths.insert(number, path);
        Calling { directory: Arc::clone(self), number }
    }

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
        let place = Arc::clone(lock(&self.open).entry(name.to_owned()).or_default());
        // Held meanwhile, so that nobody else opens the same.
        let mut place = lock(&place);
        if let Some(open) = place.as_ref().and_then(Weak::upgrade) {
            return open.downcast().map_err(|_| {
                NoPlace(format!("{} is in use for something else", self.path.join(name).display())).into()
            });
        }
        let opened = Arc::new(open()?);
        let weak: Weak<T> = Arc::downgrade(&opened);
        *place = Some(weak);
        Ok(opened)
    }

    /// Whether something is open under that name, or about to be.
    #[must_use]
    pub fn is_open(&self, name: &str) -> bool {
        let Some(place) = lock(&self.open).get(name).map(Arc::clone) else { return false };
        let open = match place.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(open)) => open.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        open.as_ref().is_some_and(|open| open.strong_count() > 0)
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
pub struct Directories(Arc<Mutex<HashMap<PathBuf, Claimed>>>);

/// One of them, which somebody may be claiming: that holds up nobody who wants another one.
type Claimed = Arc<Mutex<Weak<Directory>>>;

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
        let claimed = Arc::clone(lock(&self.0).entry(path.to_owned()).or_default());
        let mut claimed = lock(&claimed);
        if let Some(directory) = claimed.upgrade() {
            return Ok(directory);
        }
        let directory = Arc::new(Directory {
            path: path.to_owned(),
            open: Mutex::default(),
            stand_ins: Mutex::default(),
            claims: Mutex::default(),
            failing: Mutex::default(),
            custodians: Mutex::default(),
            called: Mutex::default(),
            _lock: Box::new(claim()?),
        });
        *claimed = Arc::downgrade(&directory);
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
            lock_timeout: Duration::ZERO,
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
    fn what_is_being_opened_holds_up_nobody_who_opens_something_else() {
        let directories = Directories::default();
        let directory = directories.get(Path::new("/d"), || Ok::<_, Infallible>(())).expect("claimed");
        let (one, other) = (place(&directory, "one"), place(&directory, "other"));
        let opened = directories.get(Path::new("/hangs"), || {
            let elsewhere = directories.get(Path::new("/e"), || Ok::<_, Infallible>(()));
            one.open(|_| {
                assert!(directory.is_open("one") && !directory.is_open("other"));
                Ok::<_, NoPlace>(*open(&other, 2))
            })
            .map(|opened| (elsewhere.is_ok(), opened))
        });
        let claimed = opened.expect("all of them");
        assert!(directory.is_open("one"));
        drop(claimed);
        assert!(!directory.is_open("one"));
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
    fn a_directory_is_looked_for_by_other_paths_while_somebody_calls_it_so() {
        let directory = Directories::default().get(Path::new("/d"), || Ok::<_, Infallible>(()));
        let directory = directory.expect("claimed");
        let one = place(&directory, "one");
        assert!(one.folder_elsewhere().is_empty());
        let (first, second) = (directory.call("/link".into()), directory.call("/link".into()));
        drop(first);
        assert_eq!(one.folder_elsewhere(), [PathBuf::from("/link/one")]);
        drop(second);
        assert!(one.folder_elsewhere().is_empty());
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
