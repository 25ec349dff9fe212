//! Tidying up: persisting cursors, unlinking what is done with or preparing it to be used again.
//!
//! # What holds
//!
//! A segment is unlinked after a cursor that says that it is done with is on disk, and the directory is synced after
//! that: cursor → fsync → unlink → fsync of the directory. The same holds for one whose file is used again. A segment
//! that comes back all the same, since its unlinking was lost with the power, is known to be done with.

use crate::cursors::CursorFile;
use crate::event::lock;
use crate::index::Doomed;
use crate::lookout::Lookout;
use crate::report::Notice;
use crate::shared::{Shared, segment_name};
use crate::spare;
use std::io;
use std::time::Duration;

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What becomes of files that are done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    /// One is kept for the next segment, if one is wanted.
    Reuse,
    Remove,
}

/// Persists, unlinks and prepares.
#[derive(Default)]
pub(crate) struct Keeper {
    pub(crate) cursors: Vec<CursorFile>,
    lookout: Lookout,
    /// When the cursors were last persisted, on the monotonic clock.
    persisted: Duration,
    /// When something failed, which is not tried again for a while.
    failed: Option<Duration>,
    /// When ages were last looked at.
    expired: Duration,
}

impl Keeper {
    pub(crate) fn new(cursors: Vec<CursorFile>, now: Duration) -> Self {
        Self { cursors, lookout: Lookout::from(now), ..Self::default() }
    }

    /// Does what there is to do; if it is not `urgent`, only what is due. Says how long it may take until it is to look
    /// again.
    pub(crate) fn keep(&mut self, shared: &Shared, urgent: bool) -> Duration {
        let now = shared.monotonic();
        self.expire(shared, now);
        let look = self.lookout.look(shared, &mut self.cursors, now);
        if let Some(left) = self.pause(now).filter(|_| !urgent) {
            return left.min(look);
        }
        let interval = shared.options.cursor_interval;
        let (dirty, due) = shared.with(|index| {
            let dirty = index.readers.iter().any(|reader| reader.dirty);
            let bytes: u64 = index.readers.iter().map(|reader| reader.unpersisted_bytes).max().unwrap_or(0);
            let due = !index.doomed.is_empty() || bytes >= shared.options.cursor_bytes;
            let writable = !index.is_fixed();
            (dirty && writable, due && writable)
        });
        let left = (self.persisted + interval).saturating_sub(now);
        let persist = due || dirty && (urgent || left.is_zero());
        if persist {
            self.failed = match self.tidy(shared, Files::Reuse) {
                Ok(()) => None,
                Err(()) => Some(now),
            };
            self.persisted = now;
        }
        spare::prepare(shared);
        let age = max_age(shared).map_or(Duration::MAX, expiry_interval);
        let again = if dirty && !persist { left } else { Duration::MAX };
        self.pause(now).unwrap_or(again).min(age).min(look)
    }

    /// Removes what is done with, all of it.
    pub(crate) fn make_room(&mut self, shared: &Shared) {
        // What fails has been told; it is tried again in its time.
        if self.tidy(shared, Files::Remove).is_err() {
            self.failed = Some(shared.monotonic());
        }
    }

    /// Makes the cursors' files, so that what is done with can be persisted however full the disk will be.
    pub(crate) fn prepare(&mut self, shared: &Shared) {
        for (reader, file) in self.cursors.iter_mut().enumerate() {
            let cursor = shared.with(|index| index.cursor(reader));
            if let Err(error) = file.prepare(shared, cursor) {
                shared.notice(&Notice::CursorFailed { file: file.name(), error: error.to_string() });
            }
        }
        let cursor_len = self.cursors.iter().map(CursorFile::len).sum();
        shared.with(|index| index.cursor_len = cursor_len);
        // Names that were seen may not be on disk, if the process before died before it could see to it.
        if let Err(error) = shared.files.sync_dir() {
            shared.notice(&Notice::CursorFailed { file: ".".into(), error: error.to_string() });
        }
    }

    /// Counts what somebody has taken away.
    pub(crate) fn take_stock(&mut self, shared: &Shared) {
        self.lookout.take_stock(shared);
    }

