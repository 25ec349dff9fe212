//! Sampling of lines: of those with the same level and message, the first few of each interval and then every n-th.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Level;

use crate::config::Sampling;

/// Counters per level. Messages whose hashes fall together are counted together, as in the Go collector.
const SLOTS: usize = 1024;
const LEVELS: usize = 5;

#[derive(Default)]
struct Slot {
    resets_at_ms: AtomicU64,
    count: AtomicU64,
}

pub(super) struct Sampler {
    tick_ms: u64,
    initial: u64,
    thereafter: u64,
    slots: Box<[Slot]>,
}

impl Sampler {
    /// Nothing if the configuration does not ask for sampling.
    pub(super) fn new(sampling: &Sampling) -> Option<Self> {
        sampling.enabled.then(|| Self {
            tick_ms: sampling.tick.get().as_millis().try_into().unwrap_or(u64::MAX),
            initial: sampling.initial,
            thereafter: sampling.thereafter,
            slots: (0..SLOTS * LEVELS).map(|_| Slot::default()).collect(),
        })
    }

    /// Whether the line is to be written. `now_ms` counts from any fixed moment.
    pub(super) fn admits(&self, level: Level, message: &str, now_ms: u64) -> bool {
        let count = self.slot(level, message).count(now_ms, self.tick_ms);
        let Some(over) = count.checked_sub(self.initial).filter(|over| *over > 0) else { return true };
        self.thereafter != 0 && over % self.thereafter == 0
    }

    fn slot(&self, level: Level, message: &str) -> &Slot {
        let level = match level {
            Level::TRACE => 0,
            Level::DEBUG => 1,
            Level::INFO => 2,
            Level::WARN => 3,
            Level::ERROR => 4,
        };
        &self.slots[level * SLOTS + fnv1a(message) as usize % SLOTS]
    }
}

impl Slot {
    /// Counts one more in the current interval, which starts with the first after the last has ended.
    fn count(&self, now_ms: u64, tick_ms: u64) -> u64 {
        let resets_at = self.resets_at_ms.load(Ordering::Relaxed);
        let is_over = now_ms >= resets_at
            && self
                .resets_at_ms
                .compare_exchange(
                    resets_at,
                    now_ms.saturating_add(tick_ms.max(1)),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if is_over {
            self.count.store(1, Ordering::Relaxed);
            return 1;
        }
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sampler(initial: u64, thereafter: u64) -> Sampler {
        let sampling = Sampling { enabled: true, tick: Duration::from_secs(10).into(), initial, thereafter };
        Sampler::new(&sampling).expect("it is enabled")
    }

    fn admitted(sampler: &Sampler, message: &str, now_ms: u64, times: usize) -> Vec<usize> {
        (1..=times).filter(|_| sampler.admits(Level::INFO, message, now_ms)).collect()
    }

    #[test]
    fn the_first_few_and_then_every_nth_are_written_in_each_interval() {
        let sampler = sampler(3, 4);
        assert_eq!(admitted(&sampler, "a", 0, 12), [1, 2, 3, 7, 11]);
        assert_eq!(admitted(&sampler, "a", 9_999, 3), [3]);
        assert_eq!(admitted(&sampler, "a", 10_000, 5), [1, 2, 3]);
    }

    #[test]
    fn without_thereafter_only_the_first_few_are_written() {
        assert_eq!(admitted(&sampler(2, 0), "a", 0, 100), [1, 2]);
    }

    #[test]
    fn levels_and_messages_are_counted_apart() {
        let sampler = sampler(1, 0);
        assert!(sampler.admits(Level::INFO, "a", 0));
        assert!(sampler.admits(Level::INFO, "b", 0));
        assert!(sampler.admits(Level::WARN, "a", 0));
        assert!(!sampler.admits(Level::WARN, "a", 0));
    }

    #[test]
    fn sampling_can_be_switched_off() {
        assert!(Sampler::new(&Sampling { enabled: false, ..Sampling::default() }).is_none());
    }
}
