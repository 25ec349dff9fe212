//! The two contracts that every component fulfils, and what passes between them.

use crate::{Batch, Cost, Failure};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// A future that may move between workers.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Synchronous and stateless: a batch in, a batch out, or nothing left of it.
///
/// Adjacent transforms run inline on the request's task, with no channel, lock or copy between them.
pub trait Transform: Send + Sync {
    /// Changes a batch. `Ok(None)` says that nothing is left and that this is as it should be (the account says by
    /// which name it left).
    ///
    /// # Errors
    /// A [`Failure`] refuses the whole request; nothing downstream has kept any of it.
    fn apply(&self, batch: Batch) -> Result<Option<Batch>, Failure>;
}

/// How far responsibility must have moved before a commit is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It has passed on: delivered, on disk, or in a memory queue that says so.
    Stored,
    /// Nothing upstream is needed any more: delivered, dead-lettered or deliberately dropped.
    Settled,
}

/// Asynchronous and allowed to keep things: queues, batchers, samplers, routers and exporters.
pub trait Stage: Send + Sync {
    /// Sets room aside for a batch of at most `cost`. Keeps nothing; dropping the permit undoes it.
    fn reserve(&self, cost: Cost) -> Reservation<'_>;

    /// Sets room aside for `copies` batches of at most `cost` each, for all or for none, in one permit to be divided
    /// ([`Permit::split`]). For a stage that one request reaches by several branches: if they took their room one
    /// after the other, requests that each hold a part could wait for one another for ever.
    ///
    /// A stage whose room is not counted in items or bytes says here what several batches take.
    fn reserve_copies(&self, cost: Cost, copies: u32) -> Reservation<'_> {
        self.reserve(cost * u64::from(copies))
    }

    /// Takes a batch under a permit of this stage. State changes happen here and not before.
    ///
    /// # Errors
    /// The batch is not kept: it is the caller's again (and the account of this stage says `refused`).
    fn commit<'a>(&'a self, permit: Permit, batch: Batch, until: Until)
    -> BoxFuture<'a, Result<(), Failure>>;

    /// Passes on whatever is held, until `deadline`; called once, after everything upstream has drained. What cannot
    /// be passed on by then is kept where that is possible, or lost and counted by reason.
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, ()>;

    /// On a reload that has no place for it any more: takes nothing new, and goes on with what is held as it always
    /// does, retries and all, until nothing is left or until then. It is drained afterwards. Giving this up half-way
    /// loses nothing. One that feeds nobody may do so while there are further graphs, and one of these may have a place
    /// for it again ([`Stage::hand_over`]).
    fn linger(&self, _until: Instant) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The graph that it is built for begins to work. What others would notice begins here: answering at an address,
    /// sending what an earlier one has left, dropping any of it. One that is built and does not begin does nothing.
    fn begin(&self) {}

    /// The names of client metadata that are needed to go on with a batch, here or further on; in any order and writing.
    /// What keeps batches on disk keeps no other with them.
    fn metadata(&self) -> Vec<String> {
        Vec::new()
    }

    /// On a reload: gives state and whatever is held to the stage that takes this one's place, as far as it can.
    /// Whoever still holds this one may go on handing in. It is drained afterwards, as soon as all that feed it have.
    fn hand_over(&self, _successor: &Arc<dyn Stage>) {}

    /// What one that takes its place, or whose place it takes, may know it by.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// The answer to [`Stage::reserve`]: at once where possible, so that the common case allocates nothing.
pub enum Reservation<'a> {
    /// Decided.
    Now(Result<Permit, Failure>),
    /// Waiting for room (`block_on_overflow`).
    Later(BoxFuture<'a, Result<Permit, Failure>>),
}

impl Reservation<'_> {
    /// Granted at once, with nothing to give back.
    #[must_use]
    pub fn granted() -> Self {
        Self::Now(Ok(Permit::free()))
    }

    /// Waits for the decision.
    ///
    /// # Errors
    /// The stage's refusal.
    pub async fn decided(self) -> Result<Permit, Failure> {
        match self {
            Self::Now(decision) => decision,
            Self::Later(waiting) => waiting.await,
        }
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(decision) => f.debug_tuple("Now").field(decision).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Whoever gave out room takes it back here.
pub trait Room: Send + Sync {
    /// `units` are free again. The unit is the stage's own (requests, items or bytes).
    fn give_back(&self, units: u64);
}

/// Room that a stage has set aside. Dropping it gives the room back.
#[must_use = "a permit holds room until it is used or dropped"]
pub struct Permit {
    room: Option<Arc<dyn Room>>,
    units: u64,
    /// What it stands for further on, one for each unit.
    carried: Vec<Box<dyn Any + Send + Sync>>,
}

impl Permit {
    /// Of a stage that has nothing to set aside.
    pub fn free() -> Self {
        Self { room: None, units: 0, carried: Vec::new() }
    }

    /// `units` of `room`.
    pub fn of(room: Arc<dyn Room>, units: u64) -> Self {
        Self { room: Some(room), units, carried: Vec::new() }
    }

    /// Of a stage that has room set aside further on for each of several batches, and finds there what it carries.
    pub fn carrying<T: Any + Send + Sync>(carried: impl IntoIterator<Item = T>) -> Self {
        let carried: Vec<Box<dyn Any + Send + Sync>> =
            carried.into_iter().map(|one| Box::new(one) as Box<dyn Any + Send + Sync>).collect();
        Self { room: None, units: carried.len() as u64, carried }
    }

    /// What it carries for one batch, if that is what it is for.
    pub fn into_carried<T: Any>(mut self) -> Option<T> {
        self.carried.pop()?.downcast().ok().map(|carried| *carried)
    }

    /// Whether it is room of that.
    #[must_use]
    pub fn is_of(&self, room: &Arc<dyn Room>) -> bool {
        self.room.as_ref().is_some_and(|own| std::ptr::addr_eq(Arc::as_ptr(own), Arc::as_ptr(room)))
    }

    /// How much room it stands for, in the stage's own unit.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Takes `units` of it, or what there is, into a permit of their own.
    pub fn split(&mut self, units: u64) -> Self {
        let units = units.min(self.units);
        self.units -= units;
        let kept = self.carried.len().min(usize::try_from(self.units).unwrap_or(usize::MAX));
        Self { room: self.room.clone(), units, carried: self.carried.split_off(kept) }
    }

    /// Gives back what is more than `units`, for a batch that has become smaller since room was set aside for it.
    pub fn shrink_to(&mut self, units: u64) {
        drop(self.split(self.units.saturating_sub(units)));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && self.units > 0
        {
            room.give_back(self.units);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("units", &self.units).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_carries_is_divided_batch_by_batch() {
        let mut permit = Permit::carrying(["one", "two", "three"]);
        assert_eq!(permit.units(), 3);
        let split = permit.split(1);
        assert_eq!((split.units(), permit.units()), (1, 2));
        assert_eq!(split.into_carried::<&str>(), Some("three"));
        permit.shrink_to(1);
        assert_eq!(permit.into_carried::<&str>(), Some("one"));
        assert_eq!(Permit::carrying([1]).into_carried::<&str>(), None);
        assert_eq!(Permit::free().into_carried::<&str>(), None);
    }
}
