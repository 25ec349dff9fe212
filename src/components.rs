//! The one list of all components. A component is added in one folder, one feature, and one line here.

use millrace_config::catalog::{Catalog, Kind, Known, Signals};
use millrace_config::{ComponentId, Shape};
use millrace_engine::component::{
    ConnectorConfig, ExporterConfig, ExtensionConfig, Factory, ProcessorConfig, ReceiverConfig, Stability,
};
use millrace_wire::Signal;
use std::process::ExitCode;

/// The receivers.
pub static RECEIVERS: &[Factory<dyn ReceiverConfig>] = &[millrace_receivers::otlp::FACTORY];

/// The processors.
pub static PROCESSORS: &[Factory<dyn ProcessorConfig>] = &[
    millrace_processors::batch::FACTORY,
    millrace_processors::memory_limiter::FACTORY,
    millrace_processors::resource_detection::FACTORY,
    millrace_processors::queue_batch::FACTORY,
];

/// The connectors.
pub static CONNECTORS: &[Factory<dyn ConnectorConfig>] =
    &[millrace_connectors::failover::FACTORY, millrace_connectors::forward::FACTORY];

/// The exporters.
pub static EXPORTERS: &[Factory<dyn ExporterConfig>] = &[
    millrace_exporters::debug::FACTORY,
    millrace_exporters::file::FACTORY,
    millrace_exporters::nop::FACTORY,
    millrace_exporters::otlp::GRPC_FACTORY,
    millrace_exporters::otlp::HTTP_FACTORY,
    millrace_exporters::prometheus::FACTORY,
];

/// The extensions.
pub static EXTENSIONS: &[Factory<dyn ExtensionConfig>] = &[
    millrace_extensions::basicauth::FACTORY,
    millrace_extensions::bearertokenauth::FACTORY,
    millrace_extensions::file_storage::FACTORY,
    millrace_extensions::headers_setter::FACTORY,
    millrace_extensions::health_check::FACTORY,
    millrace_extensions::memory_limiter::FACTORY,
    millrace_extensions::oauth2client::FACTORY,
    millrace_extensions::pprof::FACTORY,
    millrace_extensions::zpages::FACTORY,
];

/// What a factory says about its component, whatever kind it is.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The present name.
    pub name: &'static str,
    /// Older names.
    pub aliases: &'static [&'static str],
    /// What its section looks like.
    pub schema: Shape,
    signals: &'static [Signal],
    stability: Stability,
}

impl<C: ?Sized> From<&Factory<C>> for Entry {
    fn from(factory: &Factory<C>) -> Self {
        let Factory { name, aliases, signals, stability, schema, .. } = *factory;
        Self { name, aliases, schema, signals, stability }
    }
}

/// The components of a kind.
pub fn entries(kind: Kind) -> Vec<Entry> {
    match kind {
        Kind::Receiver => RECEIVERS.iter().map(Entry::from).collect(),
        Kind::Processor => PROCESSORS.iter().map(Entry::from).collect(),
        Kind::Exporter => EXPORTERS.iter().map(Entry::from).collect(),
        Kind::Connector => CONNECTORS.iter().map(Entry::from).collect(),
        Kind::Extension => EXTENSIONS.iter().map(Entry::from).collect(),
    }
}

/// The ids that a component would have under the other names of its type, without those that are configured.
pub fn namesakes(
    kind: Kind,
    id: &ComponentId,
    is_configured: impl Fn(&ComponentId) -> bool,
) -> impl Iterator<Item = ComponentId> {
    let known = |entry: &Entry| entry.name == id.type_name() || entry.aliases.contains(&id.type_name());
    let names = entries(kind).into_iter().find(known).map(|entry| [&[entry.name], entry.aliases].concat());
    let others = names.into_iter().flatten().filter(|name| *name != id.type_name());
    others.filter_map(|name| id.of_type(name)).filter(move |other| !is_configured(other))
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
        entry.map_or(Signals::NONE, |entry| {
            entry.signals.iter().fold(Signals::NONE, |set, signal| set.and(*signal))
        })
    }

    fn connects(&self, canonical: &str, from: Signal, to: Signal) -> bool {
        CONNECTORS.iter().any(|factory| factory.name == canonical) && from == to
    }
}

/// The `components` command: YAML, as the Go collector prints it.
pub fn list() -> ExitCode {
    crate::cli::print(&listing());
    ExitCode::SUCCESS
}

fn listing() -> String {
    let mut out = format!("buildinfo:\n    command: millrace\n    version: {}\n", env!("CARGO_PKG_VERSION"));
    for kind in Kind::ALL {
        out.push_str(&format!("{}:\n", kind.section()));
        for entry in entries(kind) {
            out.push_str(&entry.listing(kind));
        }
    }
    out
}

impl Entry {
    fn listing(&self, kind: Kind) -> String {
        let mut out = format!("    - name: {}\n", self.name);
        if !self.aliases.is_empty() {
            out.push_str(&format!("      aliases: [{}]\n", self.aliases.join(", ")));
        }
        let stability = match self.stability {
            Stability::Beta => "Beta",
            Stability::Alpha => "Alpha",
        };
        if self.signals.is_empty() {
            out.push_str(&format!("      stability: {stability}\n"));
        } else {
            out.push_str("      stability:\n");
            for signal in self.signals {
                let from = if kind == Kind::Connector {
                    format!("{signal}-to-{signal}")
                } else {
                    signal.to_string()
                };
                out.push_str(&format!("        {from}: {stability}\n"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_given_twice_among_the_components_of_a_kind() {
        for kind in Kind::ALL {
            let mut names: Vec<_> =
                entries(kind).into_iter().flat_map(|entry| [&[entry.name], entry.aliases].concat()).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{kind:?}");
        }
    }

    #[test]
    fn the_listing_says_what_flows_and_under_which_names() {
        let listing = listing();
        assert!(listing.contains(
            "    - name: otlp_grpc\n      aliases: [otlp]\n      stability:\n        traces: Beta\n"
        ));
        assert!(listing.contains("    - name: forward\n      stability:\n        traces-to-traces: "));
        assert!(
            listing.contains(
                "    - name: health_check\n      aliases: [healthcheckv2]\n      stability: Beta\n"
            )
        );
    }
}
