//! What the tests of the extensions share.

use millrace_config::catalog::{Catalog, Kind, Known, Signals};
use millrace_config::{Config, Diagnostics, Gates, load, parse_str};
use millrace_engine::Health;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Shared};
use millrace_engine::status::{Instance, Status};
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;
use std::sync::Arc;

/// Reads a section; the second text is what was found wrong with it.
pub(crate) fn plan(
    factory: &Factory<dyn ExtensionConfig>,
    yaml: &str,
) -> (Option<Box<dyn ExtensionConfig>>, String) {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let node = parsed.node.expect("the test's YAML is in form");
    let mut diags = Diagnostics::new();
    let config = (factory.plan)(&node, &format!("extensions::{}", factory.name), &mut diags);
    (config, diags.render(&parsed.sources))
}

pub(crate) fn context(name: &str, health: &Health) -> Context {
    let shared = Shared::new(Registry::new(Level::Basic), health, 1 << 20, 1 << 20, "test");
    Context { shared, kind: "extension", id: name.parse().expect("an id"), pipeline: None }
}

/// A port that nobody else is given as long as this is held. A server of ours can listen there.
#[cfg(any(feature = "health_check", feature = "zpages"))]
pub(crate) struct FreePort(tokio::net::TcpSocket);

#[cfg(any(feature = "health_check", feature = "zpages"))]
impl FreePort {
    pub(crate) fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        // As servers do, which lets one listen beside this, which does not.
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self(socket)
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }
}

/// Builds what a section says.
pub(crate) fn build(factory: &Factory<dyn ExtensionConfig>, yaml: &str) -> Arc<dyn Extension> {
    let (config, problems) = plan(factory, yaml);
    let config = config.unwrap_or_else(|| panic!("{problems}"));
    config.build(context(factory.name, &Health::starting())).unwrap_or_else(|error| panic!("{error}"))
}

/// Each of these sections is refused, with this among the reasons.
pub(crate) fn assert_refused(factory: &Factory<dyn ExtensionConfig>, cases: &[(&str, &str)]) {
    for (yaml, problem) in cases {
        let (config, problems) = plan(factory, yaml);
        assert!(config.is_none() && problems.contains(problem), "{yaml}: {problems}");
    }
}

/// A whole configuration, of components whose names may be any.
pub(crate) fn config(yaml: &str) -> Config {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let node = parsed.node.expect("the test's YAML is in form");
    let mut diags = Diagnostics::new();
    let loaded = load(&node, &Anything, Gates::default(), &mut diags);
    loaded.into_config().unwrap_or_else(|| panic!("{}", diags.render(&parsed.sources)))
}

/// Every component of that configuration.
pub(crate) fn statuses(health: &Health) -> Vec<(Instance, Status)> {
    let components = health.components();
    let groups = components.groups();
    let members = groups.iter().flat_map(|group| &group.members);
    members.map(|member| (member.clone(), components.status(member))).collect()
}

/// Knows every component.
struct Anything;

impl Catalog for Anything {
    fn canonical(&self, _: Kind, _: &str) -> Option<Known> {
        Some(Known { canonical: "anything", deprecated: false })
    }

    fn names(&self, _: Kind) -> Vec<&'static str> {
        Vec::new()
    }

    fn signals(&self, _: Kind, _: &str) -> Signals {
        Signals::ALL
    }

    fn connects(&self, _: &str, _: Signal, _: Signal) -> bool {
        true
    }
}

/// Has an extension get what it needs, and begin.
pub(crate) async fn start(extension: &Arc<dyn Extension>) -> Result<(), BuildError> {
    extension.prepare().await?;
    extension.start().await
}
