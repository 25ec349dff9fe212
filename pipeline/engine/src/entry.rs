//! The way into a part of the graph: admission on every branch, then transforms, then commits.

use crate::stage::{Permit, Stage, Transform, Until};
use crate::submission::Submission;
use crate::{Batch, Cost, Failure, Fault, Reason};
use futures_util::future::join_all;
use std::fmt;
use std::sync::Arc;

/// Where a receiver, or a stage with something downstream, hands its batches in.
///
/// A tree whose branches may grow together again: transforms in a row, fan-outs, and a [`Stage`] at every leaf.
/// Forward connectors are links and cost nothing.
///
/// # Invariants
/// - Stages are asked for room in one order that is the same for every entry of the process, and each once, so that
///   requests that wait for room cannot wait for one another in a circle.
/// - Nothing of what lies on the way of a request is written to but the stages themselves.
pub struct Entry {
    root: Arc<Route>,
    /// Each stage that is reached, in the order in which they are asked for room.
    stages: Vec<Reached>,
    /// For each leaf, in the order of the tree, which of `stages` it is.
    leaves: Vec<usize>,
}

/// A stage, and by how many branches it is reached.
struct Reached {
    stage: Arc<dyn Stage>,
    copies: u32,
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

/// Room on every branch of one entry.
#[derive(Debug)]
#[must_use = "room is held until it is used or dropped"]
pub struct Admission(Vec<Option<Permit>>);

/// What reaches one leaf.
pub(crate) struct Part {
    pub(crate) leaf: usize,
    pub(crate) batch: Batch,
}

impl Entry {
    /// The way into `root`.
    #[must_use]
    pub fn new(root: Arc<Route>) -> Arc<Self> {
        let tree = root.leaves();
        let mut stages: Vec<Reached> =
            tree.iter().map(|stage| Reached { stage: Arc::clone(stage), copies: 0 }).collect();
        stages.sort_by_key(|reached| address(&reached.stage));
        stages.dedup_by_key(|reached| address(&reached.stage));
        let leaves = tree.iter().map(|leaf| {
            let at = stages.binary_search_by_key(&address(leaf), |reached| address(&reached.stage));
            at.expect("every leaf is among the stages")
        });
        let leaves: Vec<_> = leaves.collect();
        for &at in &leaves {
            stages[at].copies += 1;
        }
        Arc::new(Self { root, stages, leaves })
    }

    /// Reserves room on every branch, runs the transforms, and commits.
    ///
    /// # Errors
    /// When a branch refuses to reserve, no branch has kept anything. When a commit fails, other branches may have
    /// kept their copy: the sender will send again, and they will see it twice (delivery is at least once). Who
    /// tries again itself uses a [`Submission`], which asks only those that have not taken it.
    pub async fn submit(&self, batch: Batch, until: Until) -> Result<(), Failure> {
        if let [Reached { stage, copies: 1 }] = &self.stages[..] {
            let permit = stage.reserve(batch.cost()).decided().await?;
            return match self.root.only_part(batch)? {
                Some(batch) => stage.commit(permit, batch, until).await,
                None => Ok(()),
            };
        }
        let permits = self.reserve(batch.cost(), 0..self.leaves.len()).await?;
        self.commit(permits, batch, until).await
    }

    /// Reserves room for `copies` batches of at most `cost` on every branch, all or nothing, for a stage that decides by
    /// it where batches go.
    ///
    /// # Errors
    /// When a branch refuses; no room is held then.
    pub async fn admit_copies(&self, cost: Cost, copies: u32) -> Result<Vec<Admission>, Failure> {
        if copies == 1 || self.leaves.is_empty() {
            return Ok(vec![Admission(self.reserve(cost, 0..self.leaves.len()).await?)]);
        }
        let mut by_stage = Vec::with_capacity(self.stages.len());
        for reached in &self.stages {
            let copies = reached.copies * copies;
            let permit = reached.stage.reserve_copies(cost, copies).decided().await?;
            by_stage.push((permit.units() / u64::from(copies.max(1)), permit));
        }
        let mut share = |leaf: &usize| {
            let (units, permit) = &mut by_stage[*leaf];
            Some(permit.split(*units))
        };
        Ok((0..copies).map(|_| Admission(self.leaves.iter().map(&mut share).collect())).collect())
    }

    /// Runs the transforms and commits under an admission of this entry.
    ///
    /// # Errors
    /// As [`Entry::submit`], from the commits on.
    pub async fn submit_admitted(
        &self,
        Admission(permits): Admission,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        self.commit(permits, batch, until).await
    }

    async fn commit(
        &self,
        mut permits: Vec<Option<Permit>>,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        let parts = self.parts(batch)?;
        let commits = parts.into_iter().map(|Part { leaf, batch }| {
            let permit = permits[leaf].take().expect("each leaf has one permit and at most one part");
            self.stage(leaf).commit(permit, batch, until)
        });
        let commits = join_all(commits);
        // Where nothing was left for a leaf, its room is given back before anybody waits.
        drop(permits);
        commits.await.into_iter().filter_map(Result::err).reduce(Failure::worse).map_or(Ok(()), Err)
    }

