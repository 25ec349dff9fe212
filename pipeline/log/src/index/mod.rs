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
mod tail;

pub(crate) use consumer::{Held, Reader};
pub(crate) use tail::Located;

use crate::entry::Lease;
use crate::format::cursor::Cursor;
use crate::format::{Salt, segment, trailer};
use crate::options::{OnFull, Order};
use crate::report::{Loss, LossReason, Notice, Refusal, Stats, Totals};
use std::collections::BTreeMap;
use std::time::Duration;
use tail::Tail;

/// What a segment takes besides its frames.
pub(crate) const OVERHEAD: u64 = segment::BLOCK + trailer::LENGTH as u64;

/// For how long a full device is not asked again.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(1);

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
}

/// What is fixed when a log is opened.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_size: u64,
    pub(crate) segment_size: u64,
    pub(crate) on_full: OnFull,
    pub(crate) max_age_ns: Option<u64>,
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
    /// Done with and not unlinked yet: number and size.
    pub(crate) doomed: BTreeMap<u64, u64>,
    pub(crate) next_number: u64,
    /// One more than the last entry that has been appended.
    pub(crate) next_sequence: u64,
    tail: Tail,
    reserved: u64,
    pub(crate) readers: Vec<Reader>,
    /// The size of the cursors' files.
    pub(crate) cursor_len: u64,
    pub(crate) closed: bool,
    /// Why nothing can be written, if nothing can.
    pub(crate) read_only: Option<String>,
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
            next_sequence: 1,
            tail: Tail::default(),
            reserved: 0,
            readers,
            cursor_len: 0,
            closed: false,
            read_only: None,
            disk_full: None,
            commits: 0,
            appended: 0,
            news: News::default(),
        }
    }

    // Room.

    /// What `bytes` of frames may cost in headers and trailers, before they are written (three times their share of a
    /// segment) and in the segment that is being written (twice). When a frame does not fit and a segment is begun for
    /// it, the segment's frames and this one together exceed a segment, and pay for it.
    fn share(&self, bytes: u64, times: u64) -> u64 {
        let segment = u128::from(self.limits.segment_size - OVERHEAD);
        let share = (u128::from(bytes) * u128::from(OVERHEAD * times)).div_ceil(segment);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// What is reserved for a frame.
    pub(crate) fn charge(&self, framed_len: u64) -> u64 {
        framed_len.saturating_add(self.share(framed_len, 3))
    }

    /// What is on disk and will stay there for now, as far as limits go: not what is only preallocated, and not what is
    /// about to be unlinked.
    fn committed(&self) -> u64 {
        let mut committed = self.cursor_len;
        let mut writing = false;
        for segment in self.segments.values() {
            committed += if segment.sealed {
                segment.file_len
            } else {
                writing = true;
                let frames = segment.used.saturating_sub(segment::BLOCK);
                OVERHEAD + frames + self.share(frames, 2)
            };
        }
        committed + if writing { 0 } else { OVERHEAD }
    }

    /// The sizes of all files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let segments: u64 = self.segments.values().map(|segment| segment.file_len).sum();
        let doomed: u64 = self.doomed.values().sum();
        self.cursor_len + segments + doomed + self.spare.map_or(0, |spare| spare.len)
    }

    fn free(&self) -> u64 {
        self.limits.max_size.saturating_sub(self.committed().saturating_add(self.reserved))
    }

    /// Takes room for a frame, or says why there is none. What is returned goes to [`Index::release`] once.
    pub(crate) fn reserve(&mut self, framed_len: u64, now: Duration) -> Result<u64, Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        if let Some(error) = &self.read_only {
            return Err(Refusal::Disk(error.clone()));
        }
        if self.disk_full.is_some_and(|since| now < since + DISK_FULL_PAUSE) {
            return Err(Refusal::DiskFull);
        }
        let limit = self.limits.max_size.saturating_sub(self.cursor_len + OVERHEAD);
        let charge = self.charge(framed_len);
        if charge > limit || framed_len > u64::from(u32::MAX) {
            return Err(Refusal::TooLarge { bytes: framed_len, limit: limit.min(u64::from(u32::MAX)) });
        }
        while charge > self.free() {
            if self.limits.on_full == OnFull::Refuse || !self.evict() {
                self.ask_to_seal();
                return Err(Refusal::Full { max_size: self.limits.max_size });
            }
        }
        self.reserved += charge;
        Ok(charge)
    }

    /// Gives reserved room back, be it that the frame has been written, be it that it never will.
    pub(crate) fn release(&mut self, charge: u64) {
        debug_assert!(charge <= self.reserved, "what is released had been reserved");
        self.reserved = self.reserved.saturating_sub(charge);
        self.news.freed |= charge > 0;
    }

    /// A segment in which nothing is left cannot be given back while it is being written to.
    fn ask_to_seal(&mut self) {
        let dropping = self.limits.on_full == OnFull::DropOldest;
        let Some((number, segment)) = self.segments.iter().find(|(_, segment)| !segment.sealed) else {
            return;
        };
        if segment.span() > 0 && (dropping || self.is_done(*number, segment)) {
            self.news.seal = true;
        }
    }

    // Segments.

    fn is_done(&self, number: u64, segment: &Segment) -> bool {
        self.readers.iter().all(|reader| reader.is_done(number, segment.span()))
    }

    /// A segment to which entries will be added.
    pub(crate) fn begin_segment(&mut self, number: u64, segment: Segment) {
        self.segments.insert(number, segment);
    }

    /// The number of a new file. Given out once, whatever becomes of it.
    pub(crate) fn take_number(&mut self) -> Option<u64> {
        let number = self.next_number;
        self.next_number = number.checked_add(1)?;
        Some(number)
    }

    /// The file of a segment has another size now.
    pub(crate) fn resize_segment(&mut self, number: u64, file_len: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.file_len = file_len;
        }
    }

    /// Whether a file is to be prepared for the next segment: half of the last one has been used, and there is room.
    pub(crate) fn wants_spare(&self) -> bool {
        let Some((_, active)) = self.segments.last_key_value() else { return false };
        let half = active.used >= self.limits.segment_size / 2;
        let fits = self.disk_bytes() + self.limits.segment_size <= self.limits.max_size;
        !active.sealed && half && fits && self.spare.is_none() && !self.closed
    }

    /// A file has been prepared. If the writer has not waited for it, it is not needed any more.
    pub(crate) fn put_spare(&mut self, spare: Spare) {
        let late = self.segments.last_key_value().is_some_and(|(number, _)| *number > spare.number);
        if late || self.spare.is_some() {
            self.doomed.insert(spare.number, spare.len);
        } else {
            self.spare = Some(spare);
        }
    }

    /// Entries can be handed out from now on. They follow one another, in the segment `number`.
    pub(crate) fn publish(&mut self, number: u64, entries: impl Iterator<Item = Located>) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        for located in entries {
            let lease = located.lease;
            segment.end = lease.sequence + 1;
            segment.used = located.offset + lease.framed_len;
            segment.totals.add(Totals::one(lease.items, lease.framed_len));
            segment.oldest_ns = segment.oldest_ns.min(lease.time_ns);
            segment.newest_ns = segment.newest_ns.max(lease.time_ns);
            self.next_sequence = segment.end;
            self.appended += 1;
            self.tail.push(located);
        }
        self.news.ready = true;
    }

    /// Nothing more comes into a segment, and its file has this size now.
    pub(crate) fn seal_segment(&mut self, number: u64, file_len: u64) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        segment.sealed = true;
        segment.file_len = file_len;
        self.news.freed = true;
        self.collect(number);
    }

    /// Lets go of a sealed segment in which nothing is left.
    fn collect(&mut self, number: u64) {
        let Some(segment) = self.segments.get(&number) else { return };
        if segment.sealed && self.is_done(number, segment) {
            self.doom(number, None);
        }
    }

    /// Lets go of a segment.
    fn doom(&mut self, number: u64, reason: Option<LossReason>) {
        let Some(segment) = self.segments.remove(&number) else { return };
        for reader in &mut self.readers {
            reader.forget(number, reason);
        }
        self.doomed.insert(number, segment.file_len);
        self.news.untidy = true;
        self.news.freed = true;
    }

    /// Drops a segment with what is in it. What is with a consumer is counted when it comes back, and not if it does
    /// not.
    pub(crate) fn drop_segment(&mut self, number: u64, reason: LossReason) {
        let Some(segment) = self.segments.get(&number) else { return };
        let mut lost = Totals::default();
        for reader in &self.readers {
            let done = reader.progress.get(&number).map_or(Totals::default(), |progress| progress.totals);
            let left = segment.totals.less(done).less(reader.leased(number));
            if left.entries > lost.entries {
                lost = left;
            }
        }
        self.lose(reason, lost);
        self.doom(number, Some(reason));
    }

    /// Drops the oldest segment, if there is one besides that which is being written.
    fn evict(&mut self) -> bool {
        let oldest = self.segments.iter().find(|(_, segment)| segment.sealed).map(|(number, _)| *number);
        if let Some(number) = oldest {
            self.drop_segment(number, LossReason::Evicted);
        }
        oldest.is_some()
    }

    /// Drops what is too old, as far as whole segments are.
    pub(crate) fn expire(&mut self, now_ns: u64) {
        let Some(max_age_ns) = self.limits.max_age_ns else { return };
        let expired = |segment: &Segment| segment.newest_ns.saturating_add(max_age_ns) < now_ns;
        let old: Vec<(u64, bool)> = self
            .segments
            .iter()
            .filter(|(_, segment)| segment.span() > 0 && expired(segment))
            .map(|(number, segment)| (*number, segment.sealed))
            .collect();
        for (number, sealed) in old {
            if sealed {
                self.drop_segment(number, LossReason::Expired);
            } else {
                self.news.seal = true;
            }
        }
    }

    pub(crate) fn lose(&mut self, reason: LossReason, lost: Totals) {
        if !lost.is_empty() {
            self.news.losses.push(Loss { reason, lost });
        }
    }

    /// Entries of a segment that cannot be handed out: `(sequence, what it counts in the segment's sums)`. Those that
    /// a consumer still waited for are counted as lost.
    pub(crate) fn give_up(
        &mut self,
        number: u64,
        reason: LossReason,
        entries: impl Iterator<Item = (u64, Totals)>,
    ) {
        let Some(segment) = self.segments.get(&number) else { return };
        let (base, span) = (segment.base, segment.span());
        let mut lost = Totals::default();
        for (sequence, totals) in entries {
            let Some(at) = sequence.checked_sub(base).filter(|at| *at < span) else { continue };
            let mut waited_for = false;
            for reader in &mut self.readers {
                let open = reader.progress.get(&number).is_none_or(|progress| !progress.done.contains(at));
                // What is with a consumer is in its hands whole; it may yet be acked.
                let leased = reader.leases.contains_key(&sequence);
                waited_for |= open && !leased;
                if open && !leased {
                    reader.deferred.remove(&sequence);
                    reader.done(number, at, totals);
                }
            }
            if waited_for {
                let one = Totals { entries: 1, ..totals };
                lost.add(one);
            }
        }
        self.lose(reason, lost);
        self.collect(number);
    }

    // Handing out.

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

    /// The entry is with the consumer from now on. `false` if it cannot be, since its segment has been dropped.
    pub(crate) fn lease(&mut self, reader: usize, located: Located) -> bool {
        let Some(segment) = self.segments.get(&located.segment) else { return false };
        let sequence = located.lease.sequence;
        let Some(at) = sequence.checked_sub(segment.base).filter(|at| *at < segment.span()) else {
            return false;
        };
        let reader = &mut self.readers[reader];
        reader.deferred.remove(&sequence);
        reader.failures.remove(&sequence);
        reader.progress.entry(located.segment).or_default().taken.set(at);
        reader.leases.insert(sequence, Held { located, dropped: None });
        true
    }

    /// The consumer is done with an entry. `false` if it does not have it.
    pub(crate) fn ack(&mut self, reader: usize, sequence: u64) -> bool {
        let Some(held) = self.readers[reader].leases.remove(&sequence) else { return false };
        if held.dropped.is_none() {
            self.settle(reader, held.located.segment, held.located.lease);
        }
        // Somebody may have been told that there is nothing, since too much was with the consumer.
        self.news.ready = true;
        true
    }

    /// Done with.
    fn settle(&mut self, reader: usize, number: u64, lease: Lease) {
        let Some(segment) = self.segments.get(&number) else { return };
        let at = lease.sequence - segment.base;
        let reader = &mut self.readers[reader];
        reader.done(number, at, Totals::one(lease.items, lease.framed_len));
        reader.unpersisted_bytes += lease.framed_len;
        self.news.untidy = true;
        self.collect(number);
    }

    /// The consumer gives an entry back. `false` if it does not have it, or it has been dropped meanwhile.
    pub(crate) fn defer(&mut self, reader: usize, sequence: u64) -> bool {
        let Some(held) = self.readers[reader].leases.remove(&sequence) else { return false };
        self.news.ready = true;
        if let Some(reason) = held.dropped {
            let lease = held.located.lease;
            self.lose(reason, Totals::one(lease.items, lease.framed_len));
            return false;
        }
        self.readers[reader].deferred.insert(sequence, held);
        true
    }

    // What is persisted, and what is told.

    /// What is to be persisted for a consumer.
    pub(crate) fn cursor(&self, reader: usize) -> Cursor {
        let segments = self.segments.iter().map(|(number, segment)| (*number, segment.base, segment.span()));
        self.readers[reader].cursor(segments, self.next_sequence)
    }

    /// The lowest number that may still be handed out, acked or given back.
    pub(crate) fn oldest(&self, reader: usize) -> u64 {
        let reader = &self.readers[reader];
        let open = |(number, segment): (&u64, &Segment)| {
            let at = match reader.progress.get(number) {
                Some(progress) => progress.done.first_clear(segment.span())?,
                None => (segment.span() > 0).then_some(0)?,
            };
            Some(segment.base + at)
        };
        let leased = reader.leases.keys().next().copied();
        let open = self.segments.iter().find_map(open);
        leased.into_iter().chain(open).min().unwrap_or(self.next_sequence)
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
        }
    }
}
