//! Opening: finding out what is there, without reading more than must be.
//!
//! A segment that was completed is known by its header and trailer. The others (one, after a crash) are read through:
//! frames that are not whole are left out, what hangs over at the end is cut off, and the segment is completed. New
//! entries always go into a new segment. A crash meanwhile leaves what the next attempt needs: nothing is removed that
//! was not empty or done with.

use crate::clock::{Clock, LogTime};
use crate::cursors::{self, CursorFile};
use crate::files::{Access, File, Files, Listed, read_full, write_all};
use crate::format::cursor::Cursor;
use crate::format::segment::{BLOCK, Decoded, Header};
use crate::format::trailer::{self, Trailer};
use crate::format::{ALIGN, VERSION};
use crate::index::{Index, Limits, Reader, Segment};
use crate::options::Options;
use crate::report::{Loss, LossReason, Notice, OpenError, Recovered, Totals};
use crate::scan::{Depth, Range, walk};
use crate::shared::{segment_name, segment_number};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};

/// How far numbers jump where it cannot be known which have been used.
const JUMP: u64 = 1 << 40;

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
    recovered: Recovered,
    losses: BTreeMap<LossReason, Totals>,
    /// Numbers below this may have been used by entries that cannot be seen.
    unseen: u64,
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
        recovered: Recovered::default(),
        losses: BTreeMap::new(),
        unseen: 1,
    };
    recovery.index.read_only.clone_from(&read_only);
    if let Some(error) = read_only {
        recovery.recovered.notices.push(Notice::ReadOnly { error });
    }
    let cursors = recovery.load_cursors(options)?;
    recovery.sort_out(&listed, options)?;
    let files_of_cursors = recovery.restore(&cursors, options)?;
    Ok(recovery.finish(clock, files_of_cursors))
}

