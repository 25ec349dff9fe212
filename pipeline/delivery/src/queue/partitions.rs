//! One batcher for each combination of client metadata, or one for everything.

use crate::batcher::{Batcher, Ready, Rules};
use crate::partition::{Combination, Keys};
use crate::ticket::Ticket;
use millrace_engine::Batch;
use millrace_wire::Signal;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

type TicketBatcher = Batcher<Arc<Ticket>>;
type TicketReady = Ready<Arc<Ticket>>;

/// The batchers in which something waits. There are no others, so there are no more of them than requests in the
/// queue.
pub(super) struct Partitions {
    keys: Keys,
    signal: Signal,
    rules: Rules,
    batchers: HashMap<Combination, TicketBatcher>,
    /// When each of them wants to be flushed.
    due: BTreeSet<(Instant, Combination)>,
}

impl Partitions {
    pub(super) fn new(keys: Keys, signal: Signal, rules: Rules) -> Self {
        Self { keys, signal, rules, batchers: HashMap::new(), due: BTreeSet::new() }
    }

    /// Takes a request in, and gives out every batch that is full now.
    pub(super) fn push(&mut self, batch: Batch, ticket: &Arc<Ticket>, now: Instant) -> Vec<TicketReady> {
        let mut ready = Vec::new();
        for (combination, batch) in self.keys.divide(batch) {
            let mut batcher = self
                .batchers
                .remove(&combination)
                .unwrap_or_else(|| Batcher::new(self.signal, self.rules.clone()));
            let before = batcher.due();
            ready.extend(batcher.push(batch, ticket, now));
            self.keep(combination, batcher, before);
        }
        ready
    }

    /// When [`Partitions::flush_due`] wants to be called, if anything waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Gives out what has waited long enough.
    pub(super) fn flush_due(&mut self, now: Instant) -> Vec<TicketReady> {
        let mut ready = Vec::new();
        while self.due().is_some_and(|due| due <= now)
            && let Some((_, combination)) = self.due.pop_first()
        {
            if let Some(mut batcher) = self.batchers.remove(&combination) {
                ready.extend(batcher.flush());
            }
        }
        ready
    }

    /// Gives out everything.
    pub(super) fn flush(&mut self) -> Vec<TicketReady> {
        self.due.clear();
        self.batchers.drain().flat_map(|(_, mut batcher)| batcher.flush()).collect()
    }

    /// When the request was put in line that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let (_, combination) = self.due.first()?;
        Some(self.batchers.get(combination)?.first()?.arrived())
    }

    /// Puts a batcher back, if anything waits in it. `before` is when it was due so far.
    fn keep(&mut self, combination: Combination, batcher: TicketBatcher, before: Option<Instant>) {
        let after = batcher.due();
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, combination.clone()));
            }
            if let Some(after) = after {
                self.due.insert((after, combination.clone()));
            }
        }
        if after.is_some() {
            self.batchers.insert(combination, batcher);
        }
    }
}
