//! Looking at a log from outside: listing, verifying, dumping, while it is closed or while a process has it. Nothing is
//! changed. What is being written at the same time may look torn.

mod holes;

pub use holes::Hole;

use crate::cursors;
use crate::entry::{Delivery, Lease};
use crate::files::{Access, Disk, File, Files, Listed, read_full};
use crate::format::cursor::Cursor;
use crate::format::segment::{BLOCK, Decoded, Header};
use crate::format::{ALIGN, frame};
use crate::options::SEGMENT_SIZE_MAX;
use crate::recover::{SKIPPED_MAX, read_trailer};
use crate::report::{OpenError, Totals};
use crate::scan::{self, Depth, Found, Walked, walk};
use crate::shared::{segment_name, segment_number};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

/// A log, looked at from outside.
pub struct Inspector {
    files: Arc<dyn Files>,
}

/// What there is to say about a segment without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its file.
    pub file: String,
    /// Its number.
    pub number: u64,
    /// The size of the file.
    pub file_len: u64,
    /// What it is.
    pub state: SegmentState,
    /// The first entry has this number,
    pub base: u64,
    /// and the last one the number before this.
    pub end: u64,
    /// What is in it, done with or not.
    pub totals: Totals,
    /// When the oldest was appended, in nanoseconds since 1970; 0 without entries.
    pub oldest_ns: u64,
    /// When the newest was.
    pub newest_ns: u64,
}

/// What a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Nothing will be added.
    Complete,
    /// It is being written to, or was when the process ended.
    Open,
    /// Prepared, and not written to.
    Blank,
    /// Its header cannot be used.
    Damaged,
    /// A newer version wrote it.
    Newer(u16),
    /// What has its name is no regular file.
    Irregular,
    /// Not even a beginning of it is there, and others were begun after it.
    Empty,
}

/// What is persisted for a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorFacts {
    /// Its name.
    pub consumer: String,
    /// `None`: the file cannot be used.
    pub position: Option<Position>,
}

/// How far a consumer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    cursor: Cursor,
}

/// What verifying a segment found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Entries whose every byte is right, done with or not.
    pub whole: Totals,
    /// Entries of which only the header is, and that are not done with.
    pub broken: Totals,
    /// How many numbers are missing between entries, or before the end that the segment says it has, and are not done
    /// with.
    pub missing: u64,
    /// How many entries are broken or missing, and done with all the same: they have been given up and counted as lost,
    /// or were damaged when they had been acked.
    pub settled: u64,
    /// Stretches in which no entry was found.
    pub gaps: u64,
    /// Behind the last entry there are so many bytes of something else.
    pub torn_bytes: u64,
}

/// An entry, as [`Inspector::entries`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The segment.
    pub segment: u64,
    /// Where the frame begins in its file.
    pub offset: u64,
    /// All persisted cursors say that it is done with.
    pub done: bool,
    /// What it is.
    pub delivery: Delivery,
}