    /// Persists and unlinks a last time.
    pub(crate) fn close(&mut self, shared: &Shared) {
        self.take_stock(shared);
        let tidy = shared.with(|index| {
            let spare = index.spare.take();
            index.doomed.extend(spare.map(|spare| (spare.number, Doomed::of(spare.len))));
            let tidy = index.readers.iter().any(|reader| reader.dirty) || !index.doomed.is_empty();
            tidy && !index.is_fixed()
        });
        if tidy {
            // What fails has been told, and is found when the log is opened next.
            let _ = self.tidy(shared, Files::Remove);
        }
    }

    fn pause(&self, now: Duration) -> Option<Duration> {
        (self.failed? + RETRY).checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Cursor → fsync → unlink → fsync of the directory.
    fn tidy(&mut self, shared: &Shared, files: Files) -> Result<(), ()> {
        let (cursors, doomed) = shared.with(|index| {
            let cursors: Vec<_> = (0..index.readers.len()).map(|reader| index.cursor(reader)).collect();
            for reader in &mut index.readers {
                reader.dirty = false;
                reader.unpersisted_bytes = 0;
            }
            let doomed: Vec<u64> = index.doomed.keys().copied().collect();
            (cursors, doomed)
        });
        for (at, (file, cursor)) in self.cursors.iter_mut().zip(cursors).enumerate() {
            match file.persist(shared, cursor) {
                Ok(true) => {}
                Ok(false) => shared.notice(&Notice::CursorCut { file: file.name() }),
                Err(error) => {
                    shared.notice(&Notice::CursorFailed { file: file.name(), error: error.to_string() });
                    shared
                        .with(|index| index.readers[at..].iter_mut().for_each(|reader| reader.dirty = true));
                    return Err(());
                }
            }
        }
        let cursor_len = self.cursors.iter().map(CursorFile::len).sum();
        shared.with(|index| index.cursor_len = cursor_len);
        let reused = if files == Files::Reuse { spare::reuse(shared, &doomed) } else { None };
        let left: Vec<u64> = doomed.into_iter().filter(|number| Some(*number) != reused).collect();
        unlink(shared, &left)
    }

    /// Drops what is too old, now and then.
    fn expire(&mut self, shared: &Shared, now: Duration) {
        let Some(max_age) = max_age(shared) else { return };
        if now.saturating_sub(self.expired) >= expiry_interval(max_age) {
            self.expired = now;
            let now_ns = shared.now_ns();
            shared.with(|index| index.expire(now_ns));
        }
    }
}

fn max_age(shared: &Shared) -> Option<Duration> {
    shared.with(|index| index.limits.max_age_ns).map(Duration::from_nanos)
}

/// How often ages are looked at.
fn expiry_interval(max_age: Duration) -> Duration {
    (max_age / 10).clamp(Duration::from_millis(100), Duration::from_secs(60))
}

fn unlink(shared: &Shared, doomed: &[u64]) -> Result<(), ()> {
    let mut result = Ok(());
    let mut unlinked = Vec::new();
    for number in doomed {
        let name = segment_name(*number);
        match shared.files.unlink(&name) {
            Ok(()) => unlinked.push(*number),
            Err(error) if error.kind() == io::ErrorKind::NotFound => unlinked.push(*number),
            Err(error) => {
                shared.notice(&Notice::UnlinkFailed { file: name, error: error.to_string() });
                result = Err(());
            }
        }
    }
    if !unlinked.is_empty() {
        if let Err(error) = shared.files.sync_dir() {
            // They may come back with the power; the cursor knows that they are done with.
            let file = segment_name(unlinked[0]);
            shared.notice(&Notice::UnlinkFailed { file, error: error.to_string() });
        }
        shared.with(|index| {
            for number in &unlinked {
                index.doomed.remove(number);
            }
            index.disk_full = None;
            index.news.freed = true;
        });
    }
    result
}

/// Until the log is closed: looks when something is due.
pub(crate) fn run(shared: &Shared) {
    let mut wait = Duration::ZERO;
    loop {
        {
            let mut chores = lock(&shared.chores);
            if !chores.untidy && !chores.closed {
                let wait = wait.min(Duration::from_secs(3600));
                chores = shared.untidy.wait_timeout(chores, wait).map_or_else(|e| e.into_inner().0, |c| c.0);
            }
            if chores.closed {
                return;
            }
            chores.untidy = false;
        }
        wait = lock(&shared.keeper).keep(shared, false);
    }
}
