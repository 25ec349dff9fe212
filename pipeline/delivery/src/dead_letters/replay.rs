//! Going through the dead letters of a running exporter: giving them back to it, or dropping them.

use super::record::Cause;
use super::turnover::Allowance;
use super::{DeadLetters, Unreadable};
use crate::queue;
use crate::storage::cost;
use bytes::Bytes;
use millrace_engine::ledger::Term;
use millrace_engine::storage::{Custodian, Outcome, Selection, Task};
use millrace_engine::{Batch, BoxFuture, Charge, Origin, Piece, Reason};
use millrace_log::{Delivery, Entry, Lease};
use millrace_wire::Signal;
use millrace_wire::validate::{Policy, validate};
use std::sync::Arc;
use tokio::task::spawn_blocking;

impl Custodian for DeadLetters {
    fn go_through(self: Arc<Self>, task: Task, which: Selection) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let allowance = Allowance::of(&self);
            let (outcome, left) = (Outcome::default(), Vec::new());
            let mut visit = Visit { letters: &self, task, which, allowance, outcome, left };
            // Those that come meanwhile, perhaps because of this, are not among so many of the oldest.
            let there = self.log.stats().held.entries;
            for _ in 0..there {
                if visit.is_over() || !visit.next().await {
                    break;
                }
            }
            visit.end().await
        })
    }
}

/// Why nobody takes what is given back.
const BETWEEN: &str = "the exporter is starting or stopping";
/// Why no more is given back.
const NO_WAY_BACK: &str = "the dead letters are nearly full, and what the destination does not take would find no room \
                           among them; ask again when it has taken what was given back";

/// What is in the way of giving one back.
struct Obstacle {
    problem: String,
    /// It goes by by itself.
    is_for_now: bool,
}

impl Obstacle {
    fn for_now(problem: &str) -> Self {
        Self { problem: problem.to_owned(), is_for_now: true }
    }
}

/// One walk through the store.
struct Visit<'a> {
    letters: &'a Arc<DeadLetters>,
    task: Task,
    which: Selection,
    allowance: Allowance,
    outcome: Outcome,
    /// Looked at, and not touched.
    left: Vec<u64>,
}

impl Visit<'_> {
    fn is_over(&self) -> bool {
        self.outcome.stopped.is_some() || self.which.limit.is_some_and(|limit| self.outcome.requests >= limit)
    }

    /// The next one; whether there was one.
    async fn next(&mut self) -> bool {
        let consumer = self.letters.consumer.clone();
        let delivery = match spawn_blocking(move || consumer.read_next()).await {
            Ok(Ok(Some(delivery))) => delivery,
            Ok(Ok(None)) => return false,
            Ok(Err(error)) => {
                self.outcome.stopped = Some(error.to_string());
                return false;
            }
            Err(_) => {
                self.outcome.stopped = Some("reading panicked; this is a bug".to_owned());
                return false;
            }
        };
        let Delivery { lease, meta, payload } = delivery;
        let is_meant = match Cause::read(lease.kind, &meta) {
            Ok(cause) => self.which.takes(lease.sequence, &cause.reason),
            // It is none of this version's business, unless it is asked for by its number.
            Err(Unreadable::Newer | Unreadable::Torn) => {
                self.task == Task::Drop && self.which.numbers.contains(&lease.sequence)
            }
        };
        if !is_meant {
            self.left.push(lease.sequence);
            return true;
        }
        match self.task {
            Task::Drop => self.ended(lease, Term::Lost(Reason::Discarded)),
            Task::Replay => self.replay(lease, payload).await,
        }
        true
    }

    async fn replay(&mut self, lease: Lease, payload: Bytes) {
        match self.give_back(&lease, payload).await {
            Ok(()) => self.ended(lease, Term::Out),
            Err(Obstacle { problem, is_for_now }) => {
                self.left.push(lease.sequence);
                self.outcome.stopped = Some(problem);
                self.outcome.is_for_now = is_for_now;
            }
        }
    }

    /// As from a receiver: when it is taken, it is the exporter's again.
    async fn give_back(&mut self, lease: &Lease, payload: Bytes) -> Result<(), Obstacle> {
        let batch =
            read(self.letters.signal, payload).map_err(|problem| Obstacle { problem, is_for_now: false })?;
        let exporter = self.letters.exporter().ok_or_else(|| Obstacle::for_now(BETWEEN))?;
        if !self.allowance.takes(self.letters, lease.sequence) {
            return Err(Obstacle::for_now(NO_WAY_BACK));
        }
        self.letters.gives_back(lease.framed_len);
        exporter
            .put_back(batch)
            .await
            .map_err(|failure| Obstacle { is_for_now: failure.is_transient(), problem: failure.to_string() })
    }

    /// It is done with, and left by that name.
    fn ended(&mut self, lease: Lease, term: Term) {
        let cost = cost(&lease);
        if self.letters.consumer.ack(lease.sequence) {
            self.letters.watch.leaves(term, cost);
        }
        self.outcome.requests += 1;
        self.outcome.items += cost.items;
    }

    async fn end(self) -> Outcome {
        if self.task == Task::Replay {
            self.letters.has_given_back();
        }
        for sequence in self.left {
            let _ = self.letters.consumer.defer(sequence);
        }
        let log = self.letters.log.clone();
        // What was not written down would be there again after a kill.
        let _ = spawn_blocking(move || log.tidy()).await;
        self.outcome
    }
}

/// A request that was put aside; checked like anything that comes from outside.
fn read(signal: Signal, payload: Bytes) -> Result<Batch, String> {
    let validated = validate(signal, payload, &Policy::default()).map_err(|problem| problem.to_string())?;
    Ok(Batch::of(Piece { payload: validated.payload, origin: Origin::local(), charge: Charge::none() }))
}

/// A request that was put aside, as it lies in the queue of the same exporter and signal: for putting it there while no
/// collector runs.
///
/// # Errors
/// If it is not OTLP.
pub fn as_queued(signal: Signal, payload: Bytes) -> Result<Entry, String> {
    read(signal, payload).map(|batch| queue::entry(&batch))
}
