//! Counting what ought to be there and is not.

use super::Recovery;
use super::contents::Expected;
use super::unreadable::unheard;
use crate::format::cursor::Cursor;
use crate::format::segment::Header;
use crate::report::{Loss, LossReason, Notice, Totals};
use crate::shared::segment_name;
use std::collections::BTreeMap;
use std::io;

impl Recovery<'_> {
    /// Counts what had been taken into a segment, was not done with, and is not there. Numbers from the expected end on
    /// are not counted: nobody is known to have been told that they were taken.
    pub(super) fn count_missing(
        &mut self,
        number: u64,
        base: u64,
        expected: &Expected,
        there: &[(u64, Totals)],
        broken: &BTreeMap<u64, Totals>,
    ) {
        let mut lost = Totals::default();
        let (mut places, mut unknown) = (0, 0);
        for cursor in &self.cursors {
            let said = cursor.as_ref().and_then(|cursor| cursor.part(number));
            let part = said.filter(|part| !part.is_unknown());
            let is_open =
                |sequence: u64| !cursor.as_ref().is_some_and(|cursor| cursor.is_done(said, sequence));
            let taken_end = part.map_or(expected.end, |part| part.end.max(expected.end));
            let known_end = part.map_or(expected.end, |part| part.end);
            let mut missing = Totals::default();
            let mut left = part.map_or(expected.totals, |part| part.left);
            // Those whose headers are gone; and of them, those that are in no sum either.
            let (mut bare, mut uncounted) = (0, 0);
            let mut stretches = 0;
            let mut next = base;
            let end = (taken_end, Totals::default());
            for (sequence, totals) in there.iter().copied().filter(|(of, _)| *of < taken_end).chain([end]) {
                stretches += u64::from(next < sequence);
                for absent in (next..sequence).filter(|absent| is_open(*absent)) {
                    let known = broken.get(&absent).copied();
                    bare += u64::from(known.is_none());
                    uncounted += u64::from(known.is_none() && absent >= known_end);
                    let known = known.unwrap_or_default();
                    missing.add(Totals { entries: 1, ..known });
                    left = left.less(known);
                }
                if is_open(sequence) && sequence < known_end {
                    left = left.less(totals);
                }
                next = sequence + 1;
            }
            if bare > 0 {
                // What is left of what was expected is what they counted whose headers are gone.
                missing.add(Totals { entries: 0, ..left });
            }
            missing.entries = missing.entries.min(expected.missing);
            if missing.entries > lost.entries {
                (lost, places) = (missing, stretches);
                unknown = uncounted.max(Totals { entries: bare, ..left }.unknown()).min(missing.entries);
            }
        }
        self.lose_some(Loss { reason: LossReason::Damaged, lost, unknown });
        if !lost.is_empty() {
            self.notices.push(Notice::Damage { file: segment_name(number), places });
        }
    }

    /// Counts what had been taken between the last segment that is there and one that was begun later, and of which no
    /// cursor can know: it was taken after all of them had been persisted. What one knows of is done with, or counted by
    /// [`Recovery::miss`]. Numbers behind the header's `prior` had been given up.
    pub(super) fn count_gap(&mut self, header: &Header) {
        let end = header.base.min(header.prior.saturating_add(1));
        self.milestones.note(end, header.tally);
        let (lost, unknown) = self.unheard_of(end);
        if lost.is_empty() {
            return;
        }
        let between = self.accounted_in.saturating_add(1)..header.number;
        let reason = match self.left_out.range(between).find_map(|(_, reason)| *reason) {
            Some(reason) => reason,
            None => LossReason::Missing,
        };
        self.lose_some(Loss { reason, lost, unknown });
        let Totals { entries, items, .. } = lost;
        self.notices.push(Notice::Gap { before: segment_name(header.number), entries, items, unknown });
    }

    /// What of the numbers below `end` has been taken, by what the cursors say, and is accounted for nowhere; and of how
    /// many it is not known how much they had.
    fn unheard_of(&self, end: u64) -> (Totals, u64) {
        let unheard = |cursor: &Cursor| self.milestones.sum(unheard(cursor, self.accounted, end));
        self.cursors
            .iter()
            .flatten()
            .map(unheard)
            .max_by_key(|(lost, unknown)| (lost.entries, u64::MAX - unknown))
            .unwrap_or_default()
    }

    /// Numbers below `end` need not be looked for any more.
    pub(super) fn account(&mut self, number: u64, end: u64) {
        self.accounted = self.accounted.max(end);
        self.unseen = self.unseen.max(end);
        self.accounted_in = number;
    }

    pub(super) fn lose(&mut self, reason: LossReason, lost: Totals) {
        self.lose_some(Loss { reason, lost, unknown: lost.unknown() });
    }

    fn lose_some(&mut self, Loss { reason, lost, unknown }: Loss) {
        if !lost.is_empty() {
            let none = Loss { reason, lost: Totals::default(), unknown: 0 };
            let sum = self.losses.entry(reason).or_insert(none);
            sum.lost.add(lost);
            sum.unknown += unknown;
        }
    }

    /// Counts what the cursors expect in segments that are not there.
    pub(super) fn miss(&mut self) {
        // What may have been in segments that could not be read, and that nothing follows.
        let end = self.cursors.iter().flatten().flat_map(Cursor::unknown).map(|(_, end)| end).max();
        let end = end
            .unwrap_or_default()
            .min(self.cursors.iter().flatten().map(Cursor::heard).min().unwrap_or_default());
        let (lost, unknown) = self.unheard_of(end);
        self.lose_some(Loss { reason: LossReason::Missing, lost, unknown });
        let mut missing: BTreeMap<u64, Totals> = BTreeMap::new();
        for part in self.cursors.iter().flatten().flat_map(|cursor| &cursor.parts) {
            let most = missing.entry(part.segment).or_default();
            if part.left.entries > most.entries && !part.is_unknown() {
                *most = part.left;
            }
        }
        for (number, lost) in missing {
            if self.index.segments.contains_key(&number) {
                continue;
            }
            match self.left_out.get(&number) {
                None => {
                    let error = io::Error::from(io::ErrorKind::NotFound);
                    self.read_failed(number, &error);
                    self.is_news = true;
                    self.lose(LossReason::Missing, lost);
                }
                Some(Some(reason)) => self.lose(*reason, lost),
                Some(None) => {}
            }
        }
    }
}
