//! What is in a segment: by its trailer, or by its frames.

use super::{Next, Recovery};
use crate::files::{File, read_full, write_all};
use crate::format::segment::{BLOCK, Header};
use crate::format::trailer::{self, Trailer};
use crate::format::{ALIGN, frame};
use crate::index::Segment;
use crate::report::{Notice, Totals};
use crate::scan::{Depth, Range, walk};
use crate::shared::segment_name;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};

/// More numbers than that are not skipped within a segment: of groups whose writing failed.
pub(crate) const SKIPPED_MAX: u64 = 1 << 20;

/// What ought to be in a segment.
pub(super) struct Expected {
    /// One more than the last number that had been taken.
    pub(super) end: u64,
    /// What the segment says is in it.
    pub(super) totals: Totals,
    /// No more than so many are missing for the first time.
    pub(super) missing: u64,
}

/// What is in a segment.
pub(super) struct Contents {
    /// What had been taken into it, whether it can still be handed out or not.
    pub(super) trailer: Trailer,
    /// The entries in it, in order, where it had to be read.
    pub(super) there: Option<Vec<(u64, Totals)>>,
    pub(super) file_len: u64,
    pub(super) used: u64,
}

impl Recovery<'_> {
    /// Reads a segment that was not completed, and completes it.
    pub(super) fn read_through(
        &mut self,
        number: u64,
        len: u64,
        header: &Header,
        file: &dyn File,
        next: Option<Next>,
    ) -> io::Result<Contents> {
        let base = header.base;
        // What lies behind was refused after a failure, and is there all the same.
        let sequence_end = next.map_or(u64::MAX, |next| next.prior.saturating_add(1)).max(base);
        // A number that no segment of this size can have reached is none of ours, whatever its checksum says: what
        // follows takes memory and time by how many there are.
        let sequence_end = sequence_end.min(base.saturating_add(len / 8 + SKIPPED_MAX));
        let mut trailer = Trailer::beginning_at(base);
        let mut there = Vec::new();
        let mut broken = BTreeMap::new();
        // Where the frames end that were taken, or say that others were.
        let mut told_end = BLOCK;
        let mut taken_end = if next.is_some_and(|next| next.follows) { sequence_end } else { base };
        let parts = self.cursors.iter().flatten().filter_map(|cursor| cursor.part(number));
        let parts = parts.filter(|part| !part.is_unknown());
        taken_end = parts.map(|part| part.end).fold(taken_end, u64::max);
        let mut used = BLOCK;
        let mut offsets = Vec::new();
        let range = Range { from: BLOCK, to: len, sequence: base, sequence_end };
        let walked = walk(file, header.salt, range, Depth::Bodies, |found| {
            let header = found.header;
            let totals = Totals::one(header.items, header.frame_len());
            let frame_end = found.offset + header.frame_len();
            let told = header.synced.saturating_add(1).min(sequence_end);
            if told > taken_end || header.sequence < taken_end {
                (taken_end, told_end) = (taken_end.max(told), frame_end);
            }
            if !found.body_whole {
                broken.insert(header.sequence, totals);
                return;
            }
            there.push((header.sequence, totals));
            offsets.push(found.offset);
            trailer.end = header.sequence + 1;
            trailer.totals.add(totals);
            trailer.oldest_ns = trailer.oldest_ns.min(header.time_ns);
            trailer.newest_ns = trailer.newest_ns.max(header.time_ns);
            used = frame_end;
        })?;
        if !there.is_empty() {
            // What is missing stays in the sums, and what is left of it in the file: if nobody has been told when this
            // process is killed, the next one misses it again.
            used = used.max(told_end);
            trailer.end = trailer.end.max(taken_end.min(base.saturating_add(most_numbers(used))));
            // Of what is not there and comes behind that, nobody has been told that it was taken, and it is not missed.
            let taken_end = taken_end.min(trailer.end);
            let untold = there.iter().filter(|(sequence, _)| *sequence >= taken_end).count() as u64;
            trailer.totals.entries = taken_end - base + untold;
            let mut known = there.len() as u64;
            for (_, broken) in broken.range(..taken_end) {
                trailer.totals.add(Totals { entries: 0, ..*broken });
                known += 1;
            }
            trailer.is_partial = known < trailer.totals.entries;
        }
        // A trailer that is not at the end has been written, and the file has not been cut.
        let trailer_end = used + trailer::LENGTH as u64;
        let trailed = read_trailer(file, trailer_end, header)?.is_some();
        // From here on nothing fails: what has been counted is not left for later.
        let expected = Expected { end: taken_end, totals: Totals::default(), missing: u64::MAX };
        self.count_missing(number, base, &expected, &there, &broken);
        self.account(number, taken_end);
        // In a file that has been used before, what is torn cannot be told from what was there.
        if !header.reused && walked.dirty_end > if trailed { trailer_end } else { used } {
            self.notices
                .push(Notice::TornTail { file: segment_name(number), bytes: walked.dirty_end - used });
        }
        let mut file_len = len;
        if self.writable && !there.is_empty() {
            // Without a trailer it is read through again by the next start, which may have room for one.
            let more = trailer_end.saturating_sub(len);
            let fits = more == 0 || self.size.saturating_add(more) <= self.index.limits.max_size;
            let known = there.partition_point(|(sequence, _)| *sequence < taken_end);
            let unknown_from = if known == 0 { 0 } else { offsets.get(known).copied().unwrap_or(used) };
            let completed = write_again(file, unknown_from..used)
                .and_then(|()| if fits { complete(file, &trailer, header, used) } else { cut(file, used) });
            if let Err(error) = completed {
                let file = segment_name(number);
                self.notices.push(Notice::WriteFailed { file, error: error.to_string() });
            }
            file_len = file.size().unwrap_or(len);
            self.size = self.size.saturating_add(file_len).saturating_sub(len);
        }
        Ok(Contents { trailer, there: Some(there), file_len, used })
    }
}

