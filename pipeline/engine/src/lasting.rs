//! What outlives a graph: listeners and servers, found again by whoever takes a component's place when the
//! configuration is replaced.
//!
//! # Invariant
//! Nothing is kept alive here: what nobody holds any more is gone.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Things that components share with those that come after them; clones share them.
#[derive(Clone, Default)]
pub struct Lasting(Arc<Inner>);

#[derive(Default)]
struct Inner {
    generations: AtomicU64,
    things: Mutex<Things>,
}

type Things = BTreeMap<(TypeId, String), Weak<dyn Any + Send + Sync>>;

impl Lasting {
    /// The graph that comes next.
    #[must_use]
    pub fn next_generation(&self) -> Generation {
        Generation::of(self.0.generations.fetch_add(1, Relaxed) + 1)
    }

    /// What is held under that key.
    #[must_use]
    pub fn find<T: Any + Send + Sync>(&self, key: &str) -> Option<Arc<T>> {
        let held = self.things().get(&(TypeId::of::<T>(), key.to_owned()))?.upgrade()?;
        held.downcast().ok()
    }

    /// Everything of a type that is held.
    #[must_use]
    pub fn all<T: Any + Send + Sync>(&self) -> Vec<Arc<T>> {
        let things = self.things();
        let of_type = things.iter().filter(|((of, _), _)| *of == TypeId::of::<T>());
        of_type.filter_map(|(_, thing)| thing.upgrade()?.downcast().ok()).collect()
    }

    /// Lets `thing` be found under that key for as long as somebody holds it.
    pub fn put<T: Any + Send + Sync>(&self, key: &str, thing: &Arc<T>) {
        let mut things = self.things();
        things.retain(|_, thing| thing.strong_count() > 0);
        let weak: Weak<T> = Arc::downgrade(thing);
        things.insert((TypeId::of::<T>(), key.to_owned()), weak);
    }

    fn things(&self) -> MutexGuard<'_, Things> {
        self.0.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which graphs a component is part of, each greater than those before it; clones are the same component's.
#[derive(Debug, Clone)]
pub struct Generation {
    first: u64,
    latest: Arc<AtomicU64>,
}

impl Generation {
    fn of(first: u64) -> Self {
        Self { first, latest: Arc::new(AtomicU64::new(first)) }
    }

    /// For one more component of the same graph.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::of(self.first)
    }

    /// The graph that it was built for.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The latest graph that has it.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.latest.load(Relaxed)
    }

    /// It is kept by another graph.
    pub fn renew(&self, by: &Self) {
        self.latest.store(by.first, Relaxed);
    }

    /// Whether it is the same component's.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.latest, &other.latest)
    }
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.things().keys().map(|(_, key)| key)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_found_by_type_and_key_until_nobody_holds_it() {
        let lasting = Lasting::default();
        let (one, other) = (Arc::new(1_u32), Arc::new("text"));
        lasting.put("key", &one);
        lasting.put("key", &other);
        assert_eq!(lasting.find::<u32>("key"), Some(Arc::clone(&one)));
        assert_eq!(lasting.find::<&str>("key").as_deref(), Some(&"text"));
        assert_eq!(lasting.find::<u32>("another"), None);
        assert_eq!(lasting.all::<u32>(), [Arc::clone(&one)]);
        drop(one);
        assert_eq!(lasting.find::<u32>("key"), None);
        assert!(lasting.all::<u32>().is_empty());
    }
}
