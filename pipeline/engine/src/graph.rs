//! The graph: components tied together as `service.pipelines` says, started from the back, stopped from the front.

use crate::component::{
    BuildError, ConnectorConfig, Context, ExporterConfig, Extension, ExtensionConfig, Outputs,
    ProcessorConfig, Receiver, ReceiverConfig, Shared,
};
use crate::entry::{Entry, Route};
use crate::stage::Stage;
use futures_util::future::join_all;
use millrace_config::{ComponentId, Config, PipelineId};
use millrace_wire::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

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
    /// From the front to the back: whatever a stage still passes on while draining finds the next one open.
    stages: Vec<Arc<dyn Stage>>,
}

impl Graph {
    /// Builds every component that a pipeline uses.
    ///
    /// # Errors
    /// The first component that cannot be built. References and cycles were checked when the file was loaded.
    pub fn build(config: &Config, plans: &Plans, shared: &Shared) -> Result<Self, BuildError> {
        let mut builder = Builder {
            config,
            plans,
            shared,
            exporters: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            stages: Vec::new(),
        };
        for pipeline in config.service.pipelines.keys() {
            builder.pipeline(pipeline)?;
        }
        let receivers = builder.receivers()?;
        let extensions = builder.extensions()?;
        let mut stages = builder.stages;
        stages.reverse();
        Ok(Self { extensions, receivers, stages })
    }

    /// Starts extensions, then receivers; the stages between them run since they were built.
    ///
    /// # Errors
    /// The first component that cannot start.
    pub async fn start(&self) -> Result<(), BuildError> {
        for extension in &self.extensions {
            extension.start().await?;
        }
        for receiver in &self.receivers {
            receiver.start().await?;
        }
        Ok(())
    }

    /// Stops intake, then drains stage by stage from the front to the back, all by `deadline`.
    pub async fn stop(&self, deadline: Instant) {
        join_all(self.receivers.iter().map(|receiver| receiver.stop(deadline))).await;
        for stage in &self.stages {
            stage.drain(deadline).await;
        }
        for extension in self.extensions.iter().rev() {
            extension.stop().await;
        }
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("receivers", &self.receivers.len())
            .field("stages", &self.stages.len())
            .finish_non_exhaustive()
    }
}

struct Builder<'a> {
    config: &'a Config,
    plans: &'a Plans,
    shared: &'a Shared,
    exporters: BTreeMap<(ComponentId, Signal), Arc<Route>>,
    pipelines: BTreeMap<PipelineId, Arc<Route>>,
    stages: Vec<Arc<dyn Stage>>,
}

impl Builder<'_> {
    /// The way into a pipeline, built on first use with everything behind it. Terminates because the file has been
    /// checked for cycles.
    fn pipeline(&mut self, id: &PipelineId) -> Result<Arc<Route>, BuildError> {
        if let Some(route) = self.pipelines.get(id) {
            return Ok(Arc::clone(route));
        }
        let config = self.config;
        let pipeline = &config.service.pipelines[id];
        let mut branches = Vec::new();
        for exporter in &pipeline.exporters {
            branches.push(if self.plans.connectors.contains_key(&exporter.id) {
                self.connector(&exporter.id, id.signal)?
            } else {
                self.exporter(&exporter.id, id.signal)?
            });
        }
        let mut route = fan(branches);
        for processor in pipeline.processors.iter().rev() {
            let context = self.context("processor", &processor.id, Some(id));
            let plan =
                self.plans.processors.get(&processor.id).ok_or_else(|| context.error("was not decoded"))?;
            let built = plan.build(context, id.signal, route)?;
            if let Route::Commit(stage) = &built {
                self.stages.push(Arc::clone(stage));
            }
            route = Arc::new(built);
        }
        self.pipelines.insert(id.clone(), Arc::clone(&route));
        Ok(route)
    }

    fn exporter(&mut self, id: &ComponentId, signal: Signal) -> Result<Arc<Route>, BuildError> {
        if let Some(route) = self.exporters.get(&(id.clone(), signal)) {
            return Ok(Arc::clone(route));
        }
        let context = self.context("exporter", id, None);
        let plan = self.plans.exporters.get(id).ok_or_else(|| context.error("was not decoded"))?;
        let stage = plan.build(context, signal)?;
        self.stages.push(Arc::clone(&stage));
        let route = Arc::new(Route::Commit(stage));
        self.exporters.insert((id.clone(), signal), Arc::clone(&route));
        Ok(route)
    }

    fn connector(&mut self, id: &ComponentId, signal: Signal) -> Result<Arc<Route>, BuildError> {
        let fed: Vec<_> = Signal::ALL.iter().flat_map(|fed| self.pipelines_of(id, *fed)).cloned().collect();
        let outputs = fed
            .into_iter()
            .map(|pipeline| Ok((pipeline.clone(), self.pipeline(&pipeline)?)))
            .collect::<Result<Vec<_>, BuildError>>()?;
        let context = self.context("connector", id, None);
        let plan = self.plans.connectors.get(id).ok_or_else(|| context.error("was not decoded"))?;
        plan.build(context, signal, outputs)
    }

    fn receivers(&mut self) -> Result<Vec<Arc<dyn Receiver>>, BuildError> {
        let used: BTreeSet<_> = self
            .config
            .service
            .pipelines
            .values()
            .flat_map(|pipeline| pipeline.receivers.iter().map(|receiver| receiver.id.clone()))
            .filter(|id| self.plans.receivers.contains_key(id))
            .collect();
        let mut receivers = Vec::new();
        for id in used {
            let mut outputs = Outputs::default();
            for signal in Signal::ALL {
                let fed: Vec<_> = self.pipelines_of(&id, signal).cloned().collect();
                let routes =
                    fed.iter().map(|pipeline| self.pipeline(pipeline)).collect::<Result<Vec<_>, _>>()?;
                if !routes.is_empty() {
                    outputs.set(signal, Entry::new(fan(routes)));
                }
            }
            receivers.push(self.plans.receivers[&id].build(self.context("receiver", &id, None), outputs)?);
        }
        Ok(receivers)
    }

    fn extensions(&self) -> Result<Vec<Arc<dyn Extension>>, BuildError> {
        let used = &self.config.service.extensions;
        used.iter()
            .map(|extension| {
                let context = self.context("extension", &extension.id, None);
                let plan = self
                    .plans
                    .extensions
                    .get(&extension.id)
                    .ok_or_else(|| context.error("was not decoded"))?;
                plan.build(context)
            })
            .collect()
    }

    /// The pipelines of `signal` that list `id` among their receivers.
    fn pipelines_of<'s>(
        &'s self,
        id: &'s ComponentId,
        signal: Signal,
    ) -> impl Iterator<Item = &'s PipelineId> {
        self.config.service.pipelines.iter().filter_map(move |(pipeline, parts)| {
            (pipeline.signal == signal && parts.receivers.iter().any(|receiver| receiver.id == *id))
                .then_some(pipeline)
        })
    }

    fn context(&self, kind: &'static str, id: &ComponentId, pipeline: Option<&PipelineId>) -> Context {
        Context { shared: self.shared.clone(), kind, id: id.clone(), pipeline: pipeline.cloned() }
    }
}

/// One branch needs no fan-out.
fn fan(mut branches: Vec<Arc<Route>>) -> Arc<Route> {
    match branches.len() {
        1 => branches.remove(0),
        _ => Arc::new(Route::Fan(branches)),
    }
}
