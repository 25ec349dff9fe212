//! The graph: components tied together as `service.pipelines` says, built from the back, stopped from the front.

mod build;
mod drain;

use crate::component::{
    BuildError, ConnectorConfig, ExporterConfig, Extension, ExtensionConfig, ProcessorConfig, Receiver,
    ReceiverConfig, Shared,
};
use crate::stage::{BoxFuture, Stage};
use crate::status::{Components, Instance};
use crate::tasks::Tasks;
use build::Builder;
use futures_util::future::join_all;
use millrace_config::{ComponentId, Config};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// How much longer than its deadline a component may take to stop before it is left behind.
const GRACE: Duration = Duration::from_secs(2);

/// What a stage needs at most to pass on what the one before it has passed on at the last moment.
const ENOUGH: Duration = Duration::from_secs(5);

/// The decoded configuration of every component, by id.
#[derive(Default)]
pub struct Plans {
    /// Receivers.
    pub receivers: BTreeMap<ComponentId, Box<dyn ReceiverConfig>>,
    /// Processors.
    pub processors: BTreeMap<ComponentId, Box<dyn ProcessorConfig>>,
    /// Connectors.
    pub connectors: BTreeMap<ComponentId, Box<dyn ConnectorConfig>>,
    /// Exporters.
    pub exporters: BTreeMap<ComponentId, Box<dyn ExporterConfig>>,
    /// Extensions.
    pub extensions: BTreeMap<ComponentId, Box<dyn ExtensionConfig>>,
}

/// A built graph.
pub struct Graph {
    extensions: Vec<Arc<dyn Extension>>,
    receivers: Vec<Arc<dyn Receiver>>,
    /// From the back to the front: what a stage feeds comes before it.
    nodes: Vec<Node>,
    tasks: Tasks,
    components: Components,
}

/// A stage, and the stages that it feeds, by their indices.
struct Node {
    stage: Arc<dyn Stage>,
    feeds: Vec<usize>,
}

impl Graph {
    /// Builds every component that a pipeline uses.
    ///
    /// # Errors
    /// The first component that cannot be built. References and cycles were checked when the file was loaded.
    pub fn build(config: &Config, plans: &Plans, shared: &Shared) -> Result<Self, BuildError> {
        let components = shared.health.components().clone();
        components.declare(config);
        let mut builder = Builder::new(config, plans, shared);
        let extensions = builder.extensions()?;
        for pipeline in config.service.pipelines.keys() {
            builder.pipeline(pipeline)?;
        }
        let receivers = builder.receivers()?;
        Ok(Self {
            extensions,
            receivers,
            nodes: builder.into_nodes(),
            tasks: shared.tasks.clone(),
            components,
        })
    }

    /// Starts extensions, then receivers; the stages between them run since they were built.
    ///
    /// # Errors
    /// The first component that cannot start. What had been started is to be stopped with [`Graph::stop`].
    pub async fn start(&self) -> Result<(), BuildError> {
        for extension in &self.extensions {
            extension.start().await?;
        }
        self.components.started(|one| one.kind == EXTENSION);
        self.components.started(is_between);
        for receiver in &self.receivers {
            receiver.start().await?;
        }
        self.components.started(|one| one.kind == RECEIVER);
        Ok(())
    }

    /// Stops intake, then drains from the front to the back, all by `deadline`.
    ///
    /// Receivers have half of the time to answer what is under way, so that a client that does not finish its request
    /// cannot use up what the queues need. Each stage drains as soon as all that feed it have, beside all others, so
    /// that a dead destination costs nobody else time, and leaves enough of it to those that come after.
    pub async fn stop(&self, deadline: Instant) {
        self.components.stopping(|one| one.kind == RECEIVER);
        let half = half(deadline);
        let receivers =
            self.receivers.iter().map(|receiver| self.within(half, "receiver", receiver.stop(half)));
        join_all(receivers).await;
        self.components.stopped(|one| one.kind == RECEIVER);
        self.components.stopping(is_between);
        self.drain(deadline).await;
        self.components.stopped(is_between);
        self.components.stopping(|one| one.kind == EXTENSION);
        for extension in self.extensions.iter().rev() {
            self.within(deadline, "extension", extension.stop()).await;
        }
        self.components.stopped(|one| one.kind == EXTENSION);
    }

    /// Waits for a component to stop, and goes on without it if it panics or stays away for too long.
    async fn within(&self, deadline: Instant, kind: &'static str, stopping: BoxFuture<'_, ()>) {
        let latest = deadline.max(now()) + GRACE;
        if timeout_at(latest.into(), self.tasks.watch("stop", stopping)).await.is_err() {
            tracing::error!(kind, "a component did not stop in time; leaving it behind");
        }
    }
}

const RECEIVER: &str = "receiver";
const EXTENSION: &str = "extension";

/// Whether it stands between receivers and destinations.
fn is_between(instance: &Instance) -> bool {
    ![RECEIVER, EXTENSION].contains(&instance.kind)
}

/// The clock of the runtime, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The end of the first half of the time that is left.
fn half(deadline: Instant) -> Instant {
    let now = now();
    now + deadline.saturating_duration_since(now) / 2
}

/// Until when a stage may drain that has so many to drain after it, one after the other: as long as each of them is
/// left an equal part, or enough.
fn leaving_time_for(behind: u32, deadline: Instant) -> Instant {
    let now = now();
    let left = deadline.saturating_duration_since(now);
    let kept = (left / (behind + 1)).min(ENOUGH) * behind;
    now + left.saturating_sub(kept)
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("receivers", &self.receivers.len())
            .field("stages", &self.nodes.len())
            .finish_non_exhaustive()
    }
}