impl Inspector {
    /// Of the log in `directory`.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self::new(Arc::new(Disk::open(directory)?)))
    }

    /// Of the log in these files.
    #[must_use]
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self { files }
    }

    /// All segments, in order. One that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// If the directory or a file cannot be read.
    pub fn segments(&self) -> io::Result<Vec<SegmentFacts>> {
        let mut files: Vec<(u64, Listed)> = self
            .files
            .list()?
            .into_iter()
            .filter_map(|file| Some((segment_number(&file.name)?, file)))
            .collect();
        files.sort_unstable_by_key(|(number, _)| *number);
        let mut segments = Vec::new();
        for (number, file) in files {
            if !file.regular {
                segments.push(SegmentFacts::blank(number, 0, SegmentState::Irregular));
                continue;
            }
            match self.facts(number, file.len) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                facts => segments.push(facts?),
            }
        }
        let is_begun =
            |facts: &SegmentFacts| matches!(facts.state, SegmentState::Complete | SegmentState::Open);
        let begun = segments.iter().rposition(is_begun).unwrap_or_default();
        for facts in &mut segments[..begun] {
            if facts.state == SegmentState::Blank && facts.file_len == 0 {
                facts.state = SegmentState::Empty;
            }
        }
        Ok(segments)
    }

    /// What is persisted for each consumer.
    ///
    /// # Errors
    /// If the directory cannot be read, or a cursor is of a newer version.
    pub fn cursors(&self) -> Result<Vec<CursorFacts>, OpenError> {
        let listing = |source| OpenError::Io { doing: "listing the directory", source };
        let mut cursors = Vec::new();
        for file in self.files.list().map_err(listing)? {
            let Some(consumer) = cursors::consumer_of(&file.name) else { continue };
            let position = match cursors::load(self.files.as_ref(), consumer)? {
                cursors::Found::Cursor(cursor, _) => Some(Position { cursor }),
                cursors::Found::Nothing => continue,
                cursors::Found::Damaged => None,
            };
            cursors.push(CursorFacts { consumer: consumer.to_owned(), position });
        }
        Ok(cursors)
    }

    /// Reads all of a segment. `None`: there is none (any more), or it has no header.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn verify(&self, number: u64) -> io::Result<Option<Verified>> {
        // What was begun afterwards tells what ought to be in this one, even if it was begun just now: the end of this one
        // had been written by then. Only the newest can have been cut short by a kill.
        let by_the_next = self.end_by_the_next(number)?;
        let cursors = self.cursors().map_err(io::Error::other)?;
        let Some((file, header, end, to)) = self.segment(number)? else { return Ok(None) };
        // More than a segment can hold is not gone through: numbers have jumped.
        let can_be = |next: &u64| next.saturating_sub(header.base) <= SEGMENT_SIZE_MAX / frame::HEADER as u64;
        let end = end.or(by_the_next.map(|end| end.max(header.base)).filter(can_be));
        let is_done = |sequence: u64| is_done(&cursors, number, sequence);
        let mut verified = Verified::default();
        let mut next = header.base;
        let walked = walk_through(file.as_ref(), &header, end, to, Depth::Bodies, |found| {
            let sequence = found.header.sequence;
            let totals = Totals::one(found.header.items, found.header.frame_len());
            match found.body_whole {
                true => verified.whole.add(totals),
                false if is_done(sequence) => verified.settled += 1,
                false => verified.broken.add(totals),
            }
            verified.miss(next..sequence, is_done);
            next = sequence + 1;
        })?;
        if is_gone(file.as_ref(), &header)? {
            return Ok(None);
        }
        // A cursor may know of more than is there; as when a log is opened, that has been taken.
        let known = cursors.iter().filter_map(|facts| facts.position.as_ref()?.end(number));
        let known = known.filter(can_be).fold(next, u64::max);
        verified.miss(next..end.unwrap_or(known), is_done);
        verified.gaps = walked.gaps;
        // In a file that has been used before, what is torn cannot be told from what was there. In one that is complete,
        // nothing is: what ought to be there is missing.
        let can_be_torn = !header.reused && end.is_none();
        verified.torn_bytes = if can_be_torn { walked.dirty_end - walked.end } else { 0 };
        Ok(Some(verified))
    }

    /// Shows every entry that is whole, in order, until `visit` has seen enough. One at a time is in memory.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn entries(&self, mut visit: impl FnMut(Inspected) -> ControlFlow<()>) -> Result<(), OpenError> {
        let reading = |source| OpenError::Io { doing: "reading the segments", source };
        let cursors = self.cursors()?;
        for segment in self.segments().map_err(reading)? {
            if segment.state == SegmentState::Irregular {
                continue;
            }
            let Some((file, header, end, to)) = self.segment(segment.number).map_err(reading)? else {
                continue;
            };
            let mut places = Vec::new();
            walk_through(file.as_ref(), &header, end, to, Depth::Headers, |found| {
                places.push((found.offset, found.header.frame_len()));
            })
            .map_err(reading)?;
            for (offset, len) in places {
                let Some(delivery) = read(file.as_ref(), &header, offset, len).map_err(reading)? else {
                    continue;
                };
                let sequence = delivery.lease.sequence;
                let done = is_done(&cursors, segment.number, sequence);
                let inspected = Inspected { segment: segment.number, offset, done, delivery };
                if visit(inspected).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Names every entry whose header is whole and that some cursor does not say to be done with, in order. Reads headers
    /// only, so it is quick however much there is.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn waiting(&self, mut visit: impl FnMut(Lease)) -> Result<(), OpenError> {
        let reading = |source| OpenError::Io { doing: "reading the segments", source };
        let cursors = self.cursors()?;
        for segment in self.segments().map_err(reading)? {
            if segment.state == SegmentState::Irregular {
                continue;
            }
            let Some((file, header, end, to)) = self.segment(segment.number).map_err(reading)? else {
                continue;
            };
            walk_through(file.as_ref(), &header, end, to, Depth::Headers, |found| {
                if !is_done(&cursors, segment.number, found.header.sequence) {
                    visit(Lease::of(&found.header));
                }
            })
            .map_err(reading)?;
        }
        Ok(())
    }

    fn facts(&self, number: u64, file_len: u64) -> io::Result<SegmentFacts> {
        let file = self.files.open(&segment_name(number), Access::Read)?;
        let mut facts = SegmentFacts::blank(number, file_len, SegmentState::Blank);
        let header = match header(file.as_ref(), number)? {
            Decoded::Header(header) => header,
            Decoded::Blank | Decoded::Prepared => return Ok(facts),
            Decoded::Newer(version) => {
                return Ok(SegmentFacts { state: SegmentState::Newer(version), ..facts });
            }
            Decoded::Damaged => {
                // Unless it is another segment's by now.
                self.files.open(&segment_name(number), Access::Read)?;
                return Ok(SegmentFacts { state: SegmentState::Damaged, ..facts });
            }
        };
        (facts.base, facts.end) = (header.base, header.base);
        if let Some(trailer) = read_trailer(file.as_ref(), file_len, &header)? {
            facts.state = SegmentState::Complete;
            (facts.end, facts.totals) = (trailer.end, trailer.totals);
            (facts.oldest_ns, facts.newest_ns) = (trailer.oldest_ns, trailer.newest_ns);
            return Ok(facts);
        }
        if is_gone(file.as_ref(), &header)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        facts.state = SegmentState::Open;
        walk_through(file.as_ref(), &header, None, file_len, Depth::Headers, |found| {
            let time_ns = found.header.time_ns;
            facts.oldest_ns = if facts.totals.is_empty() { time_ns } else { facts.oldest_ns.min(time_ns) };
            facts.newest_ns = facts.newest_ns.max(time_ns);
            facts.totals.add(Totals::one(found.header.items, found.header.frame_len()));
            facts.end = found.header.sequence + 1;
        })?;
        Ok(facts)
    }

    /// The file, its header, the end that its trailer says its numbers have, and where its frames end.
    #[allow(clippy::type_complexity, reason = "four things that belong to one another only here")]
    fn segment(&self, number: u64) -> io::Result<Option<(Box<dyn File>, Header, Option<u64>, u64)>> {
        let file = match self.files.open(&segment_name(number), Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let Decoded::Header(header) = header(file.as_ref(), number)? else { return Ok(None) };
        let len = file.size()?;
        let trailer = read_trailer(file.as_ref(), len, &header)?;
        let to = if trailer.is_some() { len - crate::format::trailer::LENGTH as u64 } else { len };
        Ok(Some((file, header, trailer.map(|trailer| trailer.end), to)))
    }
}

impl SegmentFacts {
    /// Nothing is in it.
    fn blank(number: u64, file_len: u64, state: SegmentState) -> Self {
        Self {
            file: segment_name(number),
            number,
            file_len,
            state,
            base: 0,
            end: 0,
            totals: Totals::default(),
            oldest_ns: 0,
            newest_ns: 0,
        }
    }
}

impl Verified {
    /// Nothing is to be found of these.
    fn miss(&mut self, numbers: Range<u64>, is_done: impl Fn(u64) -> bool) {
        let all = numbers.end.saturating_sub(numbers.start);
        let settled = numbers.filter(|sequence| is_done(*sequence)).count() as u64;
        self.settled += settled;
        self.missing += all - settled;
    }

    /// Whether all that waits is there.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.missing == 0
    }
}

