//! How much may be taken, and what it takes.

use super::{Index, OVERHEAD};
use crate::format::segment;
use crate::log::nanos;
use crate::options::{Caps, OnFull};
use crate::report::Refusal;
use std::io;
use std::time::Duration;

/// For how long a full device is not asked again.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(1);

impl Index {
    /// What `bytes` of frames may cost in headers and trailers, before they are written (three times their share of a
    /// segment) and in the segment that is being written (twice). When a frame does not fit and a segment is begun for
    /// it, the segment's frames and this one together exceed a segment, and pay for it.
    pub(super) fn share(&self, bytes: u64, times: u64) -> u64 {
        let segment = u128::from(self.limits.segment_size - OVERHEAD);
        let share = (u128::from(bytes) * u128::from(OVERHEAD * times)).div_ceil(segment);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// What is reserved for a frame.
    pub(crate) fn charge(&self, framed_len: u64) -> u64 {
        framed_len.saturating_add(self.share(framed_len, 3))
    }

    /// The longest frame for which no more than that is reserved.
    fn framed_for(&self, charge: u64) -> u64 {
        let segment = u128::from(self.limits.segment_size - OVERHEAD);
        let framed = u128::from(charge) * segment / (segment + u128::from(3 * OVERHEAD));
        u64::try_from(framed).unwrap_or(u64::MAX)
    }

    /// What may be taken twice while entry after entry is put in again: room for two segments, as one is given back
    /// only when nothing is left in it, and at most a quarter of everything.
    pub(crate) fn turnover(&self) -> u64 {
        (2 * self.limits.segment_size).min(self.limits.max_size / 4)
    }

    /// What is on disk and will stay there for now, as far as limits go: not what is only preallocated, and not what is
    /// about to be unlinked.
    pub(super) fn committed(&self) -> u64 {
        let mut committed = self.cursor_room.max(self.cursor_len);
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
        let doomed: u64 = self.doomed.values().map(|file| file.len).sum();
        self.cursor_len + segments + doomed + self.spare.map_or(0, |spare| spare.len)
    }

    /// What may be added to the files of segments.
    pub(crate) fn available(&self) -> u64 {
        let cursors = self.cursor_room.saturating_sub(self.cursor_len);
        self.limits.max_size.saturating_sub(self.disk_bytes() + cursors)
    }

    /// Cursors need more room.
    pub(crate) fn grow_cursors(&mut self, more: u64) -> io::Result<()> {
        if more > self.free().min(self.available()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.cursor_room += more;
        Ok(())
    }

    pub(super) fn free(&self) -> u64 {
        self.limits.max_size.saturating_sub(self.committed().saturating_add(self.reserved))
    }

    /// What is free when all has been dropped that may be.
    fn free_if_evicted(&self) -> u64 {
        let sealed =
            || self.segments.values().filter(|segment| segment.sealed).map(|segment| segment.file_len);
        match self.limits.on_full {
            OnFull::Refuse => self.free(),
            OnFull::DropOldest => {
                let staying = self.committed().saturating_sub(sealed().sum());
                self.limits.max_size.saturating_sub(staying.saturating_add(self.reserved))
            }
        }
    }

    /// Takes room for a frame, and leaves so much, or says why there is none. One that is larger than what there is
    /// besides leaves less. What is returned goes to [`Index::release`] once.
    pub(crate) fn reserve(&mut self, framed_len: u64, leave: u64, now: Duration) -> Result<u64, Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if self.disk_full.is_some_and(|since| now < since + DISK_FULL_PAUSE) {
            return Err(Refusal::DiskFull);
        }
        let limit = self.limits.max_size.saturating_sub(self.cursor_room + OVERHEAD);
        let charge = self.charge(framed_len);
        if charge > limit || framed_len > u64::from(u32::MAX) {
            let limit = self.framed_for(limit).min(u64::from(u32::MAX));
            return Err(Refusal::TooLarge { bytes: framed_len, limit });
        }
        let most = self.free_if_evicted();
        let leave = match self.limits.on_full {
            OnFull::Refuse => leave.min(limit - charge),
            OnFull::DropOldest => leave.min(most.saturating_sub(charge)),
        };
        // Nothing is dropped for a frame that does not fit all the same.
        if charge > most.saturating_sub(leave) {
            self.ask_to_seal();
            return Err(Refusal::Full { max_size: self.limits.max_size });
        }
        while charge > self.free().saturating_sub(leave) && self.evict() {}
        debug_assert!(charge <= self.free(), "dropping all that may be makes so much room");
        self.reserved += charge;
        Ok(charge)
    }

    /// Gives reserved room back, be it that the frame has been written, be it that it never will.
    pub(crate) fn release(&mut self, charge: u64) {
        debug_assert!(charge <= self.reserved, "what is released had been reserved");
        self.reserved = self.reserved.saturating_sub(charge);
    }

    /// Other limits. What is kept is as it was, but for what has to give way.
    pub(crate) fn limit(&mut self, caps: Caps) {
        self.limits.max_size = caps.max_size;
        self.limits.max_age_ns = caps.max_age.map(nanos);
        self.limits.on_full = caps.on_full;
        while caps.on_full == OnFull::DropOldest
            && self.committed().saturating_add(self.reserved) > caps.max_size
            && self.evict()
        {}
        // Whoever waits for room looks again, and so does whoever drops what is too old.
        self.news.freed = true;
        self.news.untidy = true;
    }

    /// A segment in which nothing is left cannot be given back while it is being written to.
    pub(super) fn ask_to_seal(&mut self) {
        let dropping = self.limits.on_full == OnFull::DropOldest;
        let Some((number, segment)) = self.segments.iter().find(|(_, segment)| !segment.sealed) else {
            return;
        };
        if segment.span() > 0 && (dropping || self.is_done(*number, segment)) {
            self.news.seal = true;
        }
    }
}
