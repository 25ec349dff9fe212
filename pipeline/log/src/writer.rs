//! Writing and syncing: one thread, one group at a time.
//!
//! # What holds
//!
//! - Those who wait are told "appended" after an fdatasync that was begun after the last of their bytes had been
//!   written has returned, and, for the first entries of a new file, an fsync of the directory as well.
//! - A group whose write failed is cut off again. A file whose sync failed, or that could not be cut off, is not
//!   touched any more: nothing is written to it or synced again, and the next entry begins a new one.
//! - A number that may be on disk is given to no other entry, unless it has been cut off.

use crate::entry::Lease;
use crate::event::lock;
use crate::files::{Access, File, write_all};
use crate::format::frame::{self, Header};
use crate::format::segment::{self, BLOCK};
use crate::format::trailer::{self, Trailer};
use crate::format::{ALIGN, Salt};
use crate::index::{Doomed, Index, Located, OVERHEAD, Segment, Spare};
use crate::line::{Queued, Waiting};
use crate::lookout::look_at_directory;
use crate::report::{Notice, Refusal, Totals};
use crate::shared::{Shared, segment_name};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Writes what is in the line.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// The number of the next entry. Ahead of the index's where numbers are given up.
    next_sequence: u64,
}

/// The segment that is being written.
struct Active {
    number: u64,
    file: Box<dyn File>,
    salt: Salt,
    /// Where the next frame goes. 0: not even the header has been written.
    used: u64,
    file_len: u64,
    /// Its name is on disk.
    named: bool,
    header: Vec<u8>,
    contents: Trailer,
}

/// A file for a segment.
struct Place {
    number: u64,
    file: Box<dyn File>,
    file_len: u64,
    /// Its name is on disk.
    named: bool,
    /// Another segment has been in it.
    reused: bool,
}

impl Writer {
    pub(crate) fn new(shared: &Arc<Shared>, next_sequence: u64) -> Self {
        Self { shared: Arc::clone(shared), active: None, next_sequence }
    }

