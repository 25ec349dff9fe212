//! The real file system.

use super::{Access, File, Files, Listed};
use std::any::Any;
use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// A directory, and its files.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Makes the directory, with those above it, if it is not there: mode 0700.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)
    }

    /// A directory that is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.is_dir() {
            Ok(Self { path: path.to_owned() })
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// The lock file; where none can be made, the directory itself.
    fn lockable(&self) -> io::Result<fs::File> {
        let path = &self.path.join(LOCK);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        match file {
            Err(error) if is_read_only(&error) => {
                fs::File::open(path).or_else(|_| fs::File::open(&self.path))
            }
            file => file,
        }
    }
}

/// Whether a directory or file may be read but not written.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // What vanishes meanwhile was not there.
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == LOCK {
                continue;
            }
            let regular = metadata.is_file();
            listed.push(Listed { name, len: if regular { metadata.len() } else { 0 }, regular });
        }
        Ok(listed)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Box::new(DiskFile(options.open(self.path.join(name))?)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        Ok(Box::new(DiskFile(options.open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = self.lockable()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some file systems know no locks. Better unlocked than not started.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Some(Box::new(file)))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, at)
    }

    #[cfg(not(target_vendor = "apple"))]
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, slices, at)?)
    }

    #[cfg(target_vendor = "apple")]
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        match slices.iter().find(|slice| !slice.is_empty()) {
            Some(slice) => FileExt::write_at(&self.0, slice, at),
            None => Ok(0),
        }
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, length: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // Some file systems cannot promise room. A write that finds none says so, and is undone.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.0.set_len(length),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owner_can_read_what_is_kept() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("a/b");
        let disk = Disk::create(&path).expect("created");
        disk.create("file").expect("created");
        let _lock = disk.lock().expect("works").expect("free");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("file")), 0o600);
        assert_eq!(mode(&path.join("lock")), 0o600);
    }

    #[test]
    fn there_is_one_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, two) = (Disk::open(directory.path()), Disk::open(directory.path()));
        let (one, two) = (one.expect("there"), two.expect("there"));
        let held = one.lock().expect("works").expect("free");
        assert!(two.lock().expect("works").is_none());
        drop(held);
        assert!(two.lock().expect("works").is_some());
    }

    #[test]
    fn slices_are_written_one_behind_the_other_into_room_that_reads_as_zeros() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk::open(directory.path()).expect("there");
        let file = disk.create("file").expect("created");
        file.allocate(10_000).expect("room");
        let mut slices = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")];
        super::super::write_all(file.as_ref(), &mut slices, 100).expect("written");
        file.sync_data().expect("synced");
        let mut read = vec![1; 20_000];
        assert_eq!(super::super::read_full(file.as_ref(), &mut read, 0).expect("read"), 10_000);
        assert_eq!(read[100..106], *b"onetwo");
        assert!(read[..100].iter().chain(&read[106..10_000]).all(|byte| *byte == 0));
        assert!(disk.create("file").is_err(), "there is one");
        assert_eq!(
            disk.list().expect("listed"),
            [Listed { name: "file".into(), len: 10_000, regular: true }]
        );
    }
}
