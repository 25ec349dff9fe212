//! What the log knows of time and chance.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

/// Time and chance, handed in.
///
/// Entries are stamped with the time at which the log was opened plus what has passed since by the monotonic clock, so
/// that setting the clock while the log is open neither drops nor rejuvenates anything. If the clock is behind the
/// newest entry when the log is opened, time goes on from that entry's.
pub trait Clock: Send + Sync {
    /// Nanoseconds since 1970. May jump.
    fn wall_ns(&self) -> u64;

    /// Since any fixed moment. Never goes back.
    fn monotonic(&self) -> Duration;

    /// A number that nobody can guess.
    fn random(&self) -> u64;
}

/// The system's.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall_ns(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    /// The standard library's hasher is keyed by the system's source of randomness.
    fn random(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

/// The time that entries are stamped with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogTime {
    wall_ns: u64,
    monotonic: Duration,
}

impl LogTime {
    /// How far the clock is behind the newest entry is returned besides, if it is.
    pub(crate) fn begin(clock: &dyn Clock, newest_ns: u64) -> (Self, Option<Duration>) {
        let wall_ns = clock.wall_ns();
        let behind = newest_ns.checked_sub(wall_ns).filter(|behind| *behind > 0);
        let time = Self { wall_ns: wall_ns.max(newest_ns), monotonic: clock.monotonic() };
        (time, behind.map(Duration::from_nanos))
    }

    pub(crate) fn now_ns(self, clock: &dyn Clock) -> u64 {
        let passed = clock.monotonic().saturating_sub(self.monotonic);
        self.wall_ns.saturating_add(u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX))
    }
}
