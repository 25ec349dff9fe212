//! Building from the back to the front, so that each component is given what comes after it.

use super::kept::{Aid, Intake, Part, Parts};
use super::{Node, Plans};
use crate::component::{BuildError, Context, Outputs, Shared};
use crate::entry::{Entry, Route, address};
use crate::measured::Measures;
use crate::status::Instance;
use millrace_config::{ComponentId, Config, PipelineId};
use millrace_wire::Signal;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(super) struct Builder<'a> {
    config: &'a Config,
    plans: &'a Plans,
    shared: &'a Shared,
    /// What may be kept.
    before: Option<&'a Parts>,
    parts: Parts,
    pipelines: BTreeMap<PipelineId, Arc<Route>>,
    nodes: Vec<Node>,
    /// The indices of the nodes, by the addresses of their stages.
    known: HashMap<usize, usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        config: &'a Config,
        plans: &'a Plans,
        shared: &'a Shared,
        before: Option<&'a Parts>,
    ) -> Self {
        Self {
            config,
            plans,
            shared,
            before,
            parts: Parts::default(),
            pipelines: BTreeMap::new(),
            nodes: Vec::new(),
            known: HashMap::new(),
        }
    }

    pub(super) fn finish(self) -> (Parts, Vec<Node>) {
        (self.parts, self.nodes)
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
            let key = instance("processor", &processor.id, None, Some(id));
            let (plans, next) = (self.plans, Arc::clone(&route));
            route = self.part(key, vec![route], |context| {
                let plan = plans.processors.get(&processor.id).ok_or_else(|| not_decoded(&context))?;
                let measures = Measures::new(&context, id.signal);
                Ok(Arc::new(measures.around(plan.build(context, id.signal, next)?)))
            })?;
        }
        self.pipelines.insert(id.clone(), Arc::clone(&route));
        Ok(route)
    }

    fn exporter(&mut self, id: &ComponentId, signal: Signal) -> Result<Arc<Route>, BuildError> {
        let plans = self.plans;
        self.part(instance("exporter", id, Some(signal), None), Vec::new(), |context| {
            let plan = plans.exporters.get(id).ok_or_else(|| not_decoded(&context))?;
            Ok(Arc::new(Route::Commit(plan.build(context, signal)?)))
        })
    }

    /// The way into a connector; one for all pipelines of a signal that lead into it.
    fn connector(&mut self, id: &ComponentId, signal: Signal) -> Result<Arc<Route>, BuildError> {
        let key = instance("connector", id, Some(signal), None);
        if let Some(part) = self.parts.between.get(&key) {
            return Ok(Arc::clone(&part.route));
        }
        let fed: Vec<_> = Signal::ALL.iter().flat_map(|fed| self.pipelines_of(id, *fed)).cloned().collect();
        let outputs = fed
            .into_iter()
            .map(|pipeline| Ok((pipeline.clone(), self.pipeline(&pipeline)?)))
            .collect::<Result<Vec<_>, BuildError>>()?;
        let behind: Vec<_> = outputs.iter().map(|(_, route)| Arc::clone(route)).collect();
        let plans = self.plans;
        self.part(key, behind, |context| {
            let plan = plans.connectors.get(id).ok_or_else(|| not_decoded(&context))?;
            plan.build(context, signal, outputs)
        })
    }

    pub(super) fn receivers(&mut self) -> Result<(), BuildError> {
        let pipelines = self.config.service.pipelines.values();
        let used: BTreeSet<_> = pipelines
            .flat_map(|pipeline| pipeline.receivers.iter().map(|receiver| receiver.id.clone()))
            .filter(|id| !self.plans.connectors.contains_key(id))
            .collect();
        for id in used {
            let mut routes = Vec::new();
            for signal in Signal::ALL {
                let fed: Vec<_> = self.pipelines_of(&id, signal).cloned().collect();
                let ways = fed.iter().map(|pipeline| self.pipeline(pipeline)).collect::<Result<_, _>>()?;
                routes.push(ways);
            }
            let intake = self.receiver(id, routes)?;
            self.parts.receivers.push(intake);
        }
        Ok(())
    }

    fn receiver(&self, id: ComponentId, routes: Vec<Vec<Arc<Route>>>) -> Result<Intake, BuildError> {
        let print = self.plans.print("receiver", &id);
        if let Some(kept) = self.before.and_then(|before| before.receiver(&id, print, &routes)) {
            kept.generation.renew(&self.shared.generation);
            return Ok(Intake { is_kept: true, ..kept.clone() });
        }
        let context = self.context("receiver", &id, None);
        let plan = self.plans.receivers.get(&id).ok_or_else(|| not_decoded(&context))?;
        let mut outputs = Outputs::default();
        for (signal, ways) in Signal::ALL.into_iter().zip(&routes) {
            if !ways.is_empty() {
                outputs.set(signal, Entry::new(fan(ways.clone())));
            }
        }
        let generation = context.shared.generation.clone();
        let receiver = plan.build(context, outputs)?;
        Ok(Intake { id, print, routes, receiver, generation, is_kept: false })
    }

    /// Builds the extensions and makes known what they offer; before everything else, which may ask for it.
    pub(super) fn extensions(&mut self) -> Result<(), BuildError> {
        for reference in &self.config.service.extensions {
            let aid = self.extension(&reference.id)?;
            self.parts.extensions.push(aid);
        }
        let offered = self.parts.extensions.iter();
        self.shared.offers.publish(offered.map(|aid| (aid.id.clone(), Arc::clone(&aid.extension))));
        Ok(())
    }

    fn extension(&self, id: &ComponentId) -> Result<Aid, BuildError> {
        let print = self.plans.print("extension", id);
        if let Some(kept) = self.before.and_then(|before| before.extension(id, print)) {
            kept.generation.renew(&self.shared.generation);
            return Ok(Aid { is_kept: true, ..kept.clone() });
        }
        let context = self.context("extension", id, None);
        let plan = self.plans.extensions.get(id).ok_or_else(|| not_decoded(&context))?;
        let generation = context.shared.generation.clone();
        let extension = plan.build(context)?;
        Ok(Aid { id: id.clone(), print, extension, generation, is_kept: false })
    }

    /// What stands between: what this graph has already, what the one before it has and can be kept, or what `make`
    /// builds.
    fn part(
        &mut self,
        key: Instance,
        behind: Vec<Arc<Route>>,
        make: impl FnOnce(Context) -> Result<Arc<Route>, BuildError>,
    ) -> Result<Arc<Route>, BuildError> {
        if let Some(part) = self.parts.between.get(&key) {
            return Ok(Arc::clone(&part.route));
        }
        let print = self.plans.print(key.kind, &key.id);
        let kept = self.before.and_then(|before| before.part(&key, print, &behind));
        let part = match kept {
            Some(part) => {
                part.generation.renew(&self.shared.generation);
                Part { is_kept: true, ..part.clone() }
            }
            None => {
                let context = self.context(key.kind, &key.id, key.pipeline.as_ref());
                let generation = context.shared.generation.clone();
                Part { print, route: make(context)?, behind, generation, is_kept: false }
            }
        };
        let route = Arc::clone(&part.route);
        self.register(&key, &part);
        self.parts.between.insert(key, part);
        Ok(route)
    }

    /// Notes the stages that a component has added in front of what is behind it. They feed what is behind: a stage may
    /// hand on what it holds to any of it.
    fn register(&mut self, key: &Instance, part: &Part) {
        let mut feeds: Vec<_> = part
            .behind
            .iter()
            .flat_map(|route| route.leaves())
            .map(|stage| self.known[&address(&stage)])
            .collect();
        feeds.sort_unstable();
        feeds.dedup();
        for stage in part.route.leaves() {
            if !self.known.contains_key(&address(&stage)) {
                self.known.insert(address(&stage), self.nodes.len());
                self.nodes.push(Node {
                    key: key.clone(),
                    stage,
                    feeds: feeds.clone(),
                    is_kept: part.is_kept,
                });
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
        let generation = self.shared.generation.apart();
        let namesakes = self.plans.namesakes(kind, id);
        let shared = Shared { generation, namesakes, ..self.shared.clone() };
        Context { shared, kind, id: id.clone(), pipeline: pipeline.cloned() }
    }
}

fn instance(
    kind: &'static str,
    id: &ComponentId,
    signal: Option<Signal>,
    pipeline: Option<&PipelineId>,
) -> Instance {
    Instance { kind, id: id.clone(), signal, pipeline: pipeline.cloned() }
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
