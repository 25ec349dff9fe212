//! Looking at a log from outside: listing, verifying, dumping, while it is closed or while a process has it. Nothing is
//! changed. What is being written at the same time may look torn.

mod facts;
mod holes;

pub use facts::{CursorFacts, Inspected, Position, SegmentFacts, SegmentState, Verified};
pub use holes::Hole;

use crate::cursors;
use crate::entry::{Delivery, Lease};
use crate::files::{Access, Disk, File, Files, LOCK, Listed, read_full};
use crate::format::segment::{BLOCK, Decoded, Header};
use crate::format::trailer::{self, Trailer};
use crate::format::{ALIGN, frame};
use crate::options::SEGMENT_SIZE_MAX;
use crate::recover::{SKIPPED_MAX, read_trailer};
use crate::report::{OpenError, Totals};
use crate::scan::{self, Depth, Found, Walked, walk};
use crate::shared::{is_far, segment_name, segment_number};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// A log, looked at from outside.
pub struct Inspector {
    files: Arc<dyn Files>,
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

    /// Whether a log is there, or has been: its lock stays behind.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn is_log(&self) -> io::Result<bool> {
        match self.files.open(LOCK, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(|_| true),
        }
        Ok(self.files.list()?.iter().any(|file| segment_number(&file.name).is_some()))
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
        // As when a log is opened: others' files, unless numbers have really come that far.
        if !segments.iter().any(|facts| is_far(facts.number) && is_begun(facts)) {
            segments.retain(|facts| !is_far(facts.number));
        }
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
        let Some(Opened { file, header, trailer, to }) = self.segment(number)? else { return Ok(None) };
        let end = trailer.map(|trailer| trailer.end);
        // More than a segment can hold is not gone through: numbers have jumped.
        let can_be = |next: &u64| next.saturating_sub(header.base) <= SEGMENT_SIZE_MAX / frame::HEADER as u64;
        let end = end.or(by_the_next.map(|end| end.max(header.base)).filter(can_be));
        let is_done = |sequence: u64| is_done(&cursors, number, sequence);
        let mut verified = Verified::default();
        let mut next = header.base;
        let mut seen = 0;
        let walked = walk_through(file.as_ref(), &header, end, to, Depth::Bodies, |found| {
            let sequence = found.header.sequence;
            seen += 1;
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
        if let Some(trailer) = trailer {
            verified.miss_at_most(trailer.totals.entries, seen);
        }
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
            let Some(Opened { file, header, trailer, to }) = self.segment(segment.number).map_err(reading)?
            else {
                continue;
            };
            let end = trailer.map(|trailer| trailer.end);
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
            let Some(Opened { file, header, trailer, to }) = self.segment(segment.number).map_err(reading)?
            else {
                continue;
            };
            let end = trailer.map(|trailer| trailer.end);
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

    fn segment(&self, number: u64) -> io::Result<Option<Opened>> {
        let file = match self.files.open(&segment_name(number), Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let Decoded::Header(header) = header(file.as_ref(), number)? else { return Ok(None) };
        let len = file.size()?;
        let trailer = read_trailer(file.as_ref(), len, &header)?;
        let to = if trailer.is_some() { len - trailer::LENGTH as u64 } else { len };
        Ok(Some(Opened { file, header, trailer, to }))
    }
}

/// A segment that can be used.
struct Opened {
    file: Box<dyn File>,
    header: Header,
    /// If it is complete.
    trailer: Option<Trailer>,
    /// Where its frames end at the latest.
    to: u64,
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
        let was = Header {
            number: 3,
            base: 1,
            prior: 0,
            created_ns: 4,
            salt,
            reused: false,
            tally: None,
            void_before: 0,
        };
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
        let header = Header {
            number: 1,
            base: 1,
            prior: 0,
            created_ns: 3,
            salt,
            reused: false,
            tally: None,
            void_before: 0,
        };
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
