//! Whether what is open is still where the next process will look for it.
//!
//! Names can be taken away from under a process that has the files open: what it writes then goes somewhere, and every
//! call succeeds. So who keeps something has to look. While a directory or a file is open, nothing else can have its
//! identity.

use rustix::fs::{AtFlags, Stat, fstat, stat, statat};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Which file or directory something is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Of the file system.
    pub device: u64,
    /// In the file system.
    pub inode: u64,
}

/// Why what is in the directory would not be found by the next process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Displacement {
    /// Nothing is under its path any more. Where it is now, if the system tells.
    Moved {
        /// Its present path.
        to: Option<PathBuf>,
    },
    /// Another one is under its path, or something else: moved there, or mounted over it.
    Replaced {
        /// Its present path.
        to: Option<PathBuf>,
    },
    /// A path under which it is looked for leads elsewhere, or nowhere: through a link that was pointed there.
    Redirected {
        /// That path.
        path: PathBuf,
        /// Its present path.
        to: Option<PathBuf>,
    },
    /// It has no name any more, and neither have the files that were in it.
    Removed,
    /// The file that keeps other processes out has been removed, and one of them is in.
    Taken,
}

impl Displacement {
    /// Whether the directory is still this process's own, wherever it is.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::Replaced { .. } | Self::Redirected { .. })
    }
}

impl fmt::Display for Displacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, to) = match self {
            Self::Moved { to } => ("has been moved away", to),
            Self::Replaced { to } => ("has been moved away or hidden, and another one is in its place", to),
            Self::Redirected { path, to } => {
                write!(f, "is no longer where {} leads", path.display())?;
                if let Some(to) = to {
                    write!(f, " (it is {})", to.display())?;
                }
                return f.write_str("; point the link back, or restart the collector to go on elsewhere");
            }
            Self::Removed => {
                return f
                    .write_str("has been removed while in use; restart the collector to begin a new one");
            }
            Self::Taken => {
                return f.write_str(
                    "is in use by another process, as its lock was removed while in use; stop that one, and \
                     restart this one",
                );
            }
        };
        f.write_str(what)?;
        match to {
            Some(to) => write!(f, " (it is {} now); put it back", to.display()),
            None => f.write_str("; put it back"),
        }
    }
}

/// What `directory`, opened at `path`, has come to; `None` if it is still there.
pub(super) fn displacement(directory: &File, path: &Path) -> io::Result<Option<Displacement>> {
    let opened = fstat(directory)?;
    if opened.st_nlink == 0 {
        return Ok(Some(Displacement::Removed));
    }
    match stat(path) {
        Ok(there) if identity(&there) == identity(&opened) => Ok(None),
        Ok(_) => Ok(Some(Displacement::Replaced { to: present_path(directory) })),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Some(Displacement::Moved { to: present_path(directory) })),
        Err(error) => Err(error.into()),
    }
}

/// What has come of `path`, which led to `directory`; `None` if it still does, or that cannot be known.
pub(super) fn redirection(directory: &File, path: &Path) -> Option<Displacement> {
    let leads_here = match stat(path) {
        Ok(there) => opened(directory).ok()? == identity(&there),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => false,
        Err(_) => return None,
    };
    let redirected = || Displacement::Redirected { path: path.to_owned(), to: present_path(directory) };
    (!leads_here).then(redirected)
}

/// What has a name in the directory.
pub(super) fn named(directory: &File, name: &str) -> io::Result<Option<Identity>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok(Some(identity(&there))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is open.
pub(super) fn opened(file: &File) -> io::Result<Identity> {
    Ok(identity(&fstat(file)?))
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "their types differ between systems")]
fn identity(stat: &Stat) -> Identity {
    Identity { device: stat.st_dev as u64, inode: stat.st_ino.into() }
}

#[cfg(target_os = "linux")]
fn present_path(directory: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
    // One that cannot be reached from here is called something else, or what is hidden has its old name.
    let is_it = stat(&path).is_ok_and(|there| opened(directory).is_ok_and(|of| of == identity(&there)));
    is_it.then_some(path)
}

#[cfg(not(target_os = "linux"))]
fn present_path(_directory: &File) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Disk, Files};
    use crate::options::AlsoAt;
    use std::fs;

    #[test]
    fn a_directory_is_missed_until_it_is_back() {
        let parent = tempfile::tempdir().expect("a directory");
        let parent = parent.path().canonicalize().expect("it is there");
        let (path, other) = (parent.join("a/log"), parent.join("b"));
        let disk = Disk::create(&path).expect("created");
        disk.create("file").expect("created");
        assert_eq!(disk.displacement().expect("known"), None);

        fs::rename(parent.join("a"), &other).expect("moved");
        let moved = Displacement::Moved { to: Some(other.join("log")) };
        assert_eq!(disk.displacement().expect("known"), Some(moved));
        disk.open("file", crate::Access::Read).expect("it goes with it");
        fs::create_dir_all(&path).expect("another one");
        let replaced = Displacement::Replaced { to: Some(other.join("log")) };
        assert_eq!(disk.displacement().expect("known"), Some(replaced));

        fs::remove_dir_all(parent.join("a")).expect("removed");
        fs::rename(&other, parent.join("a")).expect("moved back");
        assert_eq!(disk.displacement().expect("known"), None);

        fs::remove_dir_all(&path).expect("removed");
        fs::create_dir_all(&path).expect("another one, on the same inode if it can be");
        assert_eq!(disk.displacement().expect("known"), Some(Displacement::Removed));
    }

    #[test]
    fn a_link_that_is_pointed_elsewhere_is_noticed_until_it_leads_back() {
        let parent = tempfile::tempdir().expect("a directory");
        let parent = parent.path().canonicalize().expect("it is there");
        let (path, link) = (parent.join("here"), parent.join("link"));
        let point = |to: &str| {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(parent.join(to), &link).expect("made");
        };
        fs::create_dir(parent.join("there")).expect("made");
        let paths = vec![link.join("log")];
        let disk = Disk::create(&path.join("log")).expect("created");
        let disk = disk.also_at(AlsoAt::of(move || paths.clone()));
        for elsewhere in ["there", "nowhere", "link"] {
            point("here");
            assert_eq!(disk.displacement().expect("known"), None);
            point(elsewhere);
            let redirected = Displacement::Redirected { path: link.join("log"), to: Some(path.join("log")) };
            assert_eq!(disk.displacement().expect("known"), Some(redirected), "{elsewhere}");
        }
        // What it comes to itself goes before.
        fs::rename(&path, parent.join("away")).expect("moved");
        let moved = Displacement::Moved { to: Some(parent.join("away/log")) };
        assert_eq!(disk.displacement().expect("known"), Some(moved));
    }

    #[test]
    fn a_file_is_what_its_name_says_until_another_has_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk::open(directory.path()).expect("there");
        let file = disk.create("one").expect("created");
        let identity = file.identity().expect("known");
        assert_eq!(disk.identity("one").expect("known"), Some(identity));
        disk.rename("one", "two").expect("renamed");
        assert_eq!(disk.identity("one").expect("known"), None);
        assert_eq!(disk.identity("two").expect("known"), Some(identity));
        disk.unlink("two").expect("removed");
        let other = disk.create("one").expect("created").identity().expect("known");
        assert_ne!(other, identity);
    }
}
