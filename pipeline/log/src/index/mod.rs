//! What the log knows of itself: which segments there are, what is done with, how much room there is. No input or
//! output happens here; what has to be told to somebody is left in [`Index::news`].
//!
//! # What holds
//!
//! - Segments' numbers and their ranges of sequences grow together and do not overlap.
//! - `committed + reserved ≤ max_size`: whatever has been admitted fits, with the headers and trailers that it needs.
//! - No sum is subtracted from without having been added to: a segment's sums come from its frames, and a consumer's
//!   progress never exceeds them.

mod bits;
mod consumer;
mod handing;
mod room;
mod segments;
mod tail;

pub(crate) use consumer::{Held, Reader};
pub(crate) use tail::Located;

use crate::files::{Displacement, Identity};
use crate::format::cursor::Cursor;
use crate::format::{Salt, segment, trailer};
use crate::options::OnFull;
use crate::report::{Loss, Notice, Stats, Totals};
use crate::tally::Tally;
use std::collections::BTreeMap;
use std::time::Duration;
use tail::Tail;

/// What a segment takes besides its frames.
pub(crate) const OVERHEAD: u64 = segment::BLOCK + trailer::LENGTH as u64;

/// A segment file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) base: u64,
    /// One more than the last entry that can be handed out.
    pub(crate) end: u64,
    /// The size of the file.
    pub(crate) file_len: u64,
    /// Where its frames end.
    pub(crate) used: u64,
    pub(crate) salt: Salt,
    /// Of the entries that are in it, done with or not.
    pub(crate) totals: Totals,
    pub(crate) oldest_ns: u64,
    pub(crate) newest_ns: u64,
    /// Nothing will be added.
    pub(crate) sealed: bool,
    /// It was completed by this process, and nothing that was done to its file has failed.
    pub(crate) is_sound: bool,
}

impl Segment {
    /// How many numbers it covers.
    pub(crate) fn span(&self) -> u64 {
        self.end - self.base
    }
}

/// A file that has been prepared for the next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spare {
    pub(crate) number: u64,
    pub(crate) len: u64,
    /// A segment has been in it before.
    pub(crate) reused: bool,
}

/// A file in which nothing counts any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doomed {
    pub(crate) len: u64,
    /// It has done all that was asked of it, and may be used again.
    pub(crate) is_sound: bool,
}

impl Doomed {
    /// One that is only to be removed.
    pub(crate) fn of(len: u64) -> Self {
        Self { len, is_sound: false }
    }
}

/// What it may take. Sizes of files are fixed when a log is opened, the rest may change.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_size: u64,
    pub(crate) segment_size: u64,
    pub(crate) on_full: OnFull,
    pub(crate) max_age_ns: Option<u64>,
    pub(crate) cursor_bytes: u64,
}

/// To be told to somebody once the lock has been released.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) losses: Vec<Loss>,
    pub(crate) notices: Vec<Notice>,
    /// There is something for consumers.
    pub(crate) ready: bool,
    /// There is room.
    pub(crate) freed: bool,
    /// There is something to be tidied up.
    pub(crate) untidy: bool,
    /// The segment that is being written is to be completed.
    pub(crate) seal: bool,
}

/// The state of a log.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) limits: Limits,
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) spare: Option<Spare>,
    /// Done with and not unlinked yet, by number.
    pub(crate) doomed: BTreeMap<u64, Doomed>,
    pub(crate) next_number: u64,
    /// The number of the last segment that was begun by this process.
    last_begun: u64,
    /// Nothing that counts is in segments with numbers above this one.
    pub(crate) last_filled: u64,
    /// One more than the last entry that has been appended.
    pub(crate) next_sequence: u64,
    /// How much had been appended by then.
    pub(crate) tally: Tally,
    tail: Tail,
    reserved: u64,
    pub(crate) readers: Vec<Reader>,
    /// The size of the cursors' files.
    pub(crate) cursor_len: u64,
    /// What is kept free for them, what they take included.
    pub(crate) cursor_room: u64,
    pub(crate) closed: bool,
    /// Why nothing can be written, if nothing can.
    pub(crate) read_only: Option<String>,
    /// Why what is written would not be found again, if it would not.
    pub(crate) displaced: Option<Displacement>,
    /// The last segment that was begun, and what its file is.
    pub(crate) begun: Option<(u64, Identity)>,
    /// The device was full at that time.
    pub(crate) disk_full: Option<Duration>,
    pub(crate) commits: u64,
    pub(crate) appended: u64,
    pub(crate) news: News,
}

