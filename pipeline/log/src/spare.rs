//! A file for the next segment, its room reserved and its name on disk, so that the writer need not wait for either.
//!
//! The file of a segment that is done with is used again, rather than removed and another one made. What is written
//! into blocks that have been written before needs nothing from the file system but the writing: no blocks to be
//! found, nothing to be noted that they have contents now, and their pages are still in memory. A sync then writes what
//! is new and nothing else, which takes half the time and half the processor.
//!
//! # What holds
//!
//! - The file is taken only when a cursor that says that its segment is done with is on disk.
//! - A file to which a write or a sync has failed is not used again.
//! - What was in it is not taken for what will be: its first block says that nothing has been begun, and that is on disk
//!   before the file has the new name; and a segment's frames begin with a marker that is its own.
//! - Prepared files count towards the limit with their whole size, from before they have it.

use crate::files::{Access, Files, write_all};
use crate::format::segment;
use crate::index::{Doomed, Spare};
use crate::shared::{Shared, segment_name};
use std::io::{self, IoSlice};

/// Makes a new file, if one is wanted. It counts from before it is there: the writer may begin another one meanwhile.
pub(crate) fn prepare(shared: &Shared) {
    let len = shared.segment_size;
    let taken = shared.with(|index| {
        let number = if index.wants_spare() { index.take_number() } else { None }?;
        index.doomed.insert(number, Doomed::of(len));
        Some(number)
    });
    let Some(number) = taken else { return };
    let name = segment_name(number);
    let files: &dyn Files = shared.files.as_ref();
    let file = files.create(&name);
    // If it fails, the writer will meet the failure, and tell.
    let prepared = file.as_ref().is_ok_and(|file| {
        file.allocate(len).and_then(|()| file.sync_data()).and_then(|()| files.sync_dir()).is_ok()
    });
    let is_left = !prepared && file.is_ok() && files.unlink(&name).is_err();
    shared.with(|index| {
        // One that is left goes on counting, and is removed with the others.
        if !is_left {
            index.doomed.remove(&number);
        }
        if prepared {
            index.put_spare(Spare { number, len, reused: false });
        }
    });
}

/// Prepares one of the files in `doomed`, if one is wanted and fits; which one is returned. One that could not be
/// prepared is still doomed, and is removed with the others.
pub(crate) fn reuse(shared: &Shared, doomed: &[u64]) -> Option<u64> {
    let (from, len, number) = shared.with(|index| {
        let (from, len) = index.reuse(doomed)?;
        Some((from, len, index.take_number()?))
    })?;
    rename(shared, from, number, len).ok()?;
    // A name that is not on disk is no name: power may bring the old one back.
    let is_named = shared.files.sync_dir().is_ok();
    shared.with(|index| {
        index.doomed.remove(&from);
        index.news.freed = true;
        if is_named {
            index.put_spare(Spare { number, len, reused: true });
        } else {
            index.doomed.insert(number, Doomed::of(len));
        }
    });
    Some(from)
}

/// Gives the file of one segment to another one.
fn rename(shared: &Shared, from: u64, to: u64, len: u64) -> io::Result<()> {
    let (old, new) = (segment_name(from), segment_name(to));
    let file = shared.files.open(&old, Access::Write)?;
    write_all(file.as_ref(), &mut [IoSlice::new(&segment::prepared(to))], 0)?;
    file.allocate(len)?;
    file.sync_data()?;
    shared.files.rename(&old, &new)
}
