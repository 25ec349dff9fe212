//! Building from the back to the front, so that each component is given what comes after it.

use super::{Node, Plans};
use crate::component::{BuildError, Context, Extension, Outputs, Receiver, Shared};
use crate::entry::{Entry, Route, address};
use crate::measured::Measures;
use millrace_config::{ComponentId, Config, PipelineId};
use millrace_wire::Signal;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(super) struct Builder<'a> {
    config: &'a Config,
    plans: &'a Plans,
    shared: &'a Shared,
    exporters: BTreeMap<(ComponentId, Signal), Arc<Route>>,
    connectors: BTreeMap<(ComponentId, Signal), Arc<Route>>,
    pipelines: BTreeMap<PipelineId, Arc<Route>>,
    nodes: Vec<Node>,
    /// The indices of the nodes, by the addresses of their stages.
    known: HashMap<usize, usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(config: &'a Config, plans: &'a Plans, shared: &'a Shared) -> Self {
        Self {
            config,
            plans,
            shared,
            exporters: BTreeMap::new(),
            connectors: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            nodes: Vec::new(),
            known: HashMap::new(),
        }
    }

    pub(super) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// The way into a pipeline, built on first use with everything behind it. Terminates because the file has been
    /// checked for cycles.
    pub(super) fn pipeline(&mut self, id: &PipelineId) -> Result<Arc<Route>, BuildError> {
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
            let plan = self.plans.processors.get(&processor.id).ok_or_else(|| not_decoded(&context))?;
            let measures = Measures::new(&context, id.signal);
            let built = Arc::new(measures.around(plan.build(context, id.signal, Arc::clone(&route))?));
            self.register(&built, &[route]);
            route = built;
        }
        self.pipelines.insert(id.clone(), Arc::clone(&route));
        Ok(route)
    }

    fn exporter(&mut self, id: &ComponentId, signal: Signal) -> Result<Arc<Route>, BuildError> {
        let key = (id.clone(), signal);
        if let Some(route) = self.exporters.get(&key) {
            return Ok(Arc::clone(route));
        }
        let context = self.context("exporter", id, None);
        let plan = self.plans.exporters.get(id).ok_or_else(|| not_decoded(&context))?;
        let route = Arc::new(Route::Commit(plan.build(context, signal)?));
        self.register(&route, &[]);
        self.exporters.insert(key, Arc::clone(&route));
        Ok(route)
    }

    /// The way into a connector; one for all pipelines of a signal that lead into it.
    fn connector(&mut self, id: &ComponentId, signal: Signal) -> Result<Arc<Route>, BuildError> {
        let key = (id.clone(), signal);
        if let Some(route) = self.connectors.get(&key) {
            return Ok(Arc::clone(route));
        }
        let fed: Vec<_> = Signal::ALL.iter().flat_map(|fed| self.pipelines_of(id, *fed)).cloned().collect();
        let outputs = fed
            .into_iter()
            .map(|pipeline| Ok((pipeline.clone(), self.pipeline(&pipeline)?)))
            .collect::<Result<Vec<_>, BuildError>>()?;
        let behind: Vec<_> = outputs.iter().map(|(_, route)| Arc::clone(route)).collect();
        let context = self.context("connector", id, None);
        let plan = self.plans.connectors.get(id).ok_or_else(|| not_decoded(&context))?;
        let route = plan.build(context, signal, outputs)?;
        self.register(&route, &behind);
        self.connectors.insert(key, Arc::clone(&route));
        Ok(route)
    }

    pub(super) fn receivers(&mut self) -> Result<Vec<Arc<dyn Receiver>>, BuildError> {
        let pipelines = self.config.service.pipelines.values();
        let used: BTreeSet<_> = pipelines
            .flat_map(|pipeline| pipeline.receivers.iter().map(|receiver| receiver.id.clone()))
            .filter(|id| !self.plans.connectors.contains_key(id))
            .collect();
        let mut receivers = Vec::new();
        for id in used {
            let context = self.context("receiver", &id, None);
            let plan = self.plans.receivers.get(&id).ok_or_else(|| not_decoded(&context))?;
            let mut outputs = Outputs::default();
            for signal in Signal::ALL {
                let fed: Vec<_> = self.pipelines_of(&id, signal).cloned().collect();
                let routes =
                    fed.iter().map(|pipeline| self.pipeline(pipeline)).collect::<Result<Vec<_>, _>>()?;
                if !routes.is_empty() {
                    outputs.set(signal, Entry::new(fan(routes)));
                }
            }
            receivers.push(plan.build(context, outputs)?);
        }
        Ok(receivers)
    }

    /// Builds the extensions and makes known what they offer; before everything else, which may ask for it.
    pub(super) fn extensions(&self) -> Result<Vec<Arc<dyn Extension>>, BuildError> {
        let used = self.config.service.extensions.iter();
        let built = used
            .map(|extension| {
                let context = self.context("extension", &extension.id, None);
                let plan = self.plans.extensions.get(&extension.id).ok_or_else(|| not_decoded(&context))?;
                Ok((extension.id.clone(), plan.build(context)?))
            })
            .collect::<Result<Vec<_>, BuildError>>()?;
        let extensions = built.iter().map(|(_, extension)| Arc::clone(extension)).collect();
        self.shared.offers.publish(built);
        Ok(extensions)
    }

    /// Notes the stages that a component has added in front of `behind`. They feed what is behind: a stage may hand
    /// on what it holds to any of it.
    fn register(&mut self, built: &Route, behind: &[Arc<Route>]) {
        let mut feeds: Vec<_> = behind
            .iter()
            .flat_map(|route| route.leaves())
            .map(|stage| self.known[&address(&stage)])
            .collect();
        feeds.sort_unstable();
        feeds.dedup();
        for stage in built.leaves() {
            if !self.known.contains_key(&address(&stage)) {
                self.known.insert(address(&stage), self.nodes.len());
                self.nodes.push(Node { stage, feeds: feeds.clone() });
            }
        }
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

fn not_decoded(context: &Context) -> BuildError {
    context.error("is used by a pipeline, but its section was not decoded")
}

/// One branch needs no fan-out.
fn fan(mut branches: Vec<Arc<Route>>) -> Arc<Route> {
    match branches.len() {
        1 => branches.remove(0),
        _ => Arc::new(Route::Fan(branches)),
    }
}