impl Index {
    pub(crate) fn new(limits: Limits, readers: Vec<Reader>) -> Self {
        Self {
            limits,
            segments: BTreeMap::new(),
            spare: None,
            doomed: BTreeMap::new(),
            next_number: 1,
            last_begun: 0,
            last_filled: 0,
            next_sequence: 1,
            tally: Tally::from(1),
            tail: Tail::default(),
            reserved: 0,
            readers,
            cursor_len: 0,
            cursor_room: 0,
            closed: false,
            read_only: None,
            displaced: None,
            begun: None,
            disk_full: None,
            commits: 0,
            appended: 0,
            news: News::default(),
        }
    }

    /// What is to be persisted for a consumer.
    pub(crate) fn cursor(&self, reader: usize) -> Cursor {
        self.readers[reader].cursor(self.segments.iter(), self.next_sequence, self.tally)
    }

    /// The lowest number that has not been handed out and may be.
    pub(crate) fn untaken_from(&self, reader: usize) -> u64 {
        let reader = &self.readers[reader];
        let untaken = |(number, segment): (&u64, &Segment)| {
            let at = match reader.progress.get(number) {
                Some(progress) => progress.taken.first_clear(segment.span())?,
                None => (segment.span() > 0).then_some(0)?,
            };
            Some(segment.base + at)
        };
        self.segments.iter().find_map(untaken).unwrap_or(self.next_sequence)
    }

    /// What waits for the consumer for which most does.
    pub(crate) fn held(&self) -> Totals {
        let held = |reader: &Reader| {
            let mut held = Totals::default();
            for (number, segment) in &self.segments {
                let done = reader.progress.get(number).map_or(Totals::default(), |progress| progress.totals);
                held.add(segment.totals.less(done));
            }
            held
        };
        self.readers.iter().map(held).max_by_key(|held| held.entries).unwrap_or_default()
    }

    /// The same of segments in which something below that number is left.
    pub(crate) fn held_before(&self, sequence: u64) -> Totals {
        let held = |reader: &Reader| {
            let mut held = Totals::default();
            for (number, segment) in self.segments.iter().take_while(|(_, segment)| segment.base < sequence) {
                let progress = reader.progress.get(number);
                let open = progress.map_or(Some(0), |progress| progress.done.first_clear(segment.span()));
                if open.is_some_and(|open| open < segment.span() && segment.base + open < sequence) {
                    held.add(segment.totals.less(progress.map_or(Totals::default(), |of| of.totals)));
                }
            }
            held
        };
        self.readers.iter().map(held).max_by_key(|held| held.entries).unwrap_or_default()
    }

    pub(crate) fn stats(&self, now_ns: u64) -> Stats {
        let oldest = self.segments.values().find(|segment| segment.span() > 0);
        Stats {
            held: self.held(),
            leased: self.readers.iter().map(|reader| reader.leases.len() as u64).sum(),
            disk_bytes: self.disk_bytes(),
            reserved_bytes: self.reserved,
            free_bytes: self.free(),
            segments: self.segments.len() as u64,
            oldest_age: oldest.map(|segment| Duration::from_nanos(now_ns.saturating_sub(segment.oldest_ns))),
            commits: self.commits,
            appended: self.appended,
            displaced: self.displaced.is_some(),
        }
    }
}
