//! [`Node`] → [`Config`]: which components there are, how pipelines join them, and whether that makes sense.
//!
//! The components' own sections stay trees until each is decoded into its own type by [`Component::decode`].
//! The rules are the Go collector's; its words are used where people may search for them.

mod claims;
mod components;
mod files;
mod graph;
mod service;
mod wanted;

use std::collections::HashSet;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use crate::catalog::{Catalog, Kind, Known};
use crate::decode::{decode, decode_over};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::id::{ComponentId, PipelineId};
use crate::legacy::known;
use crate::node::{Map, Node, Value};
use crate::source::Span;
use crate::suggest;
use crate::validate::Validate;
pub use claims::{Claim, Thing, check_claims};
pub use files::Files;
pub(crate) use files::unreadable;
pub use wanted::Wanted;

/// The components of one kind, in the order written.
pub type Components = IndexMap<ComponentId, Component>;

/// A configuration whose parts fit together.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What takes telemetry in.
    pub receivers: Components,
    /// What works on it.
    pub processors: Components,
    /// What sends it out.
    pub exporters: Components,
    /// What joins pipelines.
    pub connectors: Components,
    /// What serves other components or people.
    pub extensions: Components,
    /// How they are put together.
    pub service: Service,
}

impl Config {
    /// The components of a kind.
    #[must_use]
    pub fn components(&self, kind: Kind) -> &Components {
        match kind {
            Kind::Receiver => &self.receivers,
            Kind::Processor => &self.processors,
            Kind::Exporter => &self.exporters,
            Kind::Connector => &self.connectors,
            Kind::Extension => &self.extensions,
        }
    }
}

/// A configured component.
#[derive(Debug, Clone)]
pub struct Component {
    /// What it is for.
    pub kind: Kind,
    /// Its id as written.
    pub id: ComponentId,
    /// Where its id was written.
    pub id_span: Span,
    /// The component that its type stands for, by its own name.
    pub canonical: &'static str,
    /// Its section; null if nothing was written.
    pub node: Node,
}

impl Component {
    /// Where it stands: `receivers::otlp/east`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}::{}", self.kind.section(), self.id)
    }

    /// Its section as its own type. Reports every mistake; `None` if there was one.
    pub fn decode<T: DeserializeOwned + Validate>(&self, diags: &mut Diagnostics) -> Option<T> {
        decode(&self.node, &self.path(), diags)
    }

    /// The same over defaults of its own: see [`overlay`](crate::decode::overlay).
    pub fn decode_over<T: DeserializeOwned + Validate>(
        &self,
        defaults: &str,
        diags: &mut Diagnostics,
    ) -> Option<T> {
        decode_over(defaults, &self.node, &self.path(), diags)
    }
}

/// The `service` section.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// The extensions to run, in this order.
    pub extensions: Vec<Reference>,
    /// The pipelines.
    pub pipelines: IndexMap<PipelineId, Pipeline>,
    /// What the collector says about itself; null if nothing was written. Stands at `service::telemetry`.
    pub telemetry: Node,
}

/// A pipeline: each item is configured, and an exporter or receiver may be a connector.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub id: PipelineId,
    /// Where its name was written.
    pub id_span: Span,
    /// Where telemetry comes from; without repetitions.
    pub receivers: Vec<Reference>,
    /// What happens to it, in this order; no processor twice.
    pub processors: Vec<Reference>,
    /// Where it goes; without repetitions.
    pub exporters: Vec<Reference>,
}

/// A component's id where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The id.
    pub id: ComponentId,
    /// Where it was written.
    pub span: Span,
}

/// The feature gates that change what is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gates {
    /// `service.profilesSupport`: pipelines for profiles.
    pub profiles: bool,
    /// `service.AllowNoPipelines`: a service of extensions only.
    pub allow_no_pipelines: bool,
    /// `confmap.enableMergeAppendOption`: of several sources, lists of components in `service` are joined.
    pub join_references: bool,
    /// `pkg.exporterhelper.queueBatchEnabled`: sending queues batch unless told otherwise.
    pub queue_batch: bool,
}

/// What was read of a configuration, sound or not.
#[derive(Debug)]
pub struct Loaded {
    config: Config,
    sound: bool,
}

impl Loaded {
    /// The components that could be told apart, so that their sections are checked even if something else is wrong.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        Kind::ALL.into_iter().flat_map(|kind| self.config.components(kind).values())
    }

    /// Whether there is such a component.
    #[must_use]
    pub fn is_configured(&self, kind: Kind, id: &ComponentId) -> bool {
        self.config.components(kind).contains_key(id)
    }

    /// The configuration, if its parts fit together.
    #[must_use]
    pub fn into_config(self) -> Option<Config> {
        self.sound.then_some(self.config)
    }
}

