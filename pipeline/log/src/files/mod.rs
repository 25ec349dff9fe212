//! What the log needs of a file system. Small, so that a test can be one.

mod disk;
mod opening;
mod place;

pub use disk::Disk;
pub(crate) use disk::{LOCK, is_read_only};
pub(crate) use opening::{is_of_the_file, remedy};
pub use place::{Displacement, Identity};

use std::io::{self, IoSlice};

/// The files of one directory, which is the log's alone.
///
/// What has been written is on disk once [`File::sync_data`] has returned, and what has been created, renamed or
/// unlinked once [`Files::sync_dir`] has. Nothing more is assumed: of what was not synced, anything may survive a loss
/// of power, in any order, block by block.
pub trait Files: Send + Sync {
    /// Everything that is there, in any order.
    fn list(&self) -> io::Result<Vec<Listed>>;

    /// A new file, for reading and writing by its owner only. Fails where there is one.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// A file that is there.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn File>>;

    /// Replaces what is there under the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Who has the file open goes on reading it.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Names on disk are those that are seen now.
    fn sync_dir(&self) -> io::Result<()>;

    /// Keeps other processes out for as long as the guard lives. `None`: another one is in.
    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>>;

    /// What is there under that name; `None`: nothing.
    fn identity(&self, name: &str) -> io::Result<Option<Identity>>;

    /// Why the next process would not find what is in the directory; `None`: it would. Whatever has become of its path,
    /// all else here is about the directory that was opened.
    fn displacement(&self) -> io::Result<Option<Displacement>>;
}

/// Keeps other processes out of a directory.
pub trait Guard: Send + Sync {
    /// Whether it still does. A lock that somebody has removed keeps nobody out who makes another one.
    fn holds(&self) -> io::Result<bool>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Which file it is.
    fn identity(&self) -> io::Result<Identity>;

    /// Its length.
    fn size(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes. Fewer only at the end of the file, or when interrupted.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes the slices one behind the other; how many bytes of them is returned.
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize>;

    /// Makes the file `length` bytes long and reserves room for all of it; what was not written reads as zeros. Fails
    /// with [`io::ErrorKind::StorageFull`] where there is no room.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Makes the file `length` bytes long.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// What has been written is on disk, and the length with it.
    fn sync_data(&self) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// A file in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name, as far as it is text.
    pub name: String,
    /// Its length. Of what is no regular file, 0.
    pub len: u64,
    /// Whether it is a regular file.
    pub regular: bool,
}

/// How many slices one call may write. What Linux takes, at least.
pub(crate) const SLICES_MAX: usize = 1024;

/// Writes all of `slices`.
pub(crate) fn write_all(file: &dyn File, mut slices: &mut [IoSlice<'_>], mut at: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let some = &slices[..slices.len().min(SLICES_MAX)];
        match file.write_at(some, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills as much of `buffer` as there is in the file.
pub(crate) fn read_full(file: &dyn File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
