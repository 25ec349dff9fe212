//! An entry that has been handed out, and goes back: as done with, or to wait on disk.

use super::Line;
use super::window::InMemory;
use crate::storage::cost;
use millrace_engine::ledger::Term;
use millrace_engine::{Account, Cost};
use millrace_log::Lease;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// Held by the ticket of an entry.
pub(crate) struct Lent {
    line: Arc<Line>,
    lease: Lease,
    _memory: InMemory,
}

impl Lent {
    pub(super) fn new(line: &Arc<Line>, lease: Lease, memory: InMemory) -> Self {
        line.store.lent.fetch_add(1, SeqCst);
        Self { line: Arc::clone(line), lease, _memory: memory }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.line.store.account
    }

    pub(crate) fn cost(&self) -> Cost {
        cost(&self.lease)
    }

    /// All of it has been accounted for: it goes from the disk.
    pub(crate) fn done(&self) {
        let store = &self.line.store;
        if store.consumer.ack(self.lease.sequence) {
            store.account.release(self.cost());
        } else {
            // The log was closed before: it is there still, and is handed out once more at the next start.
            store.account.record(Term::Created, self.cost());
        }
        store.freed.notify_waiters();
    }

    /// Not all of it has been: it stays. `recorded` is what has been accounted for all the same, and is sent once more.
    pub(crate) fn stays(&self, recorded: Cost) {
        let store = &self.line.store;
        if recorded.items > 0 {
            store.account.record(Term::Created, recorded);
        }
        // If it has been dropped from the disk meanwhile, the log tells what is lost by that.
        let _ = store.consumer.defer(self.lease.sequence);
        self.line.keep_the_rest();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.line.store.lent.fetch_sub(1, SeqCst);
    }
}
