//! The one list of all components. A component is added in one folder, one feature, and one line here.

use millrace_config::catalog::{Catalog, Kind, Known, Signals};
use millrace_engine::component::{
    ConnectorConfig, ExporterConfig, ExtensionConfig, Factory, ProcessorConfig, ReceiverConfig, Stability,
};
use millrace_wire::Signal;
use std::process::ExitCode;

/// The receivers.
pub static RECEIVERS: &[Factory<dyn ReceiverConfig>] = &[millrace_receivers::otlp::FACTORY];

/// The processors.
pub static PROCESSORS: &[Factory<dyn ProcessorConfig>] =
    &[millrace_processors::batch::FACTORY, millrace_processors::memory_limiter::FACTORY];

/// The connectors.
pub static CONNECTORS: &[Factory<dyn ConnectorConfig>] = &[millrace_connectors::forward::FACTORY];

/// The exporters.
pub static EXPORTERS: &[Factory<dyn ExporterConfig>] = &[
    millrace_exporters::debug::FACTORY,
    millrace_exporters::file::FACTORY,
    millrace_exporters::nop::FACTORY,
    millrace_exporters::otlp::GRPC_FACTORY,
    millrace_exporters::otlp::HTTP_FACTORY,
];

/// The extensions.
pub static EXTENSIONS: &[Factory<dyn ExtensionConfig>] = &[millrace_extensions::health_check::FACTORY];

/// What a factory says about its component, whatever kind it is.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: &'static str,
    aliases: &'static [&'static str],
    signals: &'static [Signal],
    stability: Stability,
}

impl<C: ?Sized> From<&Factory<C>> for Entry {
    fn from(factory: &Factory<C>) -> Self {
        let Factory { name, aliases, signals, stability, .. } = *factory;
        Self { name, aliases, signals, stability }
    }
}

fn entries(kind: Kind) -> Vec<Entry> {
    match kind {
        Kind::Receiver => RECEIVERS.iter().map(Entry::from).collect(),
        Kind::Processor => PROCESSORS.iter().map(Entry::from).collect(),
        Kind::Exporter => EXPORTERS.iter().map(Entry::from).collect(),
        Kind::Connector => CONNECTORS.iter().map(Entry::from).collect(),
        Kind::Extension => EXTENSIONS.iter().map(Entry::from).collect(),
    }
}

/// The components of this binary.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn;

impl Catalog for BuiltIn {
    fn canonical(&self, kind: Kind, type_name: &str) -> Option<Known> {
        entries(kind).into_iter().find_map(|entry| {
            let deprecated = entry.aliases.contains(&type_name);
            (entry.name == type_name || deprecated).then_some(Known { canonical: entry.name, deprecated })
        })
    }

    fn names(&self, kind: Kind) -> Vec<&'static str> {
        entries(kind).into_iter().map(|entry| entry.name).collect()
    }

    fn signals(&self, kind: Kind, canonical: &str) -> Signals {
        let entry = entries(kind).into_iter().find(|entry| entry.name == canonical);
        entry.map_or(Signals::NONE, |entry| entry.signals.iter().fold(Signals::NONE, |set, signal| set.and(*signal)))
    }

    fn connects(&self, canonical: &str, from: Signal, to: Signal) -> bool {
        CONNECTORS.iter().any(|factory| factory.name == canonical) && from == to
    }
}

/// The `components` command: YAML, as the Go collector prints it.
#[allow(clippy::print_stdout, reason = "this is the command's output")]
pub fn list() -> ExitCode {
    println!("buildinfo:\n    command: millrace\n    version: {}", env!("CARGO_PKG_VERSION"));
    for kind in Kind::ALL {
        println!("{}:", kind.section());
        for entry in entries(kind) {
            println!("    - name: {}", entry.name);
            if !entry.aliases.is_empty() {
                println!("      aliases: [{}]", entry.aliases.join(", "));
            }
            let stability = match entry.stability {
                Stability::Beta => "Beta",
                Stability::Alpha => "Alpha",
            };
            if entry.signals.is_empty() {
                println!("      stability: {stability}");
            } else {
                println!("      stability:");
                for signal in entry.signals {
                    let from = if kind == Kind::Connector { format!("{signal}-to-{signal}") } else { signal.to_string() };
                    println!("        {from}: {stability}");
                }
            }
        }
    }
    ExitCode::SUCCESS
}
