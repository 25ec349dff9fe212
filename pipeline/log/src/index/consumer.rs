//! What one consumer has been handed, and what it is done with.

use super::Segment;
use super::bits::Bits;
use super::tail::Located;
use crate::format::cursor::{Cursor, Part};
use crate::options::{ConsumerOptions, Order};
use crate::report::{LossReason, Totals};
use crate::tally::Tally;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// One consumer.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) options: ConsumerOptions,
    /// By segment number; none where nothing has been taken.
    pub(crate) progress: BTreeMap<u64, Progress>,
    /// What is said of segments that could not be read, and will be until they can be or are gone.
    pub(crate) carried: Vec<Part>,
    /// The numbers that segments had which have been dropped while something of them was with the consumer.
    pub(crate) dropped: BTreeMap<u64, Range<u64>>,
    /// What is with the consumer, by sequence.
    pub(crate) leases: BTreeMap<u64, Held>,
    /// What it has given back, by sequence.
    pub(crate) deferred: BTreeMap<u64, Held>,
    /// How often reading an entry has failed, and when it did last, on the monotonic clock.
    pub(crate) failures: BTreeMap<u64, (u8, Duration)>,
    /// Acked since the cursor was persisted, in bytes.
    pub(crate) unpersisted_bytes: u64,
    /// Something has changed since the cursor was persisted.
    pub(crate) dirty: bool,
}

/// What a consumer has done in one segment. Positions are counted from the segment's base.
#[derive(Debug, Default, Clone)]
pub(crate) struct Progress {
    /// Handed out once, or done with.
    pub(crate) taken: Bits,
    /// Done with.
    pub(crate) done: Bits,
    /// The sums of what is done with, as far as it counts in the segment's.
    pub(crate) totals: Totals,
}

/// An entry that has been handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) located: Located,
    /// Its segment has been dropped meanwhile, for that reason.
    pub(crate) dropped: Option<LossReason>,
}

impl Reader {
    pub(crate) fn new(options: ConsumerOptions) -> Self {
        Self {
            options,
            progress: BTreeMap::new(),
            carried: Vec::new(),
            dropped: BTreeMap::new(),
            leases: BTreeMap::new(),
            deferred: BTreeMap::new(),
            failures: BTreeMap::new(),
            unpersisted_bytes: 0,
            dirty: false,
        }
    }

    /// The deferred entry that is next.
    pub(crate) fn next_deferred(&self) -> Option<Held> {
        let next = match self.options.order {
            Order::OldestFirst => self.deferred.first_key_value(),
            Order::NewestFirst => self.deferred.last_key_value(),
        };
        next.map(|(_, held)| *held)
    }

    /// The first position below `span` in a segment that has not been taken, in this consumer's order.
    pub(crate) fn fresh(&self, segment: u64, span: u64) -> Option<u64> {
        let Some(progress) = self.progress.get(&segment) else {
            return match self.options.order {
                Order::OldestFirst => (span > 0).then_some(0),
                Order::NewestFirst => span.checked_sub(1),
            };
        };
        match self.options.order {
            Order::OldestFirst => progress.taken.first_clear(span),
            Order::NewestFirst => progress.taken.last_clear(span),
        }
    }

    /// Whether it is done with everything in a segment.
    pub(crate) fn is_done(&self, segment: u64, span: u64) -> bool {
        span == 0 || self.progress.get(&segment).is_some_and(|progress| progress.done.count() == span)
    }

    /// An entry that counts `totals` in its segment's sums is done with.
    pub(crate) fn done(&mut self, segment: u64, at: u64, totals: Totals) {
        let progress = self.progress.entry(segment).or_default();
        progress.taken.set(at);
        if progress.done.set(at) {
            progress.totals.add(totals);
        }
        self.dirty = true;
    }

