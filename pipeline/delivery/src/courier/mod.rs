//! Getting one batch delivered: to its destination, in halves when it is too large, and telling what becomes of it.

mod destination;
mod sending;

pub(crate) use destination::Destination;
pub(crate) use sending::Protocol;

use crate::Accepted;
use crate::dead_letters::DeadLetters;
use crate::measures::Measures;
use crate::parts::Report;
use crate::queue::Heir;
use crate::says::{self, Rejections, say};
use crate::spans::Told;
use destination::Refusal;
use millrace_engine::{Account, Batch, Failure, Fault, Piece, Reason, Tasks};
use millrace_wire::split::halve;
use sending::Patience;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::watch;

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
    pub(crate) heir: Heir,
    /// Whether another one has what waits on disk: what is not being sent goes back there. Shared with the queue, so that
    /// it is known here at once.
    pub(crate) passed_on: Arc<AtomicBool>,
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
        let mut patience = Patience::new();
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
            if report.reclaim(&part, &refusal.failure) {
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

    fn is_passed_on(&self) -> bool {
        self.passed_on.load(Relaxed)
    }

    /// Whether there is somebody who goes on with what is given up here.
    fn has_successor(&self) -> bool {
        self.heir.is_known() || self.is_passed_on()
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
