//! What is found.

use crate::entry::Delivery;
use crate::format::cursor::Cursor;
use crate::report::Totals;
use crate::shared::segment_name;
use std::ops::Range;

/// What there is to say about a segment without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its file.
    pub file: String,
    /// Its number.
    pub number: u64,
    /// The size of the file.
    pub file_len: u64,
    /// What it is.
    pub state: SegmentState,
    /// The first entry has this number,
    pub base: u64,
    /// and the last one the number before this.
    pub end: u64,
    /// What is in it, done with or not.
    pub totals: Totals,
    /// When the oldest was appended, in nanoseconds since 1970; 0 without entries.
    pub oldest_ns: u64,
    /// When the newest was.
    pub newest_ns: u64,
}

/// What a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Nothing will be added.
    Complete,
    /// It is being written to, or was when the process ended.
    Open,
    /// Prepared, and not written to.
    Blank,
    /// Its header cannot be used.
    Damaged,
    /// A newer version wrote it.
    Newer(u16),
    /// What has its name is no regular file.
    Irregular,
    /// Not even a beginning of it is there, and others were begun after it.
    Empty,
}

/// What is persisted for a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorFacts {
    /// Its name.
    pub consumer: String,
    /// `None`: the file cannot be used.
    pub position: Option<Position>,
}

/// How far a consumer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub(super) cursor: Cursor,
}

/// What verifying a segment found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Entries whose every byte is right, done with or not.
    pub whole: Totals,
    /// Entries of which only the header is, and that are not done with.
    pub broken: Totals,
    /// How many numbers are missing between entries, or before the end that the segment says it has, and are not done
    /// with.
    pub missing: u64,
    /// How many entries are broken or missing, and done with all the same: they have been given up and counted as lost,
    /// or were damaged when they had been acked.
    pub settled: u64,
    /// Stretches in which no entry was found.
    pub gaps: u64,
    /// Behind the last entry there are so many bytes of something else.
    pub torn_bytes: u64,
}

/// An entry, as [`Inspector::entries`](crate::Inspector::entries) finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The segment.
    pub segment: u64,
    /// Where the frame begins in its file.
    pub offset: u64,
    /// All persisted cursors say that it is done with.
    pub done: bool,
    /// What it is.
    pub delivery: Delivery,
}

impl SegmentFacts {
    /// Nothing is in it.
    pub(super) fn blank(number: u64, file_len: u64, state: SegmentState) -> Self {
        Self {
            file: segment_name(number),
            number,
            file_len,
            state,
            base: 0,
            end: 0,
            totals: Totals::default(),
            oldest_ns: 0,
            newest_ns: 0,
        }
    }
}

impl Verified {
    /// Nothing is to be found of these.
    pub(super) fn miss(&mut self, numbers: Range<u64>, is_done: impl Fn(u64) -> bool) {
        let all = numbers.end.saturating_sub(numbers.start);
        let settled = numbers.filter(|sequence| is_done(*sequence)).count() as u64;
        self.settled += settled;
        self.missing += all - settled;
    }

    /// So many had been taken, and so many are seen. What else came to the disk, in part, nobody was told of.
    pub(super) fn miss_at_most(&mut self, taken: u64, seen: u64) {
        self.missing = self.missing.min(taken.saturating_sub(seen));
        if self.broken.entries <= seen.saturating_sub(taken) {
            self.broken = Totals::default();
        }
    }

    /// Whether all that waits is there.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.missing == 0
    }
}

impl Position {
    /// Everything below this number is done with.
    #[must_use]
    pub fn low(&self) -> u64 {
        self.cursor.low
    }

    /// The number that the next entry was to get when the cursor was persisted.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.cursor.next_sequence
    }

    /// What was left then.
    #[must_use]
    pub fn left(&self) -> Totals {
        let mut left = Totals::default();
        for part in &self.cursor.parts {
            left.add(part.left);
        }
        left
    }

    /// Where the numbers ended that were known to be in a segment.
    pub(super) fn end(&self, segment: u64) -> Option<u64> {
        self.cursor.part(segment).filter(|part| !part.is_unknown()).map(|part| part.end)
    }

    /// Whether an entry in that segment is done with.
    #[must_use]
    pub fn is_done(&self, segment: u64, sequence: u64) -> bool {
        self.cursor.is_done(self.cursor.part(segment), sequence)
    }
}
