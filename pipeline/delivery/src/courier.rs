//! Getting one batch delivered: attempts with a time limit, waits between them, halves when it is too large.

use crate::measures::Measures;
use crate::retry::Backoff;
use crate::{Accepted, RetryConfig, Sender};
use millrace_engine::ledger::{Account, Term};
use millrace_engine::{Batch, Cost, Failure, Fault, Piece, Reason, Retry};
use millrace_wire::split::halve;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// One exporter's way of delivering.
pub(crate) struct Courier {
    pub(crate) sender: Arc<dyn Sender>,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryConfig,
    pub(crate) account: Arc<Account>,
    pub(crate) measures: Measures,
    /// True while draining: waits are cut short and every batch gets one last attempt.
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) name: String,
}

/// A part of a batch that could not be delivered.
pub(crate) struct Undelivered {
    pub(crate) cost: Cost,
    pub(crate) failure: Failure,
}

impl Courier {
    /// Delivers a batch, in halves where it is too large, and says what could not be delivered. What was delivered
    /// has been counted; what was not is for the caller to account for.
    pub(crate) async fn deliver(&self, batch: Batch) -> Result<(), Undelivered> {
        let whole = batch.cost();
        let _in_flight = self.measures.in_flight();
        let mut undelivered: Option<Undelivered> = None;
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let cost = part.cost();
            let failure = match self.attempts(&part).await {
                Ok(accepted) => {
                    self.delivered(&part, cost, accepted);
                    continue;
                }
                Err(failure) => failure,
            };
            if failure.reason == Reason::TooLarge
                && let Some((first, second)) = halves(&part)
            {
                tracing::debug!(
                    exporter = self.name,
                    items = cost.items,
                    "too large for the destination; sending it in halves"
                );
                parts.extend([second, first]);
                continue;
            }
            self.measures.failed.add(cost.items);
            undelivered = Some(match undelivered {
                Some(earlier) => {
                    Undelivered { cost: earlier.cost + cost, failure: earlier.failure.worse(failure) }
                }
                None => Undelivered { cost, failure },
            });
        }
        match undelivered {
            None => Ok(()),
            Some(mut undelivered) => {
                if undelivered.cost.items < whole.items {
                    undelivered.failure.lost = Some(undelivered.cost);
                }
                Err(undelivered)
            }
        }
    }

    /// Writes down what the destination has, and what it threw away. As in Go, `sent` counts the whole request.
    fn delivered(&self, batch: &Batch, cost: Cost, accepted: Accepted) {
        let rejected = accepted.rejected_items.min(cost.items);
        if rejected > 0 {
            tracing::warn!(
                exporter = self.name,
                rejected_items = rejected,
                "partial success: the destination refused some items"
            );
            self.account.record(Term::Lost(Reason::Rejected), Cost { items: rejected, bytes: 0 });
        }
        self.account.record(Term::Out, Cost { items: cost.items - rejected, bytes: cost.bytes });
        self.measures.delivered(batch, cost);
    }

    /// Attempts until one succeeds, fails for good, or the time is up.
    async fn attempts(&self, batch: &Batch) -> Result<Accepted, Failure> {
        let started = Instant::now();
        let mut backoff = Backoff::new(&self.retry);
        loop {
            let failure = match self.attempt(batch).await {
                Ok(accepted) => return Ok(accepted),
                Err(failure) => failure,
            };
            let Retry::After(asked) = failure.retry else { return Err(failure) };
            if *self.draining.borrow() {
                return Err(failure);
            }
            let Some(wait) = backoff.next(started.elapsed(), asked, fastrand::f64()) else {
                return Err(self.given_up(failure));
            };
            tracing::info!(
                exporter = self.name,
                error = %failure,
                interval = ?wait,
                "exporting failed; will retry the request after interval"
            );
            let mut draining = self.draining.clone();
            tokio::select! {
                () = sleep(wait) => {}
                // A closed channel cannot be: the exporter holds the other end for as long as it has couriers.
                _ = draining.wait_for(|draining| *draining) => {}
            }
        }
    }

    /// One attempt, within its time limit.
    async fn attempt(&self, batch: &Batch) -> Result<Accepted, Failure> {
        if self.timeout.is_zero() {
            return self.sender.send(batch).await;
        }
        timeout(self.timeout, self.sender.send(batch)).await.unwrap_or_else(|_| {
            let limit = self.timeout;
            let message = format!("no answer within {limit:?}; raise `timeout` if the destination is slow");
            Err(Failure::transient(Fault::Destination, Reason::Timeout, message))
        })
    }

    fn given_up(&self, failure: Failure) -> Failure {
        if !self.retry.enabled {
            return failure;
        }
        Failure {
            reason: Reason::RetriesExhausted,
            message: format!("no more retries left: {}", failure.message).into(),
            ..failure
        }
    }
}

/// Two batches of about half the items each; `None` for a single item.
fn halves(batch: &Batch) -> Option<(Batch, Batch)> {
    let mut pieces: Vec<Piece> = batch.pieces().to_vec();
    if pieces.len() == 1 {
        let piece = pieces.pop().expect("there is one");
        let (first, second) = halve(&piece.payload)?;
        return Some((Batch::of(piece.with_payload(first)), Batch::of(piece.with_payload(second))));
    }
    let second = pieces.split_off(pieces.len() / 2);
    let gather = |pieces: Vec<Piece>| {
        pieces.into_iter().fold(Batch::empty(batch.signal()), |mut half, piece| {
            half.push(piece);
            half
        })
    };
    (!second.is_empty()).then(|| (gather(pieces), gather(second)))
}