impl Recovery<'_> {
    fn load_cursors(&mut self, options: &Options) -> Result<Vec<Option<Cursor>>, OpenError> {
        let mut cursors = Vec::new();
        for consumer in &options.consumers {
            cursors.push(match cursors::load(self.files, &consumer.name)? {
                cursors::Found::Cursor(cursor) => {
                    self.unseen = self.unseen.max(cursor.next_sequence).max(cursor.low);
                    Some(cursor)
                }
                cursors::Found::Nothing => None,
                cursors::Found::Damaged => {
                    let file = cursors::cursor_name(&consumer.name);
                    self.recovered.notices.push(Notice::CursorLost { file });
                    None
                }
            });
        }
        Ok(cursors)
    }

    /// Goes through the files, in order.
    fn sort_out(&mut self, listed: &[Listed], options: &Options) -> Result<(), OpenError> {
        let mut segments = BTreeMap::new();
        for file in listed {
            let consumer = cursors::consumer_of(&file.name);
            match segment_number(&file.name).filter(|_| file.regular) {
                Some(number) => {
                    segments.insert(number, file.len);
                }
                None if consumer.is_some_and(|name| options.consumers.iter().any(|c| c.name == name)) => {}
                None if file.name.starts_with("cursor-") && file.name.ends_with(".new") => {
                    if self.writable {
                        let _ = self.files.unlink(&file.name);
                    }
                }
                None => self.recovered.notices.push(Notice::Foreign { file: file.name.clone() }),
            }
        }
        // Nothing is changed before it is known that all of it can be read.
        let mut headers = Vec::new();
        for (number, len) in segments {
            headers.push((number, len, self.header(number)?));
        }
        self.index.next_number =
            headers.last().map_or(Some(1), |(number, ..)| number.checked_add(1)).unwrap_or(u64::MAX);
        let priors: Vec<Option<u64>> = headers
            .iter()
            .skip(1)
            .map(|(.., header)| {
                header.as_ref().and_then(|(_, decoded)| match decoded {
                    Decoded::Header(header) => Some(header.prior),
                    _ => None,
                })
            })
            .chain([None])
            .collect();
        for ((number, len, header), prior) in headers.into_iter().zip(priors) {
            self.segment(number, len, header, prior);
        }
        Ok(())
    }

    /// The file, opened, and what its first block says; none if it cannot be read.
    fn header(&mut self, number: u64) -> Result<Option<(Box<dyn File>, Decoded)>, OpenError> {
        let name = segment_name(number);
        let access = if self.writable { Access::Write } else { Access::Read };
        let mut block = vec![0; BLOCK as usize];
        let read = self.files.open(&name, access).and_then(|file| {
            let read = read_full(file.as_ref(), &mut block, 0)?;
            Ok((file, read))
        });
        match read {
            Ok((file, read)) => match Header::decode(&block[..read]) {
                Decoded::Newer(version) => {
                    Err(OpenError::NewerVersion { file: name, version, known: VERSION })
                }
                decoded => Ok(Some((file, decoded))),
            },
            Err(error) => {
                self.recovered.notices.push(Notice::ReadFailed { file: name, error: error.to_string() });
                Ok(None)
            }
        }
    }

    /// Takes a segment in, or leaves it out.
    fn segment(
        &mut self,
        number: u64,
        len: u64,
        header: Option<(Box<dyn File>, Decoded)>,
        next_prior: Option<u64>,
    ) {
        let Some((file, decoded)) = header else {
            // It may come back. Its numbers are not given to others.
            self.jump();
            return;
        };
        let expected = self.index.segments.last_key_value().map_or(1, |(_, segment)| segment.end);
        match decoded {
            Decoded::Header(header) if header.number == number && header.base >= expected => {
                let found = self.contents(number, len, &header, file.as_ref(), next_prior);
                if let Err(error) = found {
                    let file = segment_name(number);
                    self.recovered.notices.push(Notice::ReadFailed { file, error: error.to_string() });
                    self.jump();
                }
            }
            Decoded::Blank if is_blank(file.as_ref(), len) => self.discard(number, len),
            _ => self.set_aside(number, len),
        }
    }

    /// A segment whose header can be used.
    fn contents(
        &mut self,
        number: u64,
        len: u64,
        header: &Header,
        file: &dyn File,
        next_prior: Option<u64>,
    ) -> io::Result<()> {
        // What was refused after a failure, and is there all the same.
        let sequence_end = next_prior.map_or(u64::MAX, |prior| prior.saturating_add(1)).max(header.base);
        let trailer = read_trailer(file, len, header)?;
        let contents = match trailer {
            Some(trailer) => trailer,
            None => self.read_through(number, len, header, file, sequence_end)?,
        };
        if contents.end <= header.base {
            self.discard(number, len);
            return Ok(());
        }
        let frames_end = len.saturating_sub(trailer::LENGTH as u64);
        let segment = Segment {
            base: header.base,
            end: contents.end,
            file_len: if trailer.is_some() { len } else { file.len().unwrap_or(len) },
            used: if trailer.is_some() { frames_end } else { BLOCK + contents.totals.bytes },
            salt: header.salt,
            totals: contents.totals,
            oldest_ns: contents.oldest_ns,
            newest_ns: contents.newest_ns,
            sealed: true,
        };
        self.index.segments.insert(number, segment);
        self.unseen = self.unseen.max(contents.end);
        Ok(())
    }

    /// Reads a segment that was not completed, and completes it.
    fn read_through(
        &mut self,
        number: u64,
        len: u64,
        header: &Header,
        file: &dyn File,
        sequence_end: u64,
    ) -> io::Result<Trailer> {
        let mut contents =
            Trailer { end: header.base, totals: Totals::default(), oldest_ns: u64::MAX, newest_ns: 0 };
        let mut synced = 0;
        // Frames whose bodies are not whole: number, items, length.
        let mut broken: Vec<(u64, Totals)> = Vec::new();
        let range = Range { from: BLOCK, to: len, sequence: header.base, sequence_end };
        let mut end = BLOCK;
        let walked = walk(file, header.salt, range, Depth::Bodies, |found| {
            synced = synced.max(found.header.synced);
            let totals = Totals::one(found.header.items, found.header.frame_len());
            if !found.body_whole {
                broken.push((found.header.sequence, totals));
                return;
            }
            contents.end = found.header.sequence + 1;
            contents.totals.add(totals);
            contents.oldest_ns = contents.oldest_ns.min(found.header.time_ns);
            contents.newest_ns = contents.newest_ns.max(found.header.time_ns);
            end = found.offset + found.header.frame_len();
        })?;
        self.tell_damage(number, header, &contents, synced, &broken, sequence_end, walked.gaps);
        if walked.dirty_end > end {
            let file = segment_name(number);
            self.recovered.notices.push(Notice::TornTail { file, bytes: walked.dirty_end - end });
        }
        if self.writable && contents.end > header.base {
            let trailer = contents.encode(header.salt);
            let completed = file
                .truncate(end)
                .and_then(|()| write_all(file, &mut [IoSlice::new(&trailer)], end))
                .and_then(|()| file.sync_data());
            if let Err(error) = completed {
                let file = segment_name(number);
                self.recovered.notices.push(Notice::WriteFailed { file, error: error.to_string() });
            }
        }
        Ok(contents)
    }

    /// What is missing from a segment that has been read through. What had never been known to be on disk is not lost:
    /// nobody was told that it was taken.
    #[allow(clippy::too_many_arguments, reason = "everything that a walk has found")]
    fn tell_damage(
        &mut self,
        number: u64,
        header: &Header,
        contents: &Trailer,
        synced: u64,
        broken: &[(u64, Totals)],
        sequence_end: u64,
        gaps: u64,
    ) {
        let taken_end = if sequence_end == u64::MAX { synced.saturating_add(1) } else { sequence_end };
        let expected = taken_end.max(contents.end).saturating_sub(header.base);
        let known: Vec<_> = broken.iter().filter(|(sequence, _)| *sequence < taken_end).collect();
        let mut lost = Totals::default();
        for (_, totals) in &known {
            lost.add(*totals);
        }
        lost.entries = expected.saturating_sub(contents.totals.entries);
        if taken_end < contents.end {
            // Frames that were being written when the process ended are whole, and others beside them are not.
            lost.entries = lost.entries.min(taken_end.saturating_sub(header.base));
        }
        if !lost.is_empty() {
            self.losses.entry(LossReason::Damaged).or_default().add(lost);
            let file = segment_name(number);
            self.recovered.notices.push(Notice::Damage { file, places: gaps.max(known.len() as u64).max(1) });
        }
    }

    /// Nothing is in it.
    fn discard(&mut self, number: u64, len: u64) {
        if self.writable {
            self.index.doomed.insert(number, len);
        }
    }

    /// Leaves a file that cannot be used under another name.
    fn set_aside(&mut self, number: u64, len: u64) {
        self.jump();
        let name = segment_name(number);
        let aside = format!("{name}.damaged");
        if self.writable && self.files.rename(&name, &aside).is_ok() {
            self.recovered.notices.push(Notice::SetAside { file: aside, bytes: len });
        } else {
            self.recovered.notices.push(Notice::SetAside { file: name, bytes: len });
        }
    }

    fn jump(&mut self) {
        let seen = self.index.segments.last_key_value().map_or(1, |(_, segment)| segment.end);
        self.unseen = self.unseen.max(seen).saturating_add(JUMP);
    }

    /// Marks what the cursors say is done with, and finds the sums of it.
    fn restore(
        &mut self,
        cursors: &[Option<Cursor>],
        options: &Options,
    ) -> Result<Vec<CursorFile>, OpenError> {
        let numbers: Vec<u64> = self.index.segments.keys().copied().collect();
        for number in numbers {
            let (base, span) = {
                let segment = &self.index.segments[&number];
                (segment.base, segment.span())
            };
            for (reader, cursor) in self.index.readers.iter_mut().zip(cursors) {
                if let Some(cursor) = cursor {
                    reader.restore(cursor, number, base, span);
                }
            }
            let partly = |reader: &Reader| {
                reader.progress.get(&number).is_some_and(|progress| progress.done.count() < span)
            };
            let gaps = self.index.segments[&number].totals.entries != span;
            if gaps || self.index.readers.iter().any(partly) {
                self.sums(number);
            }
        }
        let mut files = Vec::new();
        for (consumer, cursor) in options.consumers.iter().zip(cursors) {
            let generation = cursor.as_ref().map_or(0, |cursor| cursor.generation);
            files.push(CursorFile::new(&consumer.name, generation));
        }
        Ok(files)
    }

    /// Walks through a segment of which something is missing or done with, to know what is left.
    fn sums(&mut self, number: u64) {
        let segment = self.index.segments[&number].clone();
        let name = segment_name(number);
        let range =
            Range { from: BLOCK, to: segment.file_len, sequence: segment.base, sequence_end: segment.end };
        let mut there = Vec::new();
        let walked = self.files.open(&name, Access::Read).and_then(|file| {
            walk(file.as_ref(), segment.salt, range, Depth::Headers, |found| {
                let totals = Totals::one(found.header.items, found.header.frame_len());
                there.push((found.header.sequence, totals));
            })
        });
        if let Err(error) = walked {
            self.recovered.notices.push(Notice::ReadFailed { file: name, error: error.to_string() });
            return;
        }
        for reader in &mut self.index.readers {
            let progress = reader.progress.entry(number).or_default();
            let mut next = segment.base;
            for (sequence, totals) in there.iter().copied().chain([(segment.end, Totals::default())]) {
                for missing in next..sequence {
                    progress.taken.set(missing - segment.base);
                    progress.done.set(missing - segment.base);
                }
                if sequence < segment.end && progress.done.contains(sequence - segment.base) {
                    progress.totals.add(totals);
                }
                next = sequence + 1;
            }
        }
    }

    fn finish(mut self, clock: &dyn Clock, cursors: Vec<CursorFile>) -> Opened {
        let newest_ns = self.index.segments.values().map(|segment| segment.newest_ns).max().unwrap_or(0);
        let (time, behind) = LogTime::begin(clock, newest_ns);
        if let Some(by) = behind {
            self.recovered.notices.push(Notice::ClockWentBack { by });
        }
        self.index.next_sequence = self.unseen;
        self.index.cursor_len = cursors.iter().map(CursorFile::len).sum();
        let numbers: Vec<u64> = self.index.segments.keys().copied().collect();
        for number in numbers {
            let file_len = self.index.segments[&number].file_len;
            self.index.seal_segment(number, file_len);
        }
        self.index.news = Default::default();
        self.recovered.losses =
            self.losses.iter().map(|(reason, lost)| Loss { reason: *reason, lost: *lost }).collect();
        self.recovered.held = self.index.held();
        Opened { index: self.index, cursors, time, recovered: self.recovered }
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
    Ok(Trailer::decode(&bytes, header.salt).filter(|_| read == bytes.len()))
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