impl Position {
    /// Everything below this number is done with.
    #[must_use]
    pub fn low(&self) -> u64 {
        self.cursor.low
    }

    /// The number that the next entry was to get when the cursor was persisted.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.cursor.next_sequence
    }

    /// What was left then.
    #[must_use]
    pub fn left(&self) -> Totals {
        let mut left = Totals::default();
        for part in &self.cursor.parts {
            left.add(part.left);
        }
        left
    }

    /// Where the numbers ended that were known to be in a segment.
    fn end(&self, segment: u64) -> Option<u64> {
        self.cursor.part(segment).filter(|part| !part.is_unknown()).map(|part| part.end)
    }

    /// Whether an entry in that segment is done with.
    #[must_use]
    pub fn is_done(&self, segment: u64, sequence: u64) -> bool {
        self.cursor.is_done(self.cursor.part(segment), sequence)
    }
}

/// Whether all that has been persisted says so.
fn is_done(cursors: &[CursorFacts], segment: u64, sequence: u64) -> bool {
    let done = |facts: &CursorFacts| {
        facts.position.as_ref().is_some_and(|position| position.is_done(segment, sequence))
    };
    !cursors.is_empty() && cursors.iter().all(done)
}

fn header(file: &dyn File, number: u64) -> io::Result<Decoded> {
    let mut block = vec![0; BLOCK as usize];
    let read = read_full(file, &mut block, 0)?;
    Ok(Header::decode(&block[..read], number))
}

