//! What the sink has seen: a bit per item and run, exact about loss and duplication, bounded in memory.
//!
//! # Invariants
//! - Every recorded item is counted exactly once: as unique, duplicate, or beyond the memory limit.
//! - Pages are allocated on first touch and never exceed the limit given.

use crate::acked::AckedRange;
use crate::ids::ItemId;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Bits in a page; 4 KiB each.
const PAGE_BITS: u64 = 32 * 1024;
const PAGE_BYTES: usize = (PAGE_BITS / 8) as usize;
/// How many missing ranges are named in an answer.
const MISSING_NAMED: usize = 20;

/// All runs that a sink has seen.
#[derive(Debug)]
pub struct Ledger {
    runs: HashMap<u64, Run>,
    pages_left: usize,
    untracked: u64,
}

#[derive(Debug, Default)]
struct Run {
    pages: BTreeMap<u64, Box<[u64]>>,
    unique: u64,
    duplicates: u64,
    highest: u64,
}

/// What is known of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunTotals {
    /// The run id, hexadecimal.
    pub run: String,
    /// Distinct items received.
    pub unique: u64,
    /// Receptions beyond the first of the same item.
    pub duplicates: u64,
    /// The highest sequence seen.
    pub highest: u64,
}

/// The result of comparing what was acknowledged with what arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Verdict {
    /// Items acknowledged to the generator.
    pub acked: u64,
    /// Of these, how many never arrived.
    pub missing: u64,
    /// The first missing ranges, `run first..=last`.
    pub missing_ranges: Vec<String>,
    /// Receptions beyond the first, over all runs named.
    pub duplicates: u64,
    /// Distinct items received, over all runs named.
    pub unique: u64,
}

impl Ledger {
    /// A ledger that uses at most about `limit_bytes` for its bitmaps.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { runs: HashMap::new(), pages_left: limit_bytes / PAGE_BYTES, untracked: 0 }
    }

    /// Records one received item.
    pub fn record(&mut self, id: ItemId) {
        // Foreign spans would otherwise open a run per trace: bound the runs by the same memory.
        if !self.runs.contains_key(&id.run) && self.pages_left == 0 {
            self.untracked += 1;
            return;
        }
        let run = self.runs.entry(id.run).or_default();
        let (page, bit) = (id.sequence / PAGE_BITS, id.sequence % PAGE_BITS);
        let words = match run.pages.entry(page) {
            std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
            std::collections::btree_map::Entry::Vacant(page) => {
                if self.pages_left == 0 {
                    self.untracked += 1;
                    return;
                }
                self.pages_left -= 1;
                page.insert(vec![0u64; PAGE_BYTES / 8].into_boxed_slice())
            }
        };
        let (word, mask) = ((bit / 64) as usize, 1u64 << (bit % 64));
        if words[word] & mask == 0 {
            words[word] |= mask;
            run.unique += 1;
        } else {
            run.duplicates += 1;
        }
        run.highest = run.highest.max(id.sequence);
    }

    /// Items that could not be tracked because the memory limit was reached.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// Totals per run, the largest first, at most 16 runs.
    #[must_use]
    pub fn totals(&self) -> Vec<RunTotals> {
        let mut totals: Vec<_> = self
            .runs
            .iter()
            .map(|(run, state)| RunTotals {
                run: format!("{run:016x}"),
                unique: state.unique,
                duplicates: state.duplicates,
                highest: state.highest,
            })
            .collect();
        totals.sort_by(|a, b| b.unique.cmp(&a.unique).then_with(|| a.run.cmp(&b.run)));
        totals.truncate(16);
        totals
    }

    /// Compares acknowledged ranges with what arrived.
    #[must_use]
    pub fn verify(&self, acked: &[AckedRange]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut named: Vec<u64> = Vec::new();
        for range in acked {
            verdict.acked += range.len();
            if !named.contains(&range.run) {
                named.push(range.run);
            }
            self.missing_in(range, &mut verdict);
        }
        for run in named.iter().filter_map(|run| self.runs.get(run)) {
            verdict.duplicates += run.duplicates;
            verdict.unique += run.unique;
        }
        verdict
    }

    fn missing_in(&self, range: &AckedRange, verdict: &mut Verdict) {
        let run = self.runs.get(&range.run);
        let mut gap: Option<u64> = None;
        for sequence in range.first..=range.last {
            if run.is_some_and(|run| run.has(sequence)) {
                close_gap(verdict, range.run, gap.take(), sequence);
            } else {
                verdict.missing += 1;
                gap.get_or_insert(sequence);
            }
        }
        close_gap(verdict, range.run, gap, range.last + 1);
    }
}

fn close_gap(verdict: &mut Verdict, run: u64, first: Option<u64>, end: u64) {
    if let Some(first) = first
        && verdict.missing_ranges.len() < MISSING_NAMED
    {
        verdict.missing_ranges.push(format!("{run:016x} {first}..={}", end - 1));
    }
}

impl Run {
    fn has(&self, sequence: u64) -> bool {
        let (page, bit) = (sequence / PAGE_BITS, sequence % PAGE_BITS);
        self.pages.get(&page).is_some_and(|words| words[(bit / 64) as usize] & (1 << (bit % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64) -> ItemId {
        ItemId { run: 7, sequence }
    }

    #[test]
    fn loss_and_duplicates_are_named_exactly() {
        // given: 1 to 100 arrive but for 40..=41 and 100, and 5 arrives three times
        let mut ledger = Ledger::new(1 << 20);
        for sequence in (1..100).filter(|sequence| !(40..=41).contains(sequence)) {
            ledger.record(id(sequence));
        }
        ledger.record(id(5));
        ledger.record(id(5));

        let verdict = ledger.verify(&[AckedRange { run: 7, first: 1, last: 100 }]);

        assert_eq!((verdict.acked, verdict.missing, verdict.duplicates, verdict.unique), (100, 3, 2, 97));
        assert_eq!(verdict.missing_ranges, ["0000000000000007 40..=41", "0000000000000007 100..=100"]);
    }

    #[test]
    fn a_run_that_never_arrived_is_missing_whole() {
        let ledger = Ledger::new(1 << 20);
        let verdict = ledger.verify(&[AckedRange { run: 9, first: 10, last: 19 }]);
        assert_eq!((verdict.acked, verdict.missing), (10, 10));
    }

    #[test]
    fn the_memory_limit_is_kept_and_its_cost_counted() {
        // given: room for two pages
        let mut ledger = Ledger::new(2 * PAGE_BYTES);
        for page in 0..5 {
            ledger.record(id(page * PAGE_BITS + 1));
        }
        ledger.record(ItemId { run: 8, sequence: 1 });

        assert_eq!(ledger.untracked(), 4);
        assert_eq!(ledger.totals()[0].unique, 2);
        assert_eq!(ledger.totals().len(), 1, "no run is opened beyond the limit");
    }
}
