//! How many retries the process may make when its destinations have earned none.
//!
//! When a destination comes back after an outage, everything that waits for it comes back, too, and from every
//! exporter at once. Each exporter earns retries with its requests; beyond these they share one bucket that fills with
//! time. A retry that finds it empty is booked for later, and never given up for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many retries the process may make in a second beside those that are earned.
pub const PER_SECOND: f64 = 10.0;
/// How many of these may be made at once after a quiet time.
pub const BURST: f64 = 100.0;
/// The longest that a retry is held back. What would have to wait longer goes in the second half of that time, at
/// random, whatever else does.
pub const HELD_BACK_MAX: Duration = Duration::from_secs(30);

/// The bucket of the process; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Retries(Arc<Mutex<Bucket>>);

impl Retries {
    /// Books a retry for as soon as there is one to be had, and says how long that is from `now`. `dice` is a random
    /// number from 0 to 1.
    #[must_use]
    pub fn book(&self, now: Instant, dice: f64) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).book(now, dice)
    }

    /// How many retries there are to be had; below zero, how many are booked ahead.
    #[must_use]
    pub fn balance(&self, now: Instant) -> f64 {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.fill(now);
        bucket.balance
    }
}

#[derive(Debug)]
struct Bucket {
    /// Below zero, that many are booked ahead.
    balance: f64,
    filled_at: Option<Instant>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { balance: BURST, filled_at: None }
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let passed = self.filled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.balance = (self.balance + passed.as_secs_f64() * PER_SECOND).min(BURST);
        self.filled_at = Some(self.filled_at.map_or(now, |at| at.max(now)));
    }

    fn book(&mut self, now: Instant, dice: f64) -> Duration {
        self.fill(now);
        let after = self.balance - 1.0;
        let wait = Duration::from_secs_f64((-after / PER_SECOND).max(0.0));
        if wait > HELD_BACK_MAX {
            return HELD_BACK_MAX.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0);
        }
        self.balance = after;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_what_is_beyond_it_one_after_the_other() {
        let retries = Retries::default();
        let start = Instant::now();
        let waits: Vec<_> = (0..103).map(|_| retries.book(start, 1.0)).collect();
        assert!(waits[..100].iter().all(Duration::is_zero), "{waits:?}");
        let millis: Vec<_> = waits[100..].iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [100, 200, 300]);
        // A second later the three that were booked are paid for, and seven more are there.
        assert!((retries.balance(start + Duration::from_secs(1)) - 7.0).abs() < 1e-6);
    }

    #[test]
    fn in_the_long_run_no_more_go_than_the_rate_allows() {
        let retries = Retries::default();
        let start = Instant::now();
        // A hundred want to go in each of ten seconds; so many have been let go by the end of these.
        let mut gone = 0;
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            let ends = Duration::from_secs(10 - second);
            gone += (0..100).filter(|_| retries.book(now, 1.0) < ends).count();
        }
        assert!((190..=200).contains(&gone), "{gone}");
    }

    #[test]
    fn nothing_is_held_back_for_longer_than_the_limit() {
        let retries = Retries::default();
        let now = Instant::now();
        let longest = (0..10_000).map(|_| retries.book(now, 1.0)).max();
        assert_eq!(longest, Some(HELD_BACK_MAX));
        assert_eq!(retries.book(now, 0.0), HELD_BACK_MAX / 2, "they do not all go together in the end");
        assert!(retries.balance(now) >= -300.0, "what goes at the limit is not booked");
    }

    #[test]
    fn a_clock_that_jumps_back_fills_nothing_twice() {
        let retries = Retries::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        (0..100).for_each(|_| assert!(retries.book(later, 1.0).is_zero()));
        assert!(!retries.book(start, 1.0).is_zero());
        assert!(!retries.book(later, 1.0).is_zero());
    }
}
