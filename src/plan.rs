//! From `--config` and `--set` to decoded components, with every mistake told at once.

use crate::batched;
use crate::cli::Input;
use crate::components::{BuiltIn, CONNECTORS, EXPORTERS, EXTENSIONS, PROCESSORS, RECEIVERS, namesakes};
use crate::fetch::Web;
use crate::prints::Prints;
use millrace_config::catalog::Kind;
use millrace_config::load::{Claim, Component, Files, Gates, Wanted, check_claims, load};
use millrace_config::{Config, Diagnostics, Map, Node, Outside, Parsed, Providers, Value, decode, resolve};
use millrace_engine::component::Factory;
use millrace_engine::graph::Plans;
use millrace_processors::memory_limiter;
use millrace_telemetry::config::TelemetryConfig;
use std::borrow::Cow;
use std::io::Write as _;
use std::process::ExitCode;

/// A configuration that can be run.
pub struct Plan {
    /// Components and pipelines.
    pub config: Config,
    /// The decoded section of each component.
    pub plans: Plans,
    /// The decoded section `service::telemetry`.
    pub telemetry: TelemetryConfig,
    /// The limits of the memory limiters that a pipeline uses.
    pub limits: Vec<memory_limiter::Limits>,
    /// Warnings, to be shown when logging works.
    pub warnings: String,
    /// What tells it from other configurations.
    pub print: u64,
}

impl Plan {
    /// The same with more to be shown when logging works.
    pub fn noting(mut self, notices: &[String]) -> Self {
        let notices: String = notices.iter().map(|notice| format!("{notice}\n\n")).collect();
        self.warnings.insert_str(0, &notices);
        self
    }

    /// Shows the warnings: one record for each, however many lines it has.
    pub fn warn(&self) {
        for warning in self.warnings.split("\n\n").map(str::trim_end).filter(|warning| !warning.is_empty()) {
            tracing::warn!("{warning}");
        }
    }
}

/// The environment of the process.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads what the command line names.
pub fn read(input: &Input) -> Parsed {
    read_with(input, &Web)
}

/// The same with files and pages from elsewhere.
pub fn read_with(input: &Input, outside: &dyn Outside) -> Parsed {
    let providers = Providers { env: &environment, outside };
    resolve(&input.configs, &input.sets, input.gates, &providers)
}

/// Loads and decodes a configuration that has been read.
///
/// # Errors
/// Everything that is wrong, for people.
pub fn plan(parsed: Parsed, gates: Gates) -> Result<Plan, String> {
    plan_with(parsed, gates, Opened::WhenItRuns)
}

/// When the files are opened that components name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// Now, to say what is wrong with them.
    Now,
    /// By the components when they start.
    WhenItRuns,
}

fn plan_with(mut parsed: Parsed, gates: Gates, opened: Opened) -> Result<Plan, String> {
    // How the files would say the same is for `validate --fix`.
    let _ = parsed.modernise(&BuiltIn);
    let Some(node) = parsed.node.take() else { return Err(parsed.render()) };
    let diags = &mut parsed.diagnostics;
    let loaded = load(&node, &BuiltIn, gates, diags);
    let mut decoder = Decoder {
        plans: Plans::default(),
        gates,
        diags,
        wanted: Vec::new(),
        claims: Vec::new(),
        files: Vec::new(),
    };
    let mut prints = Prints::default();
    for component in loaded.components() {
        decoder.component(component);
        let (wanted, claims) = (decoder.diags.take_wanted(), decoder.diags.take_claims());
        let files = decoder.diags.take_files();
        prints.note(component, &section(component, gates), &wanted);
        if loaded.uses(component.kind, &component.id) {
            decoder.wanted.extend(wanted);
            decoder.claims.extend(claims);
            decoder.files.extend(files);
        }
    }
    let Decoder { mut plans, wanted, mut claims, mut files, .. } = decoder;
    for wanted in &wanted {
        let offers = |id: &_| plans.extensions.get(id).map(|plan| plan.offers());
        loaded.check_wanted(wanted, offers, diags);
    }
    plans.namesakes = loaded
        .components()
        .map(|Component { kind, id, .. }| {
            let others = namesakes(*kind, id, |other| loaded.is_configured(*kind, other));
            ((kind.name(), id.clone()), others.collect())
        })
        .collect();
    let config = loaded.into_config();
    if let Some(config) = &config {
        batched::warn(config, diags);
    }
    let telemetry = telemetry(&node, diags);
    claims.extend(diags.take_claims());
    files.extend(diags.take_files());
    check_claims(&claims, diags);
    if opened == Opened::Now {
        files.iter().for_each(|files| files.look(diags));
    }
    diags.sort();
    let limits = config.as_ref().map(|config| limits(config, diags)).unwrap_or_default();
    plans.prints = prints.finish(&limits);
    match (config, telemetry) {
        (Some(config), Some(telemetry)) if !parsed.diagnostics.has_errors() => {
            Ok(Plan { config, plans, telemetry, limits, warnings: parsed.render(), print: node.print() })
        }
        _ => Err(parsed.render()),
    }
}

