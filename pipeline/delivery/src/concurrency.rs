//! How many attempts are under way at once: all that the configuration allows, and fewer while the destination
//! refuses or does not answer.
//!
//! Additive increase, multiplicative decrease, as TCP does it: from `num_consumers` down to four fifths with each round
//! in which the destination asked for less, at least one; back up by one with each success to where trouble began, and
//! from there by one with each round of successes. Latency alone changes nothing: a destination that takes everything
//! is always sent as much as the configuration says.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What is left of the window after a round with a refusal.
const DECREASE: f64 = 0.8;

/// How an attempt ended, for the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The destination took it.
    Taken,
    /// The destination asked to wait, did not answer, or was not there.
    Overloaded,
    /// Neither; it says nothing about the load.
    Neither,
}

/// The window, as plain arithmetic.
#[derive(Debug)]
pub(crate) struct Window {
    max: f64,
    size: f64,
    /// Up to here it grows by one with each success.
    threshold: f64,
    /// Counts decreases. What began before the last one says nothing new.
    round: u64,
    /// Whether anything has been taken since the last decrease.
    recovering: bool,
}

impl Window {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Self { max, size: max, threshold: max, round: 0, recovering: true }
    }

    /// How many attempts may be under way.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    pub(crate) fn is_full(&self) -> bool {
        self.size >= self.max
    }

    /// The round in which an attempt begins.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Notes the end of an attempt that began in `round`.
    pub(crate) fn note(&mut self, round: u64, outcome: Outcome) {
        match outcome {
            _ if round != self.round => {}
            Outcome::Neither => {}
            Outcome::Taken => {
                let more = if self.size < self.threshold { 1.0 } else { 1.0 / self.size };
                self.size = (self.size + more).min(self.max);
                self.recovering = true;
            }
            Outcome::Overloaded => {
                self.size = (self.size * DECREASE).max(1.0);
                // In an outage the window falls to one; the destination that comes back is the one of before.
                if std::mem::take(&mut self.recovering) {
                    self.threshold = self.size;
                }
                self.round += 1;
            }
        }
    }
}

/// The window, and those that wait for room in it, in the order in which they came.
pub(crate) struct Slots {
    semaphore: Semaphore,
    state: Mutex<State>,
    /// Whether the window is smaller than it might be, to see without the lock that it is not.
    restrained: AtomicBool,
    round: AtomicU64,
}

struct State {
    window: Window,
    /// Slots that were given out when there were more, to be taken in as they come back.
    owed: usize,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        let window = Window::new(max.min(Semaphore::MAX_PERMITS));
        Self {
            semaphore: Semaphore::new(window.size()),
            state: Mutex::new(State { window, owed: 0 }),
            restrained: AtomicBool::new(false),
            round: AtomicU64::new(0),
        }
    }

    /// A slot, if there is one and nobody waits.
    pub(crate) fn try_enter(&self) -> Option<Slot<'_>> {
        self.semaphore.try_acquire().ok().map(|permit| self.slot(permit))
    }

    /// The next slot that is free.
    pub(crate) async fn enter(&self) -> Slot<'_> {
        let permit = self.semaphore.acquire().await.expect("the semaphore is never closed");
        self.slot(permit)
    }

    /// How many there are.
    pub(crate) fn size(&self) -> usize {
        self.state().window.size()
    }

    fn slot<'a>(&'a self, permit: SemaphorePermit<'a>) -> Slot<'a> {
        Slot { slots: self, permit: Some(permit), round: self.round.load(Relaxed) }
    }

    fn note(&self, round: u64, outcome: Outcome) {
        if outcome == Outcome::Neither || (outcome == Outcome::Taken && !self.restrained.load(Relaxed)) {
            return;
        }
        let mut state = self.state();
        let before = state.window.size();
        state.window.note(round, outcome);
        let after = state.window.size();
        self.restrained.store(!state.window.is_full(), Relaxed);
        self.round.store(state.window.round(), Relaxed);
        if after < before {
            let taken = self.semaphore.forget_permits(before - after);
            state.owed += before - after - taken;
        } else {
            let paid = state.owed.min(after - before);
            state.owed -= paid;
            self.semaphore.add_permits(after - before - paid);
        }
    }

    fn give_back(&self, permit: SemaphorePermit<'_>) {
        if self.restrained.load(Relaxed) {
            let mut state = self.state();
            if state.owed > 0 {
                state.owed -= 1;
                permit.forget();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one attempt.
pub(crate) struct Slot<'a> {
    slots: &'a Slots,
    permit: Option<SemaphorePermit<'a>>,
    round: u64,
}

impl Slot<'_> {
    /// The attempt has ended.
    pub(crate) fn ended(self, outcome: Outcome) {
        self.slots.note(self.round, outcome);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.slots.give_back(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(window: &mut Window, outcome: Outcome, times: usize) {
        (0..times).for_each(|_| window.note(window.round(), outcome));
    }

    #[test]
    fn a_destination_that_takes_everything_is_sent_all_that_is_allowed() {
        let mut window = Window::new(10);
        feed(&mut window, Outcome::Taken, 10_000);
        feed(&mut window, Outcome::Neither, 10_000);
        assert_eq!((window.size(), window.is_full()), (10, true));
    }

    #[test]
    fn an_outage_brings_it_down_to_one_and_successes_back_up() {
        let mut window = Window::new(100);
        feed(&mut window, Outcome::Overloaded, 50);
        assert_eq!(window.size(), 1);
        feed(&mut window, Outcome::Taken, 79);
        assert_eq!(window.size(), 80, "one by one to where trouble began");
        feed(&mut window, Outcome::Taken, 80);
        assert_eq!(window.size(), 80, "and slower from there");
        feed(&mut window, Outcome::Taken, 2);
        assert_eq!(window.size(), 81);
        feed(&mut window, Outcome::Taken, 100 * 20);
        assert_eq!(window.size(), 100);
    }

    #[test]
    fn many_refusals_of_one_round_count_once() {
        let mut window = Window::new(10);
        let round = window.round();
        (0..10).for_each(|_| window.note(round, Outcome::Overloaded));
        assert_eq!(window.size(), 8);
        window.note(round, Outcome::Taken);
        assert_eq!(window.size(), 8, "what began before says nothing about now");
    }

    #[tokio::test]
    async fn slots_follow_the_window_whatever_is_under_way() {
        let slots = Slots::new(10);
        let mut under_way: Vec<_> = std::iter::from_fn(|| slots.try_enter()).collect();
        assert_eq!(under_way.len(), 10);
        under_way.pop().expect("ten").ended(Outcome::Overloaded);
        assert_eq!(slots.size(), 8);
        assert!(slots.try_enter().is_none(), "nine are under way, eight are allowed");
        under_way.truncate(8);
        assert!(slots.try_enter().is_none());
        under_way.truncate(7);
        let slot = slots.try_enter().expect("the eighth");
        slot.ended(Outcome::Overloaded);
        assert_eq!(slots.size(), 6);
        drop(under_way);
        let under_way: Vec<_> = std::iter::from_fn(|| slots.try_enter()).collect();
        assert_eq!(under_way.len(), 6);
        under_way.into_iter().for_each(|slot| slot.ended(Outcome::Taken));
        for _ in 0..100 {
            slots.try_enter().expect("free").ended(Outcome::Taken);
        }
        assert_eq!(
            (slots.size(), std::iter::from_fn(|| slots.try_enter()).collect::<Vec<_>>().len()),
            (10, 10)
        );
    }
}