    /// A submission that can be tried again and again, until every branch has taken its part.
    #[must_use]
    pub fn submission(&self, batch: Batch) -> Submission<'_> {
        Submission::new(self, batch)
    }

    /// The names of client metadata that are needed further on ([`Stage::metadata`]).
    #[must_use]
    pub fn metadata(&self) -> Vec<String> {
        self.stages.iter().flat_map(|reached| reached.stage.metadata()).collect()
    }

    pub(crate) fn leaf_count(&self) -> usize {
        self.leaves.len()
    }

    pub(crate) fn stage(&self, leaf: usize) -> &dyn Stage {
        self.stages[self.leaves[leaf]].stage.as_ref()
    }

    /// Room on the stages of these leaves, all or nothing; the permits lie at the indices of their leaves.
    pub(crate) async fn reserve(
        &self,
        cost: Cost,
        leaves: impl Iterator<Item = usize> + Clone,
    ) -> Result<Vec<Option<Permit>>, Failure> {
        if self.leaves.is_empty() {
            return Err(Failure::permanent(Fault::Us, Reason::Internal, "this pipeline leads nowhere"));
        }
        let mut copies = vec![0; self.stages.len()];
        for leaf in leaves.clone() {
            copies[self.leaves[leaf]] += 1;
        }
        let mut by_stage = Vec::with_capacity(self.stages.len());
        for (reached, &copies) in self.stages.iter().zip(&copies) {
            by_stage.push(match copies {
                0 => Permit::free(),
                1 => reached.stage.reserve(cost).decided().await?,
                _ => reached.stage.reserve_copies(cost, copies).decided().await?,
            });
        }
        let mut permits: Vec<_> = self.leaves.iter().map(|_| None).collect();
        for leaf in leaves {
            let at = self.leaves[leaf];
            let share = by_stage[at].units() / u64::from(copies[at]);
            copies[at] -= 1;
            permits[leaf] = Some(by_stage[at].split(share));
        }
        Ok(permits)
    }

    /// Runs the transforms; what is left for each leaf.
    pub(crate) fn parts(&self, batch: Batch) -> Result<Vec<Part>, Failure> {
        let mut parts = Vec::with_capacity(self.leaves.len());
        self.root.run(Some(batch), &mut 0, &mut parts)?;
        Ok(parts)
    }
}

impl Route {
    /// The stages at the leaves, in the order of the tree.
    #[must_use]
    pub fn leaves(&self) -> Vec<Arc<dyn Stage>> {
        let mut leaves = Vec::new();
        self.collect_leaves(&mut leaves);
        leaves
    }

    fn collect_leaves(&self, leaves: &mut Vec<Arc<dyn Stage>>) {
        match self {
            Self::Apply(_, next) => next.collect_leaves(leaves),
            Self::Fan(branches) => branches.iter().for_each(|branch| branch.collect_leaves(leaves)),
            Self::Commit(stage) => leaves.push(Arc::clone(stage)),
        }
    }

    /// Runs the transforms and lists what reaches each leaf. With no batch left it only counts the leaves.
    fn run(&self, batch: Option<Batch>, leaf: &mut usize, parts: &mut Vec<Part>) -> Result<(), Failure> {
        match self {
            Self::Apply(transform, next) => {
                let batch = match batch {
                    Some(batch) => transform.apply(batch)?,
                    None => None,
                };
                next.run(batch, leaf, parts)
            }
            Self::Fan(branches) => {
                branches.iter().try_for_each(|branch| branch.run(batch.clone(), leaf, parts))
            }
            Self::Commit(_) => {
                parts.extend(batch.map(|batch| Part { leaf: *leaf, batch }));
                *leaf += 1;
                Ok(())
            }
        }
    }

    /// Runs the transforms on the way to the only leaf there is.
    fn only_part(&self, mut batch: Batch) -> Result<Option<Batch>, Failure> {
        let mut route = self;
        loop {
            route = match route {
                Self::Apply(transform, next) => {
                    let Some(left) = transform.apply(batch)? else { return Ok(None) };
                    batch = left;
                    next
                }
                Self::Fan(branches) => {
                    let leads_on = branches.iter().find(|branch| branch.leads_on());
                    leads_on.expect("there is a leaf")
                }
                Self::Commit(_) => return Ok(Some(batch)),
            };
        }
    }

    /// Whether it leads to the very stages that another leads to, by the very transforms.
    pub(crate) fn leads_to_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Apply(a, next_a), Self::Apply(b, next_b)) => {
                std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b)) && next_a.leads_to_same(next_b)
            }
            (Self::Fan(a), Self::Fan(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.leads_to_same(b))
            }
            (Self::Commit(a), Self::Commit(b)) => address(a) == address(b),
            _ => false,
        }
    }

    fn leads_on(&self) -> bool {
        match self {
            Self::Apply(_, next) => next.leads_on(),
            Self::Fan(branches) => branches.iter().any(|branch| branch.leads_on()),
            Self::Commit(_) => true,
        }
    }
}

/// Where a stage lies: what tells it from every other, for as long as anybody holds it.
pub(crate) fn address(stage: &Arc<dyn Stage>) -> usize {
    Arc::as_ptr(stage).cast::<()>().addr()
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("leaves", &self.leaves.len()).finish_non_exhaustive()
    }
}
