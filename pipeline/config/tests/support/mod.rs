//! A small catalogue with typed configurations, as component authors write them, for the tests of this crate.

#![allow(dead_code, reason = "each test binary uses its own part")]

mod components;

use std::collections::BTreeMap;

pub use components::*;
use millrace_config::{
    Catalog, Component, Config, Diagnostics, Gates, Kind, Known, Loaded, Parsed, Signals, load, parse_str,
};
use millrace_wire::Signal;

/// Parses, loads and decodes everything, as starting the collector would. `None` if anything is wrong.
pub fn check(
    name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    gates: Gates,
) -> (Option<Config>, Parsed) {
    judge(parse_str(name, text, env), gates)
}

/// The same for what has been read.
pub fn judge(mut parsed: Parsed, gates: Gates) -> (Option<Config>, Parsed) {
    let _ = parsed.modernise(&TestCatalog);
    let loaded = parsed.node.as_ref().map(|node| load(node, &TestCatalog, gates, &mut parsed.diagnostics));
    for component in loaded.iter().flat_map(Loaded::components) {
        decode_component(component, &mut parsed.diagnostics);
    }
    parsed.diagnostics.sort();
    let config = loaded.and_then(Loaded::into_config).filter(|_| !parsed.diagnostics.has_errors());
    (config, parsed)
}

/// The settings that a case asks for in comments of its own: `# env: NAME=value` and `# gates: profiles`.
pub fn settings(text: &str) -> (BTreeMap<String, String>, Gates) {
    let mut env = BTreeMap::new();
    let mut gates = Gates::default();
    for line in text.lines() {
        if let Some((name, value)) = line.strip_prefix("# env: ").and_then(|line| line.split_once('=')) {
            env.insert(name.to_owned(), value.replace("\\n", "\n"));
        }
        if let Some(names) = line.strip_prefix("# gates: ") {
            gates.profiles |= names.contains("service.profilesSupport");
            gates.allow_no_pipelines |= names.contains("service.AllowNoPipelines");
        }
    }
    (env, gates)
}

fn decode_component(component: &Component, diags: &mut Diagnostics) {
    match (component.kind, component.canonical) {
        (Kind::Receiver, "otlp") => drop(component.decode_over::<OtlpReceiver>(OTLP_RECEIVER, diags)),
        (Kind::Processor, "batch") => drop(component.decode::<Batch>(diags)),
        (Kind::Processor, "memory_limiter") => drop(component.decode::<MemoryLimiter>(diags)),
        (Kind::Exporter, "debug") => drop(component.decode::<Debug>(diags)),
        (Kind::Exporter, "otlp_grpc") => drop(component.decode_over::<OtlpGrpc>(OTLP_GRPC, diags)),
        (Kind::Exporter, "otlp_http") => drop(component.decode_over::<OtlpHttp>(OTLP_HTTP, diags)),
        (Kind::Exporter, "file") => drop(component.decode::<File>(diags)),
        (Kind::Extension, "health_check") => drop(component.decode::<HealthCheck>(diags)),
        _ => drop(component.decode::<Nothing>(diags)),
    }
}

pub struct TestCatalog;

impl Catalog for TestCatalog {
    fn canonical(&self, kind: Kind, type_name: &str) -> Option<Known> {
        let old = match (kind, type_name) {
            (Kind::Exporter, "otlp") => Some("otlp_grpc"),
            (Kind::Exporter, "otlphttp") => Some("otlp_http"),
            _ => None,
        };
        if let Some(canonical) = old {
            return Some(Known { canonical, deprecated: true });
        }
        let canonical = self.names(kind).into_iter().find(|name| *name == type_name)?;
        Some(Known { canonical, deprecated: false })
    }

    fn names(&self, kind: Kind) -> Vec<&'static str> {
        match kind {
            Kind::Receiver => vec!["otlp"],
            Kind::Processor => vec!["batch", "memory_limiter"],
            Kind::Exporter => vec!["debug", "nop", "otlp_grpc", "otlp_http", "file"],
            Kind::Connector => vec!["forward", "nop"],
            Kind::Extension => vec!["health_check"],
        }
    }

    fn signals(&self, kind: Kind, canonical: &str) -> Signals {
        match (kind, canonical) {
            (Kind::Processor, _) => Signals::TELEMETRY,
            _ => Signals::ALL,
        }
    }

    fn connects(&self, _: &str, from: Signal, to: Signal) -> bool {
        from == to
    }
}
