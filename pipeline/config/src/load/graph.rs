//! How pipelines and components fit together: references, signals, connectors, cycles.

use std::collections::{BTreeMap, HashMap, HashSet};

use millrace_wire::Signal;

use super::components::article;
use super::{Config, Loader, Pipeline, Reference};
use crate::catalog::Kind;
use crate::diagnostic::Diagnostic;
use crate::id::ComponentId;
use crate::source::Span;
use crate::suggest;

/// How many cycles are reported.
const MAX_CYCLES: usize = 10;

/// A connector between two pipelines, by their positions.
struct Edge<'a> {
    from: usize,
    to: usize,
    connector: &'a ComponentId,
    span: Span,
}

impl Loader<'_> {
    /// Every reference names something configured that can handle the pipeline's signal.
    pub(super) fn check_references(&mut self, config: &Config) {
        for reference in &config.service.extensions {
            if self.is_declared(Kind::Extension, &reference.id) {
                continue;
            }
            self.dangling("service::extensions", Kind::Extension, reference);
        }
        for pipeline in config.service.pipelines.values() {
            let path = format!("service::pipelines::{}", pipeline.id);
            for (kind, references) in [
                (Kind::Receiver, &pipeline.receivers),
                (Kind::Processor, &pipeline.processors),
                (Kind::Exporter, &pipeline.exporters),
            ] {
                for reference in references {
                    self.check_reference(config, pipeline, &path, kind, reference);
                }
            }
        }
    }

    fn check_reference(
        &mut self,
        config: &Config,
        pipeline: &Pipeline,
        path: &str,
        kind: Kind,
        reference: &Reference,
    ) {
        if kind != Kind::Processor && self.is_declared(Kind::Connector, &reference.id) {
            return;
        }
        if !self.is_declared(kind, &reference.id) {
            return self.dangling(path, kind, reference);
        }
        let Some(component) = config.components(kind).get(&reference.id) else { return };
        let signals = self.catalog.signals(kind, component.canonical);
        if !signals.contains(pipeline.id.signal) {
            let message = format!("{kind} \"{}\" does not support {}", reference.id, pipeline.id.signal);
            let help = format!("it supports: {signals}");
            self.diags.push(Diagnostic::error(reference.span, path, message).help(help));
        }
    }

    fn is_declared(&self, kind: Kind, id: &ComponentId) -> bool {
        self.declared.contains(&(kind, id.clone()))
    }

    /// Reports a reference to something that is not configured.
    fn dangling(&mut self, path: &str, kind: Kind, reference: &Reference) {
        let id = &reference.id;
        let message = format!("references {kind} \"{id}\" which is not configured");
        let help = self.dangling_advice(kind, id);
        let lacking = format!("{}::{id}", kind.section());
        let mut error = Diagnostic::error(reference.span, path, message).help(help).lacks(lacking);
        if matches!(kind, Kind::Receiver | Kind::Exporter) {
            error = error.lacks(format!("{}::{id}", Kind::Connector.section()));
        }
        self.diags.push(error);
    }

    fn dangling_advice(&self, kind: Kind, id: &ComponentId) -> Option<String> {
        let usable = |of: Kind| {
            of == kind || (of == Kind::Connector && matches!(kind, Kind::Receiver | Kind::Exporter))
        };
        let mut candidates: Vec<_> =
            self.declared.iter().filter(|(of, _)| usable(*of)).map(|(_, id)| id.to_string()).collect();
        candidates.sort();
        if let Some(near) = suggest::nearest(&id.to_string(), candidates.iter().map(String::as_str)) {
            return Some(format!("did you mean `{near}`?"));
        }
        // The same component under its other name.
        let canonical = self.known(kind, id);
        let twin = self.declared.iter().find(|(of, other)| {
            *of == kind
                && other.name() == id.name()
                && canonical.is_some()
                && self.known(kind, other).map(|known| known.canonical)
                    == canonical.map(|known| known.canonical)
        });
        if let Some((_, twin)) = twin {
            return Some(format!("did you mean `{twin}`?"));
        }
        if let Some(other) = Kind::ALL.into_iter().find(|&other| self.is_declared(other, id)) {
            return Some(format!("\"{id}\" is configured as {} {other}", article(other)));
        }
        Some(format!("add it under `{}`, or remove it here", kind.section()))
    }

    /// Every connector joins pipelines whose signals it can join, and they do not run in circles.
    pub(super) fn check_connectors(&mut self, config: &Config) {
        for (id, connector) in &config.connectors {
            for (kind, others) in [(Kind::Exporter, &config.exporters), (Kind::Receiver, &config.receivers)] {
                if let Some(other) = others.get(id) {
                    let message = format!("ambiguous ID: found both \"{id}\" {kind} and \"{id}\" connector");
                    self.diags.push(
                        Diagnostic::error(connector.id_span, &connector.path(), message)
                            .related(other.id_span, format!("the {kind}"))
                            .help(format!("rename the connector, to `{id}/connector` for example")),
                    );
                }
            }
        }
        let edges = self.edges(config);
        self.check_cycles(config, edges);
    }

    fn edges<'c>(&mut self, config: &'c Config) -> Vec<Edge<'c>> {
        let mut edges = Vec::new();
        for (id, connector) in &config.connectors {
            let users = |list: fn(&Pipeline) -> &Vec<Reference>| {
                let pipelines = config.service.pipelines.values().enumerate();
                let used = |(index, pipeline)| {
                    Some((index, pipeline, list(pipeline).iter().find(|one| one.id == *id)?))
                };
                pipelines.filter_map(used).collect::<Vec<_>>()
            };
            let sources = users(|pipeline| &pipeline.exporters);
            let sinks = users(|pipeline| &pipeline.receivers);
            let joins = |from: &Pipeline, to: &Pipeline| {
                self.catalog.connects(connector.canonical, from.id.signal, to.id.signal)
            };
            for &(from, source, reference) in &sources {
                for &(to, sink, _) in &sinks {
                    if joins(source, sink) {
                        edges.push(Edge { from, to, connector: id, span: reference.span });
                    }
                }
            }
            let idle_sources =
                sources.iter().filter(|(_, from, _)| !sinks.iter().any(|(_, to, _)| joins(from, to)));
            let idle_sinks =
                sinks.iter().filter(|(_, to, _)| !sources.iter().any(|(_, from, _)| joins(from, to)));
            let unjoined = [
                (by_signal(idle_sources), "exporter", "receiver"),
                (by_signal(idle_sinks), "receiver", "exporter"),
            ];
            for (signals, used, missing) in unjoined {
                for (signal, (pipelines, span)) in signals {
                    let message = format!(
                        "connector \"{id}\" used as {used} in [{}] pipeline but not used in any supported {missing} \
                         pipeline",
                        pipelines.join(", ")
                    );
                    let help = self.connector_advice(connector.canonical, signal, used);
                    let path = format!("service::pipelines::{}", pipelines[0]);
                    let lacking = format!("{missing}s::{id}");
                    self.diags.push(Diagnostic::error(span, &path, message).help(help).lacks(lacking));
                }
            }
        }
        edges
    }

    fn connector_advice(&self, canonical: &str, signal: Signal, used: &str) -> String {
        let fits = |other: &Signal| match used {
            "exporter" => self.catalog.connects(canonical, signal, *other),
            _ => self.catalog.connects(canonical, *other, signal),
        };
        let partners: Vec<_> = Signal::ALL.into_iter().filter(fits).map(Signal::name).collect();
        match (used, partners.join(" or ")) {
            ("exporter", list) if list.is_empty() => format!("`{canonical}` cannot take {signal}"),
            (_, list) if list.is_empty() => format!("`{canonical}` cannot give {signal}"),
            ("exporter", list) => format!("list it as a receiver of a pipeline for {list}"),
            (_, list) => format!("list it as an exporter of a pipeline for {list}"),
        }
    }

    /// Reports pipelines that feed themselves.
    fn check_cycles(&mut self, config: &Config, mut edges: Vec<Edge<'_>>) {
        for _ in 0..MAX_CYCLES {
            let Some(cycle) = find_cycle(config.service.pipelines.len(), &edges) else { return };
            let name = |index: usize| {
                config.service.pipelines.get_index(index).map_or_else(String::new, |(id, _)| id.to_string())
            };
            let mut shown = name(edges[cycle[0]].from);
            for &edge in &cycle {
                let Edge { to, connector, .. } = &edges[edge];
                shown.push_str(&format!(" -> connector \"{connector}\" -> {}", name(*to)));
            }
            let path = format!("service::pipelines::{}", name(edges[cycle[0]].from));
            let span = edges[cycle[0]].span;
            self.diags.push(
                Diagnostic::error(span, &path, format!("cycle detected: {shown}"))
                    .help("remove one of these connectors from the exporters of its pipeline".to_owned()),
            );
            edges.swap_remove(cycle[0]);
        }
    }

    /// Warns of components that nothing uses.
    pub(super) fn warn_of_unused(&mut self, config: &Config) {
        let mut used: HashSet<(Kind, &ComponentId)> = HashSet::new();
        used.extend(config.service.extensions.iter().map(|reference| (Kind::Extension, &reference.id)));
        for pipeline in config.service.pipelines.values() {
            used.extend(pipeline.processors.iter().map(|reference| (Kind::Processor, &reference.id)));
            for (kind, references) in
                [(Kind::Receiver, &pipeline.receivers), (Kind::Exporter, &pipeline.exporters)]
            {
                let both = |reference| [(kind, reference), (Kind::Connector, reference)];
                used.extend(references.iter().flat_map(|reference| both(&reference.id)));
            }
        }
        for kind in Kind::ALL {
            for component in config.components(kind).values() {
                if used.contains(&(kind, &component.id)) {
                    continue;
                }
                let place =
                    if kind == Kind::Extension { "under service::extensions" } else { "in any pipeline" };
                let message = format!("{kind} \"{}\" is configured but not used {place}", component.id);
                let path = component.path();
                let mut warning = Diagnostic::warning(component.id_span, &path, message).lacks(&path);
                if kind == Kind::Connector {
                    let roles = [Kind::Receiver, Kind::Exporter]
                        .map(|role| format!("{}::{}", role.section(), component.id));
                    warning.lacks.extend(roles);
                }
                self.diags.push(warning);
            }
        }
    }
}

