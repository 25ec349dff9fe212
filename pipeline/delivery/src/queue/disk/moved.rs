//! What a queue in memory had accepted, and a reload has put on disk: it comes in as it can, and nobody can be told to
//! send it again.

use super::Line;
use super::arriving::Arriving;
use super::record::{self, Now};
use super::reserved::Admission;
use crate::queue::Queued;
use crate::queue::space::full;
use millrace_engine::{Cost, Failure, Permit, Reason};
use millrace_log::Refusal;
use std::sync::Arc;

impl Line {
    /// Room for a request in the queue itself.
    pub(crate) fn try_reserve_for_moved(self: &Arc<Self>, cost: Cost) -> Result<Permit, Failure> {
        self.try_reserve(cost, 1, Admission::Moved)
    }

    /// The same, as soon as there is some.
    pub(crate) async fn wait_for_moved(self: &Arc<Self>, cost: Cost) -> Result<Permit, Failure> {
        Arc::clone(self).wait_for(cost, 1, Admission::Moved).await
    }

    /// Puts a request on disk, in room of the queue itself, that waits in memory and that nobody waits for. It is the
    /// caller's until it is there, or if it cannot be.
    pub(crate) async fn take_over(&self, permit: Permit, queued: &Queued) -> Result<(), Failure> {
        let Some((reserved, room)) = Self::room_in_line(permit) else { return Err(full()) };
        let batch = self.declared.strip(queued.batch.clone());
        let queued = Queued { batch, ticket: Arc::clone(&queued.ticket) };
        let entry = record::entry(&queued.batch, queued.ticket.span(), Now::get());
        let cost = Cost { items: queued.batch.cost().items, bytes: entry.framed_len() };
        let arriving = Arriving::moved(&self.store, cost, queued);
        self.write(reserved, room, entry, arriving).await
    }

    /// Puts a request among the dead letters, where that becomes of what does not fit, and it is this that it has failed
    /// by. Whether it is there; it is the caller's otherwise.
    pub(crate) async fn put_aside(&self, failure: &Failure, queued: &Queued) -> bool {
        let is_for_room = failure.reason == Reason::QueueFull && failure.is_transient();
        let Some(overflow) = self.overflow().filter(|_| is_for_room) else { return false };
        let Ok(Some(room)) = overflow.reserve(queued.batch.cost(), 1).map(|mut rooms| rooms.pop()) else {
            return false;
        };
        overflow.put_moved(room, queued).await.is_ok()
    }

    /// Puts a request among the dead letters that has no place anywhere else in the end. It is the caller's until it is
    /// there, or if it cannot be; `None` if there are none.
    pub(crate) async fn give_up(&self, queued: &Queued, failure: &Failure) -> Option<Result<(), Refusal>> {
        Some(self.letters.as_ref()?.give_up(queued, failure).await)
    }
}
