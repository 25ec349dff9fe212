//! Draining every stage as soon as all that feed it are done.

use super::{Graph, Haste, Node, leaving_time_for};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use std::time::Instant;
use tokio::sync::watch;

/// What drains stages, each to be polled until it is over.
pub(super) struct Drains<'a> {
    /// Those that feed others.
    pub(super) feeding: Vec<Shared<BoxFuture<'a, ()>>>,
    /// Those that feed nobody.
    pub(super) last: Vec<Shared<BoxFuture<'a, ()>>>,
}

impl Graph {
    /// Drains all stages.
    pub(super) async fn drain(&self, deadline: Instant) {
        let (_, haste) = watch::channel(Haste::All);
        let Drains { feeding, last } = self.drains(deadline, |_| true, &haste);
        join_all(feeding.into_iter().chain(last)).await;
    }

    /// Drains those of which `is_over` says so, by their indices; the others go on. As long as there is no haste with
    /// them they may linger, but leave enough time for being drained.
    pub(super) fn drains(
        &self,
        deadline: Instant,
        is_over: impl Fn(usize) -> bool,
        haste: &watch::Receiver<Haste>,
    ) -> Drains<'_> {
        let fed_by = fed_by(&self.nodes);
        let heights = heights(&self.nodes);
        let mut drains: Vec<Option<Shared<BoxFuture<'_, ()>>>> = vec![None; self.nodes.len()];
        // What feeds a node comes after it, so its drain exists when the node's is made.
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let upstream: Vec<_> = fed_by[at].iter().filter_map(|&feeder| drains[feeder].clone()).collect();
            let behind = heights[at] - 1;
            let is_over = is_over(at);
            let hurry = hurried(haste.clone(), if behind > 0 { Haste::Feeding } else { Haste::All });
            let drain = async move {
                join_all(upstream).await;
                if is_over {
                    let own = leaving_time_for(behind, deadline);
                    let leaving = async move {
                        tokio::select! {
                            biased;
                            () = hurry => {}
                            () = node.stage.linger(leaving_time_for(1, own)) => {}
                        }
                        node.stage.drain(own).await;
                    };
                    self.within(own, "stage", leaving.boxed()).await;
                }
            };
            drains[at] = Some(drain.boxed().shared());
        }
        let (feeding, last): (Vec<_>, Vec<_>) =
            drains.into_iter().flatten().zip(heights).partition(|(_, height)| *height > 1);
        let drains = |of: Vec<(_, _)>| of.into_iter().map(|(drain, _)| drain).collect();
        Drains { feeding: drains(feeding), last: drains(last) }
    }
}

/// Waits for that much haste.
async fn hurried(mut haste: watch::Receiver<Haste>, enough: Haste) {
    // Nobody is left who could say so only where nobody needs it any more.
    let _ = haste.wait_for(|haste| *haste >= enough).await;
}

/// For each node, the nodes that feed it.
fn fed_by(nodes: &[Node]) -> Vec<Vec<usize>> {
    let mut fed_by = vec![Vec::new(); nodes.len()];
    for (feeder, node) in nodes.iter().enumerate() {
        for &fed in &node.feeds {
            fed_by[fed].push(feeder);
        }
    }
    fed_by
}

/// For each node, how many drain one after the other from it on, itself included.
fn heights(nodes: &[Node]) -> Vec<u32> {
    let mut heights: Vec<u32> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let behind = node.feeds.iter().map(|&fed| heights[fed]).max();
        heights.push(behind.unwrap_or(0) + 1);
    }
    heights
}