    /// Lets go of a segment with those `numbers`. What is with the consumer stays so, and is remembered as dropped for
    /// `reason`.
    pub(crate) fn forget(&mut self, segment: u64, numbers: Range<u64>, reason: Option<LossReason>) {
        self.progress.remove(&segment);
        self.deferred.retain(|_, held| held.located.segment != segment);
        if let Some(reason) = reason {
            for held in self.leases.values_mut().filter(|held| held.located.segment == segment) {
                held.dropped.get_or_insert(reason);
                self.dropped.insert(segment, numbers.clone());
            }
        }
        self.dirty = true;
    }

    /// Something of a segment that has been dropped is no longer with the consumer.
    pub(crate) fn settle_dropped(&mut self, segment: u64) {
        if !self.leases.values().any(|held| held.located.segment == segment) {
            self.dropped.remove(&segment);
        }
        self.dirty = true;
    }

    /// What the cursor says of segments that have been dropped: that what is with the consumer is not done with. Their
    /// files are gone then, and if the process is, too, before that has come to an end, it is missed and counted.
    fn still_out(&self) -> impl Iterator<Item = Part> + '_ {
        self.dropped.iter().map(|(number, numbers)| {
            let span = numbers.end - numbers.start;
            let mut done = vec![u64::MAX; span.div_ceil(64) as usize];
            for held in self.leases.values().filter(|held| held.located.segment == *number) {
                let at = held.located.lease.sequence - numbers.start;
                done[(at / 64) as usize] &= !(1 << (at % 64));
            }
            let left = self.leased(*number);
            Part { segment: *number, base: numbers.start, end: numbers.end, left, done }
        })
    }

    /// The sums of what is with the consumer in a segment.
    pub(crate) fn leased(&self, segment: u64) -> Totals {
        let mut totals = Totals::default();
        for held in self.leases.values().filter(|held| held.located.segment == segment) {
            totals.add(Totals::one(held.located.lease.items, held.located.lease.framed_len));
        }
        totals
    }

    /// What is to be persisted, of `segments` in order.
    pub(crate) fn cursor<'s>(
        &self,
        segments: impl Iterator<Item = (&'s u64, &'s Segment)>,
        next_sequence: u64,
        tally: Tally,
    ) -> Cursor {
        let mut parts = self.carried.clone();
        parts.extend(self.still_out());
        let mut low = parts.iter().map(Part::first_open).min();
        for (number, segment) in segments {
            let progress = self.progress.get(number);
            let open = progress.map_or(Some(0), |progress| progress.done.first_clear(segment.span()));
            let Some(open) = open.filter(|open| *open < segment.span()) else {
                continue;
            };
            low = Some(low.map_or(segment.base + open, |low| low.min(segment.base + open)));
            let done = progress.map_or(Totals::default(), |progress| progress.totals);
            parts.push(Part {
                segment: *number,
                base: segment.base,
                end: segment.end,
                left: segment.totals.less(done),
                done: progress.map_or(Vec::new(), |progress| progress.done.words().to_vec()),
            });
        }
        parts.sort_by_key(|part| part.segment);
        let (low, tally) = (low.unwrap_or(next_sequence), Some(tally));
        Cursor { generation: 0, low, next_sequence, parts, whole: true, tally }
    }

    /// Marks what a persisted cursor says is done with in a segment, and what is missing from it. `there` are its
    /// entries, in order.
    pub(crate) fn restore(
        &mut self,
        cursor: Option<&Cursor>,
        number: u64,
        segment: &Segment,
        there: &[(u64, Totals)],
    ) {
        let part = cursor.and_then(|cursor| cursor.part(number));
        let mut there = there.iter().peekable();
        for sequence in segment.base..segment.end {
            let totals = there.next_if(|(of, _)| *of == sequence).map(|(_, totals)| *totals);
            let done = cursor.is_some_and(|cursor| cursor.is_done(part, sequence));
            if done || totals.is_none() {
                self.done(number, sequence - segment.base, totals.unwrap_or_default());
            }
        }
    }
}
