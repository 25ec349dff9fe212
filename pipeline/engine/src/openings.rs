//! Opening what is on disks, of which one may hang.
//!
//! A call to a disk that hangs does not return, and nothing takes it back. While the process starts, there is nothing that
//! could go on without it. A reload has something better to do: it is refused, and what runs goes on. So whatever a
//! reload opens is opened by a thread of its own, which is left behind when that takes too long.
//!
//! # Invariants
//! - What is left behind is closed again when its disk answers, and nobody opens the same before that.
//! - For each path there is one such thread at most, however often it is asked for.
//! - Nobody waits any longer once the process is about to end.

use crate::health::{Health, State};
use crate::storage::NoPlace;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a reload waits for each: as long as a slow disk needs to be read where a log goes on, and then some.
const LIMIT: Duration = Duration::from_secs(30);
/// How often whoever waits looks whether the process ends.
const LOOK: Duration = Duration::from_millis(50);

/// Opens things for the components of one graph; clones, and those of the graphs after it, know of one another's.
#[derive(Debug, Clone)]
pub struct Openings {
    /// How long each may take; `None` is for as long as it takes.
    limit: Option<Duration>,
    health: Health,
    under_way: Arc<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    paths: Mutex<BTreeSet<PathBuf>>,
    /// One of them is over.
    over: Condvar,
}

impl Openings {
    /// Those of a process that starts, without a limit.
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self { limit: None, health, under_way: Arc::default() }
    }

    /// Those of a graph that is to take the place of one which runs.
    #[must_use]
    pub fn limited(&self) -> Self {
        self.within(LIMIT)
    }

    /// The same within another limit.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self.clone() }
    }

    /// The same for what may take so much longer for other reasons than its disk.
    #[must_use]
    pub fn and(&self, more: Duration) -> Self {
        Self { limit: self.limit.map(|limit| limit.saturating_add(more)), ..self.clone() }
    }

    /// What `open` gives, which opens what is at `path`. Blocks.
    ///
    /// # Errors
    /// If that takes too long. What it gives in the end is dropped then.
    pub fn open<T: Send + 'static>(
        &self,
        path: &Path,
        open: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoPlace> {
        let Some(limit) = self.limit else { return Ok(open()) };
        let begun = Instant::now();
        let left = || limit.saturating_sub(begun.elapsed());
        let silent = || silent(path, limit);
        let turn = self.turn(path, left).ok_or_else(silent)?;
        let (give, given) = sync_channel(0);
        let work = move || {
            let refused = give.send(open());
            // Closed before somebody else may open it.
            drop(refused);
            drop(turn);
        };
        let started = thread::Builder::new().name("opening".to_owned()).spawn(work);
        started
            .map_err(|error| NoPlace(format!("cannot start a thread to open {}: {error}", path.display())))?;
        loop {
            match given.recv_timeout(LOOK.min(left())) {
                Ok(opened) => return Ok(opened),
                Err(RecvTimeoutError::Timeout) if self.is_over(left()) => return Err(silent()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(NoPlace(format!("opening {} panicked; this is a bug", path.display())));
                }
            }
        }
    }

    /// Waits until nobody else opens that path.
    fn turn(&self, path: &Path, left: impl Fn() -> Duration) -> Option<Turn> {
        let mut paths = lock(&self.under_way.paths);
        while paths.contains(path) {
            if self.is_over(left()) {
                return None;
            }
            let waited = self.under_way.over.wait_timeout(paths, LOOK.min(left()));
            paths = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        paths.insert(path.to_owned());
        Some(Turn { path: path.to_owned(), under_way: Arc::clone(&self.under_way) })
    }

    fn is_over(&self, left: Duration) -> bool {
        left.is_zero() || self.health.state() >= State::Draining
    }
}

/// A path is being opened, for as long as this is there.
struct Turn {
    path: PathBuf,
    under_way: Arc<UnderWay>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.under_way.paths).remove(&self.path);
        self.under_way.over.notify_all();
    }
}

