//! Whether the process is alive and ready, as told to whoever asks.

use crate::status::Components;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// What the process is doing. Only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Components are being built and started.
    Starting,
    /// Every receiver listens.
    Ready,
    /// Intake has stopped; what is held is being passed on.
    Draining,
    /// A task panicked: the process drains and ends with an error.
    Failed,
}

/// The state of the process; clones share it.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: AtomicU8,
    started: Instant,
    started_at: SystemTime,
    components: Components,
    loaded: Mutex<Loaded>,
}

/// Which configuration is at work, and what became of attempts to replace it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// What tells it from others.
    pub hash: String,
    /// Since when it is at work.
    pub since: Option<SystemTime>,
    /// How many have been put in the place of another.
    pub replaced: u64,
    /// How many could not be.
    pub failed: u64,
    /// The last one that could not be since: when, and why.
    pub failure: Option<(SystemTime, String)>,
}

impl Health {
    /// Starting, from now.
    #[must_use]
    pub fn starting() -> Self {
        Self(Arc::new(Inner {
            state: AtomicU8::new(State::Starting as u8),
            started: Instant::now(),
            started_at: SystemTime::now(),
            components: Components::default(),
            loaded: Mutex::default(),
        }))
    }

    /// Moves forward to `state`; moving back is ignored, so that a failure is never covered up.
    pub fn advance(&self, state: State) {
        self.0.state.fetch_max(state as u8, SeqCst);
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.0.state.load(SeqCst) {
            0 => State::Starting,
            1 => State::Ready,
            2 => State::Draining,
            _ => State::Failed,
        }
    }

    /// Whether requests are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state() == State::Ready
    }

    /// Which configuration is at work.
    #[must_use]
    pub fn configuration(&self) -> Loaded {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A configuration is at work from now on.
    pub fn loaded(&self, hash: String) {
        let mut loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = loaded.replaced + u64::from(loaded.since.is_some());
        *loaded =
            Loaded { hash, since: Some(SystemTime::now()), replaced, failed: loaded.failed, failure: None };
    }

    /// Another configuration could not be put in the place of the present one.
    pub fn not_loaded(&self, why: &str) {
        let mut loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.failed += 1;
        loaded.failure = Some((SystemTime::now(), why.to_owned()));
    }

    /// How each component is.
    #[must_use]
    pub fn components(&self) -> &Components {
        &self.0.components
    }

    /// When the process started, for durations.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// When the process started, for people.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.0.started_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_never_covered_up() {
        let health = Health::starting();
        health.advance(State::Ready);
        assert!(health.is_ready());
        health.advance(State::Failed);
        health.advance(State::Ready);
        assert_eq!(health.state(), State::Failed);
    }
}
