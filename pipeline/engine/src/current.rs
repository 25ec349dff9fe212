//! A value that is read at every request and replaced now and then: with the configuration, or with the file it is from.
//!
//! Each worker reads through a handle of its own, so that reading writes to nothing that another worker reads.

use crate::lanes::{Lane, Lanes};
use millrace_telemetry::shard::{shard_count, worker_slot};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// A value that can be replaced. Whoever has read it keeps what was there.
pub struct Current<T>(Box<[Slot<T>]>);

#[repr(align(128))]
struct Slot<T>(Mutex<Arc<Lane<Kept<T>>>>);

struct Kept<T> {
    value: T,
    /// Dropped with it, which is how it is told.
    _gone: oneshot::Sender<()>,
}

/// The value as it was read.
pub struct Reading<T>(Arc<Lane<Kept<T>>>);

/// Resolves when nobody reads a value any more that has been replaced.
#[derive(Debug)]
pub struct Gone(oneshot::Receiver<()>);

impl Gone {
    /// Waits for it.
    pub async fn wait(&mut self) {
        // An error is what is waited for: nothing is ever sent.
        let _ = (&mut self.0).await;
    }
}

/// Where nobody asks when its readers have gone.
impl<T> From<T> for Current<T> {
    fn from(value: T) -> Self {
        Self::new(value).0
    }
}

impl<T> Current<T> {
    /// A value, and what tells when its last reader has gone.
    #[must_use]
    pub fn new(value: T) -> (Self, Gone) {
        let (lanes, gone) = kept(value);
        let slots = (0..shard_count()).map(|slot| Slot(Mutex::new(lanes.of(slot))));
        (Self(slots.collect()), gone)
    }

    /// The value now.
    #[must_use]
    pub fn read(&self) -> Reading<T> {
        let slot = &self.0[worker_slot()].0;
        Reading(Arc::clone(&slot.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Puts another value in its place; tells when that one's last reader has gone.
    pub fn replace(&self, value: T) -> Gone {
        let (lanes, gone) = kept(value);
        for (at, slot) in self.0.iter().enumerate() {
            let mut slot = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut *slot, lanes.of(at));
            drop(slot);
            // Without the lock: it may be the last of a whole graph.
            drop(old);
        }
        gone
    }
}

fn kept<T>(value: T) -> (Lanes<Kept<T>>, Gone) {
    let (sender, gone) = oneshot::channel();
    (Lanes::new(Kept { value, _gone: sender }), Gone(gone))
}

impl<T> Deref for Reading<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn readers_keep_what_they_have_read_and_the_last_of_them_is_told() {
        let (current, mut first_gone) = Current::new(1);
        let reading = current.read();
        let mut second_gone = current.replace(2);
        assert_eq!((*reading, *current.read()), (1, 2));
        assert!(first_gone.wait().now_or_never().is_none(), "somebody reads it still");
        drop(reading);
        assert!(first_gone.wait().now_or_never().is_some());
        assert!(second_gone.wait().now_or_never().is_none(), "it is the current one");
        drop(current);
        assert!(second_gone.wait().now_or_never().is_some());
    }

    #[test]
    fn workers_see_the_new_value_as_soon_as_it_is_there() {
        let (current, _gone) = Current::new(0_u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 100 {
                        let now = *current.read();
                        assert!(now >= last, "{now} after {last}");
                        last = now;
                    }
                });
            }
            for value in 1..=100 {
                let _ = current.replace(value);
            }
        });
    }
}
