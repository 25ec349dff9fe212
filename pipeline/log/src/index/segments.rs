//! Segments: begun, filled, completed, given up, let go.

use super::{Doomed, Index, Located, Reader, Segment, Spare};
use crate::files::Identity;
use crate::report::{Loss, LossReason, Totals};
use std::collections::BTreeSet;

impl Index {
    pub(super) fn is_done(&self, number: u64, segment: &Segment) -> bool {
        self.readers.iter().all(|reader| reader.is_done(number, segment.span()))
    }

    /// A segment to which entries will be added, in the file that had been prepared or in another one.
    pub(crate) fn begin_segment(&mut self, number: u64, segment: Segment) {
        let spare = self.spare.take().filter(|spare| spare.number != number);
        self.segments.insert(number, segment);
        self.last_begun = number;
        // It was prepared while another file was being made, and is on the disk.
        if let Some(spare) = spare {
            self.put_spare(spare);
        }
        // Cursors name the segments that there are, so that one that vanishes is missed.
        for reader in &mut self.readers {
            reader.dirty = true;
        }
        self.news.untidy = true;
    }

    /// The segment that is being written, and what its file is.
    pub(crate) fn writing(&self) -> Option<(u64, Identity)> {
        let is_open = |number: &u64| self.segments.get(number).is_some_and(|segment| !segment.sealed);
        self.begun.filter(|(number, _)| is_open(number))
    }

    /// The number of a new file. Given out once, whatever becomes of it.
    pub(crate) fn take_number(&mut self) -> Option<u64> {
        let number = self.next_number;
        self.next_number = number.checked_add(1)?;
        Some(number)
    }

    /// How many of the numbers directly before this one are of segments in which nothing counts, and never will: they
    /// are not gone back to. A segment that is begun says so, since what is in such a file after a crash may be anything.
    pub(crate) fn void_before(&self, number: u64) -> u32 {
        let void = number.saturating_sub(self.last_filled.saturating_add(1));
        u32::try_from(void).unwrap_or(u32::MAX)
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
        let fits = self.limits.segment_size <= self.available();
        !active.sealed && half && fits && self.spare.is_none() && !self.closed && self.displaced.is_none()
    }

    /// One of the files in `doomed` that can be the next segment's, if one is wanted: its number, and the size that it
    /// is to have. It counts with that size from now on.
    pub(crate) fn reuse(&mut self, doomed: &[u64]) -> Option<(u64, u64)> {
        let is_writing = self.segments.last_key_value().is_some_and(|(_, last)| !last.sealed);
        if !is_writing || self.spare.is_some() || self.closed {
            return None;
        }
        let size = self.limits.segment_size;
        // Most of it should be there: that is what is saved.
        let fits = |file: &Doomed| file.is_sound && (size / 2..=size).contains(&file.len);
        let mut files = doomed.iter().filter_map(|number| Some((*number, *self.doomed.get(number)?)));
        let (number, file) = files.find(|(_, file)| fits(file))?;
        if size - file.len > self.available() {
            return None;
        }
        self.doomed.insert(number, Doomed::of(size));
        Some((number, size))
    }

    /// A file has been prepared. If the writer has not waited for it, it is not needed any more.
    pub(crate) fn put_spare(&mut self, spare: Spare) {
        let late = self.last_begun > spare.number;
        if late || self.spare.is_some() {
            self.doomed.insert(spare.number, Doomed::of(spare.len));
        } else {
            self.spare = Some(spare);
        }
    }

    /// Entries can be handed out from now on. They follow one another, in the segment `number`.
    pub(crate) fn publish(&mut self, number: u64, entries: impl Iterator<Item = Located>) {
        self.last_filled = number;
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let half = self.limits.segment_size / 2;
        let before = segment.used;
        for located in entries {
            let lease = located.lease;
            segment.end = lease.sequence + 1;
            segment.used = located.offset + lease.framed_len;
            let totals = Totals::one(lease.items, lease.framed_len);
            segment.totals.add(totals);
            self.tally.taken.add(totals);
            segment.oldest_ns = segment.oldest_ns.min(lease.time_ns);
            segment.newest_ns = segment.newest_ns.max(lease.time_ns);
            self.next_sequence = segment.end;
            self.appended += 1;
            self.tail.push(located);
        }
        // Time to prepare the next one.
        self.news.untidy |= before < half && segment.used >= half;
        self.news.ready = true;
    }

    /// A segment has been completed, and nothing that was done to its file has failed.
    pub(crate) fn note_sound(&mut self, number: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.is_sound = true;
        }
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
    pub(super) fn collect(&mut self, number: u64) {
        let Some(segment) = self.segments.get(&number) else { return };
        if segment.sealed && self.is_done(number, segment) {
            self.doom(number, None);
        }
    }

    /// Lets go of a segment.
    pub(super) fn doom(&mut self, number: u64, reason: Option<LossReason>) {
        let Some(segment) = self.segments.remove(&number) else { return };
        for reader in &mut self.readers {
            reader.forget(number, segment.base..segment.end, reason);
        }
        self.doomed.insert(number, Doomed { len: segment.file_len, is_sound: segment.is_sound });
        self.news.untidy = true;
        self.news.freed = true;
    }

    /// Drops a segment with what is in it. What is with a consumer is counted when it comes back, and not if it does
    /// not: it has been delivered then, or the process has ended, and the next one misses it.
    pub(crate) fn drop_segment(&mut self, number: u64, reason: LossReason) {
        let Some(segment) = self.segments.get(&number) else { return };
        let lost = self.left(number, segment);
        self.lose(reason, lost);
        self.doom(number, Some(reason));
    }

