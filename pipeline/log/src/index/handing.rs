//! Handing entries out, and taking them back.

use super::{Held, Index, Located, Segment};
use crate::entry::Lease;
use crate::options::Order;
use crate::report::Totals;

impl Index {
    /// What is next for a consumer: its number, its segment, and where it is, if that is known.
    pub(crate) fn next(&self, reader: usize) -> Option<(u64, u64, Option<Located>)> {
        let reader = &self.readers[reader];
        if reader.leases.len() >= reader.options.max_outstanding {
            return None;
        }
        if let Some(held) = reader.next_deferred() {
            return Some((held.located.lease.sequence, held.located.segment, Some(held.located)));
        }
        let fresh = |(number, segment): (&u64, &Segment)| {
            let at = reader.fresh(*number, segment.span())?;
            Some((*number, segment.base + at))
        };
        let (number, sequence) = match reader.options.order {
            Order::OldestFirst => self.segments.iter().find_map(fresh),
            Order::NewestFirst => self.segments.iter().rev().find_map(fresh),
        }?;
        Some((sequence, number, self.tail.get(sequence).filter(|located| located.segment == number)))
    }

    /// Whether an entry is too old to be handed out.
    pub(crate) fn is_expired(&self, time_ns: u64, now_ns: u64) -> bool {
        self.limits.max_age_ns.is_some_and(|max| time_ns.saturating_add(max) < now_ns)
    }

    /// The entry is with the consumer from now on. `false` if it cannot be: it is already, or has been dropped.
    pub(crate) fn lease(&mut self, reader: usize, located: Located) -> bool {
        let Some(segment) = self.segments.get(&located.segment) else { return false };
        let sequence = located.lease.sequence;
        let Some(at) = sequence.checked_sub(segment.base).filter(|at| *at < segment.span()) else {
            return false;
        };
        let reader = &mut self.readers[reader];
        let taken = &mut reader.progress.entry(located.segment).or_default().taken;
        let given_back = reader.deferred.remove(&sequence).is_some();
        // Somebody else may have been handed it meanwhile.
        if !taken.set(at) && !given_back {
            return false;
        }
        reader.failures.remove(&sequence);
        reader.leases.insert(sequence, Held { located, dropped: None });
        true
    }

    /// The consumer is done with an entry. `false` if it does not have it.
    pub(crate) fn ack(&mut self, reader: usize, sequence: u64) -> bool {
        // Somebody may have been told that there is nothing, since too much was with the consumer.
        let outstanding = &self.readers[reader];
        self.news.ready |= outstanding.leases.len() >= outstanding.options.max_outstanding;
        let Some(held) = self.readers[reader].leases.remove(&sequence) else { return false };
        if held.dropped.is_none() {
            self.settle(reader, held.located.segment, held.located.lease);
        } else {
            self.settle_dropped(reader, held.located.segment);
        }
        true
    }

    /// How many bytes of entries a consumer is done with whose room is not given back, as others are in their segments:
    /// when it is done with that one as well.
    pub(crate) fn spent_with(&self, reader: usize, sequence: Option<u64>) -> u64 {
        let reader = &self.readers[reader];
        let one = sequence.and_then(|sequence| reader.leases.get(&sequence));
        let spent = |(number, segment): (&u64, &Segment)| {
            let progress = reader.progress.get(number);
            let one = one.filter(|held| held.located.segment == *number);
            let done = progress.map_or(0, |of| of.done.count()) + u64::from(one.is_some());
            if segment.sealed && done == segment.span() {
                return 0;
            }
            progress.map_or(0, |of| of.totals.bytes) + one.map_or(0, |held| held.located.lease.framed_len)
        };
        self.segments.iter().map(spent).sum()
    }

    /// Done with.
    pub(super) fn settle(&mut self, reader: usize, number: u64, lease: Lease) {
        let Some(segment) = self.segments.get(&number) else { return };
        let at = lease.sequence - segment.base;
        let reader = &mut self.readers[reader];
        let was_dirty = reader.dirty;
        reader.done(number, at, Totals::one(lease.items, lease.framed_len));
        reader.unpersisted_bytes += lease.framed_len;
        // The keeper is woken to begin counting time, and when enough has come together.
        self.news.untidy |= !was_dirty || reader.unpersisted_bytes >= self.limits.cursor_bytes;
        self.collect(number);
    }

    fn settle_dropped(&mut self, reader: usize, segment: u64) {
        self.readers[reader].settle_dropped(segment);
        self.news.untidy = true;
    }

    /// The consumer gives an entry back. `false` if it does not have it, or it has been dropped meanwhile.
    pub(crate) fn defer(&mut self, reader: usize, sequence: u64) -> bool {
        let Some(held) = self.readers[reader].leases.remove(&sequence) else { return false };
        self.news.ready = true;
        if let Some(reason) = held.dropped {
            let lease = held.located.lease;
            self.lose(reason, Totals::one(lease.items, lease.framed_len));
            self.settle_dropped(reader, held.located.segment);
            return false;
        }
        self.readers[reader].deferred.insert(sequence, held);
        true
    }
}