/// What is read of a file whose sync has failed may not be on disk, and no sync will bring it there: the system takes it
/// for written. The process before may have come to that, and could not cut it off.
fn write_again(file: &dyn File, range: std::ops::Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut at = range.start;
    while at < range.end {
        let some = (range.end - at).min(buffer.len() as u64) as usize;
        let read = read_full(file, &mut buffer[..some], at)?;
        if read == 0 {
            break;
        }
        write_all(file, &mut [IoSlice::new(&buffer[..read])], at)?;
        at += read as u64;
    }
    Ok(())
}

/// Writes the trailer where the frames end, and nothing is behind it. What it counts is on disk before it is: the process
/// before may not have come to syncing it.
fn complete(file: &dyn File, trailer: &Trailer, header: &Header, used: u64) -> io::Result<()> {
    file.sync_data()?;
    let bytes = trailer.encode(header.salt);
    write_all(file, &mut [IoSlice::new(&bytes)], used)?;
    cut(file, used + bytes.len() as u64)
}

fn cut(file: &dyn File, len: u64) -> io::Result<()> {
    file.truncate(len)?;
    file.sync_data()
}

/// The entries of a complete segment, by their headers. If there are more of these than had been taken, a group came to
/// the disk in part before anybody was told that it had been: then those count that are whole.
pub(super) fn entries(file: &dyn File, segment: &Segment) -> io::Result<Vec<(u64, Totals)>> {
    let at = |depth| {
        let to = segment.used;
        let range = Range { from: BLOCK, to, sequence: segment.base, sequence_end: segment.end };
        let mut there = Vec::new();
        walk(file, segment.salt, range, depth, |found| {
            if found.body_whole {
                let totals = Totals::one(found.header.items, found.header.frame_len());
                there.push((found.header.sequence, totals));
            }
        })?;
        Ok(there)
    };
    match at(Depth::Headers) {
        Ok(there) if there.len() as u64 > segment.totals.entries => at(Depth::Bodies),
        there => there,
    }
}

/// The trailer at the end of a file, if the segment was completed.
pub(crate) fn read_trailer(file: &dyn File, len: u64, header: &Header) -> io::Result<Option<Trailer>> {
    let Some(at) = len.checked_sub(trailer::LENGTH as u64).filter(|at| *at >= BLOCK && at % ALIGN == 0)
    else {
        return Ok(None);
    };
    let mut bytes = [0; trailer::LENGTH];
    let read = read_full(file, &mut bytes, at)?;
    let trailer = Trailer::decode(&bytes, header.salt).filter(|_| read == bytes.len());
    let most = most_numbers(at);
    Ok(trailer.filter(|trailer| trailer.end.checked_sub(header.base).is_some_and(|span| span <= most)))
}

/// How many numbers a segment can have whose frames end there. Each entry took its header's length at least; more are
/// missing at its end, where it has been cut.
fn most_numbers(used: u64) -> u64 {
    used / frame::HEADER as u64 + SKIPPED_MAX
}

pub(super) fn sum(entries: &[(u64, Totals)]) -> Totals {
    let mut sum = Totals::default();
    entries.iter().for_each(|(_, totals)| sum.add(*totals));
    sum
}

/// Whether a file is nothing but zeros. Reserved room that was not written to is.
pub(super) fn is_blank(file: &dyn File, len: u64) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    while at < len {
        match read_full(file, &mut buffer, at) {
            Ok(0) => break,
            Ok(read) if buffer[..read].iter().all(|byte| *byte == 0) => at += read as u64,
            _ => return false,
        }
    }
    true
}
