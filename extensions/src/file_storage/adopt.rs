//! Finding again what a component has left on disk under another name of its type: configurations rename components as
//! their types are renamed, and what waits is to be sent all the same.

use millrace_engine::storage::Directory;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// What became of a folder that may be under another name.
#[derive(Debug)]
pub(super) enum Adoption {
    /// There was nothing to be done.
    Nothing,
    /// It has the present name now.
    Renamed,
    /// The graph before this one has it open under the former name.
    InUse,
    /// There is something under both names, and nothing was done.
    Both,
    /// It could not be renamed.
    Failed(io::Error),
}

/// Gives the folder `former` the name `name`, if it is there and nobody uses either. Other processes are kept out of the
/// directory.
pub(super) fn adopt(directory: &Directory, former: &str, name: &str) -> Adoption {
    let (old, new) = (directory.path().join(former), directory.path().join(name));
    // What the graph before this one has open, it goes on with.
    if directory.is_open(name) || !is_folder(&old) {
        return Adoption::Nothing;
    }
    if directory.is_open(former) {
        return if holds_something(&new) { Adoption::Both } else { Adoption::InUse };
    }
    match (holds_something(&old), holds_something(&new)) {
        (true, true) => Adoption::Both,
        (false, _) if is_folder(&new) => Adoption::Nothing,
        _ => rename(directory, &old, &new).map_or_else(Adoption::Failed, |()| Adoption::Renamed),
    }
}

/// A kill in between leaves the old folder as it was.
fn rename(directory: &Directory, old: &Path, new: &Path) -> io::Result<()> {
    if is_folder(new) {
        for entry in fs::read_dir(new)? {
            fs::remove_file(entry?.path())?;
        }
        fs::remove_dir(new)?;
    }
    fs::rename(old, new)?;
    File::open(directory.path())?.sync_all()
}

/// Or a link to one, which is used as the folder.
fn is_folder(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir())
}

/// Whether there is more in a folder than what a log has when nothing waits in it: its lock, and how far its readers are.
pub(super) fn holds_something(folder: &Path) -> bool {
    let counts = |name: &str| name != "lock" && !name.starts_with("cursor-");
    fs::read_dir(folder)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_str().is_none_or(counts)))
}
