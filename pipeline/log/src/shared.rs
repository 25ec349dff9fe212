//! What the threads of a log and its users share.

use crate::clock::{Clock, LogTime};
use crate::event::{Event, lock};
use crate::files::{Files, Guard};
use crate::index::Index;
use crate::keeper::Keeper;
use crate::line::Line;
use crate::options::Options;
use crate::report::Notice;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Locks are taken in the order of the fields, and no file is touched while `line` or `index` is held.
pub(crate) struct Shared {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) segment_size: u64,
    pub(crate) time: LogTime,
    /// Persists cursors and removes files, one at a time.
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) line: Mutex<Line>,
    /// Something has come into the line.
    pub(crate) arrived: Condvar,
    pub(crate) index: Mutex<Index>,
    pub(crate) chores: Mutex<Chores>,
    /// There is something to be tidied up.
    pub(crate) untidy: Condvar,
    pub(crate) ready: Event,
    pub(crate) freed: Event,
    /// Keeps other processes out.
    pub(crate) guard: Mutex<Option<Box<dyn Guard>>>,
}

/// Why the keeper is to look.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    pub(crate) untidy: bool,
    pub(crate) closed: bool,
}

impl Shared {
    /// Changes the state, and tells whoever has to hear of it once the lock has been released.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        let (result, news) = {
            let mut index = lock(&self.index);
            let result = change(&mut index);
            (result, std::mem::take(&mut index.news))
        };
        for loss in &news.losses {
            self.options.observer.lost(loss);
        }
        for notice in &news.notices {
            self.options.observer.noticed(notice);
        }
        if news.ready {
            self.ready.happen();
        }
        if news.freed {
            self.freed.happen();
        }
        if news.untidy {
            lock(&self.chores).untidy = true;
            self.untidy.notify_one();
        }
        if news.seal {
            lock(&self.line).seal = true;
            self.arrived.notify_one();
        }
        result
    }

    pub(crate) fn notice(&self, notice: &Notice) {
        self.options.observer.noticed(notice);
    }

    /// The time that entries are stamped with.
    pub(crate) fn now_ns(&self) -> u64 {
        self.time.now_ns(self.clock.as_ref())
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// The name of a segment's file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number in the name of a segment's file. The last of all numbers is no segment's: none could follow it.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok().filter(|number| *number < u64::MAX)?;
    (segment_name(number) == name).then_some(number)
}

/// Whether no log gets as far as that number. Whose name has it, and is no segment, is somebody else's file, and takes
/// the numbers behind it from nobody.
pub(crate) fn is_far(number: u64) -> bool {
    number > u64::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_segments() {
        for number in [0, 1, u64::MAX - 1] {
            assert_eq!(segment_number(&segment_name(number)), Some(number));
        }
        assert_eq!(segment_number(&segment_name(u64::MAX)), None);
        for name in ["1.seg", "+0000000000000000001.seg", "99999999999999999999.seg", "x.seg", ".seg"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
