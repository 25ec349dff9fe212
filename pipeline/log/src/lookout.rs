//! Looking whether what is open is where the next process will find it, for as long as the log is open.
//!
//! # What holds
//!
//! - Nothing is taken while the directory is not under its path, from when that has been noticed: within [`EVERY`], and
//!   before a segment is begun. What there is of it is handed out, and it is taken again when the directory is back.
//! - A file that has lost its name is written to no longer, from when that has been noticed. What is lost with it is
//!   counted when it cannot be read, or when the log is closed: until then it may be handed out from memory.

use crate::cursors::CursorFile;
use crate::event::lock;
use crate::files::Displacement;
use crate::index::Index;
use crate::report::{Notice, Refusal};
use crate::shared::{Shared, segment_name};
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

/// How often it is looked.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// How many files are looked at each time, besides those that are being written.
const FILES: usize = 64;

/// What is remembered from one time to the next.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    /// When it is looked again, on the monotonic clock.
    due: Duration,
    /// The last complete segment that was looked at.
    at: u64,
    /// Segments whose names are gone, which has been told.
    gone: BTreeSet<u64>,
}

impl Lookout {
    /// Everything has just been seen.
    pub(crate) fn from(now: Duration) -> Self {
        Self { due: now + EVERY, ..Self::default() }
    }

    /// Looks, if it is time. Says how long it is until the next time.
    pub(crate) fn look(&mut self, shared: &Shared, cursors: &mut [CursorFile], now: Duration) -> Duration {
        if let Some(left) = self.due.checked_sub(now).filter(|left| !left.is_zero()) {
            return left;
        }
        self.due = now + EVERY;
        look_at_directory(shared);
        if shared.with(|index| index.has_directory()) {
            look_at_lock(shared);
            self.look_at_writing(shared);
            self.look_at_complete(shared, FILES);
            for (reader, cursor) in cursors.iter_mut().enumerate() {
                if cursor.has_vanished(shared.files.as_ref()) {
                    shared.with(|index| {
                        index.readers[reader].dirty = true;
                        index.news.notices.push(Notice::Vanished { file: cursor.name() });
                    });
                }
            }
        }
        EVERY
    }

    /// Counts what is gone as lost, when it will not be handed out from memory either.
    pub(crate) fn take_stock(&mut self, shared: &Shared) {
        look_at_directory(shared);
        self.at = 0;
        match shared.with(|index| index.displaced.clone()) {
            Some(Displacement::Removed) => {
                self.gone = shared.with(|index| index.segments.keys().copied().collect());
            }
            // What is not there any more has been seen to by the other.
            Some(Displacement::Taken) => return,
            _ => {
                self.look_at_writing(shared);
                self.look_at_complete(shared, usize::MAX);
            }
        }
        shared.with(|index| self.gone.iter().for_each(|number| index.miss(*number)));
    }

    /// The segment that is being written is completed when its name is gone, or another file has it: the next one is begun
    /// where it is found.
    fn look_at_writing(&mut self, shared: &Shared) {
        let Some((number, identity)) = shared.with(|index| index.writing()) else { return };
        let Ok(named) = shared.files.identity(&segment_name(number)) else { return };
        if named != Some(identity) && self.gone.insert(number) {
            shared.with(|index| {
                index.news.notices.push(Notice::Vanished { file: segment_name(number) });
                index.news.seal = true;
            });
        }
    }

    /// The next `most` of the others.
    fn look_at_complete(&mut self, shared: &Shared, most: usize) {
        let numbers: Vec<u64> = shared.with(|index| {
            self.gone.retain(|number| index.segments.contains_key(number));
            let next = index.segments.range((Excluded(self.at), Unbounded));
            next.filter(|(_, segment)| segment.sealed).map(|(number, _)| *number).take(most).collect()
        });
        self.at = if numbers.len() < most { 0 } else { numbers.last().copied().unwrap_or_default() };
        for number in numbers {
            let is_gone = matches!(shared.files.identity(&segment_name(number)), Ok(None));
            // It may have been done with meanwhile.
            shared.with(|index| {
                if is_gone && index.segments.contains_key(&number) && self.gone.insert(number) {
                    index.news.notices.push(Notice::Vanished { file: segment_name(number) });
                }
            });
        }
    }
}

/// Looks where the directory is, and tells if that has changed.
pub(crate) fn look_at_directory(shared: &Shared) {
    // A path that cannot be followed is not known to lead elsewhere.
    let Ok(displaced) = shared.files.displacement() else { return };
    shared.with(|index| index.displace(displaced));
}

/// Makes the lock again that somebody has removed, unless another process has done so.
fn look_at_lock(shared: &Shared) {
    let mut guard = lock(&shared.guard);
    if !guard.as_ref().is_some_and(|guard| matches!(guard.holds(), Ok(false))) {
        return;
    }
    match shared.files.lock() {
        Ok(Some(again)) => {
            *guard = Some(again);
            drop(guard);
            shared.notice(&Notice::Vanished { file: "lock".into() });
        }
        Ok(None) => {
            drop(guard);
            shared.with(|index| index.displace(Some(Displacement::Taken)));
        }
        // It is tried again.
        Err(_) => {}
    }
}

impl Index {
    /// Whether files can be made, and found again.
    fn has_directory(&self) -> bool {
        self.displaced.as_ref().is_none_or(Displacement::is_ours)
    }

    /// Why nothing is to be changed in the directory, if so.
    pub(crate) fn is_fixed(&self) -> bool {
        self.read_only.is_some() || !self.has_directory()
    }

    /// Why nothing can be taken, if nothing can.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if let Some(error) = &self.read_only {
            return Some(Refusal::Disk(error.clone()));
        }
        self.displaced.as_ref().map(|displaced| Refusal::Disk(format!("the directory {displaced}")))
    }

    /// What has become of the directory. What was removed or taken does not come back.
    fn displace(&mut self, displaced: Option<Displacement>) {
        if displaced == self.displaced || !self.has_directory() {
            return;
        }
        self.news.notices.push(match &displaced {
            Some(displaced) => Notice::Displaced(displaced.clone()),
            None => Notice::InPlace,
        });
        self.news.freed |= displaced.is_none();
        self.displaced = displaced;
    }
}
