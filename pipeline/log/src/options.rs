//! What can be chosen about a log.

use crate::report::{Observer, Silent};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The smallest segment: enough for its header and something to put into it.
pub const SEGMENT_SIZE_MIN: u64 = 64 * 1024;

/// The smallest log: room for two segments, and for cursors.
pub const MAX_SIZE_MIN: u64 = 256 * 1024;

/// The largest segment. Positions in a segment are kept in units of 8 bytes in 32 bits.
pub const SEGMENT_SIZE_MAX: u64 = 1 << 34;

/// What can be chosen about a log. Everything has a default.
#[derive(Clone)]
pub struct Options {
    /// How many bytes of disk the log may take, preallocated files and cursors included. Default 1 GiB.
    pub max_size: u64,
    /// The size of a segment file, which is the unit in which disk space is given back. Default: a sixteenth of
    /// `max_size`, between 64 KiB and 16 MiB. An entry that does not fit gets a larger file of its own.
    pub segment_size: Option<u64>,
    /// Entries older than that are dropped and counted as [`LossReason::Expired`](crate::LossReason::Expired).
    /// Default: none.
    pub max_age: Option<Duration>,
    /// What becomes of new entries when there is no room. Default: they are refused.
    pub on_full: OnFull,
    /// Whether an entry is appended once it is on disk (the default), or once it has been handed to the kernel.
    pub fsync: bool,
    /// How long the first entry of a group waits for others before it is written and synced. Default 0: a sync begins
    /// at once when none is running, and whoever arrives meanwhile shares the next.
    pub commit_delay: Duration,
    /// How long an ack may stay in memory only. Default 250 ms.
    pub cursor_interval: Duration,
    /// How many acked bytes may stay in memory only. Default 16 MiB.
    pub cursor_bytes: u64,
    /// Who reads. What all of them have acked is removed. Default: one, `default`, oldest first.
    pub consumers: Vec<ConsumerOptions>,
    /// Who is told of losses and mishaps. Default: nobody.
    pub observer: Arc<dyn Observer>,
    /// Other paths under which the next process looks for the directory, through links that may be pointed elsewhere.
    /// Default: none.
    pub also_at: AlsoAt,
}

/// Says under which other paths a directory is looked for. Asked about once a second.
#[derive(Clone, Default)]
pub struct AlsoAt(Option<Arc<Paths>>);

type Paths = dyn Fn() -> Vec<PathBuf> + Send + Sync;

impl AlsoAt {
    /// Those that this says, each time.
    pub fn of(paths: impl Fn() -> Vec<PathBuf> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(paths)))
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.as_ref().map(|paths| paths()).unwrap_or_default()
    }
}

impl fmt::Debug for AlsoAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AlsoAt").field(&self.paths()).finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_size: 1 << 30,
            segment_size: None,
            max_age: None,
            on_full: OnFull::Refuse,
            fsync: true,
            commit_delay: Duration::ZERO,
            cursor_interval: Duration::from_millis(250),
            cursor_bytes: 16 << 20,
            consumers: vec![ConsumerOptions::default()],
            observer: Arc::new(Silent),
            also_at: AlsoAt::default(),
        }
    }
}

/// What can be changed about a log that is open: [`Log::limit`](crate::Log::limit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// [`Options::max_size`].
    pub max_size: u64,
    /// [`Options::max_age`].
    pub max_age: Option<Duration>,
    /// [`Options::on_full`].
    pub on_full: OnFull,
}

/// One reader of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Its cursor is found again by this name: up to 64 of `a-z`, `0-9`, `_` and `-`.
    pub name: String,
    /// In which order entries are handed out.
    pub order: Order,
    /// How many entries may be with the consumer at once, neither acked nor deferred. Default 65,536.
    pub max_outstanding: usize,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self { name: "default".into(), order: Order::OldestFirst, max_outstanding: 65_536 }
    }
}

/// In which order entries are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they were appended.
    #[default]
    OldestFirst,
    /// The newest one first: after an outage, what is of interest now is not behind what was of interest then.
    NewestFirst,
}

/// What becomes of new entries when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// They are refused, and whoever brought them is told.
    #[default]
    Refuse,
    /// The oldest segment is dropped to make room, and its entries are counted as
    /// [`LossReason::Evicted`](crate::LossReason::Evicted).
    DropOldest,
}
