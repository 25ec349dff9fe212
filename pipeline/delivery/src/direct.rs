//! The requests that deliver themselves, on tasks of their own: how many there are, and when there are none.
//!
//! They are counted in cells of the workers, and only a drain asks for the sum.

use millrace_telemetry::shard::Sharded;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};
use tokio::sync::Notify;

/// The requests under way of one exporter.
pub(crate) struct Direct {
    count: Sharded,
    /// Whether somebody waits for the last of them.
    is_awaited: AtomicBool,
    ended: Notify,
}

impl Default for Direct {
    fn default() -> Self {
        Self { count: Sharded::new(1), is_awaited: AtomicBool::new(false), ended: Notify::new() }
    }
}

impl Direct {
    /// One more, until the guard is dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.count.add(0, 1);
        UnderWay(self)
    }

    /// Returns when there are none.
    pub(crate) async fn idle(&self) {
        self.is_awaited.store(true, Relaxed);
        // Pairs with the one below: either this sees that a request has ended, or the request sees that somebody waits.
        fence(SeqCst);
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.count.sum(0) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A request under way.
pub(crate) struct UnderWay<'a>(&'a Direct);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Direct { count, is_awaited, ended } = self.0;
        // Cells wrap, so taking away is adding the complement.
        count.add(0, 1_u64.wrapping_neg());
        fence(SeqCst);
        if is_awaited.load(Relaxed) {
            ended.notify_waiters();
        }
    }
}
