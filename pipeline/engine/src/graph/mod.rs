//! The graph: components tied together as `service.pipelines` says, built from the back, stopped from the front, and
//! replaced while they run.

mod build;
mod drain;
mod kept;
mod names;
mod replace;
mod retire;

pub use kept::Print;
pub use retire::{Destinations, Earlier, Haste, Progress, Retirement};

use crate::component::{
    BuildError, ConnectorConfig, ExporterConfig, ExtensionConfig, ProcessorConfig, ReceiverConfig, Shared,
};
use crate::stage::{BoxFuture, Stage};
use crate::status::Instance;
use crate::tasks::Tasks;
use build::Builder;
use futures_util::future::{join, join_all};
use kept::Parts;
use millrace_config::{ComponentId, Config};
use names::Names;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, ready};
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
    /// What tells whether a component has changed, by its kind and id; without one it has.
    pub prints: BTreeMap<(&'static str, ComponentId), Print>,
    /// The ids of a component under the other names of its type, unless they are configured; by its kind and id.
    pub namesakes: BTreeMap<(&'static str, ComponentId), Arc<[ComponentId]>>,
}

impl Plans {
    fn print(&self, kind: &'static str, id: &ComponentId) -> Option<Print> {
        self.prints.get(&(kind, id.clone())).copied()
    }

    fn namesakes(&self, kind: &'static str, id: &ComponentId) -> Arc<[ComponentId]> {
        self.namesakes.get(&(kind, id.clone())).cloned().unwrap_or_default()
    }
}

/// A built graph.
pub struct Graph {
    parts: Parts,
    /// From the back to the front: what a stage feeds comes before it.
    nodes: Vec<Node>,
    names: Names,
    shared: Shared,
    tasks: Tasks,
}

/// A stage, and the stages that it feeds, by their indices.
struct Node {
    key: Instance,
    stage: Arc<dyn Stage>,
    feeds: Vec<usize>,
    /// Whether the graph before has it, too.
    is_kept: bool,
}

impl Graph {
    /// Builds every component that a pipeline uses.
    ///
    /// # Errors
    /// The first component that cannot be built. References and cycles were checked when the file was loaded.
    pub fn build(config: &Config, plans: &Plans, shared: &Shared) -> Result<Self, BuildError> {
        shared.health.components().declare(config);
        Self::assemble(config, plans, shared.clone(), None)
    }

    fn assemble(
        config: &Config,
        plans: &Plans,
        shared: Shared,
        before: Option<&Parts>,
    ) -> Result<Self, BuildError> {
        let mut builder = Builder::new(config, plans, &shared, before);
        builder.extensions()?;
        for pipeline in config.service.pipelines.keys() {
            builder.pipeline(pipeline)?;
        }
        builder.receivers()?;
        let (parts, nodes) = builder.finish();
        let tasks = shared.tasks.clone();
        Ok(Self { parts, nodes, names: Names::of(plans), shared, tasks })
    }

    /// Has extensions and receivers get hold of what they need, so that starting them does not fail.
    ///
    /// # Errors
    /// The first component that cannot have what it needs.
    pub async fn prepare(&self) -> Result<(), BuildError> {
        for aid in self.parts.extensions.iter().filter(|aid| !aid.is_kept) {
            aid.extension.prepare().await?;
        }
        for intake in self.parts.receivers.iter().filter(|intake| !intake.is_kept) {
            intake.receiver.prepare().await?;
        }
        Ok(())
    }

    /// Starts extensions, has the stages begin, which run since they were built, then starts receivers. What has been kept
    /// runs already. To be called after [`Graph::prepare`].
    ///
    /// # Errors
    /// The first component that cannot start. What had been started is to be stopped with [`Graph::stop`].
    pub async fn start(&self) -> Result<(), BuildError> {
        self.start_extensions().await?;
        self.begin();
        self.start_receivers().await
    }

    async fn start_extensions(&self) -> Result<(), BuildError> {
        for aid in self.parts.extensions.iter().filter(|aid| !aid.is_kept) {
            aid.extension.start().await?;
        }
        self.shared.health.components().started(|one| one.kind == EXTENSION);
        Ok(())
    }

    fn begin(&self) {
        for node in self.nodes.iter().filter(|node| !node.is_kept) {
            node.stage.begin();
        }
        self.shared.health.components().started(is_between);
    }

    async fn start_receivers(&self) -> Result<(), BuildError> {
        for intake in self.parts.receivers.iter().filter(|intake| !intake.is_kept) {
            intake.receiver.start().await?;
        }
        self.shared.health.components().started(|one| one.kind == RECEIVER);
        Ok(())
    }

    /// Stops intake, then drains from the front to the back, all by `deadline`.
    ///
    /// Receivers have half of the time to answer what is under way, so that a client that does not finish its request
    /// cannot use up what the queues need. Each stage drains as soon as all that feed it have, beside all others, so
    /// that a dead destination costs nobody else time, and leaves enough of it to those that come after.
    pub async fn stop(&self, deadline: Instant) {
        self.stop_beside(deadline, ready(()), ready(())).await;
    }

    /// The same while graphs before this one are still being retired. They may feed what they have left to this one for
    /// as long as receivers may, which is over when `have_fed` is, and send what they have left themselves for as long as
    /// everybody, which is over when `are_gone` is.
    pub async fn stop_beside(
        &self,
        deadline: Instant,
        have_fed: impl Future<Output = ()> + Send,
        are_gone: impl Future<Output = ()> + Send,
    ) {
        let components = self.shared.health.components();
        components.stopping(|one| one.kind == RECEIVER);
        let half = half(deadline);
        let receivers = self.parts.receivers.iter();
        let receivers = receivers.map(|intake| self.within(half, "receiver", intake.receiver.stop(half)));
        // What has not been fed by then is refused by what it feeds, and counted.
        let _ = join(join_all(receivers), timeout_at(half.into(), have_fed)).await;
        components.stopped(|one| one.kind == RECEIVER);
        components.stopping(is_between);
        let latest = deadline.max(now()) + GRACE;
        let _ = join(self.drain(deadline), timeout_at(latest.into(), are_gone)).await;
        components.stopped(is_between);
        components.stopping(|one| one.kind == EXTENSION);
        for aid in self.parts.extensions.iter().rev() {
            self.within(deadline, "extension", aid.extension.stop()).await;
        }
        components.stopped(|one| one.kind == EXTENSION);
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
            .field("receivers", &self.parts.receivers.len())
            .field("stages", &self.nodes.len())
            .finish_non_exhaustive()
    }
}
