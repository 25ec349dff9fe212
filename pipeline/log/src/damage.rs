//! Giving up what cannot be handed out any more.

use crate::clock::{Clock, SystemClock};
use crate::files::{Access, Disk, File, Files};
use crate::format::segment::BLOCK;
use crate::index::Segment;
use crate::log::Log;
use crate::options::Options;
use crate::report::{LossReason, Notice, OpenError, Recovered, Totals};
use crate::scan::{Depth, Range, walk};
use crate::shared::{Shared, segment_name};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What [`Log::repair`] found. What it gave up besides has been told to the observer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// As from opening.
    pub recovered: Recovered,
    /// Entries whose every byte is right, done with or not.
    pub whole: Totals,
}

impl Log {
    /// Opens the log, reads all of it, gives up what is not whole, and closes it: what is left can be handed out. As a
    /// log repairs itself when it is opened and read, this is for knowing, and for having it done.
    ///
    /// # Errors
    /// As [`Log::open`]; a file that cannot be read is left as it is, and told to the observer.
    pub fn repair(directory: &Path, options: Options) -> Result<Repaired, OpenError> {
        let disk = Disk::open(directory)
            .map_err(|source| OpenError::Io { doing: "opening the directory", source })?;
        Self::repair_in(Arc::new(disk), Arc::new(SystemClock::default()), options)
    }

    /// The same, with files and a clock of the caller's.
    ///
    /// # Errors
    /// As [`Log::repair`].
    pub fn repair_in(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Repaired, OpenError> {
        let (log, recovered, steps) = Self::open_stepped(files, clock, options)?;
        let shared = log.shared();
        let mut whole = Totals::default();
        let segments = shared.with(|index| index.segments.clone());
        for (number, segment) in &segments {
            let read = shared
                .files
                .open(&segment_name(*number), Access::Read)
                .and_then(|file| give_up(shared, file.as_ref(), *number, segment, Depth::Bodies));
            match read {
                Ok(totals) => whole.add(totals),
                Err(error) => {
                    let file = segment_name(*number);
                    shared.notice(&Notice::ReadFailed { file, error: error.to_string() });
                }
            }
        }
        steps.close();
        Ok(Repaired { recovered, whole })
    }
}

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
