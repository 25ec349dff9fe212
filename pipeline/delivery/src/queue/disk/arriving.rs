//! A request on its way to the disk.

use super::Store;
use super::memory::Memory;
use crate::queue::now;
use crate::ticket::Answer;
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
    parts: Option<(Batch, Held, Option<Answer>)>,
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
            parts: Some((batch, store.account.hold_shared(cost), answer)),
        }
    }

    /// It is on disk under that number, and nobody has it yet.
    pub(super) fn placed(mut self, sequence: u64) {
        let Some((batch, held, answer)) = self.parts.take() else { return };
        self.account.keep(self.cost);
        drop(held);
        self.memory.put(sequence, batch, self.span, self.arrived, answer);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.parts.is_some() {
            // Whoever brought it is told.
            self.account.record(Term::Refused, self.cost);
        }
    }
}
