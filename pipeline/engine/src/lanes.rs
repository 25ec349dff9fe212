//! Sharing a value between workers without sharing a reference count.
//!
//! Cloning an `Arc` for each request makes all workers write to one cache line, which costs more than much of what is
//! done for the request. Here each worker clones a handle of its own.

use millrace_telemetry::shard::{shard_count, worker_slot};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A shared value, with a handle for each worker. Clones share the value.
pub struct Lanes<T>(Arc<[Arc<Lane<T>>]>);

/// A handle on the value. The count of its references lies on a cache line (pair) of its own, because the alignment
/// keeps what is counted away from it.
#[repr(align(128))]
pub struct Lane<T>(Arc<T>);

impl<T> Lanes<T> {
    /// Shares `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        let value = Arc::new(value);
        Self((0..shard_count()).map(|_| Arc::new(Lane(Arc::clone(&value)))).collect())
    }

    /// The handle of one worker.
    pub(crate) fn of(&self, worker: usize) -> Arc<Lane<T>> {
        Arc::clone(&self.0[worker])
    }

    /// The calling worker's handle, for what outlives the call; may be dropped by any worker.
    #[must_use]
    pub fn near(&self) -> Arc<Lane<T>> {
        Arc::clone(&self.0[worker_slot()])
    }
}

impl<T> Deref for Lanes<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T> Deref for Lane<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Lanes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Lanes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Lane<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    #[test]
    fn every_handle_leads_to_the_same_value_and_it_goes_with_the_last() {
        let value = Arc::new(AtomicU64::new(0));
        let lanes = Lanes::new(Arc::clone(&value));
        let handles: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let near = lanes.near();
                        near.fetch_add(1, SeqCst);
                        near
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        lanes.fetch_add(1, SeqCst);
        assert_eq!(value.load(SeqCst), 9);
        drop(lanes);
        assert_eq!(Arc::strong_count(&value), 2, "the handles keep it");
        drop(handles);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
