//! Draining every stage as soon as all that feed it are done.

use super::{Graph, Node, leaving_time_for};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use std::future::Future;
use std::time::Instant;

impl Graph {
    /// Drains the stages that `of` selects; the others go on. Until `hurry` they may linger, but leave enough time for
    /// being drained.
    pub(super) async fn drain(
        &self,
        deadline: Instant,
        of: impl Fn(&Node) -> bool,
        hurry: impl Future<Output = ()> + Clone + Send,
    ) {
        let fed_by = fed_by(&self.nodes);
        let heights = heights(&self.nodes);
        let mut drains: Vec<Option<Shared<BoxFuture<'_, ()>>>> = vec![None; self.nodes.len()];
        // What feeds a node comes after it, so its drain exists when the node's is made.
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let upstream: Vec<_> = fed_by[at].iter().filter_map(|&feeder| drains[feeder].clone()).collect();
            let behind = heights[at] - 1;
            let is_over = of(node);
            let hurry = hurry.clone();
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
        join_all(drains.into_iter().flatten()).await;
    }
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
