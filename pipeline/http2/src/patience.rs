//! How many of something are taken a second. Time is passed in.

use crate::frame::{Head, flag, kind};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// So many a second, and what has been earned beside them.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    a_second: u32,
    left: u32,
    since: Option<Instant>,
}

impl Patience {
    /// Patience for so many a second.
    #[must_use]
    pub(crate) const fn new(a_second: u32) -> Self {
        Self { a_second, left: a_second, since: None }
    }

    /// So many more are taken, up to `most` in all.
    pub(crate) fn earn(&mut self, more: u32, most: u32) {
        self.left = self.left.saturating_add(more).min(most.max(self.left));
    }

    /// Takes one; whether there was patience for it.
    #[must_use]
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.left == 0 {
            if now.duration_since(since) < SECOND {
                return false;
            }
            self.since = Some(now);
            self.left = self.a_second;
        }
        self.left = self.left.saturating_sub(1);
        true
    }
}

/// What each request adds to the idle frames that are taken: its window updates, its reset.
const PER_REQUEST: u32 = 10;
/// What those add up to at most.
const IDLE_MAX: u32 = 10_000;

/// Patience for frames that carry nothing: pings, settings, resets, window updates, empty data, priorities, unknown
/// ones. Of those that carry telemetry a peer may send any number.
#[derive(Debug, Clone)]
pub struct IdleFrames(Patience);

impl IdleFrames {
    /// A thousand a second, and ten for each request.
    #[must_use]
    pub const fn new() -> Self {
        Self(Patience::new(1000))
    }

    /// Judges a frame by its head; whether it is borne.
    #[must_use]
    pub fn bear(&mut self, head: &Head, now: Instant) -> bool {
        match head.kind {
            kind::HEADERS => self.0.earn(PER_REQUEST, IDLE_MAX),
            kind::DATA if head.len > 0 || head.has(flag::END_STREAM) => {}
            _ => return self.0.take(now),
        }
        true
    }
}

impl Default for IdleFrames {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_second_brings_new_patience_and_requests_bring_more() {
        let start = Instant::now();
        let taken = |patience: &mut Patience, now| (0..100_000).take_while(|_| patience.take(now)).count();
        let mut patience = Patience::new(1000);
        assert_eq!(taken(&mut patience, start), 1000);
        assert_eq!(taken(&mut patience, start + SECOND / 2), 0);
        assert_eq!(taken(&mut patience, start + SECOND), 1000);
        patience.earn(10, 10_000);
        assert_eq!(taken(&mut patience, start + SECOND), 10);
        (0..10_000).for_each(|_| patience.earn(10, 10_000));
        assert_eq!(taken(&mut patience, start + SECOND), 10_000);
    }

    #[test]
    fn telemetry_is_taken_without_end() {
        let start = Instant::now();
        for (kind, flags, len) in
            [(4, 0, 0), (6, 1, 8), (0, 0, 0), (8, 0, 4), (3, 0, 4), (9, 0, 4), (0xEE, 0, 10)]
        {
            let mut idle = IdleFrames::new();
            let head = Head { len, kind, flags, stream: 1 };
            assert!((0..1000).all(|_| idle.bear(&head, start)));
            assert!(!idle.bear(&head, start), "{kind}");
        }
        let mut idle = IdleFrames::new();
        for _ in 0..100_000 {
            let frames = [(1, 4, 10), (0, 0, 10), (0, 1, 0), (8, 0, 4)];
            let heads = frames.into_iter().map(|(kind, flags, len)| Head { len, kind, flags, stream: 1 });
            assert!(heads.into_iter().all(|head| idle.bear(&head, start)));
        }
    }
}
