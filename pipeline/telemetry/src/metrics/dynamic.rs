//! Handles whose labels are known only when there is something to count: a status code, a method, a kind of failure.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::shard::{shard_count, worker_slot};

/// How many handles a worker keeps. Further ones are looked up in the registry every time, which has a limit of its
/// own on the number of series.
const KEPT: usize = 256;

/// Keeps handles by what their labels are made of.
///
/// Every worker has its own, behind a lock that nobody else takes unless there are more threads than shards: finding a
/// handle costs a hash and writes to no cache line of another worker.
pub struct Dynamic<V> {
    shards: Box<[Shard<V>]>,
    hasher: RandomState,
}

#[repr(align(128))]
struct Shard<V>(Mutex<HashMap<u64, V>>);

impl<V> Dynamic<V> {
    /// With no handles yet.
    #[must_use]
    pub fn new() -> Self {
        let shards = (0..shard_count()).map(|_| Shard(Mutex::default())).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// Hands `count` the handle for `key`, made by `make` if this worker has not seen the key yet.
    ///
    /// Keys are told apart by 64 bits of a hash with a random key.
    pub fn with(&self, key: &impl Hash, make: impl FnOnce() -> V, count: impl FnOnce(&V)) {
        let hash = self.hasher.hash_one(key);
        let shard = &self.shards[worker_slot() & (self.shards.len() - 1)];
        // Every change under the lock is complete before anything can panic.
        let mut handles = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&hash) {
            return count(handle);
        }
        let handle = make();
        count(&handle);
        if handles.len() < KEPT {
            handles.insert(hash, handle);
        }
    }
}

impl<V> Default for Dynamic<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> fmt::Debug for Dynamic<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dynamic").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Counter, Def, Labels, Level, Registry};
    use std::cell::Cell;

    static CALLS: Def = Def::counter("calls", "", "");

    #[test]
    fn a_handle_is_made_once_for_each_key_and_counts_are_never_lost() {
        let registry = Registry::new(Level::Basic);
        let handles: Dynamic<Counter> = Dynamic::new();
        let made = Cell::new(0);
        let labels = |code: u32| Labels::new().with("code", (code % 400).to_string());
        for code in (0..1_000).chain(0..1_000) {
            let make = || {
                made.set(made.get() + 1);
                registry.counter(&CALLS, &labels(code))
            };
            handles.with(&(code % 400), make, |counter| counter.add(1));
        }
        // What is over the limit is made anew each time.
        let kept = KEPT as u32;
        let seen_beyond = (0..2_000).filter(|code| code % 1_000 % 400 >= kept).count() as u32;
        assert_eq!(made.get(), kept + seen_beyond);
        let total: u64 = (0..400).map(|code| registry.counter(&CALLS, &labels(code)).value()).sum();
        assert_eq!(total, 2_000);
    }
}
