//! Giving up what cannot be handed out any more.

use crate::files::File;
use crate::format::segment::BLOCK;
use crate::index::Segment;
use crate::report::{LossReason, Notice, Totals};
use crate::scan::{Depth, Range, walk};
use crate::shared::{Shared, segment_name};
use std::io;

/// Looks which entries of a segment are not to be found or, at that depth, not whole, and gives them up. How many are
/// there, and whole as far as was looked, is returned.
pub(crate) fn give_up(
    shared: &Shared,
    file: &dyn File,
    number: u64,
    segment: &Segment,
    depth: Depth,
) -> io::Result<Totals> {
    let to = segment.used.max(BLOCK);
    let range = Range { from: BLOCK, to, sequence: segment.base, sequence_end: segment.end };
    let mut whole = Totals::default();
    let mut there = Vec::new();
    let mut broken = Vec::new();
    let mut missing = Vec::new();
    let mut next = segment.base;
    let walked = walk(file, segment.salt, range, depth, |found| {
        let totals = Totals::one(found.header.items, found.header.frame_len());
        missing.extend(next..found.header.sequence);
        next = found.header.sequence + 1;
        there.push((found.header.sequence, totals));
        if found.body_whole {
            whole.add(totals);
        } else {
            broken.push((found.header.sequence, totals));
        }
    })?;
    missing.extend(next..segment.end);
    shared.with(|index| {
        let places = walked.gaps.max(u64::from(!missing.is_empty())) + broken.len() as u64;
        let given_up = index.give_up_missing(number, &missing, &there)
            | index.give_up(number, LossReason::Damaged, broken.into_iter());
        if given_up {
            index.news.notices.push(Notice::Damage { file: segment_name(number), places });
        }
    });
    Ok(whole)
}
