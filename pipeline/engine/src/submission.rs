//! Handing one batch in by several attempts, for stages that hold what is refused further on.

use crate::entry::{Entry, Part};
use crate::stage::Until;
use crate::{Batch, Cost, Failure};
use futures_util::future::join_all;
use std::fmt;

/// A batch on its way into an [`Entry`].
///
/// What a branch has taken is not handed to it again, and transforms run once, however often it is tried.
pub struct Submission<'e> {
    entry: &'e Entry,
    state: State,
    /// What a branch that will never take its part has said.
    refused: Option<Failure>,
}

enum State {
    /// Not admitted yet.
    Whole(Batch),
    /// Admitted once; these parts have not been taken yet.
    Parts(Vec<Part>),
}

impl<'e> Submission<'e> {
    pub(crate) fn new(entry: &'e Entry, batch: Batch) -> Self {
        Self { entry, state: State::Whole(batch), refused: None }
    }

    /// Reserves room on the branches that have not taken their part yet, and commits to them.
    ///
    /// # Errors
    /// A transient failure: some branch has not taken its part yet and may later; try again. A permanent one: every
    /// branch that will ever take its part has done so.
    pub async fn attempt(&mut self, until: Until) -> Result<(), Failure> {
        let mut permits = match &self.state {
            State::Whole(batch) => {
                let permits = self.entry.reserve(batch.cost(), 0..self.entry.leaf_count()).await?;
                self.state = State::Parts(self.entry.parts(batch.clone())?);
                permits
            }
            State::Parts(parts) => {
                let cost = parts.iter().map(|part| part.batch.cost()).fold(Cost::default(), Cost::max);
                self.entry.reserve(cost, parts.iter().map(|part| part.leaf)).await?
            }
        };
        let State::Parts(parts) = &mut self.state else { return Ok(()) };
        let commits = join_all(parts.iter().map(|Part { leaf, batch }| {
            let permit = permits[*leaf].take().expect("each leaf has one permit and at most one part");
            self.entry.stage(*leaf).commit(permit, batch.clone(), until)
        }));
        drop(permits);
        // Until the answers are there the parts stay here: who gives up half-way and comes back finds them all.
        let mut results = commits.await.into_iter();
        let mut transient = None;
        parts.retain(|_| match results.next() {
            Some(Err(failure)) if failure.is_transient() => {
                transient = worst(transient.take(), failure);
                true
            }
            Some(Err(failure)) => {
                self.refused = worst(self.refused.take(), failure);
                false
            }
            _ => false,
        });
        transient.or_else(|| self.refused.clone()).map_or(Ok(()), Err)
    }

    /// Whether no branch has been asked to keep anything yet, so that the batch may as well be handed in otherwise.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        matches!(self.state, State::Whole(_))
    }
}

fn worst(earlier: Option<Failure>, failure: Failure) -> Option<Failure> {
    Some(match earlier {
        Some(earlier) => earlier.worse(failure),
        None => failure,
    })
}

impl fmt::Debug for Submission<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = match &self.state {
            State::Whole(_) => self.entry.leaf_count(),
            State::Parts(parts) => parts.len(),
        };
        f.debug_struct("Submission").field("left", &left).finish_non_exhaustive()
    }
}
