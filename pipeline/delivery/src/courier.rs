//! Getting one batch delivered: attempts with a time limit, waits between them, halves when it is too large.

use crate::budget::RetryBudget;
use crate::concurrency::{Outcome, Slot, Slots};
use crate::dead_letters::DeadLetters;
use crate::measures::Measures;
use crate::parts::Report;
use crate::queue::Space;
use crate::retry::Backoff;
use crate::says::{self, Rejections, say};
use crate::spans::Told;
use crate::{Accepted, RetryConfig, Sender};
use millrace_engine::{
    Account, Batch, Entry, Failure, Fault, Piece, Reason, Retry, Submission, Tasks, Until,
};
use millrace_wire::split::halve;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The first wait before the pipeline behind is asked again.
const HOLD_MIN: Duration = Duration::from_millis(100);
/// The longest.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// One exporter's way of delivering.
pub(crate) struct Courier {
    pub(crate) destination: Destination,
    pub(crate) account: Arc<Account>,
    pub(crate) measures: Measures,
    pub(crate) phase: watch::Sender<Phase>,
    /// Whether [`Phase::CutOff`] has come, for those who ask at every request.
    pub(crate) cut_off: AtomicBool,
    pub(crate) tasks: Tasks,
    /// What it has told about what was handed back.
    pub(crate) rejections: Rejections,
    /// Where what cannot be delivered is put aside, and what the destination is called there.
    pub(crate) dead_letters: Option<(Arc<DeadLetters>, String)>,
    /// The queue that goes on with what is left here, once there is one.
    pub(crate) heir: OnceLock<Arc<Space>>,
}

/// Where to.
pub(crate) enum Destination {
    /// Out of the process.
    Protocol(Box<Protocol>),
    /// Into the rest of a pipeline.
    Pipeline {
        next: Arc<Entry>,
        /// Whether what it refuses for a while is held, however long that is, or handed back to whoever waits.
        holds: bool,
    },
}

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
struct Patience {
    started: Instant,
    held_back: Duration,
}

impl Patience {
    fn elapsed(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.held_back)
    }
}

/// Only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Waits are cut short, and every batch gets one last attempt.
    Draining,
    /// The time is up: nothing is sent any more.
    CutOff,
}

/// What a request meets that panicked.
pub(crate) fn panicked() -> Failure {
    Failure::permanent(Fault::Us, Reason::Internal, "sending panicked; this is a bug")
}

/// A batch was not taken.
struct Refusal {
    failure: Failure,
    /// Whether smaller parts of it may be taken.
    divisible: bool,
    /// Whether it would have been tried again, if there were time.
    cut_short: bool,
}

impl Refusal {
    /// It never got there.
    fn by_us(failure: Failure) -> Self {
        Self { failure, divisible: false, cut_short: false }
    }

    /// What the destination has decided.
    fn by_destination(failure: Failure) -> Self {
        Self { divisible: failure.reason == Reason::TooLarge, failure, cut_short: false }
    }
}

impl Courier {
    /// Delivers a batch, in halves where it is too large, and tells what becomes of it.
    pub(crate) async fn deliver(&self, batch: Batch, report: &mut (impl Report + Send)) {
        let spans = &self.measures.spans;
        let mut told = Told::default();
        if !spans.are_made() {
            return self.pass_on(batch, report, &mut told).await;
        }
        let span = spans.send(&report.spans());
        // Apart, so that sends without a span take no room for one.
        Box::pin(span.around(self.pass_on(batch, report, &mut told))).await;
        spans.sent(span, told);
    }

    async fn pass_on(&self, batch: Batch, report: &mut (impl Report + Send), told: &mut Told) {
        let _in_flight = self.measures.in_flight();
        let mut patience = Patience { started: Instant::now(), held_back: Duration::ZERO };
        let until = report.until();
        // The stack of what is left, its first part on top: the order is kept.
        let mut left = vec![batch];
        while let Some(part) = left.pop() {
            let items = part.cost().items;
            let take = self.destination.take(self, &part, &mut patience, until);
            // Watched here, where what it has panicked with is at hand.
            let taken = self.tasks.watch("send", take).await;
            let refusal = match taken.unwrap_or_else(|| Err(Refusal::by_us(panicked()))) {
                Ok(accepted) => {
                    told.sent += items;
                    self.delivered(&part, accepted, report);
                    continue;
                }
                Err(refusal) => refusal,
            };
            if refusal.divisible
                && let Some((first, second)) = halves(&part)
            {
                say!(
                    debug,
                    self.account.holder(),
                    items,
                    "too large for the destination; sending it in halves"
                );
                left.extend([second, first]);
                continue;
            }
            if refusal.cut_short
                && let Some(heir) = self.heir.get()
                && let Some(requests) = report.take_back(part.clone())
            {
                heir.take_over(requests);
                continue;
            }
            if self.measures.spans.are_made() {
                told.error = Some(refusal.failure.to_string());
            }
            let failed = if refusal.cut_short {
                let unattended = report.unattended(items);
                let failed = report.cut_short(items, &refusal.failure);
                // What is on disk stays there, all of it.
                self.dropped(unattended.min(failed), &refusal.failure);
                failed
            } else {
                self.give_up(&part, &refusal.failure, report).await;
                items
            };
            if failed > 0 {
                told.failed += failed;
                self.measures.failed(failed, &refusal.failure);
            }
        }
    }