/// Reads a configuration. Reports every mistake but those inside the components' sections, which
/// [`Component::decode`] finds.
pub fn load(node: &Node, catalog: &dyn Catalog, gates: Gates, diags: &mut Diagnostics) -> Loaded {
    let errors_before = diags.errors();
    let nothing = Map::new();
    let top = match &node.value {
        Value::Map(map) => map,
        Value::Null => &nothing,
        _ => {
            diags.push(not_a_configuration(node));
            return Loaded { config: Config::default(), sound: false };
        }
    };
    let mut loader = Loader { catalog, gates, diags, declared: HashSet::new() };
    loader.unknown_sections(top);
    if Kind::ALL.iter().all(|kind| is_empty(top.get(kind.section()))) {
        let help = "it has to say at least which `receivers` and `exporters` there are, and under `service` which pipelines \
                    they make; `millrace demo --print-config` prints one to begin with";
        let error = Diagnostic::error(node.span, "", "empty configuration file").help(help.to_owned());
        loader.diags.push(error);
        return Loaded { config: Config::default(), sound: false };
    }
    let [receivers, processors, exporters, connectors, extensions] =
        Kind::ALL.map(|kind| loader.components(kind, top.entry(kind.section())));
    let service = loader.service(top.entry("service"), node.span);
    let config = Config { receivers, processors, exporters, connectors, extensions, service };
    if !gates.allow_no_pipelines {
        loader.require(Kind::Receiver, top, node.span);
        loader.require(Kind::Exporter, top, node.span);
    }
    loader.check_references(&config);
    loader.check_connectors(&config);
    let sound = loader.diags.errors() == errors_before;
    if sound {
        // Before that, what looks unused may only be spelt wrongly.
        loader.warn_of_unused(&config);
    }
    Loaded { config, sound }
}

/// What to say of a text that is not a map. It may be anything, so what came from a variable is not shown.
pub(crate) fn not_a_configuration(node: &Node) -> Diagnostic {
    let found = node.value.kind();
    let message =
        format!("a configuration is a map with the keys receivers, exporters, service, …, not {found}");
    let span = (!node.is_expanded()).then_some(node.span);
    Diagnostic::error(span, "", message)
}

struct Loader<'a> {
    catalog: &'a dyn Catalog,
    gates: Gates,
    diags: &'a mut Diagnostics,
    /// Every id that was written, also those that could not be used for another reason.
    declared: HashSet<(Kind, ComponentId)>,
}

impl Loader<'_> {
    fn error(&mut self, span: Span, path: &str, message: &str) {
        self.diags.push(Diagnostic::error(span, path, message));
    }

    fn unknown_sections(&mut self, top: &Map) {
        let sections = ["receivers", "processors", "exporters", "connectors", "extensions", "service"];
        for entry in top.iter().filter(|entry| !sections.contains(&entry.key.as_str())) {
            let help = match entry.key.as_str() {
                key @ ("pipelines" | "telemetry") => Some(format!("`{key}` belongs under `service`")),
                key => {
                    match Kind::ALL.into_iter().find(|&kind| self.catalog.canonical(kind, key).is_some()) {
                        Some(kind) => Some(format!(
                            "`{key}` is {} {kind}: indent it below `{}`",
                            components::article(kind),
                            kind.section()
                        )),
                        None => suggest::advice(key, "keys", &sections),
                    }
                }
            };
            let message = format!("unknown key `{}`", entry.key);
            self.diags.hidden.unknown_key(entry, suggest::nearest(&entry.key, sections));
            self.diags.push(Diagnostic::error(entry.key_span, &entry.key, message).help(help));
        }
    }

    fn require(&mut self, kind: Kind, top: &Map, whole: Span) {
        if is_empty(top.get(kind.section())) {
            let span = top.entry(kind.section()).map_or(whole, |entry| entry.key_span);
            self.error(span, kind.section(), &format!("no {kind} configuration specified in config"));
        }
    }

    fn known(&self, kind: Kind, id: &ComponentId) -> Option<Known> {
        known(self.catalog, kind, id.type_name())
    }
}

/// Whether a section has nothing in it.
fn is_empty(section: Option<&Node>) -> bool {
    match section.map(|node| &node.value) {
        None | Some(Value::Null) => true,
        Some(Value::Map(map)) => map.is_empty(),
        Some(_) => false,
    }
}
