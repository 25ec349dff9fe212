//! A request on its way to the disk.

use super::Store;
use super::memory::Memory;
use crate::queue::{Queued, now};
use crate::ticket::{Answer, Ticket};
use millrace_engine::ledger::{Held, Term};
use millrace_engine::{Account, Batch, Cost};
use millrace_telemetry::trace::SpanContext;
use std::sync::Arc;
use std::time::Instant;

/// What is known of it beside its bytes. The log has it, so that it is accounted for whether or not whoever brought it
/// waits for the answer. It does not have the log: that would have to be closed by its own thread.
pub(super) struct Arriving {
    account: Arc<Account>,
    memory: Arc<Memory>,
    cost: Cost,
    arrived: Instant,
    span: Option<SpanContext>,
    /// Gone when it is on disk.
    parts: Option<(Batch, From)>,
}

/// Where it comes from.
enum From {
    /// From outside, and perhaps somebody waits for its outcome.
    Outside(Held, Option<Answer>),
    /// From a queue in memory, which has it until it is on disk.
    Memory(Arc<Ticket>),
}

impl Arriving {
    pub(super) fn new(
        store: &Store,
        cost: Cost,
        batch: Batch,
        span: Option<SpanContext>,
        answer: Option<Answer>,
    ) -> Self {
        store.account.record(Term::In, cost);
        Self {
            account: Arc::clone(&store.account),
            memory: Arc::clone(&store.memory),
            cost,
            arrived: now(),
            span,
            parts: Some((batch, From::Outside(store.account.hold_shared(cost), answer))),
        }
    }

    /// A request that has come in before, to a queue in memory of the same account.
    pub(super) fn moved(store: &Store, cost: Cost, queued: Queued) -> Self {
        Self {
            account: Arc::clone(&store.account),
            memory: Arc::clone(&store.memory),
            cost,
            arrived: queued.ticket.arrived(),
            span: queued.ticket.span(),
            parts: Some((queued.batch, From::Memory(queued.ticket))),
        }
    }

    /// It is on disk under that number, and nobody has it yet.
    pub(super) fn placed(mut self, sequence: u64) {
        let Some((batch, from)) = self.parts.take() else { return };
        let answer = match from {
            From::Outside(held, answer) => {
                self.account.keep(self.cost);
                drop(held);
                answer
            }
            From::Memory(ticket) => {
                ticket.moved_to_disk(self.cost.items, self.cost);
                None
            }
        };
        self.memory.put(sequence, batch, self.span, self.arrived, answer);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some((_, From::Outside(..))) = self.parts {
            // Whoever brought it is told.
            self.account.record(Term::Refused, self.cost);
        }
    }
}
