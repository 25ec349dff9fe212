//! What one consumer has been handed, and what it is done with.

use super::bits::Bits;
use super::tail::Located;
use crate::format::cursor::Cursor;
use crate::options::{ConsumerOptions, Order};
use crate::report::{LossReason, Totals};
use std::collections::BTreeMap;

/// One consumer.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) options: ConsumerOptions,
    /// By segment number; none where nothing has been taken.
    pub(crate) progress: BTreeMap<u64, Progress>,
    /// What is with the consumer, by sequence.
    pub(crate) leases: BTreeMap<u64, Held>,
    /// What it has given back, by sequence.
    pub(crate) deferred: BTreeMap<u64, Held>,
    /// How often reading an entry has failed.
    pub(crate) failures: BTreeMap<u64, u8>,
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

    /// Lets go of a segment. What is with the consumer stays so, and is remembered as dropped for `reason`.
    pub(crate) fn forget(&mut self, segment: u64, reason: Option<LossReason>) {
        self.progress.remove(&segment);
        self.deferred.retain(|_, held| held.located.segment != segment);
        if let Some(reason) = reason {
            for held in self.leases.values_mut().filter(|held| held.located.segment == segment) {
                held.dropped.get_or_insert(reason);
            }
        }
        self.dirty = true;
    }

    /// The sums of what is with the consumer in a segment.
    pub(crate) fn leased(&self, segment: u64) -> Totals {
        let mut totals = Totals::default();
        for held in self.leases.values().filter(|held| held.located.segment == segment) {
            totals.add(Totals::one(held.located.lease.items, held.located.lease.framed_len));
        }
        totals
    }

    /// What is to be persisted. `segments` are the numbers, bases and spans of all there are, in order.
    pub(crate) fn cursor(
        &self,
        segments: impl Iterator<Item = (u64, u64, u64)>,
        next_sequence: u64,
    ) -> Cursor {
        let mut low = None;
        let mut stretches = Vec::new();
        for (number, base, span) in segments {
            if self.is_done(number, span) {
                // Above the first gap it has to be said.
                if low.is_none() {
                    continue;
                }
            }
            let progress = self.progress.get(&number);
            let first_open = progress.map_or(Some(0), |progress| progress.done.first_clear(span));
            if low.is_none() {
                low = Some(base + first_open.unwrap_or(span));
            }
            if let Some(progress) = progress.filter(|progress| progress.done.count() > 0) {
                stretches.push(progress.done.stretch(base));
            }
        }
        Cursor { generation: 0, low: low.unwrap_or(next_sequence), next_sequence, stretches }
    }

    /// Marks what a persisted cursor says of a segment. The sums are for the caller to find.
    pub(crate) fn restore(&mut self, cursor: &Cursor, segment: u64, base: u64, span: u64) {
        let mut mark = |from: u64, to: u64| {
            for at in from..to {
                self.done(segment, at, Totals::default());
            }
        };
        mark(0, cursor.low.saturating_sub(base).min(span));
        for stretch in &cursor.stretches {
            for (nth, word) in stretch.bits.iter().enumerate().filter(|(_, word)| **word != 0) {
                for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                    let sequence = stretch.first.saturating_add(nth as u64 * 64 + bit);
                    if let Some(at) = sequence.checked_sub(base).filter(|at| *at < span) {
                        mark(at, at + 1);
                    }
                }
            }
        }
        self.dirty = false;
    }
}
