//! Queues on disk: what acknowledging costs when it means that the disk has it.
//!
//! # Invariants
//! - All contenders of a case write to the same folder of the same disk, by turns.
//! - What is in memory only (tmpfs) is no disk: nothing is measured there.

pub(super) mod backlog;
pub(super) mod bare;
pub(super) mod bars;
pub(super) mod relayed;
pub(super) mod stored;

use super::Args;
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// What statfs(2) calls a file system in memory.
const TMPFS: u64 = 0x0102_1994;

/// A new folder on the disk that is measured; gone with the value.
pub(super) fn folder(args: &Args) -> io::Result<TempDir> {
    let temporary = std::env::temp_dir();
    let disk = args.disk.as_deref().unwrap_or(&temporary);
    std::fs::create_dir_all(disk)?;
    let folder = tempfile::Builder::new().prefix("millrace-compare-").tempdir_in(disk)?;
    if is_memory(folder.path())? {
        let message = format!("{} is in memory; name a folder on a disk with --disk", disk.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(folder)
}

fn is_memory(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type as u64 == TMPFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_not_taken_for_a_disk() {
        assert!(is_memory(Path::new("/dev/shm")).unwrap());
        assert!(!is_memory(Path::new("/proc")).unwrap());
    }
}
