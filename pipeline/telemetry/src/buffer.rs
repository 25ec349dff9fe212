//! What waits to be sent: bounded, never waited for by who puts something in.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::catalogue::millrace::OWN_TELEMETRY_DROPPED;
use crate::config::processor::{OwnExporter, Schedule};
use crate::metrics::{Counter, Labels, Registry};

/// What a processor of own logs or spans holds. A clone is the same buffer.
pub struct Buffer<T>(Arc<Shared<T>>);

struct Shared<T> {
    waiting: Mutex<VecDeque<T>>,
    most: usize,
    /// How many make it worth sending at once.
    enough: usize,
    filled: Notify,
    dropped: Counter,
}

/// A buffer, when it is to be emptied, and where to.
#[derive(Debug)]
pub struct Outlet<T> {
    /// When.
    pub schedule: Schedule,
    /// Where to.
    pub exporter: OwnExporter,
    /// What waits.
    pub buffer: Buffer<T>,
}

impl<T> Buffer<T> {
    /// An empty one, as its schedule says; what finds no room is counted as dropped of `signal`.
    #[must_use]
    pub fn new(schedule: &Schedule, signal: &'static str, registry: &Registry) -> Self {
        let labels = Labels::from([("signal", signal), ("reason", "queue_full")]);
        Self(Arc::new(Shared {
            waiting: Mutex::default(),
            most: schedule.queue,
            enough: if schedule.delay.is_zero() { 1 } else { schedule.batch },
            filled: Notify::new(),
            dropped: registry.counter(&OWN_TELEMETRY_DROPPED, &labels),
        }))
    }

    /// Puts something in, unless the buffer is full.
    pub fn push(&self, item: T) {
        let waiting = {
            let mut waiting = self.lock();
            if waiting.len() >= self.0.most {
                drop(waiting);
                return self.0.dropped.add(1);
            }
            waiting.push_back(item);
            waiting.len()
        };
        if waiting >= self.0.enough {
            self.0.filled.notify_one();
        }
    }

    /// Takes out at most so many, the oldest first.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<T> {
        let mut waiting = self.lock();
        let count = waiting.len().min(most);
        waiting.drain(..count).collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves when there is enough to be worth sending. May do so once without need.
    pub async fn filled(&self) {
        self.0.filled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // Every change under the lock is complete before anything can panic.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("waiting", &self.len()).finish_non_exhaustive()
    }
}
