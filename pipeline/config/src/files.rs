//! Reading files that a configuration names: never more than is asked for, and never for ever. Whoever opens a pipe that
//! nobody writes to waits for it, and some devices have no end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;
use thiserror::Error;

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is something else.
    #[error("it is a pipe or a device, and must be a file")]
    NotAFile,
    /// It is longer than that many bytes.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// Nobody has written to the pipe, or not to the end.
    #[error("it is a pipe or a device that has not come to its end within {} seconds", .0.as_secs())]
    TooSlow(Duration),
    /// The system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The content of a file of up to `max` bytes. For what is read again and again: a pipe gives its content once.
///
/// # Errors
/// Also when it is no file, without a wait for it.
pub fn read_file(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    // Before it is opened, as that is what may wait, and afterwards, as another may have taken its place.
    if has_an_end(&fs::metadata(path)?) {
        let file = File::open(path)?;
        if has_an_end(&file.metadata()?) {
            return read(file, max);
        }
    }
    Err(FileError::NotAFile)
}

/// The same, or what is written to a pipe until `patience` is over: `<(…)` of a shell is one.
///
/// # Errors
/// Why it could not be read.
pub fn read_file_or_pipe(path: &Path, max: u64, patience: Duration) -> Result<Vec<u8>, FileError> {
    match read_file(path, max) {
        Err(FileError::NotAFile) => {}
        read => return read,
    }
    let (tell, told) = sync_channel(1);
    let path = path.to_owned();
    let reading = move || {
        // Nobody waits any more if it took too long.
        let _ = tell.send(File::open(path).map_err(FileError::from).and_then(|file| read(file, max)));
    };
    // It ends with the process at the latest, which does not start without what it reads.
    thread::Builder::new().name("read pipe".to_owned()).spawn(reading)?;
    told.recv_timeout(patience).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(FileError::TooSlow(patience)),
        RecvTimeoutError::Disconnected => Err(io::Error::other("reading it ended early").into()),
    })
}

/// Whether reading it ends by itself: a file, or a folder, which is an error at once.
fn has_an_end(metadata: &fs::Metadata) -> bool {
    metadata.is_file() || metadata.is_dir()
}

fn read(file: File, max: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long from one that just fits.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(FileError::TooLong(max)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    fn pipe(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        path
    }

    #[test]
    fn files_are_read_up_to_a_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        fs::write(&path, "four").expect("written");
        assert_eq!(read_file(&path, 4).expect("it fits"), b"four");
        assert!(matches!(read_file(&path, 3), Err(FileError::TooLong(3))));
        assert!(matches!(read_file(folder.path(), 3), Err(FileError::Io(_))));
        assert!(matches!(read_file(&folder.path().join("y"), 3), Err(FileError::Io(_))));
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_nobody_writes_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = pipe(folder.path());
        assert!(matches!(read_file(&path, 4), Err(FileError::NotAFile)));
        let begun = Instant::now();
        let patience = Duration::from_millis(50);
        assert!(matches!(read_file_or_pipe(&path, 4, patience), Err(FileError::TooSlow(_))));
        assert!(begun.elapsed() >= patience);
        // Ends the thread that still waits.
        fs::write(&path, "").expect("it reads");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_a_device_to_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = pipe(folder.path());
        let patience = Duration::from_secs(30);
        let there = path.clone();
        let writing = thread::spawn(move || fs::write(there, "four"));
        assert_eq!(read_file_or_pipe(&path, 4, patience).expect("it fits"), b"four");
        writing.join().expect("no panic").expect("written");
        let endless = read_file_or_pipe(Path::new("/dev/zero"), 4, patience);
        assert!(matches!(endless, Err(FileError::TooLong(4))));
    }
}
