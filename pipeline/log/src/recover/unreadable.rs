//! Segments that cannot be read now. They may be readable when the log is opened next, or gone by then: the cursors go
//! on naming them, and the numbers that may be in them, so that what is in one is then handed out or counted as lost,
//! and neither is taken for done with.

use super::listing::Headed;
use super::{JUMP, Recovery};
use crate::format::cursor::{Cursor, Part};
use crate::format::segment::Decoded;
use crate::report::{Notice, Totals};
use crate::shared::segment_name;
use std::io;

impl Recovery<'_> {
    /// Leaves a segment for later. It begins with `base`, if that is known; `later` are those that were begun after it.
    pub(super) fn leave_for_later(
        &mut self,
        number: u64,
        base: Option<u64>,
        later: &[Headed],
        error: &io::Error,
    ) {
        let begin = self.accounted.max(base.unwrap_or_default());
        let bound = later.iter().find_map(|(.., next)| match next {
            Ok(Decoded::Header(next)) if next.base >= begin => {
                Some(next.base.min(next.prior.saturating_add(1)))
            }
            _ => None,
        });
        let unheard = self.cursors.iter().flatten().flat_map(Cursor::unknown).map(|(_, end)| end).max();
        let end = bound.or(unheard).unwrap_or(begin).max(begin);
        let mut accounted = end;
        let mut waiting = Totals::default();
        for (reader, cursor) in self.index.readers.iter_mut().zip(&self.cursors) {
            let parts = parts(cursor.as_ref(), number, (begin, end), bound.is_some());
            let mut left = Totals::default();
            for part in &parts {
                left.add(part.left);
                accounted = accounted.max(part.end);
            }
            if left.entries > waiting.entries {
                waiting = left;
            }
            reader.carried.extend(parts);
        }
        self.unreadable.add(waiting);
        self.account(number, accounted);
        self.leave_out(number, None);
        self.notices.push(Notice::Unreadable {
            file: segment_name(number),
            error: error.to_string(),
            entries: waiting.entries,
        });
    }
}

/// What a cursor is to say of a segment that nobody can look into: what it has said, and that nothing is known of the
/// numbers in that stretch that it has not heard of. If others were begun behind it, there are no more in it.
fn parts(cursor: Option<&Cursor>, number: u64, (begin, end): (u64, u64), is_bound: bool) -> Vec<Part> {
    let said = cursor.map_or(&[][..], |cursor| &cursor.parts);
    let mut parts: Vec<Part> =
        said.iter().filter(|part| part.segment == number && !part.is_unknown()).cloned().collect();
    let begin = parts.iter().map(|part| part.end).fold(begin, u64::max);
    let unheard = cursor.map_or(Vec::new(), |cursor| unheard(cursor, begin, end));
    if parts.is_empty() {
        // It is named all the same, unless all that it can have is done with. From which number on it may not be, only the
        // cursor says: if a file before it cannot be read either, all numbers up to the end have been put down to that.
        let heard = cursor.map_or(1, |cursor| if cursor.whole { cursor.heard() } else { cursor.low });
        let from = match said.iter().find(|part| part.segment == number) {
            Some(named) => Some(named.base),
            None => (!is_bound || heard < end).then_some(heard),
        };
        parts.extend(from.map(|from| Part::unknown(number, from, from)));
    }
    parts.extend(unheard.into_iter().map(|(begin, end)| Part::unknown(number, begin, end)));
    parts
}

/// The numbers from `begin` to `end` of which a cursor has not heard what became of them.
pub(crate) fn unheard(cursor: &Cursor, begin: u64, end: u64) -> Vec<(u64, u64)> {
    let fresh = (cursor.heard(), end);
    let stretches = cursor.unknown().chain([fresh]);
    stretches.filter_map(|(from, to)| stretch(from.max(begin), to.min(end))).collect()
}

/// Where numbers have jumped, nobody knows how many of them had been used.
fn stretch(begin: u64, end: u64) -> Option<(u64, u64)> {
    end.checked_sub(begin).filter(|entries| (1..JUMP / 2).contains(entries)).map(|_| (begin, end))
}
