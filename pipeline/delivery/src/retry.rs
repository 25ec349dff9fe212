//! When to try again: exponential backoff with jitter, as plain arithmetic over durations passed in.

use crate::RetryConfig;
use std::time::Duration;

/// Beyond this a delay that was asked for needs no jitter.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The waits of one request.
#[derive(Debug)]
pub(crate) struct Backoff<'a> {
    config: &'a RetryConfig,
    interval: Duration,
}

impl<'a> Backoff<'a> {
    pub(crate) fn new(config: &'a RetryConfig) -> Self {
        Self { config, interval: config.initial_interval.get() }
    }

    /// How long to wait before the next attempt, or `None` to give up. `elapsed` is the time since the first attempt
    /// began, `asked` the delay that the destination asked for, `dice` a random number from 0 to 1.
    pub(crate) fn next(&mut self, elapsed: Duration, asked: Option<Duration>, dice: f64) -> Option<Duration> {
        if !self.config.enabled {
            return None;
        }
        let spread = self.config.randomization_factor;
        let jittered = self.interval.mul_f64((1.0 + spread * (2.0 * dice - 1.0)).max(0.0));
        // Those that were asked for the same delay are not to come back together, and none of them earlier.
        let asked = asked.unwrap_or_default();
        let asked = asked.saturating_add(asked.min(DAY).mul_f64((spread * dice / 5.0).max(0.0)));
        let wait = jittered.max(asked);
        let grown = self.interval.as_secs_f64() * self.config.multiplier;
        self.interval =
            Duration::try_from_secs_f64(grown).unwrap_or(Duration::MAX).min(self.config.max_interval.get());
        let limit = self.config.limit();
        (limit.is_zero() || elapsed.saturating_add(wait) <= limit).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_grow_to_the_maximum_and_end_at_max_elapsed_time() {
        let config = RetryConfig::default();
        let mut backoff = Backoff::new(&config);
        let mut elapsed = Duration::ZERO;
        let mut waits = Vec::new();
        while let Some(wait) = backoff.next(elapsed, None, 0.5) {
            waits.push(wait.as_millis());
            elapsed += wait;
        }
        assert_eq!(&waits[..5], [5000, 7500, 11250, 16875, 25312]);
        assert_eq!(waits[5], 30_000);
        assert!(elapsed <= 300 * SECOND && elapsed > 270 * SECOND);
    }

    #[test]
    fn jitter_stays_within_its_share_and_the_destination_can_ask_for_more() {
        let config = RetryConfig::default();
        assert_eq!(Backoff::new(&config).next(Duration::ZERO, None, 0.0), Some(SECOND * 5 / 2));
        assert_eq!(Backoff::new(&config).next(Duration::ZERO, None, 1.0), Some(SECOND * 15 / 2));
        let asked = |dice| Backoff::new(&config).next(Duration::ZERO, Some(SECOND * 60), dice);
        assert_eq!(asked(0.0), Some(SECOND * 60), "never earlier");
        assert_eq!(asked(1.0), Some(SECOND * 66), "a little later, so that not all come back together");
    }

    #[test]
    fn a_destination_that_asks_for_ever_is_given_up() {
        let config = RetryConfig::default();
        assert_eq!(Backoff::new(&config).next(SECOND, Some(Duration::MAX), 0.5), None);
    }

    #[test]
    fn switched_off_means_one_attempt() {
        let config = RetryConfig { enabled: false, ..RetryConfig::default() };
        assert_eq!(Backoff::new(&config).next(Duration::ZERO, None, 0.5), None);
    }
}
