//! Which level a request is offered to first: plain arithmetic over what has failed and time passed in.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Knows the level at which requests are taken, and when those above it are to be tried again.
///
/// While the first level takes everything, asking costs a look at a cell that nobody writes to.
#[derive(Debug)]
pub(super) struct Selector {
    levels: usize,
    interval: Duration,
    /// A copy of what is in `state`.
    current: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The first level that has not failed; `levels` when all have.
    current: usize,
    /// When the next request tries the levels above.
    probe_at: Option<Instant>,
}

impl Selector {
    pub(super) fn new(levels: usize, interval: Duration) -> Self {
        let state = Mutex::new(State { current: 0, probe_at: None });
        Self { levels, interval, current: AtomicUsize::new(0), state }
    }

    /// The level at which requests are taken; `None` when none takes any.
    pub(super) fn current(&self) -> Option<usize> {
        Some(self.current.load(Relaxed)).filter(|current| *current < self.levels)
    }

    /// The first level that a request is offered to; if it fails, those after it follow. When all have failed, or it is
    /// time to try the upper ones again, that is the first of all. One request per interval tries for all others.
    pub(super) fn first(&self, now: impl FnOnce() -> Instant) -> usize {
        if self.current.load(Relaxed) == 0 {
            return 0;
        }
        let mut state = self.state();
        let now = now();
        if state.current >= self.levels || state.probe_at.is_some_and(|at| at <= now) {
            state.probe_at = now.checked_add(self.interval);
            return 0;
        }
        state.current
    }

    /// A level has taken a request; whether it takes over from one below it.
    pub(super) fn taken(&self, level: usize) -> bool {
        if self.current.load(Relaxed) <= level {
            return false;
        }
        let mut state = self.state();
        let takes_over = level < state.current;
        if takes_over {
            state.current = level;
            self.current.store(level, Relaxed);
        }
        if state.current == 0 {
            state.probe_at = None;
        }
        takes_over
    }

    /// A level has failed; whether the next takes over.
    pub(super) fn failed(&self, level: usize, now: Instant) -> bool {
        let mut state = self.state();
        if level != state.current {
            return false;
        }
        state.current += 1;
        self.current.store(state.current, Relaxed);
        if state.probe_at.is_none() {
            state.probe_at = now.checked_add(self.interval);
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn levels_take_over_in_order_and_the_upper_ones_are_tried_again_after_the_interval() {
        let selector = Selector::new(3, MINUTE);
        let start = Instant::now();
        let at = |minutes: u32, seconds: u64| start + MINUTE * minutes + Duration::from_secs(seconds);
        assert_eq!(selector.first(|| start), 0);
        assert!(selector.failed(0, start));
        assert!(!selector.failed(0, start), "it has failed already");
        assert_eq!((selector.first(|| start), selector.current()), (1, Some(1)));
        assert!(selector.failed(1, at(0, 30)));
        assert_eq!(selector.first(|| at(0, 59)), 2);

        assert_eq!(selector.first(|| at(1, 0)), 0, "one tries");
        assert_eq!(selector.first(|| at(1, 0)), 2, "for all others");
        assert!(!selector.failed(0, at(1, 1)), "as it has before");
        assert!(selector.taken(1));
        assert_eq!(selector.first(|| at(1, 2)), 1);

        assert_eq!(selector.first(|| at(2, 1)), 0);
        assert!(selector.taken(0));
        assert!(!selector.taken(0));
        assert_eq!((selector.first(|| at(2, 2)), selector.current()), (0, Some(0)));
        assert_eq!(selector.first(|| at(9, 0)), 0);
    }

    #[test]
    fn when_all_have_failed_every_request_tries_all() {
        let selector = Selector::new(2, MINUTE);
        let now = Instant::now();
        assert!(selector.failed(0, now) && selector.failed(1, now));
        assert_eq!(selector.current(), None);
        assert_eq!((selector.first(|| now), selector.first(|| now)), (0, 0));
        assert!(selector.taken(1));
        assert_eq!((selector.first(|| now), selector.current()), (1, Some(1)));
    }

    #[test]
    fn a_request_that_was_slow_to_fail_moves_nothing_that_has_moved_on() {
        let selector = Selector::new(3, MINUTE);
        let now = Instant::now();
        assert!(selector.failed(0, now) && selector.failed(1, now));
        assert!(!selector.failed(1, now));
        assert!(!selector.taken(2), "it is the one");
        assert_eq!(selector.current(), Some(2));
    }
}
