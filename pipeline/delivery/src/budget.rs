//! When a retry may go: at once if the destination has earned it, or else when the process has one to spare.
//!
//! A destination earns a fifth of a retry with each request. While it works it earns more than it needs, and short
//! troubles are over before anything is held back. When it comes back after a long one, what waits for it does not all
//! come at once: what has not been earned is spread over time, together with that of every other exporter.

use millrace_engine::Retries;
use millrace_telemetry::shard::Sharded;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many retries a request earns.
const SHARE: f64 = 0.2;
/// The most that are saved up.
const SAVED_MAX: f64 = 100.0;

/// The retries of one exporter and signal.
pub(crate) struct RetryBudget {
    /// Requests so far. Each worker counts on a line of its own, as everything is counted that every request does.
    requests: Sharded,
    earned: Mutex<Earned>,
    process: Retries,
}

impl RetryBudget {
    pub(crate) fn new(process: &Retries) -> Self {
        Self { requests: Sharded::new(1), earned: Mutex::default(), process: process.clone() }
    }

    /// A request is sent for the first time.
    pub(crate) fn earn(&self) {
        self.requests.add(0, 1);
    }

    /// Takes a retry, and says how long from `now` it is held back; at most the engine's [`HELD_BACK_MAX`]. `dice` is a
    /// random number from 0 to 1.
    ///
    /// [`HELD_BACK_MAX`]: millrace_engine::retries::HELD_BACK_MAX
    pub(crate) fn spend(&self, now: Instant, dice: f64) -> Duration {
        let requests = self.requests.sum(0);
        let mut earned = self.earned.lock().unwrap_or_else(PoisonError::into_inner);
        if earned.spend(requests) { Duration::ZERO } else { self.process.book(now, dice) }
    }
}

/// What has been earned and not been spent.
#[derive(Debug, Default)]
struct Earned {
    retries: f64,
    /// Up to which request.
    requests: u64,
}

impl Earned {
    fn spend(&mut self, requests: u64) -> bool {
        let more = requests.saturating_sub(self.requests) as f64;
        self.retries = (self.retries + SHARE * more).min(SAVED_MAX);
        self.requests = requests;
        let enough = self.retries >= 1.0;
        if enough {
            self.retries -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::retries::BURST;

    #[test]
    fn five_requests_earn_a_retry_and_a_hundred_retries_are_saved() {
        let mut earned = Earned::default();
        assert!(!earned.spend(4));
        assert!(earned.spend(5));
        assert!(!earned.spend(9));
        assert!(earned.spend(10));
        let spent = (0..1000).take_while(|_| earned.spend(1_000_000)).count();
        assert_eq!(spent, 100);
    }

    #[test]
    fn what_has_not_been_earned_comes_out_of_the_bucket_that_all_exporters_share() {
        let process = Retries::default();
        let (one, other) = (RetryBudget::new(&process), RetryBudget::new(&process));
        let now = Instant::now();
        for _ in 0..(BURST as usize / 2) {
            assert!(one.spend(now, 0.5).is_zero() && other.spend(now, 0.5).is_zero());
        }
        assert!(!one.spend(now, 0.5).is_zero() && !other.spend(now, 0.5).is_zero(), "it is empty for both");
        (0..5).for_each(|_| one.earn());
        assert!(one.spend(now, 0.5).is_zero(), "what is earned is not held back");
        assert!(!other.spend(now, 0.5).is_zero());
    }
}