/// The uses of a connector by signal: the pipelines' names and the first place.
fn by_signal<'a>(
    uses: impl Iterator<Item = &'a (usize, &'a Pipeline, &'a Reference)>,
) -> BTreeMap<Signal, (Vec<String>, Span)> {
    let mut signals: BTreeMap<Signal, (Vec<String>, Span)> = BTreeMap::new();
    for (_, pipeline, reference) in uses {
        let entry = signals.entry(pipeline.id.signal).or_insert_with(|| (Vec::new(), reference.span));
        entry.0.push(pipeline.id.to_string());
    }
    signals
}

/// The positions of the edges of a cycle, in order, if there is one.
fn find_cycle(pipelines: usize, edges: &[Edge<'_>]) -> Option<Vec<usize>> {
    // Take away what leads nowhere until only cycles, and what leads into them, are left.
    let mut outgoing = vec![0usize; pipelines];
    let mut incoming: HashMap<usize, Vec<usize>> = HashMap::new();
    for edge in edges {
        outgoing[edge.from] += 1;
        incoming.entry(edge.to).or_default().push(edge.from);
    }
    let mut ends: Vec<_> = (0..pipelines).filter(|&index| outgoing[index] == 0).collect();
    while let Some(end) = ends.pop() {
        for &from in incoming.get(&end).into_iter().flatten() {
            outgoing[from] -= 1;
            if outgoing[from] == 0 {
                ends.push(from);
            }
        }
    }
    // From anything that is left, going on always leads to something that is left: at last to a place seen before.
    let mut at = (0..pipelines).find(|&index| outgoing[index] > 0)?;
    let mut walked: Vec<usize> = Vec::new();
    let mut seen: HashMap<usize, usize> = HashMap::new();
    while !seen.contains_key(&at) {
        seen.insert(at, walked.len());
        let next = edges.iter().position(|edge| edge.from == at && outgoing[edge.to] > 0)?;
        walked.push(next);
        at = edges[next].to;
    }
    Some(walked.split_off(seen[&at]))
}
