//! Segments that are not there, or of which nothing can be used, though others were begun after them.

use super::{Inspector, walk_through};
use crate::cursors;
use crate::format::segment::Header;
use crate::recover::unheard;
use crate::report::{OpenError, Totals};
use crate::scan::Depth;
use crate::shared::{segment_name, segment_number};
use std::ops::Range;

/// What was taken before a segment was begun, waits, and is in no segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The file of the segment that was begun later.
    pub before: String,
    /// What is missing. Items and bytes are as far as the cursors know them.
    pub missing: Totals,
}

impl Inspector {
    /// Where something is missing between segments, as the next start will count it. Segments behind the last one that
    /// can be used are not looked for.
    ///
    /// # Errors
    /// If a file cannot be read, or a cursor is of a newer version.
    pub fn holes(&self) -> Result<Vec<Hole>, OpenError> {
        let reading = |source| OpenError::Io { doing: "reading the segments", source };
        let mut usable: Vec<(Header, u64)> = Vec::new();
        let mut stretches = Vec::new();
        for number in self.numbers().map_err(reading)? {
            let Some((file, header, end, to)) = self.segment(number).map_err(reading)? else { continue };
            let last = usable.last().map(|(header, end)| (header.number, *end));
            let follows = last.is_some_and(|(last, _)| last.checked_add(1) == Some(number));
            if !follows {
                let (last, begin) = last.unwrap_or((0, 1));
                let end = header.base.min(header.prior.saturating_add(1));
                stretches.push((last.saturating_add(1)..number, begin..end));
            }
            let mut seen = header.base;
            if end.is_none() {
                walk_through(file.as_ref(), &header, end, to, Depth::Headers, |found| {
                    seen = found.header.sequence + 1;
                })
                .map_err(reading)?;
            }
            usable.push((header, end.unwrap_or(seen)));
        }
        // Not before: a log that is at work removes a segment only when its cursors are done with it.
        let missing = self.missing(&stretches)?;
        let holes = stretches
            .into_iter()
            .zip(missing)
            .map(|((segments, _), missing)| Hole { before: segment_name(segments.end), missing });
        Ok(holes.filter(|hole| !hole.missing.is_empty()).collect())
    }

    /// What is missing in each of these stretches of segments and numbers.
    fn missing(&self, stretches: &[(Range<u64>, Range<u64>)]) -> Result<Vec<Totals>, OpenError> {
        let mut persisted = Vec::new();
        for facts in self.cursors()? {
            if let cursors::Found::Cursor(cursor, _) = cursors::load(self.files.as_ref(), &facts.consumer)? {
                persisted.push(cursor);
            }
        }
        let missing = |(segments, numbers): &(Range<u64>, Range<u64>)| {
            let of_each = persisted.iter().map(|cursor| {
                let mut missing = Totals::default();
                let named = cursor.parts.iter().filter(|part| segments.contains(&part.segment));
                named.filter(|part| !part.is_unknown()).for_each(|part| missing.add(part.left));
                let fresh = unheard(cursor, numbers.start, numbers.end);
                missing.entries += fresh.into_iter().map(|(begin, end)| end - begin).sum::<u64>();
                missing
            });
            of_each.max_by_key(|missing| missing.entries).unwrap_or_default()
        };
        Ok(stretches.iter().map(missing).collect())
    }

    /// The numbers of all segments that are files, in order.
    fn numbers(&self) -> std::io::Result<Vec<u64>> {
        let listed = self.files.list()?;
        let regular = listed.iter().filter(|file| file.regular);
        let mut numbers: Vec<u64> = regular.filter_map(|file| segment_number(&file.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where the numbers of a segment end, if it is not the last: what the one that was begun right after it says.
    pub(super) fn end_by_the_next(&self, number: u64) -> std::io::Result<Option<u64>> {
        let Some(next) = number.checked_add(1) else { return Ok(None) };
        if !self.numbers()?.contains(&next) {
            return Ok(None);
        }
        let next = self.segment(next)?;
        Ok(next.map(|(_, next, ..)| next.base.min(next.prior.saturating_add(1))))
    }
}
