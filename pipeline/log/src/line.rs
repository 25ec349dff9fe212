//! Entries that wait to be written.

use crate::entry::Entry;
use crate::group::{Appending, Promise};
use std::collections::VecDeque;
use std::time::Duration;

/// A group is closed when it has that many bytes, so that nobody waits for an endless one.
const GROUP_BYTES: u64 = 16 << 20;

/// Or that many entries.
const GROUP_ENTRIES: usize = 1024;

/// An entry, and what is known of it before it has a place.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) entry: Entry,
    pub(crate) framed_len: u64,
    pub(crate) body_crc: u32,
    pub(crate) time_ns: u64,
    /// What has been reserved for it.
    pub(crate) charge: u64,
    pub(crate) placed: Option<Placed>,
}

/// Called with the number that an entry got, before it can be handed out.
pub(crate) struct Placed(pub(crate) Box<dyn FnOnce(u64) + Send>);

impl std::fmt::Debug for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Placed")
    }
}

/// Entries that are written together.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) promise: Promise,
    pub(crate) entries: Vec<Queued>,
    pub(crate) bytes: u64,
    /// When the first of them arrived, on the monotonic clock.
    pub(crate) since: Duration,
}

impl Waiting {
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES || self.entries.len() >= GROUP_ENTRIES
    }
}

/// The groups that wait. Their bytes are reserved, so there are no more of them than the log has room for.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) groups: VecDeque<Waiting>,
    /// Nothing comes any more.
    pub(crate) closed: bool,
    /// The segment that is being written is to be completed.
    pub(crate) seal: bool,
    /// Whoever writes waits for something to come.
    pub(crate) is_awaited: bool,
}

impl Line {
    /// Whether whoever writes is to be woken for what has just come: to be told costs a system call.
    pub(crate) fn is_due(&mut self) -> bool {
        std::mem::take(&mut self.is_awaited) || self.groups.back().is_some_and(Waiting::is_full)
    }

    pub(crate) fn push(&mut self, queued: Queued, now: Duration) -> Appending {
        if self.groups.back().is_none_or(Waiting::is_full) {
            let waiting = Waiting { promise: Promise::default(), entries: Vec::new(), bytes: 0, since: now };
            self.groups.push_back(waiting);
        }
        let waiting = self.groups.back_mut().expect("there is one now");
        waiting.bytes += queued.framed_len;
        waiting.entries.push(queued);
        waiting.promise.member()
    }
}
