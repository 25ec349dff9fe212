//! Adding whole messages to the end of a file, so that it never holds a broken one followed by good ones.
//!
//! # Invariants
//! - A message is in the file whole or not at all, as far as the file can be cut back; where it cannot, nothing
//!   more is written until it can.
//! - What others have added to the file is never cut away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The permissions of a new file, before the umask.
#[cfg(unix)]
const FILE_MODE: u32 = 0o644;

/// Which file, and how to make it.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) path: PathBuf,
    /// Keep what is in it.
    pub(super) append: bool,
    /// Make missing folders, with these permissions.
    pub(super) directory_mode: Option<u32>,
}

impl Opening {
    /// Opens the file for adding to its end, makes it if it is missing, and leaves what is in it.
    pub(super) fn open(&self) -> io::Result<File> {
        if let Some(mode) = self.directory_mode
            && let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty())
        {
            make_folder(folder, mode)?;
        }
        let mut options = OpenOptions::new();
        // Reading, too, as Go does: opening a named pipe does not wait for its reader then.
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
        options.open(&self.path)
    }
}

fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
    #[cfg(not(unix))]
    let _ = mode;
    builder.create(folder)
}

/// What messages are added to; a file, or in tests something that fails on demand. Everything blocks.
pub(super) trait Medium {
    /// Adds bytes at the end and says how many.
    fn add(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// How long it is; `None` where that means nothing (pipes, devices).
    fn len(&mut self) -> io::Result<Option<u64>>;

    /// Cuts it back.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

/// A file, by its path.
#[derive(Debug)]
pub(super) struct OnDisk {
    opening: Opening,
    file: File,
    is_regular: bool,
}

impl OnDisk {
    /// `file` is what `opening` has opened.
    pub(super) fn new(opening: Opening, file: File) -> io::Result<Self> {
        let is_regular = file.metadata()?.is_file();
        Ok(Self { opening, file, is_regular })
    }

    /// Makes the file ready for its first message: emptied unless it is kept, and with its last line ended if what
    /// wrote it was cut off. Says whether a line had to be ended.
    pub(super) fn prepare(&mut self, is_lines: bool) -> io::Result<bool> {
        if !self.is_regular {
            return Ok(false);
        }
        if !self.opening.append {
            self.file.set_len(0)?;
            return Ok(false);
        }
        if !is_lines || self.file.metadata()?.len() == 0 {
            return Ok(false);
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        if last == [b'\n'] {
            return Ok(false);
        }
        self.file.write_all(b"\n")?;
        Ok(true)
    }

    fn rotate(&mut self, aside: &Path) -> io::Result<()> {
        let path = &self.opening.path;
        let before = self.file.metadata()?;
        std::fs::rename(path, aside)?;
        match self.opening.open() {
            Ok(file) => self.file = file,
            Err(error) => {
                // Then the old one is written to, wherever it is; its place may have been taken in the meantime.
                let _ = std::fs::rename(aside, path);
                return Err(error);
            }
        }
        make_alike(&self.opening.path, &before);
        Ok(())
    }
}

/// Gives a new file the mode that all have that are rotated, whatever the umask says, and the owner of the one before.
#[cfg(unix)]
fn make_alike(path: &Path, before: &std::fs::Metadata) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let mode = std::fs::set_permissions(path, std::fs::Permissions::from_mode(FILE_MODE));
    if let Err(error) = mode.and_then(|()| chown(path, Some(before.uid()), Some(before.gid()))) {
        tracing::warn!(path = %path.display(), %error, "cannot give a new file the mode and owner of the one before");
    }
}

#[cfg(not(unix))]
fn make_alike(_path: &Path, _before: &std::fs::Metadata) {}

impl Medium for OnDisk {
    fn add(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn len(&mut self) -> io::Result<Option<u64>> {
        if !self.is_regular {
            return Ok(None);
        }
        let mut metadata = self.file.metadata()?;
        if is_deleted(&metadata) {
            // Writing to it would work, and lose everything.
            self.file = self.opening.open()?;
            metadata = self.file.metadata()?;
        }
        Ok(Some(metadata.len()))
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

#[cfg(unix)]
fn is_deleted(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 0
}

#[cfg(not(unix))]
fn is_deleted(_metadata: &std::fs::Metadata) -> bool {
    // An open file cannot be deleted there.
    false
}

impl Appender<OnDisk> {
    /// Moves the file aside and begins a new one.
    ///
    /// # Errors
    /// The file is where it was, and can be added to.
    pub(super) fn rotate(&mut self, aside: &Path) -> io::Result<()> {
        self.medium.rotate(aside)
    }
}

/// Adds messages.
#[derive(Debug)]
pub(super) struct Appender<M> {
    medium: M,
    /// Where the part of a failed message lies that could not be cut away yet.
    torn: Option<Range<u64>>,
}

impl<M: Medium> Appender<M> {
    pub(super) fn new(medium: M) -> Self {
        Self { medium, torn: None }
    }

    /// Adds a message, and says where it lies; `None` where that means nothing.
    ///
    /// # Errors
    /// The message is not in the file, or part of it is at its very end, to be cut away before the next.
    pub(super) fn append(&mut self, message: &[u8]) -> io::Result<Option<Range<u64>>> {
        let len = self.mended()?;
        let mut added = 0;
        let error = loop {
            match self.medium.add(&message[added..]) {
                Ok(0) => break io::ErrorKind::WriteZero.into(),
                Ok(more) if added + more == message.len() => {
                    return Ok(len.map(|start| start..start + message.len() as u64));
                }
                Ok(more) => added += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        if let Some(start) = len
            && added > 0
        {
            self.torn = Some(start..start + added as u64);
            // If it does not work now, it is tried again before the next message.
            let _ = self.mended();
        }
        Err(error)
    }

    /// Takes the last message back, unless something follows it.
    pub(super) fn undo(&mut self, message: Range<u64>) {
        if self.torn.is_none() {
            self.torn = Some(message);
            // If it does not work now, it is tried again before the next message.
            let _ = self.mended();
        }
    }

    /// How long the file is, without what is left of a failed message.
    ///
    /// # Errors
    /// When it cannot be told, or what is left cannot be cut away.
    pub(super) fn len(&mut self) -> io::Result<Option<u64>> {
        self.mended()
    }

    /// Cuts away what is left of a failed message, and says how long the file is then.
    fn mended(&mut self) -> io::Result<Option<u64>> {
        let len = self.medium.len()?;
        let Some(torn) = &self.torn else { return Ok(len) };
        // If the end is elsewhere, others have cut the file or added to it, and it is theirs to mend.
        let is_last = len == Some(torn.end);
        let start = torn.start;
        if is_last {
            self.medium.cut(start)?;
        }
        self.torn = None;
        Ok(if is_last { Some(start) } else { len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A medium with room for so many bytes, that can refuse to be cut.
    struct Small {
        content: Vec<u8>,
        room: usize,
        can_cut: bool,
        interrupt: bool,
    }

    impl Small {
        fn appender(room: usize) -> Appender<Self> {
            Appender::new(Self { content: Vec::new(), room, can_cut: true, interrupt: false })
        }
    }

    impl Medium for Small {
        fn add(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = bytes.len().min(self.room - self.content.len()).min(7);
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.content.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn len(&mut self) -> io::Result<Option<u64>> {
            Ok(Some(self.content.len() as u64))
        }

        fn cut(&mut self, len: u64) -> io::Result<()> {
            if !self.can_cut {
                return Err(io::Error::other("the disk is broken"));
            }
            self.content.truncate(len as usize);
            Ok(())
        }
    }

    #[test]
    fn a_message_that_does_not_fit_leaves_no_trace() {
        let mut appender = Small::appender(30);
        appender.append(b"the first is short\n").expect("it fits");
        let error = appender.append(b"the second is too long\n").expect_err("it does not fit");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        appender.append(b"the third\n").expect("it fits again");
        assert_eq!(appender.medium.content, b"the first is short\nthe third\n");
    }

    #[test]
    fn nothing_follows_a_broken_message_that_cannot_be_cut_away() {
        let mut appender = Small::appender(30);
        appender.append(b"the first is short\n").expect("it fits");
        appender.medium.can_cut = false;
        appender.append(b"the second is too long\n").expect_err("it does not fit");
        let error = appender.append(b"x\n").expect_err("the file must be mended first");
        assert_eq!(error.to_string(), "the disk is broken");

        appender.medium.can_cut = true;
        appender.append(b"x\n").expect("it can be mended now");
        assert_eq!(appender.medium.content, b"the first is short\nx\n");
    }

    #[test]
    fn what_others_added_meanwhile_is_left_alone() {
        let mut appender = Small::appender(10);
        appender.medium.can_cut = false;
        appender.append(b"too long for it\n").expect_err("it does not fit");
        appender.medium.room = 100;
        appender.medium.content.extend_from_slice(b"\ntheirs\n");
        appender.append(b"ours\n").expect("there is room");
        assert_eq!(appender.medium.content, b"too long f\ntheirs\nours\n");
    }

    #[test]
    fn a_message_can_be_taken_back_until_another_follows() {
        let mut appender = Small::appender(100);
        appender.append(b"one\n").expect("there is room");
        let two = appender.append(b"two\n").expect("there is room").expect("it has a place");
        appender.undo(two.clone());
        assert_eq!(appender.medium.content, b"one\n");
        appender.append(b"2\n").expect("there is room");
        appender.append(b"three\n").expect("there is room");
        appender.undo(two);
        assert_eq!(appender.medium.content, b"one\n2\nthree\n", "the end is elsewhere by now");
    }
}
