//! Sending over a protocol: attempts with a time limit, and waits between them.

use super::destination::Refusal;
use super::{Courier, Phase};
use crate::budget::RetryBudget;
use crate::concurrency::{Outcome, Slot, Slots};
use crate::retry::Backoff;
use crate::says::say;
use crate::{Accepted, RetryConfig, Sender};
use millrace_engine::{Batch, Failure, Fault, Reason, Retry};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How to send over a protocol.
pub(crate) struct Protocol {
    pub(crate) sender: Arc<dyn Sender>,
    /// The limit for one attempt; zero means none.
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryConfig,
    pub(crate) budget: RetryBudget,
    /// How many attempts are under way at once, where that is limited at all.
    pub(crate) slots: Option<Arc<Slots>>,
}

/// How long a request has been worked on, less the time for which it was held back for the destination's sake: nothing
/// is given up because of that.
pub(super) struct Patience {
    started: Instant,
    held_back: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), held_back: Duration::ZERO }
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.held_back)
    }
}

/// Sending over a protocol.
pub(super) struct Sending<'a> {
    courier: &'a Courier,
    protocol: &'a Protocol,
}

impl<'a> Sending<'a> {
    pub(super) fn over(protocol: &'a Protocol, courier: &'a Courier) -> Self {
        Self { courier, protocol }
    }

    /// Attempts until one succeeds, fails for good, or there is no patience left.
    pub(super) async fn attempts(&self, batch: &Batch, patience: &mut Patience) -> Result<Accepted, Refusal> {
        let mut backoff = Backoff::new(&self.protocol.retry);
        self.protocol.budget.earn();
        let mut retries = 0;
        loop {
            let slot = self.slot(patience).await;
            if self.courier.is_passed_on() {
                return Err(Refusal { cut_short: true, ..Refusal::by_us(passed_on()) });
            }
            self.courier.measures.spans.attempt(retries);
            retries += 1;
            let result = self.attempt(batch, slot).await;
            self.courier.measures.attempted(&result);
            let failure = match result {
                Ok(accepted) => return Ok(accepted),
                Err(failure) => failure,
            };
            let Retry::After(asked) = failure.retry else { return Err(Refusal::by_destination(failure)) };
            if self.courier.is_in(Phase::Draining) {
                return Err(Refusal { cut_short: true, ..Refusal::by_destination(failure) });
            }
            let Some(wait) = backoff.next(patience.elapsed(), asked, fastrand::f64()) else {
                return Err(Refusal::by_destination(self.given_up(failure)));
            };
            say!(
                info,
                self.courier.account.holder(),
                error = %failure,
                interval = ?wait,
                "Exporting failed. Will retry the request after interval."
            );
            let _waiting = self.courier.measures.waiting();
            self.wait(wait).await;
            self.hold_back(patience).await;
            self.courier.measures.retries.add(1);
        }
    }

    /// Waits, but not while draining.
    async fn wait(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.courier.reached(Phase::Draining) => {}
        }
    }

    /// Waits until a retry may go.
    async fn hold_back(&self, patience: &mut Patience) {
        if self.courier.is_in(Phase::Draining) {
            return;
        }
        let now = Instant::now();
        let wait = self.protocol.budget.spend(now.into_std(), fastrand::f64());
        if !wait.is_zero() {
            self.courier.measures.held_back.add(1);
            self.wait(wait).await;
            patience.held_back += now.elapsed();
        }
    }

    /// One attempt, within its time limit.
    async fn attempt(&self, batch: &Batch, slot: Option<Slot<'_>>) -> Result<Accepted, Failure> {
        let result = self
            .send(batch)
            .await
            .map_err(|failure| self.protocol.retry.millrace_status_codes.judge(failure));
        if let Some(slot) = slot {
            slot.ended(match &result {
                Ok(_) => Outcome::Taken,
                Err(failure) if failure.fault == Fault::Destination && failure.is_transient() => {
                    Outcome::Overloaded
                }
                Err(_) => Outcome::Neither,
            });
        }
        result
    }

    /// Room for an attempt. While draining there is no limit but the number of consumers.
    async fn slot(&self, patience: &mut Patience) -> Option<Slot<'_>> {
        let slots = self.protocol.slots.as_ref()?;
        if let Some(slot) = slots.try_enter() {
            return Some(slot);
        }
        let now = Instant::now();
        let slot = tokio::select! {
            slot = slots.enter() => Some(slot),
            () = self.courier.reached(Phase::Draining) => None,
        };
        patience.held_back += now.elapsed();
        slot
    }

    async fn send(&self, batch: &Batch) -> Result<Accepted, Failure> {
        let limit = self.protocol.timeout;
        if limit.is_zero() {
            return self.protocol.sender.send(batch).await;
        }
        timeout(limit, self.protocol.sender.send(batch)).await.unwrap_or_else(|_| {
            let message = format!("no answer within {limit:?}; raise `timeout` if the destination is slow");
            Err(Failure::transient(Fault::Destination, Reason::Timeout, message))
        })
    }

    fn given_up(&self, failure: Failure) -> Failure {
        if !self.protocol.retry.enabled {
            return failure;
        }
        Failure {
            reason: Reason::RetriesExhausted,
            message: format!("no more retries left: {}", failure.message).into(),
            ..failure
        }
    }
}

/// What a request meets that is to be sent by another one.
fn passed_on() -> Failure {
    Failure::transient(
        Fault::Us,
        Reason::ShuttingDown,
        "a new configuration is at work, which goes on with it",
    )
}
