//! Opening: finding out what is there, without reading more than must be.
//!
//! A segment that was completed is known by its header and trailer. The others (one, after a crash) are read through:
//! frames that are not whole are left out, what hangs over at the end is cut off, and the segment is completed. New
//! entries always go into a new segment. A crash meanwhile leaves what the next attempt needs: nothing is removed that
//! was not empty or done with.

mod contents;
mod listing;
mod missing;
mod unreadable;

pub(crate) use contents::{SKIPPED_MAX, read_trailer};
pub(crate) use unreadable::unheard;

use crate::clock::{Clock, LogTime};
use crate::cursors::{self, CursorFile};
use crate::files::{Access, Files};
use crate::format::cursor::Cursor;
use crate::format::segment::{Decoded, Header};
use crate::format::trailer;
use crate::index::{Doomed, Index, Limits, News, Reader, Segment};
use crate::options::Options;
use crate::report::{Loss, LossReason, Notice, OpenError, Recovered, Totals};
use crate::shared::segment_name;
use crate::tally::{Milestones, Tally};
use contents::{Contents, Expected, entries, is_blank, sum};
use listing::Headed;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

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
    /// Those of them into which nothing has been taken.
    void: BTreeSet<u64>,
    /// Numbers below this have been accounted for: they are there, or what became of them has been counted.
    accounted: u64,
    /// The file that they were in.
    accounted_in: u64,
    /// What waits in segments that cannot be read now, as far as it is known.
    unreadable: Totals,
    /// What has been found out is to be remembered, so that it is told once.
    is_news: bool,
    /// How much had been taken by when.
    milestones: Milestones,
    /// The sizes of all files together, with what cursors may come to take. After a loss of power that may exceed the
    /// limit: what had been cut off or removed may be there again.
    size: u64,
}

/// What the segment that was begun after another one says of it.
#[derive(Clone, Copy)]
struct Next {
    /// The last entry that had been taken by then.
    prior: u64,
    /// There was none between the two that may have been done with.
    follows: bool,
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
        void: BTreeSet::new(),
        accounted: 1,
        accounted_in: 0,
        unreadable: Totals::default(),
        is_news: false,
        milestones: Milestones::default(),
        size: 0,
    };
    recovery.index.read_only.clone_from(&read_only);
    recovery.notices.extend(read_only.map(|error| Notice::ReadOnly { error }));
    recovery.load_cursors(options)?;
    let segments = recovery.sort_out(&listed, options)?;
    recovery.measure(&segments);
    recovery.take_in(&segments);
    recovery.miss();
    Ok(recovery.finish(clock))
}

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
            self.milestones.note(cursor.next_sequence, cursor.tally);
        }
        Ok(())
    }

    fn measure(&mut self, segments: &[Headed]) {
        self.index.cursor_room = self.cursor_files.iter().map(CursorFile::room).sum();
        let cursors = self.index.cursor_room.max(self.index.cursor_len);
        self.size = segments.iter().fold(cursors, |size, (_, len, _)| size.saturating_add(*len));
    }

    fn take_in(&mut self, headers: &[Headed]) {
        for (at, (number, len, decoded)) in headers.iter().enumerate() {
            let expected = self.index.segments.last_key_value().map_or(1, |(_, segment)| segment.end);
            match decoded {
                // It may come back. Its numbers are not given to others.
                Err(error) => self.leave_for_later(*number, None, &headers[at + 1..], error),
                Ok(Decoded::Prepared) => {
                    self.discard_void(*number, *len);
                    self.left_out.insert(*number, Some(LossReason::Damaged));
                }
                Ok(Decoded::Blank) if self.is_blank(*number, *len) => {
                    self.discard_void(*number, *len);
                    self.left_out.insert(*number, Some(LossReason::Damaged));
                }
                Ok(decoded) if self.is_void(*number, decoded, &headers[at + 1..]) => {
                    self.notices.push(Notice::TornTail { file: segment_name(*number), bytes: *len });
                    self.discard_void(*number, *len);
                }
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
        if !trailer.is_partial {
            let tally = header.tally.map(|before| before.with(trailer.totals));
            self.milestones.note(trailer.end, tally);
        }
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

    /// Nothing is in it that anybody waits for; what should have been has been counted.
    fn discard(&mut self, number: u64, len: u64) {
        self.left_out.insert(number, None);
        if self.writable {
            self.index.doomed.insert(number, Doomed::of(len));
        }
    }

    /// Nothing has been taken into it, and if it is there again it is not to be looked at.
    fn discard_void(&mut self, number: u64, len: u64) {
        self.discard(number, len);
        if !self.is_named(number) {
            self.void.insert(number);
        }
    }

    fn is_named(&self, number: u64) -> bool {
        self.cursors.iter().flatten().any(|cursor| cursor.part(number).is_some())
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

    /// Whether nothing has been taken into a segment, though there is something in its file: the first write to it failed,
    /// or was not synced when the power did. It had not been, if
    ///
    /// - a segment that was begun later says so. Its process knew: whatever it acknowledges is counted as taken before
    ///   that, and it begins segments in the order of their numbers and never goes back to one. That says nothing of the
    ///   segments of processes before it, but of those that it had found to be void itself. Numbers of entries would prove
    ///   less: of what was refused and is there again, some have been given to others. Nothing in the file would, either:
    ///   one of which its process saw nothing any more may be there again, whole, and must not come before those others.
    /// - there is no header, and nothing was begun later. Then it is the one that was being written, and its header is
    ///   synced before, or with, the first entry that is acknowledged.
    ///
    /// A cursor names only what something has been taken into, and has the last word.
    fn is_void(&self, number: u64, decoded: &Decoded, later: &[Headed]) -> bool {
        let is_said = |(.., decoded): &Headed| matches!(decoded, Ok(Decoded::Header(of)) if of.voids(number));
        let is_blank = |(.., decoded): &Headed| matches!(decoded, Ok(Decoded::Blank | Decoded::Prepared));
        let is_last = *decoded == Decoded::Blank && later.iter().all(is_blank);
        !self.is_named(number) && (is_last || later.iter().any(is_said))
    }

    fn is_blank(&self, number: u64, len: u64) -> bool {
        self.files.open(&segment_name(number), Access::Read).is_ok_and(|file| is_blank(file.as_ref(), len))
    }

    fn finish(mut self, clock: &dyn Clock) -> Opened {
        let newest_ns = self.index.segments.values().map(|segment| segment.newest_ns).max().unwrap_or(0);
        let (time, behind) = LogTime::begin(clock, newest_ns);
        self.notices.extend(behind.map(|by| Notice::ClockWentBack { by }));
        // Of a number that no file has now, nothing is known: it may have been moved away, and be put back.
        let before = (1..self.index.next_number).rev();
        self.index.last_filled = before
            .take_while(|number| self.void.contains(number))
            .last()
            .map_or(self.index.next_number.saturating_sub(1), |lowest| lowest - 1);
        self.index.next_sequence = self.unseen;
        self.index.tally = self.milestones.at(self.unseen).unwrap_or(Tally::from(self.unseen));
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
