//! Dropping the oldest to make room.
//!
//! Nothing is dropped for a request that is refused: it is taken as far as the oldest can make room, and they do when it
//! is on disk. Until then there may be more than there is room for, by no more than was set aside.

use super::{Line, Store};
use crate::config::OnFull;
use millrace_log::{Lease, Next};
use std::sync::Arc;
use tokio::task::spawn_blocking;

impl Line {
    /// Whether the oldest make room.
    pub(crate) fn evicts(&self) -> bool {
        self.on_full == OnFull::DropOldest
    }

    /// Units of what is on disk that has to stay there when something arrives.
    pub(super) fn staying(&self) -> u64 {
        let there = self.on_disk();
        if self.evicts() { there.min(self.units(self.store.handed_out.totals())) } else { there }
    }

    /// Drops the oldest of what came before an entry and is not being sent, as far as more is there than there is room
    /// for.
    pub(super) async fn give_way_to(&self, sequence: u64) {
        if !self.is_to_give_way() {
            return;
        }
        let _turn = self.store.making_room.lock().await;
        while self.is_to_give_way() && self.store.drop_oldest(sequence).await {}
    }

    /// Whether more waits than there is room for now, and the oldest make room. What is still to come makes its own.
    pub(crate) fn is_to_give_way(&self) -> bool {
        self.evicts() && self.on_disk() > self.capacity
    }

    /// Drops the oldest that are beyond the room that there is now: those that are not being sent.
    pub(crate) async fn give_way(&self) {
        let _turn = self.store.making_room.lock().await;
        while self.is_to_give_way()
            && !self.is_closed()
            && !self.keeps()
            && self.store.drop_oldest(u64::MAX).await
        {}
    }
}

impl Store {
    /// Drops the oldest request that came before `sequence` and is not being sent; whether there was one.
    async fn drop_oldest(self: &Arc<Self>, sequence: u64) -> bool {
        match self.consumer.try_next(|_| true) {
            Next::Empty => false,
            Next::Held(lease) => self.evict_before(sequence, &lease),
            Next::OnDisk => {
                let store = Arc::clone(self);
                let read = move || match store.consumer.read_next() {
                    Ok(Some(read)) => store.evict_before(sequence, &read.lease),
                    Ok(None) | Err(_) => false,
                };
                spawn_blocking(read).await.unwrap_or(false)
            }
        }
    }

    /// Drops what is to be handed out next, unless it goes back as it came later.
    fn evict_before(&self, sequence: u64, next: &Lease) -> bool {
        if next.sequence >= sequence {
            let _ = self.consumer.defer(next.sequence);
            return false;
        }
        let forgotten = self.memory.take(next.sequence);
        if self.consumer.ack(next.sequence) {
            self.watch.evicted(crate::storage::cost(next));
        }
        drop(forgotten);
        self.freed.notify_waiters();
        true
    }
}
