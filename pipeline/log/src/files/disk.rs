//! The real file system.

use super::{Access, Displacement, File, Files, Guard, Identity, Listed, place};
use crate::options::AlsoAt;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::retry_on_intr;
use std::fs::{self, DirBuilder, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const LOCK: &str = "lock";

/// What the directory is called in itself.
const ITSELF: &str = ".";

/// A directory, and its files. They are those of the directory that was opened, whatever is under its path later.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    directory: Arc<fs::File>,
    also_at: AlsoAt,
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
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: path.to_owned(), directory: Arc::new(directory.into()), also_at: AlsoAt::default() })
    }

    /// It is looked for under those paths, too, when it is asked whether it is in its place.
    #[must_use]
    pub fn also_at(self, also_at: AlsoAt) -> Self {
        Self { also_at, ..self }
    }

    fn at(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        let mode = Mode::RUSR | Mode::WUSR;
        // A pipe under one of our names would be waited for until somebody opens its other end.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = || openat(self.directory.as_ref(), name, flags, mode);
        let file = fs::File::from(retry_on_intr(open)?);
        if name != ITSELF && !file.metadata()?.is_file() {
            let path = self.path.join(name);
            return Err(io::Error::other(format!("{} is no regular file: remove it", path.display())));
        }
        Ok(file)
    }

    /// A file that was not there. Whoever is root makes it for the owner of the directory: the collector runs as that
    /// one, and could not read what a command has left behind.
    fn new_file(&self, name: &str) -> io::Result<fs::File> {
        let file = self.at(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        let owner = |of: &fs::File| of.metadata().map(|of| (of.uid(), of.gid()));
        if let Some((user, group)) = heir(owner(&file)?, owner(&self.directory)?) {
            // Not every root may give away what it has (in containers, over the network). It can use it, at least.
            let _ = fchown(&file, Some(user), Some(group));
        }
        Ok(file)
    }

    /// The lock file; where none can be made, the directory itself.
    fn lockable(&self) -> io::Result<(fs::File, &'static str)> {
        let made = match self.new_file(LOCK) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.at(LOCK, OFlags::RDWR | OFlags::CREATE)
            }
            made => made,
        };
        match made {
            Err(error) if is_read_only(&error) => {
                let file = self.at(LOCK, OFlags::RDONLY).map(|file| (file, LOCK));
                file.or_else(|_| Ok((self.at(ITSELF, OFlags::RDONLY)?, ITSELF)))
            }
            file => Ok((file?, LOCK)),
        }
    }
}

/// Who is to get a new file, if not the one whom the system gave it to: user and group.
fn heir(file: (u32, u32), directory: (u32, u32)) -> Option<(u32, u32)> {
    const ROOT: u32 = 0;
    (file.0 == ROOT && directory.0 != ROOT).then_some(directory)
}

/// Whether a directory or file may be read but not written.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in Dir::read_from(self.directory.as_ref())? {
            let entry = entry?;
            // What vanishes meanwhile was not there.
            let stat = statat(self.directory.as_ref(), entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = stat else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if [ITSELF, "..", LOCK].contains(&name.as_str()) {
                continue;
            }
            let regular = FileType::from_raw_mode(stat.st_mode).is_file();
            listed.push(Listed {
                name,
                len: if regular { stat.st_size.cast_unsigned() } else { 0 },
                regular,
            });
        }
        Ok(listed)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(DiskFile(self.new_file(name)?)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        let flags = if access == Access::Write { OFlags::RDWR } else { OFlags::RDONLY };
        Ok(Box::new(DiskFile(self.at(name, flags)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(self.directory.as_ref(), from, self.directory.as_ref(), to)?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(self.directory.as_ref(), name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>> {
        let (file, name) = self.lockable()?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some file systems know no locks. Better unlocked than not started.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Some(Box::new(Lock { directory: Arc::clone(&self.directory), file, name })))
    }

    fn identity(&self, name: &str) -> io::Result<Option<Identity>> {
        place::named(&self.directory, name)
    }

    fn displacement(&self) -> io::Result<Option<Displacement>> {
        let displaced = place::displacement(&self.directory, &self.path)?;
        if displaced.is_some() {
            return Ok(displaced);
        }
        Ok(self.also_at.paths().iter().find_map(|path| place::redirection(&self.directory, path)))
    }
}

struct Lock {
    directory: Arc<fs::File>,
    file: fs::File,
    /// What it was opened as.
    name: &'static str,
}

impl Guard for Lock {
    fn holds(&self) -> io::Result<bool> {
        Ok(place::named(&self.directory, self.name)? == Some(place::opened(&self.file)?))
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn identity(&self) -> io::Result<Identity> {
        place::opened(&self.0)
    }

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
    use std::io::Write as _;
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
    fn only_root_gives_files_away_and_only_in_another_ones_directory() {
        assert_eq!(heir((0, 0), (1000, 100)), Some((1000, 100)));
        assert_eq!(heir((0, 5), (1000, 0)), Some((1000, 0)));
        assert_eq!(heir((0, 0), (0, 100)), None);
        assert_eq!(heir((1000, 100), (1001, 100)), None, "nobody else may");
    }

    #[test]
    fn what_root_makes_belongs_to_the_directorys_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        if fs::metadata(directory.path()).expect("there").uid() != 0 {
            let _ = writeln!(io::stderr(), "SKIPPED: only root can give files away");
            return;
        }
        std::os::unix::fs::chown(directory.path(), Some(4321), Some(8765)).expect("given away");
        let disk = Disk::open(directory.path()).expect("there");
        disk.create("file").expect("created");
        let _lock = disk.lock().expect("works").expect("free");
        for name in ["file", LOCK] {
            let made = fs::metadata(directory.path().join(name)).expect("there");
            assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (4321, 8765, 0o600), "{name}");
        }
    }

    #[test]
    fn a_pipe_or_a_directory_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk::open(directory.path()).expect("there");
        fs::create_dir(directory.path().join("folder")).expect("made");
        let no_regular = |refused: io::Error| refused.to_string().contains("is no regular file");
        assert!(disk.open("folder", Access::Read).is_err_and(no_regular));
        #[cfg(target_os = "linux")]
        for name in ["pipe", LOCK] {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(disk.directory.as_ref(), name, FileType::Fifo, mode, 0).expect("made");
            for access in [Access::Read, Access::Write] {
                assert!(disk.open(name, access).is_err_and(no_regular), "{name} {access:?}");
            }
        }
        #[cfg(target_os = "linux")]
        assert!(disk.lock().is_err_and(no_regular));
    }

    #[test]
    fn there_is_one_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, two) = (Disk::open(directory.path()), Disk::open(directory.path()));
        let (one, two) = (one.expect("there"), two.expect("there"));
        let held = one.lock().expect("works").expect("free");
        assert!(two.lock().expect("works").is_none());
        assert!(held.holds().expect("known"));
        fs::remove_file(directory.path().join(LOCK)).expect("removed");
        assert!(!held.holds().expect("known"), "another one could be made");
        let again = one.lock().expect("works").expect("free");
        assert!(again.holds().expect("known") && two.lock().expect("works").is_none());
        drop((held, again));
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
