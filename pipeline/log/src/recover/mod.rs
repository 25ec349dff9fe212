//! Opening: finding out what is there, without reading more than must be.
//!
//! A segment that was completed is known by its header and trailer. The others (one, after a crash) are read through:
//! frames that are not whole are left out, what hangs over at the end is cut off, and the segment is completed. New
//! entries always go into a new segment. A crash meanwhile leaves what the next attempt needs: nothing is removed that
//! was not empty or done with.

mod missing;
mod unreadable;

pub(crate) use unreadable::unheard;

use crate::clock::{Clock, LogTime};
use crate::cursors::{self, CursorFile};
use crate::files::{Access, File, Files, Listed, read_full, write_all};
use crate::format::cursor::Cursor;
use crate::format::frame;
use crate::format::segment::{BLOCK, Decoded, Header};
use crate::format::trailer::{self, Trailer};
use crate::format::{ALIGN, VERSION};
use crate::index::{Doomed, Index, Limits, News, Reader, Segment};
use crate::options::Options;
use crate::report::{Loss, LossReason, Notice, OpenError, Recovered, Totals};
use crate::scan::{Depth, Range, walk};
use crate::shared::{segment_name, segment_number};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};

/// How far numbers jump where it cannot be known which have been used.
const JUMP: u64 = 1 << 40;

/// What the name of a segment ends in that cannot be used.
const ASIDE: &str = ".damaged";

/// What opening leads to.
pub(crate) struct Opened {
    pub(crate) index: Index,
    pub(crate) cursors: Vec<CursorFile>,
    pub(crate) time: LogTime,
    pub(crate) recovered: Recovered,
}

/// What has been found so far.
struct Recovery<'a> {
    files: &'a dyn Files,
    writable: bool,
    index: Index,
    /// Of each consumer, what is persisted.
    cursors: Vec<Option<Cursor>>,
    cursor_files: Vec<CursorFile>,
    notices: Vec<Notice>,
    losses: BTreeMap<LossReason, Loss>,
    /// Numbers below this may have been used by entries that cannot be seen.
    unseen: u64,
    /// Segments that cannot be taken in; those of which the cursors expect something are lost, if there is a reason.
    left_out: BTreeMap<u64, Option<LossReason>>,
    /// Numbers below this have been accounted for: they are there, or what became of them has been counted.
    accounted: u64,
    /// The file that they were in.
    accounted_in: u64,
    /// What waits in segments that cannot be read now, as far as it is known.
    unreadable: Totals,
    /// What has been found out is to be remembered, so that it is told once.
    is_news: bool,
}

/// What the segment that was begun after another one says of it.
#[derive(Clone, Copy)]
struct Next {
    /// The last entry that had been taken by then.
    prior: u64,
    /// There was none between the two that may have been done with.
    follows: bool,
}

/// What ought to be in a segment.
struct Expected {
    /// One more than the last number that had been taken.
    end: u64,
    /// What the segment says is in it.
    totals: Totals,
    /// No more than so many are missing for the first time.
    missing: u64,
}

/// What is in a segment.
struct Contents {
    /// What had been taken into it, whether it can still be handed out or not.
    trailer: Trailer,
    /// The entries in it, in order, where it had to be read.
    there: Option<Vec<(u64, Totals)>>,
    file_len: u64,
    used: u64,
}

/// Finds out what is there.
pub(crate) fn open(
    files: &dyn Files,
    clock: &dyn Clock,
    options: &Options,
    limits: Limits,
    read_only: Option<String>,
) -> Result<Opened, OpenError> {
    let listed = files.list().map_err(|source| OpenError::Io { doing: "listing the directory", source })?;
    let readers = options.consumers.iter().cloned().map(Reader::new).collect();
    let mut recovery = Recovery {
        files,
        writable: read_only.is_none(),
        index: Index::new(limits, readers),
        cursors: Vec::new(),
        cursor_files: Vec::new(),
        notices: Vec::new(),
        losses: BTreeMap::new(),
        unseen: 1,
        left_out: BTreeMap::new(),
        accounted: 1,
        accounted_in: 0,
        unreadable: Totals::default(),
        is_news: false,
    };
    recovery.index.read_only.clone_from(&read_only);
    recovery.notices.extend(read_only.map(|error| Notice::ReadOnly { error }));
    recovery.load_cursors(options)?;
    let segments = recovery.sort_out(&listed, options);
    // Nothing is changed before it is known that no file is newer than this program.
    let mut headers = Vec::new();
    for (number, len) in segments {
        headers.push((number, len, recovery.header(number)?));
    }
    recovery.take_in(&headers);
    recovery.miss();
    Ok(recovery.finish(clock))
}