    /// What will not be delivered is put aside where there is a place for it, unless all who handed it in are waiting
    /// to have it back.
    async fn give_up(&self, part: &Batch, failure: &Failure, report: &mut impl Report) {
        let items = part.cost().items;
        let unattended = report.unattended(items);
        if let Some((letters, destination)) = &self.dead_letters
            && unattended > 0
            && letters.keep(part, failure, destination).await
        {
            say!(
                warn,
                self.account.holder(),
                error = %failure,
                items,
                "a request cannot be delivered; putting it aside (`millrace dead-letters list` shows it)"
            );
            return report.dead_lettered(items, failure);
        }
        report.failed(items, failure);
        self.dropped(unattended, failure);
    }

    /// So many items have been acknowledged, and are lost.
    pub(crate) fn dropped(&self, items: u64, failure: &Failure) {
        says::dropping(&self.account, failure, items);
    }

    /// As in Go, `sent` counts the whole request, whatever the destination refused of it.
    fn delivered(&self, batch: &Batch, accepted: Accepted, report: &mut impl Report) {
        let cost = batch.cost();
        let rejected = accepted.rejected_items.min(cost.items);
        if rejected > 0 {
            say!(
                warn,
                self.account.holder(),
                dropped_items = rejected,
                "The destination has taken a request, and refused some of its items. Dropping them."
            );
        }
        report.delivered(cost.items, rejected);
        self.measures.delivered(batch, cost);
    }

    pub(crate) fn advance(&self, phase: Phase) {
        if phase == Phase::CutOff {
            self.cut_off.store(true, Relaxed);
        }
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Relaxed)
    }

    pub(crate) fn is_in(&self, phase: Phase) -> bool {
        *self.phase.borrow() >= phase
    }

    /// Resolves when that phase, or a later one, has come.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so this does not end early.
        let _ = self.phase.subscribe().wait_for(|current| *current >= phase).await;
    }
}

impl Destination {
    /// Whether what is refused for a while stays, and the rest behind it.
    pub(crate) fn holds(&self) -> bool {
        matches!(self, Self::Pipeline { holds: true, .. })
    }

    async fn take(
        &self,
        courier: &Courier,
        batch: &Batch,
        patience: &mut Patience,
        until: Until,
    ) -> Result<Accepted, Refusal> {
        match self {
            Self::Protocol(protocol) => Sending { courier, protocol }.attempts(batch, patience).await,
            Self::Pipeline { next, holds } => {
                let mut submission = next.submission(batch.clone());
                let result = if *holds {
                    hand_on(courier, &mut submission, until).await
                } else {
                    submission.attempt(until).await.map(|()| Accepted::default())
                };
                result.map_err(|failure| Refusal {
                    divisible: failure.reason == Reason::TooLarge && submission.is_untouched(),
                    cut_short: failure.is_transient() && courier.heir.get().is_some(),
                    failure,
                })
            }
        }
    }
}

/// Sending over a protocol.
struct Sending<'a> {
    courier: &'a Courier,
    protocol: &'a Protocol,
}

impl Sending<'_> {
    /// Attempts until one succeeds, fails for good, or there is no patience left.
    async fn attempts(&self, batch: &Batch, patience: &mut Patience) -> Result<Accepted, Refusal> {
        let mut backoff = Backoff::new(&self.protocol.retry);
        self.protocol.budget.earn();
        let mut retries = 0;
        loop {
            self.courier.measures.spans.attempt(retries);
            retries += 1;
            let result = self.attempt(batch, patience).await;
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

    /// One attempt, within its time limit, which begins when there is room for it.
    async fn attempt(&self, batch: &Batch, patience: &mut Patience) -> Result<Accepted, Failure> {
        let slot = self.slot(patience).await;
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

/// Hands a batch on, and holds it while what comes after refuses it for a while. While draining, what comes after is
/// still at work: it is asked at short intervals until the time is up.
async fn hand_on(
    courier: &Courier,
    submission: &mut Submission<'_>,
    until: Until,
) -> Result<Accepted, Failure> {
    let mut hold = HOLD_MIN;
    loop {
        let failure = match submission.attempt(until).await {
            Ok(()) => return Ok(Accepted::default()),
            Err(failure) => failure,
        };
        let Retry::After(asked) = failure.retry else { return Err(failure) };
        if courier.is_in(Phase::Draining) {
            // Whoever goes on with it would hand it once more to the branches that have taken it: only in the end.
            let is_late = !submission.is_untouched() && !courier.is_in(Phase::CutOff);
            if courier.heir.get().is_some() && !is_late {
                return Err(failure);
            }
            sleep(HOLD_MIN).await;
            continue;
        }
        let wait = hold.max(asked.unwrap_or_default());
        hold = (hold * 2).min(HOLD_MAX);
        say!(
            info,
            courier.account.holder(),
            error = %failure,
            interval = ?wait,
            "what comes next does not take the batch; holding it"
        );
        tokio::select! {
            () = sleep(wait) => {}
            () = courier.reached(Phase::Draining) => {}
        }
    }
}

/// Two batches of about half the items each; `None` for a single item.
fn halves(batch: &Batch) -> Option<(Batch, Batch)> {
    let pieces = batch.pieces();
    if let [piece] = pieces {
        let (first, second) = halve(&piece.payload)?;
        return Some((Batch::of(piece.with_payload(first)), Batch::of(piece.with_payload(second))));
    }
    let (first, second) = pieces.split_at(pieces.len() / 2);
    let gather = |pieces: &[Piece]| {
        pieces.iter().cloned().fold(Batch::empty(batch.signal()), |mut half, piece| {
            half.push(piece);
            half
        })
    };
    (!first.is_empty()).then(|| (gather(first), gather(second)))
}
