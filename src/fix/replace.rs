//! Putting a new text in a file's place, so that it is never there by half: whatever happens meanwhile, the file has the
//! old text or the new one.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Gives the file another text. It keeps its owner and its permissions; where `path` is a link, what it leads to is
/// replaced.
///
/// # Errors
/// If that cannot be done. The file then has its old text.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    let no_place = || io::Error::other("it lies in no directory");
    let directory = path.parent().ok_or_else(no_place)?;
    let mut name = path.file_name().ok_or_else(no_place)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = New::create(directory.join(name))?;
    new.write(text, &old)?;
    new.take_the_place_of(&path)?;
    File::open(directory)?.sync_all()
}

/// A file beside another, which is gone with this unless it has taken the other's place.
struct New {
    path: PathBuf,
    file: File,
}

impl New {
    /// Nobody else may look into it before it has the permissions that it is to have.
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    fn write(&self, text: &str, like: &Metadata) -> io::Result<()> {
        let ours = self.file.metadata()?;
        if (ours.uid(), ours.gid()) != (like.uid(), like.gid()) {
            fchown(&self.file, Some(like.uid()), Some(like.gid()))?;
        }
        self.file.set_permissions(like.permissions())?;
        (&self.file).write_all(text.as_bytes())?;
        self.file.sync_all()
    }

    fn take_the_place_of(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // Once it has the other's name there is nothing of its own.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn who_has_the_old_file_open_has_the_old_text_and_whoever_opens_it_all_of_the_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("a.yaml"), folder.path().join("link.yaml"));
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        symlink("a.yaml", &link).expect("a link");
        let before = File::open(&path).expect("it is there");
        replace(&link, "new").expect("it can be written");
        assert_eq!(io::read_to_string(before).expect("readable"), "old");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "new");
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(names(folder.path()), ["a.yaml", "link.yaml"]);
    }

    #[test]
    fn what_cannot_be_replaced_is_as_it_was_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        fs::create_dir(&path).expect("a folder where the file should be");
        replace(&path, "new").expect_err("a file cannot take the place of a folder");
        assert_eq!(names(folder.path()), ["a.yaml"]);
    }
}