    /// Writes and syncs one group. Those who wait are told.
    pub(crate) fn commit(&mut self, waiting: Waiting) {
        let Waiting { mut promise, entries, .. } = waiting;
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let mut part = Vec::new();
            let outcome = match self.make_room(entries.peek().map_or(0, |first| first.framed_len)) {
                Err(refusal) => {
                    // Others may be smaller, or come later.
                    part.extend(entries.next());
                    Err(refusal)
                }
                Ok(mut room) => {
                    while let Some(queued) = entries.next_if(|next| next.framed_len <= room) {
                        room -= queued.framed_len;
                        part.push(queued);
                    }
                    self.append(&mut part)
                }
            };
            let charges: u64 = part.iter().map(|queued| queued.charge).sum();
            self.shared.with(|index| {
                index.release(charges);
                index.news.freed |= outcome.is_err();
            });
            promise.keep(part.len(), outcome);
        }
    }

    /// Completes the segment that is being written, so that it can be given back when it is done with.
    pub(crate) fn seal(&mut self) {
        let Some(active) = self.active.take() else { return };
        let number = active.number;
        let file_len = if active.used > BLOCK { self.complete(&active) } else { active.file_len };
        self.shared.with(|index| index.seal_segment(number, file_len));
    }

    /// Completes the segment, and what is in it is on disk.
    pub(crate) fn close(&mut self) {
        let Some(active) = self.active.take() else { return };
        let mut file_len = active.file_len;
        if active.used > BLOCK {
            file_len = self.complete(&active);
            let named = if active.named { Ok(()) } else { self.shared.files.sync_dir() };
            if let Err(error) = active.file.sync_data().and(named) {
                self.failed(active.number, &error);
            }
        }
        self.shared.with(|index| index.seal_segment(active.number, file_len));
    }

    /// Writes the trailer and gives back what was reserved behind it. The size of the file is returned. Nothing depends
    /// on the trailer's getting there: without it, opening reads the segment.
    fn complete(&self, active: &Active) -> u64 {
        let trailer = active.contents.encode(active.salt);
        let file_len = active.used + trailer.len() as u64;
        let written = write_all(active.file.as_ref(), &mut [IoSlice::new(&trailer)], active.used);
        match written.and_then(|()| active.file.truncate(file_len)) {
            Ok(()) => {
                self.shared.with(|index| index.note_sound(active.number));
                file_len
            }
            Err(error) => {
                self.failed(active.number, &error);
                active.file.size().unwrap_or(active.file_len)
            }
        }
    }

    /// Makes sure that a frame fits into the segment that is being written, and says how many bytes of frames do.
    fn make_room(&mut self, framed_len: u64) -> Result<u64, Refusal> {
        if let Some(refusal) = self.shared.with(|index| index.refusal()) {
            return Err(refusal);
        }
        if self.active.as_ref().is_some_and(|active| active.room() < framed_len) {
            self.grow(framed_len);
        }
        if self.active.as_ref().is_some_and(|active| active.room() < framed_len) {
            self.seal();
        }
        match &self.active {
            Some(active) => Ok(active.room()),
            None => {
                let active = self.begin(framed_len)?;
                let room = active.room();
                self.active = Some(active);
                Ok(room)
            }
        }
    }

    /// A segment from which something had to be cut off has lost the room that was reserved for it, and one for which
    /// there was little room when it was begun has little. What was granted may count on the rest of it: the head of
    /// another segment is paid for only by what does not fit into a whole one.
    fn grow(&mut self, framed_len: u64) {
        let Some(active) = &mut self.active else { return };
        let need = (active.frames_end() + framed_len + trailer::LENGTH as u64).next_multiple_of(ALIGN);
        let want = self.shared.segment_size.max(active.file_len);
        if need > want || want == active.file_len {
            return;
        }
        let mut available = self.shared.with(|index| index.available());
        if active.file_len + available < need && self.shared.with(|index| !index.doomed.is_empty()) {
            let shared = &self.shared;
            lock(&shared.keeper).make_room(shared);
            available = shared.with(|index| index.available());
        }
        let want = want.min(active.file_len + available) & !(ALIGN - 1);
        if want >= need && active.file.allocate(want).is_ok() {
            active.file_len = want;
            let number = active.number;
            self.shared.with(|index| index.resize_segment(number, want));
        }
    }

    /// A new file, or the one that has been prepared.
    fn begin(&mut self, framed_len: u64) -> Result<Active, Refusal> {
        let need = (OVERHEAD + framed_len).next_multiple_of(ALIGN);
        let want = need.max(self.shared.segment_size);
        look_at_directory(&self.shared);
        if let Some(refusal) = self.shared.with(|index| index.refusal()) {
            return Err(refusal);
        }
        let Some(base) = Some(self.next_sequence).filter(|next| *next < u64::MAX - (1 << 32)) else {
            return Err(Refusal::Disk("sequence numbers are used up".into()));
        };
        let salt = Salt::new(self.shared.clock.random());
        let Place { number, file, file_len, named, reused } = self.file(need, want)?;
        let created_ns = self.shared.now_ns();
        let (prior, tally, void_before) =
            self.shared.with(|index| (index.next_sequence - 1, Some(index.tally), index.void_before(number)));
        let header =
            segment::Header { number, base, prior, created_ns, salt, reused, tally, void_before }.encode();
        let contents = Trailer::beginning_at(base);
        let identity = file.identity().ok();
        self.shared.with(|index| {
            index.begun = identity.map(|identity| (number, identity));
            index.begin_segment(
                number,
                Segment {
                    base,
                    end: base,
                    file_len,
                    used: BLOCK,
                    salt,
                    totals: Totals::default(),
                    oldest_ns: u64::MAX,
                    newest_ns: 0,
                    sealed: false,
                    is_sound: false,
                },
            );
        });
        Ok(Active { number, file, salt, used: 0, file_len, named, header, contents })
    }

    fn file(&mut self, need: u64, want: u64) -> Result<Place, Refusal> {
        // What is done with makes room, or is the file to be had.
        let is_short =
            |index: &mut Index| index.spare.is_none() && index.available() < want && !index.doomed.is_empty();
        if self.shared.with(is_short) {
            let shared = &self.shared;
            lock(&shared.keeper).keep(shared, true);
        }
        if let Some(spare) = self.shared.with(|index| index.spare) {
            let opened = self.shared.files.open(&segment_name(spare.number), Access::Write);
            let more = want.saturating_sub(spare.len);
            let fits = self.shared.with(|index| more <= index.available());
            if let Ok(file) = opened
                && (more == 0 || fits && file.allocate(want).is_ok())
            {
                let Spare { number, len, reused } = spare;
                return Ok(Place { number, file, file_len: len.max(want), named: true, reused });
            }
            self.shared.with(|index| {
                index.spare = None;
                index.doomed.insert(spare.number, Doomed::of(spare.len));
            });
        }
        let mut available = self.shared.with(|index| index.available());
        if available < want && self.shared.with(|index| !index.doomed.is_empty()) {
            let shared = &self.shared;
            lock(&shared.keeper).make_room(shared);
            available = shared.with(|index| index.available());
        }
        let file_len = want.min(available) & !(ALIGN - 1);
        if file_len < need {
            return Err(Refusal::Full { max_size: self.shared.with(|index| index.limits.max_size) });
        }
        let Some(number) = self.shared.with(|index| index.take_number()) else {
            return Err(Refusal::Disk("segment numbers are used up".into()));
        };
        let name = segment_name(number);
        let created = self.shared.files.create(&name).and_then(|file| {
            file.allocate(file_len).inspect_err(|_| {
                let _ = self.shared.files.unlink(&name);
            })?;
            Ok(file)
        });
        match created {
            Ok(file) => Ok(Place { number, file, file_len, named: false, reused: false }),
            Err(error) => Err(self.failed(number, &error)),
        }
    }

    /// Writes and syncs frames that fit. The number of the first is returned.
    fn append(&mut self, part: &mut [Queued]) -> Result<u64, Refusal> {
        let Some(active) = &mut self.active else { return Err(Refusal::Closed) };
        // Without syncing, nothing is known to be on disk.
        let synced = if self.shared.options.fsync { self.next_sequence - 1 } else { 0 };
        let first = self.next_sequence;
        let headers: Vec<_> = part
            .iter()
            .zip(first..)
            .map(|(queued, sequence)| queued.header(sequence, synced).encode(active.salt))
            .collect();
        let mut slices = Vec::with_capacity(1 + part.len() * 4);
        let begin = active.used;
        if begin == 0 {
            slices.push(IoSlice::new(&active.header));
        }
        for (queued, header) in part.iter().zip(&headers) {
            slices.push(IoSlice::new(header));
            slices.push(IoSlice::new(&queued.entry.meta));
            slices.extend(queued.entry.payload.iter().map(|piece| IoSlice::new(piece)));
            slices.push(IoSlice::new(queued.padding()));
        }
        if let Err(error) = write_all(active.file.as_ref(), &mut slices, begin) {
            let refusal = self.undo(&error);
            if begin == 0 {
                // What is in the file may be there again after a crash, and the next one is not to begin where it does.
                self.next_sequence = first + part.len() as u64;
            }
            return Err(refusal);
        }
        if self.shared.options.fsync {
            let begun = self.shared.monotonic();
            let named = if active.named { Ok(()) } else { self.shared.files.sync_dir() };
            if let Err(error) = active.file.sync_data().and(named) {
                self.next_sequence = first + part.len() as u64;
                return Err(self.abandon(&error));
            }
            active.named = true;
            self.shared.options.observer.synced(self.shared.monotonic().saturating_sub(begun));
        }
        self.publish(part, first);
        Ok(first)
    }

    /// What has been written can be handed out.
    fn publish(&mut self, part: &mut [Queued], first: u64) {
        let Some(active) = &mut self.active else { return };
        let mut offset = active.frames_end();
        let mut located = Vec::with_capacity(part.len());
        for (queued, sequence) in part.iter_mut().zip(first..) {
            let lease = Lease::of(&queued.header(sequence, 0));
            located.push(Located { lease, segment: active.number, offset });
            offset += lease.framed_len;
            active.contents.totals.add(Totals::one(lease.items, lease.framed_len));
            active.contents.oldest_ns = active.contents.oldest_ns.min(lease.time_ns);
            active.contents.newest_ns = active.contents.newest_ns.max(lease.time_ns);
            if let Some(placed) = queued.placed.take() {
                (placed.0)(sequence);
            }
        }
        active.used = offset;
        self.next_sequence = first + part.len() as u64;
        active.contents.end = self.next_sequence;
        let number = active.number;
        self.shared.with(|index| {
            index.disk_full = None;
            index.commits += 1;
            index.publish(number, located.into_iter());
        });
    }

    /// Cuts off what a failed write has left.
    fn undo(&mut self, error: &io::Error) -> Refusal {
        let Some(mut active) = self.active.take() else { return Refusal::Closed };
        let number = active.number;
        let cut = active.file.truncate(active.used);
        if cut.is_ok() && error.kind() == io::ErrorKind::StorageFull && active.used > 0 {
            active.file_len = active.used;
            self.shared.with(|index| index.resize_segment(number, active.used));
            self.active = Some(active);
        } else {
            self.let_go(&active);
        }
        self.failed(number, error)
    }

    /// Lets go of a file whose sync has failed: what the kernel still has of it cannot be known.
    fn abandon(&mut self, error: &io::Error) -> Refusal {
        let Some(active) = self.active.take() else { return Refusal::Closed };
        // What is refused is not to come back after a restart; if this fails, the next segment's header says so.
        let _ = active.file.truncate(active.used);
        self.let_go(&active);
        self.failed(active.number, error)
    }

    fn let_go(&self, active: &Active) {
        let file_len = active.file.size().unwrap_or(active.file_len);
        self.shared.with(|index| index.seal_segment(active.number, file_len));
    }

    /// Tells of a failure.
    fn failed(&self, number: u64, error: &io::Error) -> Refusal {
        if error.kind() == io::ErrorKind::StorageFull {
            let now = self.shared.monotonic();
            self.shared.with(|index| {
                if index.disk_full.is_none() {
                    index.news.notices.push(Notice::DiskFull);
                }
                index.disk_full = Some(now);
            });
            return Refusal::DiskFull;
        }
        let error = error.to_string();
        self.shared.notice(&Notice::WriteFailed { file: segment_name(number), error: error.clone() });
        Refusal::Disk(error)
    }
}

impl Active {
    /// Where the next frame begins.
    fn frames_end(&self) -> u64 {
        self.used.max(BLOCK)
    }

    /// How many bytes of frames still fit.
    fn room(&self) -> u64 {
        self.file_len.saturating_sub(self.frames_end() + trailer::LENGTH as u64)
    }
}

impl Queued {
    fn header(&self, sequence: u64, synced: u64) -> Header {
        Header {
            header_len: frame::HEADER as u16,
            codec: self.entry.codec,
            kind: self.entry.kind,
            sequence,
            time_ns: self.time_ns,
            synced,
            items: self.entry.items,
            meta_len: self.entry.meta.len() as u32,
            payload_len: self.entry.payload_len() as u32,
            body_crc: self.body_crc,
        }
    }

    fn padding(&self) -> &'static [u8] {
        let written = frame::HEADER as u64 + self.entry.meta.len() as u64 + self.entry.payload_len();
        &[0; ALIGN as usize][..(self.framed_len - written) as usize]
    }
}
