//! Entries that are written and synced together, and those who wait for it.

use crate::entry::Appended;
use crate::event::lock;
use crate::report::Refusal;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// One group: everything that arrived while the one before it was being synced.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    completed: Condvar,
}

/// The outcome that each member of a group will hear of, one way or another.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    group: Arc<Group>,
    members: usize,
    kept: usize,
}

#[derive(Debug, Default)]
struct State {
    /// What became of the members, in order. A group that does not fit into a segment completes part by part.
    parts: Vec<Part>,
    wakers: Vec<(usize, Waker)>,
    /// How many threads are blocked: to wake none costs a system call, too.
    blocked: usize,
}

#[derive(Debug)]
struct Part {
    /// Members below this one, and not below the part before.
    end: usize,
    /// The number of member 0 if all of the group were in this part's place, or why it was not taken.
    outcome: Result<u64, Refusal>,
}

impl Promise {
    /// One more.
    pub(crate) fn member(&mut self) -> Appending {
        self.members += 1;
        Appending(Inner::Member { group: Arc::clone(&self.group), member: self.members - 1 })
    }

    /// The next `members` got numbers from the outcome's on, or were not taken.
    pub(crate) fn keep(&mut self, members: usize, outcome: Result<u64, Refusal>) {
        self.kept += members;
        self.group.complete(self.kept, outcome);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.kept < self.members {
            self.group.complete(self.members, Err(Refusal::Closed));
        }
    }
}

impl Group {
    fn complete(&self, end: usize, outcome: Result<u64, Refusal>) {
        let (wakers, is_blocking) = {
            let mut state = lock(&self.state);
            let begin = state.parts.last().map_or(0, |part| part.end);
            let outcome = outcome.map(|first| first.wrapping_sub(begin as u64));
            state.parts.push(Part { end, outcome });
            let (done, waiting) =
                std::mem::take(&mut state.wakers).into_iter().partition(|(of, _)| *of < end);
            state.wakers = waiting;
            let done: Vec<(usize, Waker)> = done;
            (done, state.blocked > 0)
        };
        if is_blocking {
            self.completed.notify_all();
        }
        for (_, waker) in wakers {
            waker.wake();
        }
    }
}

impl State {
    fn outcome(&self, member: usize) -> Option<Result<Appended, Refusal>> {
        let part = self.parts.iter().find(|part| member < part.end)?;
        let appended = |first: &u64| Appended { sequence: first.wrapping_add(member as u64) };
        Some(part.outcome.as_ref().map(appended).map_err(Clone::clone))
    }
}

/// An entry on its way to the disk. Dropping it does not stop the entry.
#[derive(Debug)]
#[must_use = "the entry is appended when this has completed"]
pub struct Appending(Inner);

#[derive(Debug)]
enum Inner {
    Member { group: Arc<Group>, member: usize },
    Refused(Refusal),
}

impl Appending {
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self(Inner::Refused(refusal))
    }

    /// Blocks until the entry is on disk, or is known not to get there.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn wait(self) -> Result<Appended, Refusal> {
        let (group, member) = match self.0 {
            Inner::Member { group, member } => (group, member),
            Inner::Refused(refusal) => return Err(refusal),
        };
        let mut state = lock(&group.state);
        loop {
            if let Some(outcome) = state.outcome(member) {
                return outcome;
            }
            state.blocked += 1;
            state = group.completed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.blocked -= 1;
        }
    }
}

impl Future for Appending {
    type Output = Result<Appended, Refusal>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (group, member) = match &self.0 {
            Inner::Member { group, member } => (group, *member),
            Inner::Refused(refusal) => return Poll::Ready(Err(refusal.clone())),
        };
        let mut state = lock(&group.state);
        if let Some(outcome) = state.outcome(member) {
            return Poll::Ready(outcome);
        }
        match state.wakers.iter_mut().find(|(of, _)| *of == member) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => state.wakers.push((member, context.waker().clone())),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_group_has_its_own_outcome() {
        let mut promise = Promise::default();
        let [one, two, three, mut four, five] = [(); 5].map(|()| promise.member());
        let mut context = Context::from_waker(Waker::noop());
        promise.keep(2, Ok(100));
        assert!(Pin::new(&mut four).poll(&mut context).is_pending());
        promise.keep(1, Err(Refusal::DiskFull));
        promise.keep(1, Ok(200));
        assert_eq!(one.wait(), Ok(Appended { sequence: 100 }));
        assert_eq!(two.wait(), Ok(Appended { sequence: 101 }));
        assert_eq!(three.wait(), Err(Refusal::DiskFull));
        assert_eq!(Pin::new(&mut four).poll(&mut context), Poll::Ready(Ok(Appended { sequence: 200 })));
        drop(promise);
        assert_eq!(five.wait(), Err(Refusal::Closed), "nobody waits for ever");
    }
}
