//! Dropping the oldest to make room.

use super::Store;
use millrace_log::{Lease, Next};
use std::sync::Arc;
use tokio::task::spawn_blocking;

impl Store {
    /// Drops the oldest request that is not being sent; whether there was one.
    pub(super) async fn drop_oldest(self: &Arc<Self>) -> bool {
        match self.consumer.try_next(|_| true) {
            Next::Empty => false,
            Next::Held(lease) => {
                self.evict(&lease);
                true
            }
            Next::OnDisk => {
                let store = Arc::clone(self);
                let read = move || match store.consumer.read_next() {
                    Ok(Some(read)) => {
                        store.evict(&read.lease);
                        true
                    }
                    Ok(None) | Err(_) => false,
                };
                spawn_blocking(read).await.unwrap_or(false)
            }
        }
    }

    fn evict(&self, lease: &Lease) {
        let cost = crate::storage::cost(lease);
        let forgotten = self.memory.take(lease.sequence);
        if self.consumer.ack(lease.sequence) {
            self.watch.evicted(cost);
        }
        drop(forgotten);
        self.freed.notify_waiters();
    }
}
