//! How much was taken, counted on from segment to segment: of what is gone with its file, what is left on either side
//! tells how much it was.

use crate::format::{frame, put, u64_at};
use crate::report::Totals;
use std::collections::BTreeMap;

/// The sums of all entries that had been taken by some moment, from that with the number `since` on. The count begins
/// anew where a start cannot know how much there was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) since: u64,
    pub(crate) taken: Totals,
}

impl Tally {
    /// How long it is, as it is written.
    const LENGTH: usize = 32;

    /// Begins with that number.
    pub(crate) fn from(since: u64) -> Self {
        Self { since, taken: Totals::default() }
    }

    /// What it is with those.
    pub(crate) fn with(mut self, taken: Totals) -> Self {
        self.taken.add(taken);
        self
    }

    /// Writes it into a header at that place. One that is not known is zeros: no entry has the number 0.
    pub(crate) fn encode(tally: Option<Self>, bytes: &mut [u8], at: usize) {
        let Self { since, taken } = tally.unwrap_or(Self::from(0));
        let words = [since, taken.entries, taken.items, taken.bytes];
        words.iter().zip((at..).step_by(8)).for_each(|(word, at)| put(bytes, at, &word.to_le_bytes()));
    }

    /// What is in a header at that place, if that is long enough to have one.
    pub(crate) fn decode(bytes: &[u8], at: usize) -> Option<Self> {
        let bytes = bytes.get(at..at + Self::LENGTH)?;
        let taken = Totals { entries: u64_at(bytes, 8), items: u64_at(bytes, 16), bytes: u64_at(bytes, 24) };
        let tally = Self { since: u64_at(bytes, 0), taken };
        (tally.since > 0).then_some(tally)
    }
}

/// What the tallies were at those numbers at which they are known: when all below had been taken, and no more.
#[derive(Debug, Default)]
pub(crate) struct Milestones {
    /// By the number, and by that since which it is counted.
    known: BTreeMap<(u64, u64), Tally>,
}

impl Milestones {
    /// When all below that number had been taken, it was that, if it is known.
    pub(crate) fn note(&mut self, number: u64, tally: Option<Tally>) {
        self.known.extend(tally.map(|tally| ((number, tally.since), tally)));
    }

    /// The tally at that number that was begun last.
    pub(crate) fn at(&self, number: u64) -> Option<Tally> {
        self.known.range((number, 0)..=(number, u64::MAX)).next_back().map(|(_, tally)| *tally)
    }

    /// How much was taken with the numbers in these stretches, as far as that can be told, and of how many entries it is
    /// not known how much they had. All numbers of such a stretch count as entries, even if some had been given up.
    pub(crate) fn sum(&self, stretches: impl IntoIterator<Item = (u64, u64)>) -> (Totals, u64) {
        let (mut sum, mut unknown) = (Totals::default(), 0_u64);
        for (begin, end) in stretches {
            let most = end.saturating_sub(begin);
            if let Some(taken) = self.between(begin, end).filter(|taken| can_be(taken, most)) {
                sum.add(taken);
            } else {
                sum.add(Totals { entries: most, ..Totals::default() });
                unknown = unknown.saturating_add(most);
            }
        }
        (sum, unknown)
    }

    /// All from `begin` on and below `end`.
    fn between(&self, begin: u64, end: u64) -> Option<Totals> {
        self.known.range((end, 0)..=(end, u64::MAX)).find_map(|(_, after)| {
            let since = after.since;
            let before =
                if since == begin { Tally::from(begin) } else { *self.known.get(&(begin, since))? };
            after.taken.checked_less(before.taken)
        })
    }
}

/// Whether so many numbers can have taken that: no entry is shorter than its header, or has more items than that says.
fn can_be(taken: &Totals, most: u64) -> bool {
    taken.entries <= most
        && taken.bytes / frame::HEADER as u64 >= taken.entries
        && taken.items.div_ceil(u64::from(u32::MAX)) <= taken.entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(entries: u64, items: u64, bytes: u64) -> Totals {
        Totals { entries, items, bytes }
    }

    fn tally(since: u64, taken: Totals) -> Option<Tally> {
        Some(Tally { since, taken })
    }

    #[test]
    fn what_is_counted_on_either_side_tells_what_was_between() {
        let mut milestones = Milestones::default();
        milestones.note(10, tally(1, totals(9, 100, 1_000)));
        // One number was given up.
        milestones.note(15, tally(1, totals(13, 130, 1_500)));
        // A start that did not know how much there had been before it.
        let new = tally(15, totals(5, 7, 800));
        milestones.note(20, new);
        milestones.note(30, None);
        assert_eq!(milestones.sum([(10, 15)]), (totals(4, 30, 500), 0));
        assert_eq!(milestones.sum([(15, 20)]), (totals(5, 7, 800), 0));
        assert_eq!(milestones.sum([(10, 20)]), (totals(10, 0, 0), 10));
        assert_eq!(milestones.sum([(10, 15), (20, 30)]), (totals(14, 30, 500), 10));
        assert_eq!((milestones.at(20), milestones.at(30)), (new, None));
        // Where one ends and another begins, it goes on with the new one.
        milestones.note(15, Some(Tally::from(15)));
        assert_eq!(milestones.at(15), Some(Tally::from(15)));
    }

    #[test]
    fn sums_that_no_entries_can_have_tell_nothing() {
        for (taken, unknown) in [
            (totals(5, 50, 280), 0),
            (totals(6, 50, 1_000), 5),
            (totals(5, 50, 279), 5),
            (totals(5, 1 << 40, 1_000), 5),
        ] {
            let mut milestones = Milestones::default();
            milestones.note(15, tally(10, taken));
            assert_eq!(milestones.sum([(10, 15)]).1, unknown, "{taken:?}");
        }
        let mut milestones = Milestones::default();
        milestones.note(10, tally(1, totals(9, 100, 1_000)));
        milestones.note(15, tally(1, totals(14, 90, 1_500)));
        assert_eq!(milestones.sum([(10, 15)]).1, 5, "they shrink");
    }
}
