//! The section `extensions::file_storage`.

use millrace_config::{Checker, Duration, Validate};
use millrace_log::{MAX_SIZE_MIN, SEGMENT_SIZE_MIN};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Where things are kept unless the configuration says otherwise: the Go collector's directory.
const DIRECTORY: &str = "/var/lib/otelcol/file_storage";
/// The largest segment; the log would take larger ones.
const SEGMENT_MAX: u64 = 1 << 30;

/// Where and how things are kept on disk.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory, which no other process may use; each component that keeps something has a folder in it.
    pub directory: String,
    /// How long to wait for another process to let go of the directory; 0 waits for as long as it takes.
    pub timeout: Duration,
    /// The most bytes on disk for each component and signal that keeps something; 0 leaves it to `queue_size` and to
    /// the disk, whose last twentieth is left to others, but no more than 1 GiB.
    ///
    /// Go: the same for its database files, which stay as large as they once were.
    pub max_size: u64,
    /// Accepted for compatibility: what is done with is removed from the disk as soon as a segment is empty.
    pub compaction: Compaction,
    /// Acknowledge only what has been written through to the disk.
    ///
    /// Go: off by default, so that what was acknowledged is gone when the machine loses power, and sometimes the whole
    /// file with it. Turned off here, what the system had not written yet is lost then, and nothing else.
    pub fsync: bool,
    /// Make the directory if it is not there.
    pub create_directory: bool,
    /// The permissions of a directory that is made, in octal, less what the umask takes away.
    pub directory_permissions: String,
    /// Accepted for compatibility: damage is cut out and counted, and never keeps anything from starting.
    pub recreate: bool,
    /// The size of the files that things are kept in. What is kept is removed from the disk file by file.
    ///
    /// Go: has no such key.
    pub millrace_segment_size: u64,
    /// How long something is kept for a destination that does not take it; 0 is for ever.
    ///
    /// Go: has no such key.
    pub millrace_max_age: Duration,
    /// How long to wait for others before writing through to the disk, so that fewer writes do for more requests.
    ///
    /// Go: has no such key.
    pub millrace_commit_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: DIRECTORY.to_owned(),
            timeout: Duration::from_secs(1),
            max_size: 0,
            compaction: Compaction::default(),
            fsync: true,
            create_directory: false,
            directory_permissions: "0750".to_owned(),
            recreate: false,
            millrace_segment_size: 16 << 20,
            millrace_max_age: Duration::ZERO,
            millrace_commit_delay: Duration::ZERO,
        }
    }
}

impl Config {
    /// How long to wait for other processes.
    pub(super) fn lock_timeout(&self) -> std::time::Duration {
        let timeout = self.timeout.get();
        if timeout.is_zero() { std::time::Duration::MAX } else { timeout }
    }

    /// The permissions of a directory that is made; none where they are not in octal.
    pub(super) fn directory_mode(&self) -> Option<u32> {
        let octal = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        let text = self.directory_permissions.as_str();
        u32::from_str_radix(text, 8).ok().filter(|_| octal(text))
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        check_directory(at, "directory", &self.directory, self.create_directory);
        if self.create_directory {
            match self.directory_mode() {
                None => at.error(
                    "directory_permissions",
                    "must be a valid octal representation\nwrite it in quotes: \"0750\"",
                ),
                Some(mode) if mode > 0o777 => at.error(
                    "directory_permissions",
                    "contain invalid bits for file access\nthe largest is \"0777\"",
                ),
                Some(_) => {}
            }
        }
        if !(SEGMENT_SIZE_MIN..=SEGMENT_MAX).contains(&self.millrace_segment_size) {
            at.error(
                "millrace_segment_size",
                "must be between 65536 (64 KiB) and 1073741824 (1 GiB)\nremove it for files of 16 MiB",
            );
        }
        if (1..MAX_SIZE_MIN).contains(&self.max_size) {
            at.error("max_size", "must be at least 262144 (256 KiB)\nraise it, or write 0 for no limit");
        }
        if self.millrace_commit_delay.get() > std::time::Duration::from_secs(1) {
            at.error("millrace_commit_delay", "must be at most 1s\nlower it: senders wait for it");
        }
        if !self.fsync && at.is_set("fsync") {
            at.warning(
                "fsync",
                "what was acknowledged can be lost when the machine loses power\nremove `fsync: false` to write it \
                 through to the disk first; many requests at once share one such write",
            );
        }
        at.nested("compaction", &self.compaction);
        at.within("compaction", |at| self.compaction.check_thresholds(self.max_size, at));
    }
}

/// As the Go collector does, which finds this out when it validates.
fn check_directory(at: &mut Checker<'_>, key: &str, directory: &str, may_be_made: bool) {
    match fs::metadata(Path::new(directory)) {
        Ok(found) if !found.is_dir() => at.error(key, format!("{directory} is not a directory\nname one, which no other process uses")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !may_be_made {
                at.error(
                    key,
                    format!(
                        "directory must exist: {directory}\nmake it, or set `create_directory: true` to have it made"
                    ),
                );
            }
        }
        Err(error) => at.error(key, format!("problem accessing configured directory: {directory}: {error}\nmake it accessible, or name another one")),
    }
}

/// `compaction`: how the Go collector's database files are made smaller.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compaction {
    /// Accepted for compatibility; there is nothing to compact.
    pub on_start: bool,
    /// Accepted for compatibility; there is nothing to compact.
    pub on_rebound: bool,
    /// Accepted for compatibility; nothing is written there.
    ///
    /// Go: must exist where one of the above is on.
    pub directory: String,
    /// Accepted for compatibility.
    pub rebound_needed_threshold_mib: i64,
    /// Accepted for compatibility.
    pub rebound_trigger_threshold_mib: i64,
    /// Accepted for compatibility.
    pub max_transaction_size: i64,
    /// Accepted for compatibility.
    pub check_interval: Duration,
    /// Accepted for compatibility; nothing is removed.
    pub cleanup_on_start: bool,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            on_start: false,
            on_rebound: false,
            directory: DIRECTORY.to_owned(),
            rebound_needed_threshold_mib: 100,
            rebound_trigger_threshold_mib: 10,
            max_transaction_size: 65536,
            check_interval: Duration::from_secs(5),
            cleanup_on_start: false,
        }
    }
}

impl Compaction {
    fn check_thresholds(&self, max_size: u64, at: &mut Checker<'_>) {
        if max_size == 0 || !self.on_rebound {
            return;
        }
        for (key, mib) in [
            ("rebound_needed_threshold_mib", self.rebound_needed_threshold_mib),
            ("rebound_trigger_threshold_mib", self.rebound_trigger_threshold_mib),
        ] {
            if i128::from(mib) << 20 > i128::from(max_size) {
                at.error(key, "cannot be greater than max size\nlower it, or raise `max_size`");
            }
        }
    }
}

impl Validate for Compaction {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.max_transaction_size < 0 {
            at.error("max_transaction_size", "cannot be less than 0\nremove it: there is nothing to compact");
        }
        if self.on_rebound && self.check_interval.is_zero() {
            at.error(
                "check_interval",
                "must be positive when rebound compaction is set\nremove it: there is nothing to compact",
            );
        }
    }
}
