//! An entry that has been handed out, and goes back: as done with, or to wait on disk.

use super::Line;
use super::window::InMemory;
use crate::storage::cost;
use crate::ticket::Answer;
use millrace_engine::ledger::{Loan, Term};
use millrace_engine::{Account, Cost};
use millrace_log::{Lease, Totals};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// How much is handed out.
#[derive(Default)]
pub(super) struct HandedOut {
    entries: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
}

impl HandedOut {
    pub(super) fn is_nothing(&self) -> bool {
        self.entries.load(SeqCst) == 0
    }

    pub(super) fn totals(&self) -> Totals {
        let load = |number: &AtomicU64| number.load(SeqCst);
        Totals { entries: load(&self.entries), items: load(&self.items), bytes: load(&self.bytes) }
    }

    fn add(&self, lease: &Lease) {
        self.entries.fetch_add(1, SeqCst);
        self.items.fetch_add(lease.items.into(), SeqCst);
        self.bytes.fetch_add(lease.framed_len, SeqCst);
    }

    fn take(&self, lease: &Lease) {
        self.entries.fetch_sub(1, SeqCst);
        self.items.fetch_sub(lease.items.into(), SeqCst);
        self.bytes.fetch_sub(lease.framed_len, SeqCst);
    }
}

/// Held by the ticket of an entry.
pub(crate) struct Lent {
    line: Arc<Line>,
    lease: Lease,
    loan: Loan,
    _memory: InMemory,
}

impl Lent {
    pub(super) fn new(line: &Arc<Line>, lease: Lease, memory: InMemory) -> Self {
        line.store.handed_out.add(&lease);
        let loan = line.store.watch.lend(cost(&lease));
        Self { line: Arc::clone(line), lease, loan, _memory: memory }
    }

    /// In which it is until then, whoever has the rest meanwhile.
    pub(crate) fn account(&self) -> &Account {
        self.loan.account()
    }

    /// All of it has been accounted for: it goes from the disk.
    pub(crate) fn done(&self) {
        let store = &self.line.store;
        if store.consumer.ack(self.lease.sequence) {
            self.loan.settle();
        } else {
            // The log was closed before: it is there still, and is handed out once more at the next start.
            self.account().record(Term::Created, cost(&self.lease));
            store.watch.put_back(&self.loan);
        }
        store.freed.notify_waiters();
    }

    /// Not all of it has been: it stays. `recorded` is what has been accounted for all the same, and is sent once more.
    /// Whoever waits for the outcome goes on waiting where another one goes on with it, and is to be told otherwise.
    #[must_use]
    pub(crate) fn stays(&self, recorded: Cost, waiting: Option<Answer>) -> Option<Answer> {
        let store = &self.line.store;
        if recorded.items > 0 {
            self.account().record(Term::Created, recorded);
        }
        store.watch.put_back(&self.loan);
        let sequence = self.lease.sequence;
        let to_be_told = match waiting {
            Some(answer) if self.line.is_passed_on() && store.is_gone_on_with() => {
                store.memory.wait(sequence, answer);
                None
            }
            waiting => waiting,
        };
        if !store.consumer.defer(sequence) {
            // It has been dropped from the disk meanwhile, and the log tells what is lost by that.
            store.memory.wait_no_more(sequence);
        }
        self.line.keep_the_rest();
        to_be_told
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.line.store.handed_out.take(&self.lease);
    }
}
