//! A value that is read at every request and replaced now and then.

use millrace_telemetry::shard::{shard_count, worker_slot};
use std::sync::{Arc, Mutex, PoisonError};

/// The present version of a value. Each worker looks at it through a cell of its own, so that reading it for every
/// request makes no two workers write to one cache line.
pub(crate) struct Current<T>(Box<[Slot<T>]>);

#[repr(align(128))]
struct Slot<T>(Mutex<Arc<T>>);

impl<T> Current<T> {
    pub(crate) fn new(value: T) -> Self {
        let value = Arc::new(value);
        Self((0..shard_count()).map(|_| Slot(Mutex::new(Arc::clone(&value)))).collect())
    }

    /// Looks at the present version. `look` must be short, as a replacement waits for it.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Arc<T>) -> R) -> R {
        look(&self.0[worker_slot()].0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this is the present version. Workers see it one after the other.
    pub(crate) fn replace(&self, value: T) {
        let value = Arc::new(value);
        for slot in &self.0 {
            *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_sees_what_was_put_in_last() {
        let current = Arc::new(Current::new(1));
        current.replace(2);
        let seen: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| current.with(|value| **value))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(seen, [2; 8]);
    }
}