/// Whether the file has become that of another segment while it was read: the log is at work, and done with this one.
fn is_gone(file: &dyn File, was: &Header) -> io::Result<bool> {
    Ok(header(file, was.number)? != Decoded::Header(*was))
}

fn walk_through(
    file: &dyn File,
    header: &Header,
    end: Option<u64>,
    to: u64,
    depth: Depth,
    visit: impl FnMut(Found),
) -> io::Result<Walked> {
    // As when a log is opened: a number that no segment of this size can have reached is none of ours.
    let sequence_end = end.unwrap_or(header.base.saturating_add(to / ALIGN + SKIPPED_MAX));
    let range = scan::Range { from: BLOCK, to, sequence: header.base, sequence_end };
    walk(file, header.salt, range, depth, visit)
}

/// The entry at that place, if all of it is right.
fn read(file: &dyn File, segment: &Header, offset: u64, len: u64) -> io::Result<Option<Delivery>> {
    let mut bytes = vec![0; len as usize];
    let read = read_full(file, &mut bytes, offset)?;
    bytes.truncate(read);
    Ok(frame::decode(&bytes.into(), segment.salt).map(|(header, meta, payload)| Delivery {
        lease: Lease::of(&header),
        meta,
        payload,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::write_all;
    use crate::format::{Salt, segment};
    use std::io::IoSlice;

    #[test]
    fn a_file_that_has_become_another_segments_is_not_taken_for_damaged() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = Disk::open(directory.path()).expect("there");
        let file = files.create(&segment_name(3)).expect("created");
        let salt = Salt { marker: 1, seed: 2 };
        let was = Header { number: 3, base: 1, prior: 0, created_ns: 4, salt, reused: false };
        write_all(file.as_ref(), &mut [IoSlice::new(&was.encode())], 0).expect("written");
        assert!(!is_gone(file.as_ref(), &was).expect("readable"));
        write_all(file.as_ref(), &mut [IoSlice::new(&segment::prepared(9))], 0).expect("written");
        assert!(is_gone(file.as_ref(), &was).expect("readable"));
    }

    #[test]
    fn numbers_that_no_segment_can_have_reached_are_not_gone_through() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = Disk::open(directory.path()).expect("there");
        let file = files.create(&segment_name(1)).expect("created");
        let salt = Salt { marker: 1, seed: 2 };
        let header = Header { number: 1, base: 1, prior: 0, created_ns: 3, salt, reused: false };
        let frame = |sequence| {
            let header = frame::Header {
                header_len: frame::HEADER as u16,
                codec: 0,
                kind: 0,
                sequence,
                time_ns: 3,
                synced: 0,
                items: 5,
                meta_len: 0,
                payload_len: 0,
                body_crc: frame::body_crc([]),
            };
            header.encode(salt)
        };
        let frames = [frame(1), frame(3), frame(1 << 62)].concat();
        let block = header.encode();
        let mut slices = [IoSlice::new(&block), IoSlice::new(&frames)];
        write_all(file.as_ref(), &mut slices, 0).expect("written");
        let verified = Inspector::new(Arc::new(files)).verify(1).expect("readable").expect("there");
        assert_eq!((verified.whole.entries, verified.missing), (2, 1));
    }
}
