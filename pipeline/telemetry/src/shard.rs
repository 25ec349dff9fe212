//! Counters without contention: each worker adds to a cache line of its own, a reader sums over all of them.
//!
//! # Invariants
//! - An add is one relaxed atomic operation on a line that only the adding thread's slot uses. Threads beyond the
//!   number of shards share slots, which costs speed and never correctness.
//! - A sum never goes backwards for counts that only grow, because each cell only grows.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The most shards that are ever used; machines with more cores share some.
pub const MAX_SHARDS: usize = 64;

/// Cells per line. A line is 128 bytes, because x86-64 prefetches lines in pairs and some arm64 cores have lines of
/// that size.
const LINE_CELLS: usize = 16;

/// The number of shards of this process: the available parallelism, rounded up to a power of two.
#[must_use]
pub fn shard_count() -> usize {
    static COUNT: LazyLock<usize> = LazyLock::new(|| {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        cpus.next_power_of_two().min(MAX_SHARDS)
    });
    *COUNT
}

/// The slot of the calling thread, below [`shard_count`]; assigned round robin on first use and then kept.
#[must_use]
pub fn worker_slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    SLOT.with(|slot| {
        let known = slot.get();
        if known != usize::MAX {
            return known;
        }
        let assigned = NEXT.fetch_add(1, Ordering::Relaxed) & (shard_count() - 1);
        slot.set(assigned);
        assigned
    })
}

#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE_CELLS]);

/// `width` cells of 64 bits, once per shard, each shard on lines of its own.
///
/// What a cell holds is the caller's business: a wrapping count ([`add`](Self::add), [`sum`](Self::sum)) or the bits
/// of a float ([`add_f64`](Self::add_f64), [`sum_f64`](Self::sum_f64)). A cell is used as one or the other, never both.
pub struct Sharded {
    lines: Box<[Line]>,
    lines_per_shard: usize,
    /// Shards minus one; the number of shards is a power of two.
    mask: usize,
}

impl Sharded {
    /// `width` cells for each of the process's shards, all zero.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self::with_shards(shard_count(), width)
    }

    /// `width` cells without sharding, for values that are set rather than added to.
    #[must_use]
    pub fn single(width: usize) -> Self {
        Self::with_shards(1, width)
    }

    fn with_shards(shards: usize, width: usize) -> Self {
        let lines_per_shard = width.div_ceil(LINE_CELLS).max(1);
        let lines = (0..shards * lines_per_shard).map(|_| Line::default()).collect();
        Self { lines, lines_per_shard, mask: shards - 1 }
    }

    /// Adds to cell `cell` of the calling thread's shard. Wraps, so a signed amount can be added as two's complement.
    pub fn add(&self, cell: usize, amount: u64) {
        self.own(cell).fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds to cell `cell`, which holds the bits of a float, of the calling thread's shard.
    pub fn add_f64(&self, cell: usize, amount: f64) {
        let own = self.own(cell);
        let mut seen = own.load(Ordering::Relaxed);
        loop {
            let next = (f64::from_bits(seen) + amount).to_bits();
            match own.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Keeps `value` in cell `cell` of the calling thread's shard if there is none yet, or if it `beats` the one there.
    /// Such a cell is read by [`extremes`](Self::extremes).
    pub fn extreme(&self, cell: usize, value: f64, beats: impl Fn(f64) -> bool) {
        // Zero, which cells begin with, is thus the bits of something that is no number.
        let (own, coded) = (self.own(cell), !value.to_bits());
        let mut seen = own.load(Ordering::Relaxed);
        while seen == 0 || beats(f64::from_bits(!seen)) {
            match own.compare_exchange_weak(seen, coded, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// What [`extreme`](Self::extreme) has kept in cell `cell`, of each shard that has something.
    pub fn extremes(&self, cell: usize) -> impl Iterator<Item = f64> + '_ {
        self.each(cell).filter(|coded| *coded != 0).map(|coded| f64::from_bits(!coded))
    }

    /// Overwrites cell `cell` of the calling thread's shard.
    pub fn store(&self, cell: usize, value: u64) {
        self.own(cell).store(value, Ordering::Relaxed);
    }

    /// What cell `cell` of the calling thread's shard holds.
    #[must_use]
    pub fn load(&self, cell: usize) -> u64 {
        self.own(cell).load(Ordering::Relaxed)
    }

    /// The wrapping sum of cell `cell` over all shards.
    #[must_use]
    pub fn sum(&self, cell: usize) -> u64 {
        self.each(cell).fold(0, |total, value| total.wrapping_add(value))
    }

    /// The sum of cell `cell`, which holds the bits of a float, over all shards.
    #[must_use]
    pub fn sum_f64(&self, cell: usize) -> f64 {
        // Not `Iterator::sum`, which starts from -0.0.
        self.each(cell).fold(0.0, |total, bits| total + f64::from_bits(bits))
    }

    /// Whether cell `cell` is other than zero in any shard.
    #[must_use]
    pub fn any(&self, cell: usize) -> bool {
        self.each(cell).any(|value| value != 0)
    }

    fn each(&self, cell: usize) -> impl Iterator<Item = u64> + '_ {
        let (line, within) = (cell / LINE_CELLS, cell % LINE_CELLS);
        debug_assert!(line < self.lines_per_shard, "cell {cell} is over the width");
        self.lines
            .chunks(self.lines_per_shard)
            .map(move |shard| shard[line].0[within].load(Ordering::Relaxed))
    }

    fn own(&self, cell: usize) -> &AtomicU64 {
        debug_assert!(cell / LINE_CELLS < self.lines_per_shard, "cell {cell} is over the width");
        let shard = worker_slot() & self.mask;
        &self.lines[shard * self.lines_per_shard + cell / LINE_CELLS].0[cell % LINE_CELLS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_start_on_lines_of_their_own() {
        let cells = Sharded::with_shards(4, 17);
        assert_eq!(cells.lines.len(), 8);
        assert_eq!(size_of::<Line>(), 128);
        assert_eq!(align_of::<Line>(), 128);
    }

    #[test]
    fn a_thread_keeps_its_slot_and_slots_are_in_range() {
        let first = worker_slot();
        assert_eq!(worker_slot(), first);
        assert!(first < shard_count());
        assert!(shard_count().is_power_of_two() && shard_count() <= MAX_SHARDS);
    }

    #[test]
    fn sums_are_exact_when_more_threads_than_shards_add_at_once() {
        let cells = Sharded::new(40);
        let threads = shard_count() * 3;

        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for round in 0..10_000_u64 {
                        cells.add(0, round);
                        cells.add(39, u64::MAX);
                        cells.add_f64(17, 0.5);
                    }
                });
            }
        });

        assert_eq!(cells.sum(0), threads as u64 * (0..10_000).sum::<u64>());
        assert_eq!(cells.sum(39).cast_signed(), -(threads as i64) * 10_000);
        assert_eq!(cells.sum_f64(17), threads as f64 * 5_000.0);
    }

    #[test]
    fn a_single_cell_is_the_same_for_every_thread() {
        let cells = Sharded::single(1);
        std::thread::scope(|scope| {
            for value in 1..=3 {
                scope.spawn({
                    let cells = &cells;
                    move || cells.store(0, value)
                });
            }
        });
        assert!((1..=3).contains(&cells.sum(0)));
    }
}
