//! The way into a part of the graph: admission on every branch, then transforms, then commits.

use crate::stage::{Permit, Stage, Transform, Until};
use crate::{Batch, Cost, Failure};
use futures_util::future::join_all;
use std::fmt;
use std::sync::Arc;

/// Where a receiver, or a stage with something downstream, hands its batches in.
///
/// A tree whose branches may grow together again: transforms in a row, fan-outs, and a [`Stage`] at every leaf.
/// Forward connectors are links and cost nothing.
pub struct Entry {
    root: Arc<Route>,
    leaves: Vec<Arc<dyn Stage>>,
}

/// One node on the way.
pub enum Route {
    /// A transform, and what follows.
    Apply(Arc<dyn Transform>, Arc<Route>),
    /// The same batch to every branch; bytes are shared.
    Fan(Vec<Arc<Route>>),
    /// A stage takes over.
    Commit(Arc<dyn Stage>),
}

impl Entry {
    /// The way into `root`.
    #[must_use]
    pub fn new(root: Arc<Route>) -> Arc<Self> {
        let mut leaves = Vec::new();
        root.collect_leaves(&mut leaves);
        Arc::new(Self { root, leaves })
    }

    /// Reserves room on every branch, runs the transforms, and commits.
    ///
    /// # Errors
    /// When a branch refuses to reserve, no branch has kept anything. When a commit fails, other branches may have
    /// kept their copy: the sender will send again, and they will see it twice (delivery is at least once).
    pub async fn submit(&self, batch: Batch, until: Until) -> Result<(), Failure> {
        if let Route::Commit(stage) = self.root.as_ref() {
            let permit = stage.reserve(batch.cost()).decided().await?;
            return stage.commit(permit, batch, until).await;
        }
        let mut permits = self.reserve(batch.cost()).await?.into_iter();
        let mut commits = Vec::with_capacity(self.leaves.len());
        self.root.run(Some(batch), &mut permits, &mut commits)?;
        let results =
            join_all(commits.into_iter().map(|(stage, permit, batch)| stage.commit(permit, batch, until)));
        results.await.into_iter().filter_map(Result::err).reduce(Failure::worse).map_or(Ok(()), Err)
    }

    /// Room on every leaf, in their order; all or nothing.
    async fn reserve(&self, cost: Cost) -> Result<Vec<Permit>, Failure> {
        let mut permits = Vec::with_capacity(self.leaves.len());
        for stage in &self.leaves {
            permits.push(stage.reserve(cost).decided().await?);
        }
        Ok(permits)
    }
}

impl Route {
    fn collect_leaves(&self, leaves: &mut Vec<Arc<dyn Stage>>) {
        match self {
            Self::Apply(_, next) => next.collect_leaves(leaves),
            Self::Fan(branches) => branches.iter().for_each(|branch| branch.collect_leaves(leaves)),
            Self::Commit(stage) => leaves.push(Arc::clone(stage)),
        }
    }

    /// Runs the transforms and lists the commits, without starting one. With no batch left it only takes the
    /// branch's permits out of the row (and so gives them back).
    fn run<'a>(
        &'a self,
        batch: Option<Batch>,
        permits: &mut impl Iterator<Item = Permit>,
        commits: &mut Vec<(&'a dyn Stage, Permit, Batch)>,
    ) -> Result<(), Failure> {
        match self {
            Self::Apply(transform, next) => {
                let batch = match batch {
                    Some(batch) => transform.apply(batch)?,
                    None => None,
                };
                next.run(batch, permits, commits)
            }
            Self::Fan(branches) => {
                branches.iter().try_for_each(|branch| branch.run(batch.clone(), permits, commits))
            }
            Self::Commit(stage) => {
                let permit = permits.next().expect("one permit was reserved for each leaf, in this order");
                if let Some(batch) = batch {
                    commits.push((stage.as_ref(), permit, batch));
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("leaves", &self.leaves.len()).finish_non_exhaustive()
    }
}
