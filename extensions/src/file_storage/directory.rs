//! The directory: making it, keeping other processes out of it, and seeing what else is in it.

use super::Config;
use super::adopt::holds_something;
use super::names::is_folder;
use millrace_engine::Directories;
use millrace_engine::storage::Directory;
use rustix::fs::OFlags;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Locked for as long as a process uses the directory.
pub(super) const LOCK: &str = ".millrace.lock";
/// Where the database files of the Go collector say what they are, and what they say.
const BBOLT_MAGIC: (u64, [u8; 4]) = (16, 0xED0C_DAED_u32.to_le_bytes());
/// How many names are shown.
const SHOWN: usize = 20;

/// Makes the directory this process's own, or finds that it is.
///
/// # Errors
/// Why not, and what to do.
pub(super) fn claim(config: &Config, directories: &Directories) -> Result<Arc<Directory>, String> {
    let path = Path::new(&config.directory);
    if config.create_directory {
        let mode = config.directory_mode().unwrap_or(0o750);
        let made = DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    }
    let path = path.canonicalize().map_err(|error| {
        format!("cannot use {}: {error}; make it, or set `create_directory: true`", path.display())
    })?;
    directories.get(&path, || lock(&path, config.lock_timeout()))
}

fn lock(directory: &Path, timeout: Duration) -> Result<File, String> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    // What a link leads to is somebody else's, and would be overwritten; and a pipe keeps nobody waiting.
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let mut file = options.open(&path).map_err(|error| match fs::symlink_metadata(&path) {
        Ok(there) if there.is_symlink() => {
            format!("{} is a symbolic link, which is not followed: remove it", path.display())
        }
        _ => cannot_write(directory, &error),
    })?;
    if !file.metadata().is_ok_and(|file| file.is_file()) {
        return Err(format!("{} is no regular file: remove it", path.display()));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tracing::info!(directory = %directory.display(), "waiting for another process to let go of it");
            file = wait_for(file, timeout).ok_or_else(|| taken(&path, directory))?;
        }
        Err(TryLockError::Error(error)) => return Err(cannot_write(directory, &error)),
    }
    sign(&file);
    Ok(file)
}

/// Says which process has the lock, for those who find it taken. That is no reason not to start: on a disk that is full,
/// what waits is to be sent all the same.
fn sign(file: &File) {
    let process = std::process::id().to_string();
    // Over what is there, which needs no room where there is something.
    let written = file.write_all_at(process.as_bytes(), 0);
    // Rather nobody's number than that of another process.
    let length = written.map_or(0, |()| process.len() as u64);
    let _ = file.set_len(length);
}

fn cannot_write(directory: &Path, error: &io::Error) -> String {
    format!(
        "cannot write to {}: {error}; it has to be writable for the user that this runs as",
        directory.display()
    )
}

/// The system wakes whoever waits for a lock, but has no limit for how long; so a thread of its own waits.
fn wait_for(file: File, timeout: Duration) -> Option<File> {
    let (sender, receiver) = sync_channel(1);
    let wait = move || {
        let locked = file.lock().map(|()| file);
        // Nobody listens any more when the time is up, and the lock is given back.
        let _ = sender.send(locked);
    };
    std::thread::Builder::new().name("storage lock".to_owned()).spawn(wait).ok()?;
    receiver.recv_timeout(timeout).ok()?.ok()
}

fn taken(path: &Path, directory: &Path) -> String {
    let mut holder = String::new();
    // What is no number is none of ours, and not repeated.
    let read = File::open(path).and_then(|file| file.take(20).read_to_string(&mut holder));
    let process = match (read, holder.parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (process {pid})"),
        _ => String::new(),
    };
    format!(
        "{} is in use by another collector{process}; stop that one, or give each a directory of its own",
        directory.display()
    )
}

/// What is in the directory that nobody here uses.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files of the Go collector.
    pub(super) of_go: Vec<String>,
    /// Folders of components that are not configured.
    pub(super) orphans: Vec<String>,
}

pub(super) fn look_around(directory: &Directory) -> Found {
    let mut found = Found::default();
    let Ok(entries) = fs::read_dir(directory.path()) else { return found };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        // A link to a folder is used as the folder.
        let is_folder_there = || fs::metadata(entry.path()).is_ok_and(|there| there.is_dir());
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_unused = || is_folder(&name) && !directory.is_open(&name) && holds_something(&entry.path());
        let names = if is_unused() && is_folder_there() {
            &mut found.orphans
        } else if kind.is_file() && is_of_go(&entry.path()).unwrap_or(false) {
            &mut found.of_go
        } else {
            continue;
        };
        if names.len() < SHOWN {
            names.push(name);
        }
    }
    found.of_go.sort();
    found.orphans.sort();
    found
}

fn is_of_go(path: &Path) -> io::Result<bool> {
    let (at, magic) = BBOLT_MAGIC;
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut found = [0; 4];
    file.read_exact(&mut found)?;
    Ok(found == magic)
}
