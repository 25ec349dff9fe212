//! How much of what is on disk may be in memory.

use millrace_engine::Budget;
use millrace_engine::budget::{Aside, REQUEST_BYTES};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::sync::Notify;

/// The most that one queue keeps in memory, from the disk to the destination.
const MOST: u64 = 16 << 20;
/// What it may keep however small the budget is.
const LEAST: u64 = 256 << 10;
/// Its share of what is there for passing on, where that is less.
const SHARE: u64 = 8;

/// The room. It is set aside as a whole for as long as the queue exists, so that no queue can take another's, and what
/// is read from disk has not to wait for what is sent.
pub(super) struct Window {
    bound: u64,
    used: AtomicU64,
    freed: Notify,
    _aside: Aside,
}

/// What something in memory takes of it.
pub(super) struct InMemory {
    window: Arc<Window>,
    bytes: u64,
}

impl Window {
    /// Sets its share of `work` aside; less where other queues have theirs.
    pub(super) fn of(work: &Budget) -> Arc<Self> {
        let aside = work.set_aside((work.limit() / SHARE).clamp(LEAST, MOST));
        let bound = aside.bytes().max(LEAST);
        Arc::new(Self { bound, used: AtomicU64::new(0), freed: Notify::new(), _aside: aside })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(SeqCst)
    }

    pub(super) fn has_room(&self) -> bool {
        self.used() < self.bound
    }

    /// Room for so many bytes of telemetry and what goes with them, if there is any.
    pub(super) fn try_enter(self: &Arc<Self>, bytes: u64) -> Option<InMemory> {
        let bytes = bytes + REQUEST_BYTES;
        let fits = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.bound);
        self.used.fetch_update(SeqCst, SeqCst, fits).ok()?;
        Some(InMemory { window: Arc::clone(self), bytes })
    }

    /// The same for what is there already.
    pub(super) fn enter(self: &Arc<Self>, bytes: u64) -> InMemory {
        let bytes = bytes + REQUEST_BYTES;
        self.used.fetch_add(bytes, SeqCst);
        InMemory { window: Arc::clone(self), bytes }
    }

    /// Tells when something leaves it.
    pub(super) fn freed(&self) -> &Notify {
        &self.freed
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        self.window.used.fetch_sub(self.bytes, SeqCst);
        self.window.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_is_bounded_and_what_leaves_makes_room() {
        let work = Budget::new(16 << 20);
        let window = Window::of(&work);
        assert_eq!((window.bound, work.used()), (2 << 20, 2 << 20));
        let half = window.try_enter(1 << 20).expect("room");
        assert!(window.try_enter(1 << 20).is_none(), "what goes with it counts, too");
        drop(half);
        let _all = window.enter(4 << 20);
        assert!(!window.has_room());
    }

    #[test]
    fn queues_share_what_there_is_and_each_has_a_little() {
        let work = Budget::new(4 << 20);
        let windows: Vec<_> = (0..20).map(|_| Window::of(&work)).collect();
        assert!(windows.iter().all(|window| window.bound >= LEAST));
        assert!(work.used() <= work.limit());
        // Or what is compressed would wait for ever, as nobody gives a window back.
        assert!(work.try_charge(2 << 20).is_some(), "half is left for passing on");
        drop(windows);
        assert_eq!(work.used(), 0);
    }
}
