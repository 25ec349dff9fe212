//! Which requests the items of a batch belong to, in order.

use crate::queue::Queued;
use crate::ticket::Ticket;
use millrace_engine::ledger::Account;
use millrace_engine::{Batch, Cost, Failure, Piece, Until};
use millrace_telemetry::trace::SpanContext;
use std::collections::VecDeque;
use std::sync::Arc;

/// A span has no more links than this, as in the SDKs.
const MOST_LINKS: usize = 128;

/// Where the outcome of a delivery is told, item by item in the order of the batch, as soon as it is known.
///
/// What has not been told when this is dropped was cut off.
pub(crate) trait Report {
    /// The destination has the next `items`, and refused `rejected` of these all the same.
    fn delivered(&mut self, items: u64, rejected: u64);

    /// The next `items` have failed for good.
    fn failed(&mut self, items: u64, failure: &Failure);

    /// How many of the next `items` nobody waits for: what fails of these is lost.
    fn unattended(&self, items: u64) -> u64;

    /// The next `items` have failed for good, and are put aside.
    fn dead_lettered(&mut self, items: u64, failure: &Failure);

    /// The next `items` could not be sent before the end, and have failed unless they are on disk; how many have.
    fn cut_short(&mut self, items: u64, failure: &Failure) -> u64;

    /// The next items, which are `batch`, are not told of here any more but put in line again, request by request.
    /// `None` where they are in no line.
    fn take_back(&mut self, batch: Batch) -> Option<Vec<Queued>>;

    /// The next items, which are `part`, have failed, and are not told of here any more: whoever has brought them has
    /// another place for them. Whether that is so.
    fn reclaim(&mut self, _part: &Batch, _failure: &Failure) -> bool {
        false
    }

    /// How far responsibility must have moved before it counts as delivered.
    fn until(&self) -> Until;

    /// The spans that the requests were handed in within.
    fn spans(&self) -> Vec<SpanContext>;
}

/// The requests behind a batch from a queue.
pub(crate) struct Parts {
    left: VecDeque<(Arc<Ticket>, u64)>,
    /// What of one request has failed, where that has another place.
    reclaimed: Option<Vec<(Queued, Failure)>>,
}

impl Parts {
    pub(crate) fn new(parts: Vec<(Arc<Ticket>, Cost)>) -> Self {
        let left = parts.into_iter().map(|(ticket, cost)| (ticket, cost.items)).collect();
        Self { left, reclaimed: None }
    }

    /// Of one request that is in no line any more, and is not lost by what it fails by.
    pub(crate) fn reclaiming(ticket: Arc<Ticket>, cost: Cost) -> Self {
        Self { reclaimed: Some(Vec::new()), ..Self::new(vec![(ticket, cost)]) }
    }

    /// What has failed of it, and by what.
    pub(crate) fn reclaimed(self) -> Vec<(Queued, Failure)> {
        self.reclaimed.unwrap_or_default()
    }

    /// How many items have not been told of.
    pub(crate) fn left(&self) -> u64 {
        self.left.iter().map(|(_, items)| items).sum()
    }

    /// Everything that has not been told yet has failed; how much that is.
    pub(crate) fn rest_failed(&mut self, failure: &Failure) -> u64 {
        let rest = self.left();
        self.failed(rest, failure);
        rest
    }

    /// Hands out the next items request by request, and lets go of requests that are done.
    fn next(&mut self, mut items: u64, mut tell: impl FnMut(&Ticket, u64)) {
        while let Some((ticket, left)) = self.left.front_mut() {
            let share = items.min(*left);
            if share > 0 {
                tell(ticket, share);
            }
            *left -= share;
            items -= share;
            if *left > 0 {
                return;
            }
            self.left.pop_front();
        }
    }
}

impl Report for Parts {
    fn delivered(&mut self, items: u64, mut rejected: u64) {
        self.next(items, |ticket, items| {
            let share = rejected.min(items);
            rejected -= share;
            ticket.delivered(items, share);
        });
    }

    fn failed(&mut self, items: u64, failure: &Failure) {
        self.next(items, |ticket, items| ticket.failed(items, failure));
    }

    fn unattended(&self, mut items: u64) -> u64 {
        let mut unattended = 0;
        for (ticket, left) in &self.left {
            let share = items.min(*left);
            if share > 0 && ticket.has_nobody() {
                unattended += share;
            }
            items -= share;
            if items == 0 {
                break;
            }
        }
        unattended
    }

    fn dead_lettered(&mut self, items: u64, failure: &Failure) {
        self.next(items, |ticket, items| ticket.dead_lettered(items, failure));
    }

    fn cut_short(&mut self, items: u64, failure: &Failure) -> u64 {
        let mut failed = 0;
        self.next(items, |ticket, items| {
            if !ticket.cut_short(items, failure) {
                failed += items;
            }
        });
        failed
    }

    fn take_back(&mut self, batch: Batch) -> Option<Vec<Queued>> {
        if self.reclaimed.is_some() {
            return None;
        }
        let take = |piece: Piece| {
            // What was put in by one request is in pieces of its own.
            let (ticket, left) = self.left.front_mut()?;
            let ticket = Arc::clone(ticket);
            *left = left.saturating_sub(piece.cost().items);
            if *left == 0 {
                self.left.pop_front();
            }
            Some(Queued { batch: Batch::of(piece), ticket })
        };
        Some(batch.into_pieces().into_iter().filter_map(take).collect())
    }

    fn reclaim(&mut self, part: &Batch, failure: &Failure) -> bool {
        let Some((reclaimed, (ticket, left))) = self.reclaimed.as_mut().zip(self.left.front_mut()) else {
            return false;
        };
        *left = left.saturating_sub(part.cost().items);
        reclaimed.push((Queued { batch: part.clone(), ticket: Arc::clone(ticket) }, failure.clone()));
        true
    }

    fn until(&self) -> Until {
        let settled = self.left.iter().any(|(ticket, _)| ticket.until() == Until::Settled);
        if settled { Until::Settled } else { Until::Stored }
    }

    fn spans(&self) -> Vec<SpanContext> {
        self.left.iter().filter_map(|(ticket, _)| ticket.span()).take(MOST_LINKS).collect()
    }
}

/// The one request that its caller delivers itself.
impl Report for &Ticket<&Account> {
    fn delivered(&mut self, items: u64, rejected: u64) {
        Ticket::delivered(self, items, rejected);
    }

    fn failed(&mut self, items: u64, failure: &Failure) {
        Ticket::failed(self, items, failure);
    }

    fn unattended(&self, _items: u64) -> u64 {
        0
    }

    fn dead_lettered(&mut self, items: u64, failure: &Failure) {
        Ticket::failed(self, items, failure);
    }

    fn cut_short(&mut self, items: u64, failure: &Failure) -> u64 {
        Ticket::failed(self, items, failure);
        items
    }

    fn take_back(&mut self, _: Batch) -> Option<Vec<Queued>> {
        None
    }

    fn until(&self) -> Until {
        Until::Stored
    }

    fn spans(&self) -> Vec<SpanContext> {
        self.span().into_iter().collect()
    }
}
