//! Segments that are not there, or of which nothing can be used, though others were begun after them.

use super::{Inspector, Opened, walk_through};
use crate::cursors;
use crate::format::segment::Header;
use crate::recover::unheard;
use crate::report::{OpenError, Totals};
use crate::scan::Depth;
use crate::shared::{segment_name, segment_number};
use crate::tally::Milestones;
use std::io;
use std::ops::Range;

/// What was taken before a segment was begun, waits, and is in no segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The file of the segment that was begun later.
    pub before: String,
    /// What is missing. Items and bytes are as far as they can still be known.
    pub missing: Totals,
    /// How many of the entries are not in the items and bytes.
    pub unknown: u64,
}

impl Inspector {
    /// Where something is missing between segments, as the next start will count it. Segments behind the last one that
    /// can be used are not looked for.
    ///
    /// # Errors
    /// If a file cannot be read, or a cursor is of a newer version.
    pub fn holes(&self) -> Result<Vec<Hole>, OpenError> {
        let reading = |source| OpenError::Io { doing: "reading the segments", source };
        let mut last: Option<(u64, u64)> = None;
        let mut stretches = Vec::new();
        let mut milestones = Milestones::default();
        for number in self.numbers().map_err(reading)? {
            let Some(segment) = self.segment(number).map_err(reading)? else { continue };
            let taken = taken_before(&segment.header);
            milestones.note(taken, segment.header.tally);
            if last.is_none_or(|(last, _)| last.checked_add(1) != Some(number)) {
                let (last, begin) = last.unwrap_or((0, 1));
                stretches.push((last.saturating_add(1)..number, begin..taken));
            }
            last = Some((number, note_end(&segment, &mut milestones).map_err(reading)?));
        }
        // Not before: a log that is at work removes a segment only when its cursors are done with it.
        let missing = self.missing(&stretches, &mut milestones)?;
        let holes = stretches.into_iter().zip(missing).map(|((segments, _), (missing, unknown))| Hole {
            before: segment_name(segments.end),
            missing,
            unknown,
        });
        Ok(holes.filter(|hole| !hole.missing.is_empty()).collect())
    }

    /// What is missing in each of these stretches of segments and numbers, and of how many it is not known how much they
    /// had.
    fn missing(
        &self,
        stretches: &[(Range<u64>, Range<u64>)],
        milestones: &mut Milestones,
    ) -> Result<Vec<(Totals, u64)>, OpenError> {
        let mut persisted = Vec::new();
        for facts in self.cursors()? {
            if let cursors::Found::Cursor(cursor, _) = cursors::load(self.files.as_ref(), &facts.consumer)? {
                milestones.note(cursor.next_sequence, cursor.tally);
                persisted.push(cursor);
            }
        }
        let missing = |(segments, numbers): &(Range<u64>, Range<u64>)| {
            let of_each = persisted.iter().map(|cursor| {
                let (mut missing, unknown) = milestones.sum(unheard(cursor, numbers.start, numbers.end));
                let named = cursor.parts.iter().filter(|part| segments.contains(&part.segment));
                named.filter(|part| !part.is_unknown()).for_each(|part| missing.add(part.left));
                (missing, unknown)
            });
            of_each.max_by_key(|(missing, _)| missing.entries).unwrap_or_default()
        };
        Ok(stretches.iter().map(missing).collect())
    }

    /// The numbers of all segments that are files, in order.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let listed = self.files.list()?;
        let regular = listed.iter().filter(|file| file.regular);
        let mut numbers: Vec<u64> = regular.filter_map(|file| segment_number(&file.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where the numbers of a segment end, if it is not the last: what the one that was begun right after it says.
    pub(super) fn end_by_the_next(&self, number: u64) -> io::Result<Option<u64>> {
        let Some(next) = number.checked_add(1) else { return Ok(None) };
        if !self.numbers()?.contains(&next) {
            return Ok(None);
        }
        Ok(self.segment(next)?.map(|next| taken_before(&next.header)))
    }
}

/// One more than the last number that had been taken when a segment was begun.
fn taken_before(header: &Header) -> u64 {
    header.base.min(header.prior.saturating_add(1))
}

/// Where the numbers of a segment end; and how much had been taken by then, if that is known.
fn note_end(segment: &Opened, milestones: &mut Milestones) -> io::Result<u64> {
    let Opened { file, header, trailer, to } = segment;
    if let Some(trailer) = trailer {
        let tally = header.tally.filter(|_| !trailer.is_partial);
        milestones.note(trailer.end, tally.map(|before| before.with(trailer.totals)));
        return Ok(trailer.end);
    }
    let mut seen = header.base;
    let mut there = Totals::default();
    walk_through(file.as_ref(), header, None, *to, Depth::Headers, |found| {
        seen = found.header.sequence + 1;
        there.add(Totals::one(found.header.items, found.header.frame_len()));
    })?;
    let tally = header.tally.filter(|_| there.entries == seen - header.base);
    milestones.note(seen, tally.map(|before| before.with(there)));
    Ok(seen)
}
