//! A request on its way to the disk.

use super::memory::Memory;
use super::{Line, Store};
use crate::queue::{Queued, now};
use crate::storage::Watch;
use crate::ticket::{Answer, Ticket};
use millrace_engine::ledger::{Held, Term};
use millrace_engine::{Batch, Cost};
use millrace_telemetry::trace::SpanContext;
use std::sync::Arc;
use std::time::Instant;

/// What is known of it beside its bytes. The log has it, so that it is accounted for whether or not whoever brought it
/// waits for the answer. It does not have the log: that would have to be closed by its own thread.
pub(super) struct Arriving {
    watch: Arc<Watch>,
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
        line: &Line,
        cost: Cost,
        batch: Batch,
        span: Option<SpanContext>,
        answer: Option<Answer>,
    ) -> Self {
        let (store, account) = (line.store(), line.account());
        account.record(Term::In, cost);
        Self {
            watch: Arc::clone(&store.watch),
            memory: Arc::clone(&store.memory),
            cost,
            arrived: now(),
            span,
            parts: Some((batch, From::Outside(account.hold_shared(cost), answer))),
        }
    }

    /// A request that has come in before, to a queue in memory of the same account.
    pub(super) fn moved(store: &Store, cost: Cost, queued: Queued) -> Self {
        Self {
            watch: Arc::clone(&store.watch),
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
                // What is kept may be in the account of one that has another name by now.
                held.account().hand_over(&self.watch.keep(self.cost), self.cost);
                drop(held);
                answer
            }
            From::Memory(ticket) => {
                ticket.moved_to_disk(&self.watch.keep(self.cost), self.cost);
                None
            }
        };
        self.memory.put(sequence, batch, self.span, self.arrived, answer);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some((_, From::Outside(held, _))) = &self.parts {
            // Whoever brought it is told.
            held.account().record(Term::Refused, self.cost);
        }
    }
}