fn silent(path: &Path, limit: Duration) -> NoPlace {
    NoPlace(format!(
        "{} could not be opened within {limit:?}: its disk does not answer; see to that disk, or configure a directory on \
         another one, and reload again",
        path.display()
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc::{Receiver, SyncSender};

    /// For what happens.
    const LONG: Duration = Duration::from_secs(60);
    /// For what does not.
    const SHORT: Duration = Duration::from_millis(20);
    const PATH: &str = "/disk/queue";

    /// A disk that answers when it is told to.
    struct Disk {
        answer: SyncSender<()>,
        hangs: Arc<Mutex<Receiver<()>>>,
        /// How often it is being asked.
        asked: Arc<AtomicUsize>,
        closed: Mutex<Receiver<()>>,
        close: SyncSender<()>,
    }

    /// Tells when it is closed.
    struct Opened(SyncSender<()>);

    impl Drop for Opened {
        fn drop(&mut self) {
            self.0.send(()).expect("somebody waits");
        }
    }

    impl Disk {
        fn new() -> Self {
            let (answer, hangs) = sync_channel(1);
            let (close, closed) = sync_channel(8);
            Self {
                answer,
                hangs: Arc::new(Mutex::new(hangs)),
                asked: Arc::default(),
                closed: Mutex::new(closed),
                close,
            }
        }

        fn open(&self, openings: &Openings) -> Result<Opened, NoPlace> {
            let (hangs, asked, close) =
                (Arc::clone(&self.hangs), Arc::clone(&self.asked), self.close.clone());
            openings.open(Path::new(PATH), move || {
                asked.fetch_add(1, SeqCst);
                lock(&hangs).recv_timeout(LONG).expect("it answers");
                Opened(close)
            })
        }

        fn is_closed(&self) -> bool {
            lock(&self.closed).recv_timeout(LONG).is_ok()
        }

        fn is_ours(&self) -> bool {
            lock(&self.closed).try_recv().is_err()
        }
    }

    fn refused(opened: Result<Opened, NoPlace>) -> String {
        opened.err().expect("it takes too long").0
    }

    #[test]
    fn what_takes_too_long_is_refused_and_closed_when_it_is_there() {
        let (disk, openings) = (Disk::new(), Openings::new(Health::starting()));
        let problem = refused(disk.open(&openings.within(SHORT)));
        assert!(problem.contains(PATH) && problem.contains("does not answer"), "{problem}");
        assert!(disk.is_ours(), "it hangs still");
        disk.answer.send(()).expect("it hangs");
        assert!(disk.is_closed());
    }

    #[test]
    fn nobody_opens_what_somebody_else_has_not_closed_again() {
        let (disk, openings) = (Disk::new(), Openings::new(Health::starting()));
        for _ in 0..3 {
            refused(disk.open(&openings.within(SHORT)));
        }
        // Another disk has nothing to do with it.
        let other = openings.within(LONG).open(Path::new("/other"), || 1);
        assert_eq!(other, Ok(1));
        disk.answer.send(()).expect("it hangs");
        assert!(disk.is_closed());
        disk.answer.send(()).expect("it is read");
        let opened = disk.open(&openings.within(LONG)).expect("it answers");
        assert_eq!(disk.asked.load(SeqCst), 2, "once, however often it was tried while it hung");
        assert!(disk.is_ours());
        drop(opened);
        assert!(disk.is_closed());
    }

    #[test]
    fn nobody_waits_when_the_process_ends() {
        let health = Health::starting();
        let (disk, openings) = (Disk::new(), Openings::new(health.clone()).within(LONG * 60));
        thread::scope(|scope| {
            let waits = scope.spawn(|| refused(disk.open(&openings)));
            let queues = scope.spawn(|| refused(disk.open(&openings)));
            health.advance(State::Ready);
            health.advance(State::Draining);
            waits.join().expect("no panic");
            queues.join().expect("no panic");
        });
        disk.answer.send(()).expect("it hangs");
        assert!(disk.is_closed());
    }

    #[test]
    fn a_panic_is_told_and_holds_up_nobody() {
        let openings = Openings::new(Health::starting()).within(LONG);
        let problem = openings.open(Path::new(PATH), || -> () { panic!("on purpose") });
        assert!(problem.is_err_and(|problem| problem.0.contains("panicked")));
        assert_eq!(openings.open(Path::new(PATH), || 1), Ok(1));
    }

    #[test]
    fn what_may_take_longer_for_other_reasons_has_a_longer_limit() {
        let openings = Openings::new(Health::starting());
        assert_eq!(openings.and(LONG).limit, None);
        assert_eq!(openings.limited().and(LONG).limit, Some(LIMIT + LONG));
    }
}