/// More numbers than that are not skipped within a segment: of groups whose writing failed.
pub(crate) const SKIPPED_MAX: u64 = 1 << 20;

impl Recovery<'_> {
    fn load_cursors(&mut self, options: &Options) -> Result<(), OpenError> {
        for consumer in &options.consumers {
            match cursors::load(self.files, &consumer.name)? {
                cursors::Found::Cursor(cursor, file) => {
                    self.cursor_files.push(file);
                    self.cursors.push(Some(cursor));
                    continue;
                }
                cursors::Found::Nothing => {}
                cursors::Found::Damaged => {
                    let file = cursors::cursor_name(&consumer.name);
                    self.notices.push(Notice::CursorLost { file });
                }
            }
            self.cursor_files.push(CursorFile::new(&consumer.name));
            self.cursors.push(None);
        }
        for cursor in self.cursors.iter().flatten() {
            self.unseen = self.unseen.max(cursor.next_sequence).max(cursor.low);
        }
        Ok(())
    }

    /// Tells our files from others.
    fn sort_out(&mut self, listed: &[Listed], options: &Options) -> BTreeMap<u64, u64> {
        let mut segments = BTreeMap::new();
        for file in listed {
            let consumer = cursors::consumer_of(&file.name);
            if let Some(number) = segment_number(&file.name).filter(|_| file.regular) {
                segments.insert(number, file.len);
            } else if cursors::is_remains(&file.name) {
                if self.writable {
                    let _ = self.files.unlink(&file.name);
                }
            } else if consumer.is_some_and(|name| options.consumers.iter().any(|c| c.name == name)) {
                self.index.cursor_len += file.len;
            } else {
                self.notices.push(Notice::Foreign { file: file.name.clone() });
            }
        }
        // No number is used twice while anything remembers it.
        let aside = listed.iter().filter_map(|file| segment_number(file.name.strip_suffix(ASIDE)?));
        let named = self.cursors.iter().flatten().flat_map(|cursor| &cursor.parts).map(|part| part.segment);
        let last = segments.keys().copied().chain(aside).chain(named).max();
        self.index.next_number = last.map_or(1, |last| last.saturating_add(1));
        segments
    }

    /// What the first block of a segment says; or why it cannot be read.
    fn header(&self, number: u64) -> Result<Result<Decoded, io::Error>, OpenError> {
        let name = segment_name(number);
        let mut block = vec![0; BLOCK as usize];
        let read = self.files.open(&name, Access::Read);
        match read.and_then(|file| read_full(file.as_ref(), &mut block, 0)) {
            Ok(read) => match Header::decode(&block[..read], number) {
                Decoded::Newer(version) => {
                    Err(OpenError::NewerVersion { file: name, version, known: VERSION })
                }
                decoded => Ok(Ok(decoded)),
            },
            Err(error) => Ok(Err(error)),
        }
    }

    fn take_in(&mut self, headers: &[(u64, u64, Result<Decoded, io::Error>)]) {
        for (at, (number, len, decoded)) in headers.iter().enumerate() {
            let expected = self.index.segments.last_key_value().map_or(1, |(_, segment)| segment.end);
            match decoded {
                // It may come back. Its numbers are not given to others.
                Err(error) => self.leave_for_later(*number, None, &headers[at + 1..], error),
                Ok(Decoded::Header(header)) if header.base >= expected => {
                    let next = headers[at + 1..].iter().find_map(|(number, _, next)| match next {
                        Ok(Decoded::Header(next)) if next.base > header.base => Some(Next {
                            prior: next.prior,
                            follows: Some(*number) == header.number.checked_add(1),
                        }),
                        _ => None,
                    });
                    self.count_gap(header);
                    match self.segment(*number, *len, header, next) {
                        Ok(end) => self.account(*number, end),
                        Err(error) => {
                            self.leave_for_later(*number, Some(header.base), &headers[at + 1..], &error);
                        }
                    }
                }
                Ok(Decoded::Prepared) => {
                    self.discard(*number, *len);
                    self.left_out.insert(*number, Some(LossReason::Damaged));
                }
                Ok(Decoded::Blank) if self.is_blank(*number, *len) => {
                    self.discard(*number, *len);
                    self.left_out.insert(*number, Some(LossReason::Damaged));
                }
                Ok(Decoded::Blank) if self.is_unheard_of(*number, &headers[at + 1..]) => {
                    self.notices.push(Notice::TornTail { file: segment_name(*number), bytes: *len });
                    self.discard(*number, *len);
                }
                Ok(_) => self.set_aside(*number, *len),
            }
        }
    }

    /// A segment whose header can be used. Its numbers, which end with what is returned, are accounted for when all of it
    /// has been read that must be.
    fn segment(&mut self, number: u64, len: u64, header: &Header, next: Option<Next>) -> io::Result<u64> {
        let access = if self.writable { Access::Write } else { Access::Read };
        let file = self.files.open(&segment_name(number), access)?;
        let trailer = read_trailer(file.as_ref(), len, header)?;
        let Contents { trailer, mut there, file_len, used } = match trailer {
            Some(trailer) => {
                Contents { trailer, there: None, file_len: len, used: len - trailer::LENGTH as u64 }
            }
            None => self.read_through(number, len, header, file.as_ref(), next)?,
        };
        if trailer.end <= header.base {
            self.discard(number, file_len);
            return Ok(trailer.end);
        }
        let mut segment = Segment {
            base: header.base,
            end: trailer.end,
            file_len,
            used,
            salt: header.salt,
            totals: trailer.totals,
            oldest_ns: trailer.oldest_ns,
            newest_ns: trailer.newest_ns,
            sealed: true,
            is_sound: false,
        };
        let whole = trailer.totals.entries == segment.span();
        let none_done = |cursor: &Option<Cursor>| {
            let said = cursor.as_ref().map(|cursor| cursor.all_or_none(number, segment.base, segment.end));
            said.is_none_or(|said| said == Some(false))
        };
        let all_done = |cursor: &Option<Cursor>| {
            let cursor = cursor.as_ref();
            cursor.is_some_and(|cursor| cursor.all_or_none(number, segment.base, segment.end) == Some(true))
        };
        if self.cursors.iter().all(all_done) {
            self.discard(number, file_len);
            return Ok(trailer.end);
        }
        if !whole || there.is_some() || !self.cursors.iter().all(none_done) {
            let there = match there.take() {
                Some(there) => there,
                None => {
                    let there = entries(file.as_ref(), &segment)?;
                    let missing = segment.totals.entries.saturating_sub(there.len() as u64);
                    let expected = Expected { end: segment.end, totals: segment.totals, missing };
                    self.count_missing(number, segment.base, &expected, &there, &BTreeMap::new());
                    there
                }
            };
            segment.totals = sum(&there);
            for (reader, cursor) in self.index.readers.iter_mut().zip(&self.cursors) {
                reader.restore(cursor.as_ref(), number, &segment, &there);
            }
        }
        self.index.segments.insert(number, segment);
        Ok(trailer.end)
    }

    /// Reads a segment that was not completed, and completes it.
    fn read_through(
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
        let mut trailer = Trailer { end: base, totals: Totals::default(), oldest_ns: u64::MAX, newest_ns: 0 };
        let mut there = Vec::new();
        let mut broken = BTreeMap::new();
        // Where the frames end that were taken, or say that others were.
        let mut told_end = BLOCK;
        let mut taken_end = if next.is_some_and(|next| next.follows) { sequence_end } else { base };
        let parts = self.cursors.iter().flatten().filter_map(|cursor| cursor.part(number));
        let parts = parts.filter(|part| !part.is_unknown());
        taken_end = parts.map(|part| part.end).fold(taken_end, u64::max);
        let mut used = BLOCK;
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
            trailer.totals.entries = trailer.end - base;
            broken.range(..trailer.end).for_each(|(_, broken)| {
                trailer.totals.add(Totals { entries: 0, ..*broken });
            });
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
            let bytes = trailer.encode(header.salt);
            let completed = write_all(file, &mut [IoSlice::new(&bytes)], used)
                .and_then(|()| file.truncate(used + bytes.len() as u64))
                .and_then(|()| file.sync_data());
            if let Err(error) = completed {
                let file = segment_name(number);
                self.notices.push(Notice::WriteFailed { file, error: error.to_string() });
            }
            file_len = file.size().unwrap_or(len);
        }
        Ok(Contents { trailer, there: Some(there), file_len, used })
    }

    /// Nothing is in it that anybody waits for; what should have been has been counted.
    fn discard(&mut self, number: u64, len: u64) {
        self.left_out.insert(number, None);
        if self.writable {
            self.index.doomed.insert(number, Doomed::of(len));
        }
    }

    /// Leaves a file that cannot be used under another name.
    fn set_aside(&mut self, number: u64, len: u64) {
        self.leave_out(number, Some(LossReason::Damaged));
        let name = segment_name(number);
        let aside = format!("{name}{ASIDE}");
        let renamed = self.writable && self.files.rename(&name, &aside).is_ok();
        let file = if renamed { aside } else { name };
        self.notices.push(Notice::SetAside { file, bytes: len });
    }

    fn leave_out(&mut self, number: u64, reason: Option<LossReason>) {
        self.left_out.insert(number, reason);
        let seen = self.index.segments.last_key_value().map_or(1, |(_, segment)| segment.end);
        self.unseen = self.unseen.max(seen).saturating_add(JUMP);
        self.is_news = true;
    }

    fn read_failed(&mut self, number: u64, error: &io::Error) {
        self.notices.push(Notice::ReadFailed { file: segment_name(number), error: error.to_string() });
    }

    /// Whether a segment without a header is one to which the first write had not been synced: nothing was begun after
    /// it, and no cursor names it.
    fn is_unheard_of(&self, number: u64, later: &[(u64, u64, Result<Decoded, io::Error>)]) -> bool {
        let blank = |(.., decoded): &(u64, u64, Result<Decoded, io::Error>)| {
            matches!(decoded, Ok(Decoded::Blank | Decoded::Prepared))
        };
        later.iter().all(blank) && !self.cursors.iter().flatten().any(|cursor| cursor.part(number).is_some())
    }

    fn is_blank(&self, number: u64, len: u64) -> bool {
        self.files.open(&segment_name(number), Access::Read).is_ok_and(|file| is_blank(file.as_ref(), len))
    }

    fn finish(mut self, clock: &dyn Clock) -> Opened {
        let newest_ns = self.index.segments.values().map(|segment| segment.newest_ns).max().unwrap_or(0);
        let (time, behind) = LogTime::begin(clock, newest_ns);
        self.notices.extend(behind.map(|by| Notice::ClockWentBack { by }));
        self.index.next_sequence = self.unseen;
        self.index.cursor_room = self.cursor_files.iter().map(CursorFile::room).sum();
        let numbers: Vec<u64> = self.index.segments.keys().copied().collect();
        for number in numbers {
            let file_len = self.index.segments[&number].file_len;
            self.index.seal_segment(number, file_len);
        }
        for reader in &mut self.index.readers {
            // What is missing is to be told once, and a jump is not to be taken for something that is.
            reader.dirty = !self.losses.is_empty() || self.is_news;
        }
        self.index.news = News::default();
        let losses = self.losses.values().copied().collect();
        let (held, unreadable) = (self.index.held(), self.unreadable);
        let recovered = Recovered { held, unreadable, losses, notices: self.notices };
        Opened { index: self.index, cursors: self.cursor_files, time, recovered }
    }
}

/// The entries of a segment, by their headers.
fn entries(file: &dyn File, segment: &Segment) -> io::Result<Vec<(u64, Totals)>> {
    let range = Range { from: BLOCK, to: segment.used, sequence: segment.base, sequence_end: segment.end };
    let mut there = Vec::new();
    walk(file, segment.salt, range, Depth::Headers, |found| {
        there.push((found.header.sequence, Totals::one(found.header.items, found.header.frame_len())));
    })?;
    Ok(there)
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

fn sum(entries: &[(u64, Totals)]) -> Totals {
    let mut sum = Totals::default();
    entries.iter().for_each(|(_, totals)| sum.add(*totals));
    sum
}

/// Whether a file is nothing but zeros. Reserved room that was not written to is.
fn is_blank(file: &dyn File, len: u64) -> bool {
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