    /// Gives up a segment whose file is gone.
    pub(crate) fn miss(&mut self, number: u64) {
        let Some(segment) = self.segments.get(&number) else { return };
        if segment.sealed {
            return self.drop_segment(number, LossReason::Missing);
        }
        let is_open = |sequence: &u64| {
            self.readers.iter().any(|reader| {
                let progress = reader.progress.get(&number);
                let is_done = progress.is_some_and(|of| of.done.contains(sequence - segment.base));
                !is_done && !reader.leases.contains_key(sequence)
            })
        };
        let open: Vec<u64> = (segment.base..segment.end).filter(is_open).collect();
        // Which of them counts how much does not matter; the first one counts for all.
        let mut left = self.left(number, segment);
        let entries = open.into_iter().map(|sequence| (sequence, std::mem::take(&mut left)));
        self.give_up(number, LossReason::Missing, entries);
        self.news.seal = true;
    }

    /// What is neither done with nor with the consumer for which that is most.
    fn left(&self, number: u64, segment: &Segment) -> Totals {
        let left = |reader: &Reader| {
            let done = reader.progress.get(&number).map_or(Totals::default(), |progress| progress.totals);
            segment.totals.less(done).less(reader.leased(number))
        };
        self.readers.iter().map(left).max_by_key(|left| left.entries).unwrap_or_default()
    }

    /// Drops the oldest segment, if there is one besides that which is being written.
    pub(super) fn evict(&mut self) -> bool {
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
            self.news.losses.push(Loss { reason, lost, unknown: lost.unknown() });
        }
    }

    /// Gives up entries of a segment that are not to be found; `there` are those that are.
    pub(crate) fn give_up_missing(&mut self, number: u64, missing: &[u64], there: &[(u64, Totals)]) -> bool {
        let Some(segment) = self.segments.get(&number) else { return false };
        let mut open = BTreeSet::new();
        let mut unseen = Totals::default();
        for reader in &self.readers {
            let progress = reader.progress.get(&number);
            let is_open = |sequence: u64| {
                progress.is_none_or(|progress| !progress.done.contains(sequence - segment.base))
            };
            open.extend(missing.iter().copied().filter(|sequence| is_open(*sequence)));
            // What is left of the segment and not there is what those counted.
            let mut left =
                segment.totals.less(progress.map_or(Totals::default(), |progress| progress.totals));
            for (_, totals) in there.iter().filter(|(sequence, _)| is_open(*sequence)) {
                left = left.less(*totals);
            }
            if left.entries > unseen.entries {
                unseen = left;
            }
        }
        // Which of them counted how much is not known; the first one counts for all.
        let entries = open.into_iter().map(|sequence| {
            let counted = std::mem::take(&mut unseen);
            (sequence, Totals { entries: 1, ..counted })
        });
        self.give_up(number, LossReason::Damaged, entries)
    }

    /// Entries of a segment that cannot be handed out: `(sequence, what it counts in the segment's sums)`. Those that
    /// a consumer still waited for are counted as lost; whether there were any is returned.
    pub(crate) fn give_up(
        &mut self,
        number: u64,
        reason: LossReason,
        entries: impl Iterator<Item = (u64, Totals)>,
    ) -> bool {
        let Some(segment) = self.segments.get(&number) else { return false };
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
        self.news.untidy |= !lost.is_empty();
        self.collect(number);
        !lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Salt;
    use crate::index::Limits;
    use crate::options::OnFull;

    fn segment(file_len: u64) -> Segment {
        Segment {
            base: 1,
            end: 1,
            file_len,
            used: 0,
            salt: Salt::new(0),
            totals: Totals::default(),
            oldest_ns: u64::MAX,
            newest_ns: 0,
            sealed: false,
            is_sound: false,
        }
    }

    fn index(segment_size: u64) -> Index {
        let limits = Limits {
            max_size: 1 << 20,
            segment_size,
            on_full: OnFull::Refuse,
            max_age_ns: None,
            cursor_bytes: 0,
        };
        Index::new(limits, Vec::new())
    }

    #[test]
    fn segments_are_begun_in_the_order_of_their_numbers() {
        let len = 1 << 16;
        let mut index = index(len);
        index.begin_segment(4, segment(len));
        index.seal_segment(4, len);
        assert!(index.segments.is_empty(), "done with already");
        // It took a number before the other one was begun, and has taken long.
        index.put_spare(Spare { number: 3, len, reused: false });
        assert_eq!((index.spare, index.disk_bytes()), (None, 2 * len));
    }

    #[test]
    fn a_file_that_is_prepared_while_another_is_begun_counts_until_it_is_used_or_removed() {
        let len = 1 << 16;
        for (prepared, begun, is_late) in [(3, 4, true), (5, 4, false)] {
            let mut index = index(len);
            index.put_spare(Spare { number: prepared, len, reused: false });
            index.begin_segment(begun, segment(len));
            assert_eq!(index.disk_bytes(), 2 * len);
            assert_eq!(index.doomed.contains_key(&prepared), is_late);
            assert_eq!(index.spare.is_some(), !is_late);
            // The one that is kept is the next segment's.
            if !is_late {
                index.begin_segment(prepared, segment(len));
                assert_eq!((index.disk_bytes(), index.spare), (2 * len, None));
            }
        }
    }
}
