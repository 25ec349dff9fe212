//! Which messages are said: the first few of the same text in each second, and then every n-th.
//!
//! Counts as zap does, which the Go collector uses, down to texts that are taken for the same because their hashes
//! fall together.

use std::fmt;
use std::time::{Duration, Instant};

/// The interval.
const TICK: Duration = Duration::from_secs(1);
/// How many texts are told apart.
const SLOTS: usize = 4096;

/// Counts messages.
#[derive(Debug)]
pub(super) struct Sampler {
    initial: u64,
    thereafter: u64,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    count: u64,
    ends: Option<Instant>,
}

impl Sampler {
    pub(super) fn new(initial: u64, thereafter: u64) -> Self {
        let slots = if thereafter == 1 { Vec::new() } else { vec![Slot::default(); SLOTS] };
        Self { initial, thereafter, slots }
    }

    /// Whether to say, now, what `write` writes. The text is not needed if all are said.
    pub(super) fn admits(
        &mut self,
        now: Instant,
        write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) -> bool {
        if self.slots.is_empty() {
            return true;
        }
        let mut hash = Fnv(0x811c_9dc5);
        // Hashing cannot fail.
        let _ = write(&mut hash);
        let slot = &mut self.slots[hash.0 as usize % SLOTS];
        if slot.ends.is_none_or(|ends| ends <= now) {
            *slot = Slot { count: 0, ends: now.checked_add(TICK) };
        }
        slot.count += 1;
        let Some(over) = slot.count.checked_sub(self.initial).filter(|over| *over > 0) else { return true };
        self.thereafter != 0 && over.is_multiple_of(self.thereafter)
    }
}

/// FNV-1a in 32 bits.
struct Fnv(u32);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = text.bytes().fold(self.0, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(sampler: &mut Sampler, now: Instant, text: &str, times: usize) -> Vec<usize> {
        (1..=times).filter(|_| sampler.admits(now, |out| out.write_str(text))).collect()
    }

    #[test]
    fn the_first_few_and_then_every_nth_are_said_in_each_second() {
        let mut sampler = Sampler::new(2, 3);
        let start = Instant::now();
        assert_eq!(admitted(&mut sampler, start, "Traces", 9), [1, 2, 5, 8]);
        let later = start + Duration::from_millis(999);
        assert_eq!(admitted(&mut sampler, later, "Traces", 2), [2]);
        assert_eq!(admitted(&mut sampler, start + TICK, "Traces", 3), [1, 2]);
    }

    #[test]
    fn texts_are_counted_apart() {
        let mut sampler = Sampler::new(1, 0);
        let now = Instant::now();
        assert_eq!(admitted(&mut sampler, now, "Traces", 3), [1]);
        assert_eq!(admitted(&mut sampler, now, "Logs", 3), [1]);
    }

    #[test]
    fn everything_is_said_if_every_further_one_is() {
        let mut sampler = Sampler::new(0, 1);
        assert_eq!(admitted(&mut sampler, Instant::now(), "Traces", 5), [1, 2, 3, 4, 5]);
    }
}
