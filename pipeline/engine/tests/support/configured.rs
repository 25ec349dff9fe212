//! Configurations of made-up components.

use millrace_config::catalog::{Catalog, Kind, Known, Signals};
use millrace_config::{Config, Gates, load, parse_str};
use millrace_engine::Health;
use millrace_engine::component::Shared;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;

/// Knows one component of each kind, and `prober`, which `probe` was called once.
struct AllKnown;

impl Catalog for AllKnown {
    fn canonical(&self, _: Kind, type_name: &str) -> Option<Known> {
        if type_name == "prober" {
            return Some(Known { canonical: "probe", deprecated: true });
        }
        let canonical =
            ["source", "hold", "probe", "link", "late"].into_iter().find(|name| *name == type_name);
        canonical.map(|canonical| Known { canonical, deprecated: false })
    }

    fn names(&self, _: Kind) -> Vec<&'static str> {
        Vec::new()
    }

    fn signals(&self, _: Kind, _: &str) -> Signals {
        Signals::TELEMETRY
    }

    fn connects(&self, _: &str, from: Signal, to: Signal) -> bool {
        from == to
    }
}

pub fn config(yaml: &str) -> Config {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let mut diags = parsed.diagnostics;
    let node = parsed.node.expect("the test's YAML is in form");
    let loaded = load(&node, &AllKnown, Gates::default(), &mut diags);
    loaded.into_config().unwrap_or_else(|| panic!("{}", diags.render(&parsed.sources)))
}

pub fn shared() -> Shared {
    Shared::new(Registry::new(Level::Detailed), &Health::starting(), 1 << 20, 1 << 20, "test")
}