/// The `validate` command: as in Go, silence is consent.
pub fn validate(input: &Input) -> ExitCode {
    judge(input, read(input))
}

/// Says everything that there is to say about a configuration.
pub fn judge(input: &Input, parsed: Parsed) -> ExitCode {
    let (text, code) = match plan_with(parsed, input.gates, Opened::Now) {
        Ok(plan) => (plan.warnings, ExitCode::SUCCESS),
        Err(problems) => (problems, ExitCode::FAILURE),
    };
    let notices: String = input.notices.iter().map(|notice| format!("warning: {notice}\n")).collect();
    // The exit code tells it to whoever has closed this.
    let _ = std::io::stderr().write_all((notices + &text).as_bytes());
    code
}

/// The exporters that have a sending queue unless told otherwise: those that a gate lets batch.
const QUEUED: [&str; 2] =
    [millrace_exporters::otlp::GRPC_FACTORY.name, millrace_exporters::otlp::HTTP_FACTORY.name];

struct Decoder<'a> {
    plans: Plans,
    gates: Gates,
    diags: &'a mut Diagnostics,
    /// The extensions that components in use refer to.
    wanted: Vec<Wanted>,
    /// What they take for themselves.
    claims: Vec<Claim>,
    /// The files that they name.
    files: Vec<Files>,
}

impl Decoder<'_> {
    fn component(&mut self, component: &Component) {
        let id = || component.id.clone();
        match component.kind {
            Kind::Receiver => {
                let plan = self.decode(RECEIVERS, component);
                self.plans.receivers.extend(plan.map(|plan| (id(), plan)));
            }
            Kind::Processor => {
                let plan = self.decode(PROCESSORS, component);
                self.plans.processors.extend(plan.map(|plan| (id(), plan)));
            }
            Kind::Connector => {
                let plan = self.decode(CONNECTORS, component);
                self.plans.connectors.extend(plan.map(|plan| (id(), plan)));
            }
            Kind::Exporter => {
                let plan = self.decode(EXPORTERS, component);
                self.plans.exporters.extend(plan.map(|plan| (id(), plan)));
            }
            Kind::Extension => {
                let plan = self.decode(EXTENSIONS, component);
                self.plans.extensions.extend(plan.map(|plan| (id(), plan)));
            }
        }
    }

    fn decode<C: ?Sized>(&mut self, factories: &[Factory<C>], component: &Component) -> Option<Box<C>> {
        let factory = factories.iter().find(|factory| factory.name == component.canonical)?;
        (factory.plan)(&section(component, self.gates), &component.path(), self.diags)
    }
}

/// The section of a component, with what gates add to it.
pub fn section(component: &Component, gates: Gates) -> Cow<'_, Node> {
    if gates.queue_batch && component.kind == Kind::Exporter && QUEUED.contains(&component.canonical) {
        let mut node = component.node.clone();
        node.set_default(&["sending_queue", "batch"], Node::synthetic(Value::Map(Map::new())));
        return Cow::Owned(node);
    }
    Cow::Borrowed(&component.node)
}

fn telemetry(node: &Node, diags: &mut Diagnostics) -> Option<TelemetryConfig> {
    let nothing = Node::default();
    decode(node.get(&["service", "telemetry"]).unwrap_or(&nothing), "service::telemetry", diags)
}

/// The limits of the memory limiters in use, processors and extensions. Their sections have been decoded once already,
/// so this finds no new mistakes.
fn limits(config: &Config, diags: &mut Diagnostics) -> Vec<memory_limiter::Limits> {
    let memory = millrace_engine::host::memory_bytes();
    let used = config.service.pipelines.values().flat_map(|pipeline| &pipeline.processors);
    let mut ids: Vec<_> = used.map(|processor| &processor.id).collect();
    ids.sort();
    ids.dedup();
    let extensions = config.service.extensions.iter().filter_map(|one| config.extensions.get(&one.id));
    ids.into_iter()
        .filter_map(|id| config.processors.get(id))
        .chain(extensions)
        .filter(|component| component.canonical == memory_limiter::FACTORY.name)
        .filter_map(|component| component.decode::<memory_limiter::Config>(diags)?.limits(memory))
        .collect()
}
