//! The `service` section: extensions, pipelines, telemetry.

use indexmap::IndexMap;
use millrace_wire::Signal;

use super::{Loader, Pipeline, Reference, Service};
use crate::diagnostic::Diagnostic;
use crate::id::{ComponentId, IdError, PipelineId};
use crate::node::{Entry, Map, Node, Value};
use crate::source::Span;
use crate::suggest;

impl Loader<'_> {
    pub(super) fn service(&mut self, section: Option<&Entry>, top: Span) -> Service {
        let nothing = Map::new();
        let map = section.and_then(|entry| self.section(&entry.value, "service")).unwrap_or(&nothing);
        self.unknown_keys(map, "service", &["extensions", "pipelines", "telemetry"]);
        let extensions = self.references(map.get("extensions"), "service::extensions");
        let extensions = self.without_repetitions(extensions, "service::extensions");
        let telemetry = map.get("telemetry").cloned().unwrap_or_else(|| Node::synthetic(Value::Null));
        self.section(&telemetry, "service::telemetry");
        let pipelines = self.pipelines(map.get("pipelines"));
        let any = map.get("pipelines").and_then(Node::as_map).is_some_and(|pipelines| !pipelines.is_empty());
        let wrong_kind =
            map.get("pipelines").is_some_and(|node| !matches!(node.value, Value::Map(_) | Value::Null));
        if !any && !wrong_kind && !self.gates.allow_no_pipelines {
            let span = map.entry("pipelines").or(section).map_or(top, |entry| entry.key_span);
            self.diags.push(
                Diagnostic::error(span, "service::pipelines", "service must have at least one pipeline")
                    .help("add one: `traces: {receivers: […], exporters: […]}`".to_owned()),
            );
        }
        Service { extensions, pipelines, telemetry }
    }

    fn pipelines(&mut self, node: Option<&Node>) -> IndexMap<PipelineId, Pipeline> {
        let mut pipelines: IndexMap<PipelineId, Pipeline> = IndexMap::new();
        let Some(map) = node.and_then(|node| self.section(node, "service::pipelines")) else {
            return pipelines;
        };
        for entry in map {
            let path = format!("service::pipelines::{}", entry.key.trim());
            let id: PipelineId = match entry.key.parse() {
                Ok(id) => id,
                Err(error) => {
                    let help = match &error {
                        IdError::BadSignal(_, signal) => {
                            suggest::advice(signal, "signals", &Signal::ALL.map(Signal::name))
                        }
                        _ => None,
                    };
                    let error = Diagnostic::error(entry.key_span, &path, error.to_string()).help(help);
                    self.diags.push(error);
                    continue;
                }
            };
            if id.signal == Signal::Profiles && !self.gates.profiles {
                let message = format!(
                    "pipeline \"{id}\": profiling signal support is at alpha level, gated under the \
                     \"service.profilesSupport\" feature gate"
                );
                self.diags.push(
                    Diagnostic::error(entry.key_span, &path, message)
                        .help("start with --feature-gates=service.profilesSupport".to_owned()),
                );
            }
            if pipelines.contains_key(&id) {
                let message = format!("duplicate name \"{}\": it is \"{id}\" again", entry.key);
                self.error(entry.key_span, &path, &message);
                continue;
            }
            let pipeline = self.pipeline(id.clone(), entry, &path);
            pipelines.insert(id, pipeline);
        }
        pipelines
    }

    fn pipeline(&mut self, id: PipelineId, entry: &Entry, path: &str) -> Pipeline {
        let nothing = Map::new();
        let section = self.section(&entry.value, path);
        let map = section.unwrap_or(&nothing);
        self.unknown_keys(map, path, &["receivers", "processors", "exporters"]);
        let readable = section.is_some() || entry.value.is_null();
        let [receivers, processors, exporters] = ["receivers", "processors", "exporters"].map(|key| {
            let path = format!("{path}::{key}");
            let references = self.references(map.get(key), &path);
            if key == "processors" {
                return self.without_repeated_processors(references, &path);
            }
            if readable && is_empty_list(map.get(key)) {
                let span = map.entry(key).map_or(entry.key_span, |entry| entry.key_span);
                let one = key.trim_end_matches('s');
                let message = format!("pipeline \"{id}\" must have at least one {one}");
                let help = format!("add `{key}: [{one}]` with the id of one under `{key}`");
                self.diags.push(Diagnostic::error(span, &path, message).help(help));
            }
            self.without_repetitions(references, &path)
        });
        Pipeline { id, id_span: entry.key_span, receivers, processors, exporters }
    }

    /// A list of component ids.
    fn references(&mut self, list: Option<&Node>, path: &str) -> Vec<Reference> {
        let items = match list.map(|list| (&list.value, list)) {
            None | Some((Value::Null, _)) => return Vec::new(),
            Some((Value::Seq(items), _)) => items,
            Some((value, list)) => {
                let message = format!("expected a list of ids, found {}", value.kind());
                let help = list.as_text().map(|text| format!("write [{}]", text.trim()));
                let help = help.filter(|_| !list.is_expanded());
                self.diags.push(Diagnostic::error(list.span, path, message).help(help));
                return Vec::new();
            }
        };
        let mut references = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match &item.value {
                Value::String(text) => match text.parse::<ComponentId>() {
                    Ok(id) => references.push(Reference { id, span: item.span }),
                    // What is not even an id may be a secret in the wrong variable.
                    Err(_) if item.is_expanded() && !text.is_empty() => {
                        self.error(item.span, &path, "the value of this `${…}` is not the id of a component");
                    }
                    Err(error) => self.error(item.span, &path, &error.to_string()),
                },
                value => {
                    let message = format!("expected the id of a component, found {}", value.kind());
                    self.error(item.span, &path, &message);
                }
            }
        }
        references
    }

    fn without_repetitions(&mut self, references: Vec<Reference>, path: &str) -> Vec<Reference> {
        self.unique(references, |reference, first| {
            Diagnostic::warning(
                reference.span,
                path,
                format!("\"{}\" is listed twice; once counts", reference.id),
            )
            .related(first, "first listed here")
        })
    }

    fn without_repeated_processors(&mut self, references: Vec<Reference>, path: &str) -> Vec<Reference> {
        self.unique(references, |reference, first| {
            let id = &reference.id;
            Diagnostic::error(reference.span, path, format!("references processor \"{id}\" multiple times"))
                .related(first, "first listed here")
                .help(format!("configure a second one, such as `{}/2`, to run it twice", id.type_name()))
        })
    }

    fn unique(
        &mut self,
        references: Vec<Reference>,
        repeated: impl Fn(&Reference, Span) -> Diagnostic,
    ) -> Vec<Reference> {
        let mut seen: IndexMap<ComponentId, Reference> = IndexMap::new();
        for reference in references {
            if let Some(first) = seen.get(&reference.id) {
                self.diags.push(repeated(&reference, first.span));
            } else {
                seen.insert(reference.id.clone(), reference);
            }
        }
        seen.into_values().collect()
    }

    /// The map of a section; reports what is neither a map nor null.
    fn section<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n Map> {
        match &node.value {
            Value::Map(map) => Some(map),
            Value::Null => None,
            value => {
                let message = format!("expected a section (keys and values), found {}", value.kind());
                self.error(node.span, path, &message);
                None
            }
        }
    }

    fn unknown_keys(&mut self, map: &Map, path: &str, accepted: &[&str]) {
        for entry in map.iter().filter(|entry| !accepted.contains(&entry.key.as_str())) {
            let below = format!("{path}::{}", entry.key);
            let help = match (path, entry.key.as_str()) {
                ("service", key @ ("traces" | "metrics" | "logs" | "resource")) => Some(format!(
                    "pipelines belong under service::pipelines, and `{key}` of the collector itself under service::telemetry"
                )),
                (_, key) => suggest::advice(key, "keys", accepted),
            };
            let message = format!("unknown key `{}`", entry.key);
            self.diags.hidden.unknown_key(entry, suggest::nearest(&entry.key, accepted.iter().copied()));
            self.diags.push(Diagnostic::error(entry.key_span, &below, message).help(help));
        }
    }
}

fn is_empty_list(list: Option<&Node>) -> bool {
    match list.map(|list| &list.value) {
        None | Some(Value::Null) => true,
        Some(Value::Seq(items)) => items.is_empty(),
        Some(_) => false,
    }
}
