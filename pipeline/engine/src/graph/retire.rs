//! Ending what has been replaced, beside what works in its place.
//!
//! What stands in front of others ends soon: it may feed what works now, which cannot be replaced before that is over.
//! Destinations feed nobody. They may go on with what they have left, beside as many further graphs as there are, and one
//! of these may have a place for it again.

use super::{EXTENSION, Graph, half};
use crate::component::{Extension, Receiver};
use crate::entry::address;
use crate::stage::Stage;
use crate::status::Instance;
use futures_util::future::{join, join_all};
use millrace_telemetry::Labels;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::watch;

/// How much haste there is with the end of what has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// None: there is as much patience as there is time.
    None,
    /// With what stands in front of others, since another graph waits for it.
    Feeding,
    /// With everything.
    All,
}

/// How far the end of a graph that has been replaced has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Requests are under way in it.
    Takes,
    /// What it holds in front of destinations may feed what works now.
    Feeds,
    /// Only destinations are left.
    Sends,
    /// Nothing is.
    Gone,
}

/// When the graphs that were replaced before have come so far.
pub struct Earlier<Fed, Gone> {
    /// Only their destinations are left.
    pub have_fed: Fed,
    /// Nothing of them is.
    pub are_gone: Gone,
}

/// What of a graph is not part of the one in its place.
pub struct Retirement {
    graph: Arc<Graph>,
    /// For each of its nodes.
    is_over: Vec<bool>,
    receivers: Vec<Arc<dyn Receiver>>,
    extensions: Vec<Arc<dyn Extension>>,
}

impl Retirement {
    pub(super) fn of(graph: &Arc<Graph>, successor: &Graph) -> Self {
        let receivers =
            graph.parts.receivers.iter().filter(|old| {
                successor.parts.receivers.iter().all(|new| !new.generation.is(&old.generation))
            });
        let extensions =
            graph.parts.extensions.iter().rev().filter(|old| {
                successor.parts.extensions.iter().all(|new| !new.generation.is(&old.generation))
            });
        Self {
            graph: Arc::clone(graph),
            is_over: graph.nodes.iter().map(|node| !successor.has(node)).collect(),
            receivers: receivers.map(|intake| Arc::clone(&intake.receiver)).collect(),
            extensions: extensions.map(|aid| Arc::clone(&aid.extension)).collect(),
        }
    }

    /// The destinations among it.
    #[must_use]
    pub fn destinations(&self) -> Destinations {
        let nodes = self.graph.nodes.iter().zip(&self.is_over);
        let last = nodes.filter(|(node, is_over)| **is_over && node.feeds.is_empty());
        Destinations(last.map(|(node, _)| (node.key.clone(), Arc::downgrade(&node.stage))).collect())
    }

    /// Ends it by `deadline`: requests under way are answered, stages pass on what they hold from the front to the back,
    /// with all their patience as long as there is no haste. As it gets on with it, `has_come` is called.
    ///
    /// Stages of the graphs before may feed those of this one until `earlier` have fed: until then these stay as they are.
    /// What destinations send with ends after them, and after those of the graphs before.
    ///
    /// Dropping what is left closes what it has on disk, which waits for the disk.
    pub async fn run(
        &self,
        deadline: Instant,
        haste: watch::Receiver<Haste>,
        has_come: impl Fn(Progress) + Send,
        earlier: Earlier<impl Future<Output = ()> + Send, impl Future<Output = ()> + Send>,
    ) {
        let half = half(deadline);
        let receivers = self.receivers.iter();
        join_all(receivers.map(|old| self.graph.within(half, "receiver", old.stop(half)))).await;
        has_come(Progress::Feeds);
        earlier.have_fed.await;
        let drains = self.graph.drains(deadline, |at| self.is_over[at], &haste);
        let (sent_with, others): (Vec<_>, Vec<_>) =
            self.extensions.iter().partition(|extension| is_sent_with(extension));
        let feeding = async {
            join_all(drains.feeding).await;
            has_come(Progress::Sends);
            self.stop(others, deadline).await;
        };
        let ((), _) = join(feeding, join_all(drains.last)).await;
        earlier.are_gone.await;
        self.stop(sent_with, deadline).await;
    }

    async fn stop(&self, extensions: Vec<&Arc<dyn Extension>>, deadline: Instant) {
        for old in extensions {
            self.graph.within(deadline, EXTENSION, old.stop()).await;
        }
    }
}

/// Whether exporters need it for sending.
fn is_sent_with(extension: &Arc<dyn Extension>) -> bool {
    Arc::clone(extension).client_auth().is_some() || Arc::clone(extension).storage().is_some()
}

/// Destinations that a graph has left, for as long as they are there.
pub struct Destinations(Vec<(Instance, Weak<dyn Stage>)>);

impl Destinations {
    /// Whether labels name one of them.
    #[must_use]
    pub fn have(&self, labels: &Labels) -> bool {
        let there = self.0.iter().filter(|(_, stage)| stage.strong_count() > 0);
        there.map(|(key, _)| key).any(|key| {
            let id = key.id.to_string();
            let is = |label| labels.get(label).is_some_and(|named| *named == id);
            is(key.kind) || (labels.get("kind").is_some_and(|kind| kind == key.kind) && is("component"))
        })
    }
}

impl Graph {
    /// Has destinations that an earlier graph has left hand over what they have left, where this one has a place for it
    /// again. To be called after [`Graph::take_over`].
    pub fn take_from(&self, earlier: &Destinations) {
        for (key, stage) in &earlier.0 {
            let mine = self.nodes.iter().find(|node| node.key == *key);
            if let Some((node, stage)) = mine.zip(stage.upgrade())
                && address(&node.stage) != address(&stage)
            {
                stage.hand_over(&node.stage);
            }
        }
    }
}

impl fmt::Debug for Retirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retirement").field(&self.graph).finish()
    }
}

impl fmt::Debug for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}
