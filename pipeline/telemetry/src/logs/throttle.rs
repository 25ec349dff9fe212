//! Saying something about a request without letting bad clients flood the logs.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lets one through per interval and counts the rest. Kept in a `static`, one per place in the code.
///
/// [`warn_sparingly!`](crate::warn_sparingly) is the usual way to use it.
#[derive(Debug)]
pub struct Throttle {
    interval_ms: u64,
    /// When the next is let through, in milliseconds of [`Self::now_ms`].
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    /// One per `interval`.
    #[must_use]
    pub const fn per(interval: Duration) -> Self {
        Self {
            interval_ms: interval.as_millis() as u64,
            next_ms: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether to go ahead now; if so, how often the answer was no since the last time.
    #[must_use]
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Self::now_ms())
    }

    fn admit_at(&self, now_ms: u64) -> Option<u64> {
        let next = self.next_ms.load(Ordering::Relaxed);
        let is_due = now_ms >= next
            && self
                .next_ms
                .compare_exchange(next, now_ms + self.interval_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Milliseconds since the first use in the process.
    fn now_ms() -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed().as_millis() as u64
    }
}

/// `tracing::warn!`, at most once in ten seconds for each place that it stands in; the field `suppressed` says how
/// often it was left out since the last time. For warnings that a client can cause at will.
///
/// The message comes last, after any fields, as in `warn_sparingly!(peer = %peer, "malformed request")`.
#[macro_export]
macro_rules! warn_sparingly {
    (target: $target:expr, $($arguments:tt)+) => {{
        static THROTTLE: $crate::logs::Throttle =
            $crate::logs::Throttle::per(::std::time::Duration::from_secs(10));
        if let Some(suppressed) = THROTTLE.admit() {
            $crate::tracing::warn!(target: $target, suppressed, $($arguments)+);
        }
    }};
    ($($arguments:tt)+) => {
        $crate::warn_sparingly!(target: ::std::module_path!(), $($arguments)+)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_per_interval_is_let_through_and_the_rest_counted() {
        let throttle = Throttle::per(Duration::from_secs(10));
        assert_eq!(throttle.admit_at(5), Some(0));
        assert_eq!(throttle.admit_at(6), None);
        assert_eq!(throttle.admit_at(10_004), None);
        assert_eq!(throttle.admit_at(10_005), Some(2));
        assert_eq!(throttle.admit_at(30_000), Some(0));
    }

    #[test]
    fn of_many_at_once_one_is_let_through() {
        let throttle = Throttle::per(Duration::from_secs(3600));
        let let_through = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if throttle.admit_at(1).is_some() {
                            let_through.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(let_through.load(Ordering::Relaxed), 1);
        assert_eq!(throttle.suppressed.load(Ordering::Relaxed), 7_999);
    }
}
