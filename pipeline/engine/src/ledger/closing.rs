//! What became of everything, for the line with which the process ends.

use super::{Account, DEAD_LETTERS, Holder, Term};
use crate::Reason;
use std::fmt;

/// Why dead letters go because somebody has decided so, by a command or in the configuration.
const DECIDED: [Reason; 3] = [Reason::Discarded, Reason::Evicted, Reason::Expired];

/// The closing account of the process, after the drain. With one exporter it balances:
///
/// `opening + received + replayed + spoiled = refused + delivered + filtered + kept + dead_lettered + lost`
#[derive(Debug, Clone, Default)]
pub struct Closing {
    /// Items that were handed to receivers.
    pub received: u64,
    /// Of them, those that were handed back: their senders were told so and still have them.
    pub refused: u64,
    /// Items that exporters delivered; more than received when there are several exporters.
    pub delivered: u64,
    /// Items removed because the configuration says so.
    pub filtered: u64,
    /// Items that were found on disk when the process started.
    pub opening: u64,
    /// Items that are on disk when the process ends; more than received when there are several exporters.
    pub kept: u64,
    /// Items that were put aside because they cannot be delivered.
    pub dead_lettered: u64,
    /// Items that had been put aside and were given back to their exporters.
    pub replayed: u64,
    /// Items that had been put aside and are gone with the disk, by nobody's decision: they are among those lost.
    pub spoiled: u64,
    /// Items that had been put aside and are gone, by command or by the limits of dead letters. They have left the
    /// accounts of their exporters before.
    pub discarded: u64,
    /// Items lost on their way; what is still held in memory when the process ends is lost too.
    pub lost: u64,
    /// The losses, by component and reason.
    pub losses: Vec<(Holder, Reason, u64)>,
    /// Requests that are lost and in none of these, as nobody knows how many items they had, by component.
    pub unknown: Vec<(Holder, u64)>,
    /// What is still held in memory, by component.
    pub left: Vec<(Holder, u64)>,
    /// Accounts that do not balance: bugs.
    pub imbalances: Vec<(Holder, i64)>,
}

impl Closing {
    /// Whether something is gone that nobody else has, or the books are wrong.
    #[must_use]
    pub fn is_alarming(&self) -> bool {
        self.lost + self.discarded > 0 || !self.unknown.is_empty() || !self.imbalances.is_empty()
    }

    /// Adds what stands in an account.
    pub(super) fn add(&mut self, account: &Account) {
        let holder = account.holder();
        match holder.kind {
            "receiver" => {
                self.received += account.total(Term::In).items;
                self.refused += account.total(Term::Refused).items;
            }
            "exporter" => self.delivered += account.total(Term::Out).items,
            DEAD_LETTERS => {
                self.replayed += account.total(Term::Out).items;
                let discarded: u64 =
                    DECIDED.iter().map(|reason| account.total(Term::Lost(*reason)).items).sum();
                let spoiled = account.lost().items - discarded;
                self.discarded += discarded;
                self.spoiled += spoiled;
                self.lost += spoiled;
            }
            _ => {}
        }
        self.filtered += account.total(Term::Filtered).items + account.total(Term::SampledOut).items;
        self.dead_lettered += account.total(Term::DeadLettered).items;
        // What was put aside has left its exporter, and waits for nothing.
        if holder.kind != DEAD_LETTERS {
            // What has been left on disk and found again was not there from the start, and is kept once. Until the
            // account that it was left in has been added, this may be too little, and wrap.
            let again = account.is_found_again();
            self.opening += account.total(Term::Opening).items - again;
            self.kept = self.kept.wrapping_add(account.kept().items).wrapping_sub(again);
            self.lost += account.lost().items;
        }
        // What a receiver still holds has not been acknowledged: its sender has it.
        let left = account.in_memory().items;
        if holder.kind != "receiver" && left > 0 {
            self.lost += left;
            self.left.push((holder.clone(), left));
        }
        for reason in Reason::ALL {
            let lost = account.total(Term::Lost(reason)).items;
            if lost > 0 {
                self.lose(holder, reason, lost);
            }
        }
        let unknown = account.lost_unknown();
        if unknown > 0 {
            match self.unknown.iter_mut().find(|(of, _)| of == holder) {
                Some((_, requests)) => *requests += unknown,
                None => self.unknown.push((holder.clone(), unknown)),
            }
        }
        if account.imbalance() != 0 {
            self.imbalances.push((holder.clone(), account.imbalance()));
        }
    }

    /// One entry for each, however often a component has gone and come back: a process may be reloaded for ever.
    fn lose(&mut self, holder: &Holder, reason: Reason, items: u64) {
        match self.losses.iter_mut().find(|(of, why, _)| of == holder && *why == reason) {
            Some((.., lost)) => *lost += items,
            None => self.losses.push((holder.clone(), reason, items)),
        }
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.opening > 0 {
            write!(f, "{} found on disk, ", self.opening)?;
        }
        write!(
            f,
            "{} received, {} refused, {} delivered, {} filtered, ",
            self.received, self.refused, self.delivered, self.filtered
        )?;
        if self.opening + self.kept > 0 {
            write!(f, "{} kept on disk, ", self.kept)?;
        }
        if self.dead_lettered > 0 {
            write!(f, "{} put aside as dead letters, ", self.dead_lettered)?;
        }
        if self.replayed > 0 {
            write!(f, "{} dead letters replayed, ", self.replayed)?;
        }
        if self.spoiled > 0 {
            write!(f, "{} dead letters spoiled, ", self.spoiled)?;
        }
        if self.discarded > 0 {
            write!(f, "{} dead letters discarded, ", self.discarded)?;
        }
        write!(f, "{} lost", self.lost)?;
        for (holder, reason, items) in &self.losses {
            write!(
                f,
                "; {} {} ({}): {items} {}",
                holder.kind,
                holder.component,
                holder.signal,
                reason.name()
            )?;
        }
        for (holder, requests) in &self.unknown {
            write!(
                f,
                "; {} {} ({}): and {requests} requests whose items are not known",
                holder.kind, holder.component, holder.signal
            )?;
        }
        for (holder, items) in &self.left {
            write!(f, "; {} {} ({}): {items} left in memory", holder.kind, holder.component, holder.signal)?;
        }
        for (holder, items) in &self.imbalances {
            write!(
                f,
                "; {} {} ({}) does not balance: {items}",
                holder.kind, holder.component, holder.signal
            )?;
        }
        Ok(())
    }
}
