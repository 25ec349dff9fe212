//! What a log tells its user: what was refused, what was lost, what went wrong, and how much there is.

use crate::files::Displacement;
use crate::format::frame;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How much of something there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Entries.
    pub entries: u64,
    /// Spans, data points or log records in them.
    pub items: u64,
    /// The bytes of the log that they take.
    pub bytes: u64,
}

impl Totals {
    /// Of one entry.
    pub(crate) fn one(items: u32, bytes: u64) -> Self {
        Self { entries: 1, items: u64::from(items), bytes }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.items = self.items.saturating_add(other.items);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(crate) fn less(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            items: self.items.saturating_sub(other.items),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// What is left of it without the other, if that is no more in any way.
    pub(crate) fn checked_less(self, other: Self) -> Option<Self> {
        Some(Self {
            entries: self.entries.checked_sub(other.entries)?,
            items: self.items.checked_sub(other.items)?,
            bytes: self.bytes.checked_sub(other.bytes)?,
        })
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// Entries that had been taken and will not be handed out any more, though nobody acked them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// How much. Entries are exact. Items and bytes are as far as they can still be known: an entry whose header is
    /// damaged counts by what its segment says of itself, or not at all.
    pub lost: Totals,
    /// How many of the entries are not in its items and bytes, as nobody knows any more how many they had.
    pub unknown: u64,
}

impl Totals {
    /// How many entries are in the sum of entries only: none takes less than its header.
    pub(crate) fn unknown(self) -> u64 {
        self.entries.saturating_sub(self.bytes / frame::HEADER as u64)
    }
}

/// Why entries were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossReason {
    /// Dropped as the oldest, to make room ([`OnFull::DropOldest`](crate::OnFull::DropOldest)).
    Evicted,
    /// Older than [`Options::max_age`](crate::Options::max_age).
    Expired,
    /// Their bytes on disk are not those that were written.
    Damaged,
    /// Their file is gone, or too short, or is not what it was.
    Missing,
    /// The disk failed repeatedly when they were read.
    Unreadable,
}

impl LossReason {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Evicted, Self::Expired, Self::Damaged, Self::Missing, Self::Unreadable];

    /// As a label of a metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is told, as it happens. Called from any thread; should return soon.
///
/// What is being read, written and counted is not locked meanwhile, and may be asked for ([`Log::stats`]). The keeper may
/// be, which tidies up and looks for what is gone: an observer must not call [`Log::tidy`], [`Log::take_stock`] or
/// [`Log::close`], nor wait for an entry to be appended.
///
/// [`Log::stats`]: crate::Log::stats
/// [`Log::tidy`]: crate::Log::tidy
/// [`Log::take_stock`]: crate::Log::take_stock
/// [`Log::close`]: crate::Log::close
/// What is lost is told before the disk forgets that it was there: who is killed in between is told it again.
pub trait Observer: Send + Sync {
    /// What was found while opening, before anything of it is forgotten.
    fn opened(&self, _recovered: &Recovered) {}

    /// Entries were lost. Every loss after opening is told here, once; those found while opening are in
    /// [`Recovered::losses`].
    fn lost(&self, _loss: &Loss) {}

    /// Something is not as it should be, and the log goes on.
    fn noticed(&self, _notice: &Notice) {}

    /// A group of entries is on disk; writing it through took so long. Not told without [`Options::fsync`].
    ///
    /// [`Options::fsync`]: crate::Options::fsync
    fn synced(&self, _took: Duration) {}
}

/// Nobody.
pub(crate) struct Silent;

impl Observer for Silent {}

/// Something is not as it should be, and the log goes on. To be logged where it is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An entry could not be written or synced; those who brought entries have been told.
    WriteFailed {
        /// The file.
        file: String,
        /// What the system says.
        error: String,
    },
    /// No room on the device. New entries are refused until there is; those that are there are handed out.
    DiskFull,
    /// Cursors could not be persisted; more than usual would be handed out again after a crash. Tried again.
    CursorFailed {
        /// The file.
        file: String,
        /// What the system says.
        error: String,
    },
    /// More acks are out of order than the cursor's file has room for, and the disk has none to give.
    CursorCut {
        /// The file.
        file: String,
    },
    /// A cursor could not be used: missing although there were entries, or damaged. Entries are handed out again.
    CursorLost {
        /// The file.
        file: String,
    },
    /// A file that is done with could not be removed. Tried again.
    UnlinkFailed {
        /// The file.
        file: String,
        /// What the system says.
        error: String,
    },
    /// A file could not be read.
    ReadFailed {
        /// The file.
        file: String,
        /// What the system says.
        error: String,
    },
    /// A file cannot be opened, for a reason that says nothing about it: nobody may open more, or not this one. It is tried
    /// until it can be; what is in it, and what comes after it, waits. Told once, until [`Notice::ReadsOn`].
    Unopened {
        /// The file.
        file: String,
        /// What the system says.
        error: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file that could not be opened keeps nobody waiting any more: it can be, or it is done with.
    ReadsOn {
        /// The file.
        file: String,
    },
    /// A segment could not be read while opening. What is in it is handed out when it can be read the next time, or
    /// counted as lost when it is gone then.
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        error: String,
        /// How many entries are known to wait in it.
        entries: u64,
    },
    /// A file is in the directory that is none of ours. Left alone.
    Foreign {
        /// The file.
        file: String,
    },
    /// A segment whose header cannot be read, or that does not fit its neighbours, was renamed and is left alone.
    SetAside {
        /// Its new name.
        file: String,
        /// Its size, in bytes.
        bytes: u64,
    },
    /// The end of a segment was not completely written when the last process ended, and was cut off. Nobody had been
    /// told that it was on disk, as far as can be known.
    TornTail {
        /// The file.
        file: String,
        /// What was cut off, in bytes.
        bytes: u64,
    },
    /// Damage inside a segment; what follows it has been found again. The losses are told on their own.
    Damage {
        /// The file.
        file: String,
        /// How many stretches of it.
        places: u64,
    },
    /// Whole segments had been there before this one, of which no cursor knew yet, and are gone. The loss is told on its
    /// own.
    Gap {
        /// The segment that was begun after them.
        before: String,
        /// How many entries had been in them, at most.
        entries: u64,
        /// How many items those had, as far as it can still be known.
        items: u64,
        /// How many of the entries are not in the items.
        unknown: u64,
    },
    /// The directory cannot be written to. What is there is handed out; nothing is remembered.
    ReadOnly {
        /// What the system says.
        error: String,
    },
    /// The directory is not where the next process looks for it. What is there is handed out, and nothing is taken.
    Displaced(Displacement),
    /// The directory is under its path again, and entries are taken.
    InPlace,
    /// A file was removed from the directory, or another put in its place, while it was in use. If it is a segment, what
    /// is in it and cannot be handed out is lost, and told on its own; any other file is made again.
    Vanished {
        /// The file.
        file: String,
    },
    /// The clock is behind the newest entry. Ages are counted from that entry's time on.
    ClockWentBack {
        /// By how much.
        by: Duration,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteFailed { file, error } => write!(f, "writing {file} failed: {error}"),
            Self::DiskFull => {
                f.write_str("no space left on the device: new entries are refused until there is")
            }
            Self::CursorFailed { file, error } => {
                write!(f, "persisting {file} failed and will be tried again: {error}")
            }
            Self::CursorCut { file } => {
                write!(f, "no room to persist all of {file}: a crash would hand out more again")
            }
            Self::CursorLost { file } => {
                write!(f, "{file} cannot be used: entries that were done with are handed out again")
            }
            Self::UnlinkFailed { file, error } => {
                write!(f, "removing {file} failed and will be tried again: {error}")
            }
            Self::ReadFailed { file, error } => write!(f, "reading {file} failed: {error}"),
            Self::Unopened { file, error, remedy } => {
                write!(f, "{file} cannot be opened: {error}; what is in it waits until it can be: {remedy}")
            }
            Self::ReadsOn { file } => write!(f, "{file} could not be opened, and is no longer waited for"),
            Self::Unreadable { file, error, entries } => write!(
                f,
                "{file} cannot be read: {error}; {entries} entries are known to wait in it, and are kept until it can be \
                 read at a later start, or is removed"
            ),
            Self::Foreign { file } => write!(f, "{file} does not belong to the log and is left alone"),
            Self::SetAside { file, bytes } => {
                write!(f, "a segment of {bytes} bytes cannot be used and was set aside as {file}")
            }
            Self::TornTail { file, bytes } => {
                write!(f, "{bytes} bytes at the end of {file} were not completely written and are cut off")
            }
            Self::Damage { file, places } => write!(f, "{file} is damaged in {places} places"),
            Self::Gap { before, entries, items, unknown } => {
                write!(
                    f,
                    "{entries} entries with {items} items that were on disk before {before} was begun are gone"
                )?;
                match unknown {
                    0 => Ok(()),
                    _ => write!(f, "; how many items {unknown} of them had is not known, and not in that"),
                }
            }
            Self::ReadOnly { error } => write!(f, "the directory cannot be written to: {error}"),
            Self::Displaced(displaced) => write!(f, "the directory {displaced}"),
            Self::InPlace => f.write_str("the directory is in its place again"),
            Self::Vanished { file } => {
                write!(f, "{file} was removed or replaced by somebody while it was in use")
            }
            Self::ClockWentBack { by } => write!(f, "the clock is {by:?} behind the newest entry"),
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// What waits to be handed out to the consumer for which most does.
    pub held: Totals,
    /// What waits besides in files that cannot be read now, as far as it is known ([`Notice::Unreadable`]).
    pub unreadable: Totals,
    /// What had been taken and is lost, by reason.
    pub losses: Vec<Loss>,
    /// What else is not as it should be.
    pub notices: Vec<Notice>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Neither acked nor lost, for the consumer for which most is.
    pub held: Totals,
    /// Handed out and neither acked nor deferred, over all consumers.
    pub leased: u64,
    /// The sizes of all files, in bytes.
    pub disk_bytes: u64,
    /// Reserved and not written yet, in bytes.
    pub reserved_bytes: u64,
    /// What may be reserved, in bytes.
    pub free_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// The age of the oldest segment that holds something: of its first entry, acked or not.
    pub oldest_age: Option<Duration>,
    /// Groups that were synced.
    pub commits: u64,
    /// Entries that were appended.
    pub appended: u64,
    /// The directory is not where the next process looks for it ([`Notice::Displaced`]).
    pub displaced: bool,
}

/// Why an entry was not taken. It is the caller's again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Would go over `max_size`. Room comes back as entries are acked ([`Log::freed`](crate::Log::freed)).
    #[error("the log is full ({max_size} bytes)")]
    Full {
        /// The limit.
        max_size: u64,
    },
    /// Will never fit.
    #[error("an entry of {bytes} bytes does not fit into the log: at most {limit} do")]
    TooLarge {
        /// What it would take.
        bytes: u64,
        /// What an entry may take.
        limit: u64,
    },
    /// The device is full.
    #[error("no space left on the device")]
    DiskFull,
    /// The disk failed.
    #[error("the log could not be written: {0}")]
    Disk(String),
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// Written by a newer version of this program.
    #[error("{file} has format version {version}, and this program knows up to {known}: use a newer one")]
    NewerVersion {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
        /// The newest version that can be read.
        known: u16,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// The directory cannot be created or listed.
    #[error("the log cannot be opened, {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Why an entry could not be read. It stays where it is, and will be handed out again.
#[derive(Debug, thiserror::Error)]
#[error("reading {file}: {source}")]
pub struct ReadError {
    /// The file.
    pub file: String,
    /// What the system says.
    pub source: std::io::Error,
}
