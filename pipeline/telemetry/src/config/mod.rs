//! `service::telemetry`: what the collector tells about itself, and where.
//!
//! The keys and defaults are the Go collector's. What is not done yet (readers that push, views, log processors, own
//! traces) is refused by name rather than ignored.

mod logs;
mod metrics;
mod resource;
mod unsupported;

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::logs::{Encoding, LogLevel, LogsConfig, Sampling};
pub use self::metrics::{IncludeExclude, MetricsConfig, Prometheus, Pull, PullExporter, Reader};
pub use self::resource::{Attribute, ResourceConfig};
pub use self::unsupported::Unsupported;

/// `service::telemetry`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Its log lines.
    pub logs: LogsConfig,
    /// Its metrics.
    pub metrics: MetricsConfig,
    /// Its own traces, which it does not make yet.
    pub traces: TracesConfig,
    /// What describes the process.
    pub resource: ResourceConfig,
}

impl Validate for TelemetryConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("logs", &self.logs);
        at.nested("metrics", &self.metrics);
        at.nested("traces", &self.traces);
        at.nested("resource", &self.resource);
    }
}

/// `service::telemetry::traces`. The collector makes no traces of itself yet; what only matters for them is accepted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Accepted: `none`, `basic`, `normal` or `detailed`.
    pub level: crate::metrics::Level,
    /// Accepted.
    pub propagators: Vec<String>,
    /// Refused: without them the Go collector exports no traces of its own either.
    pub processors: Unsupported,
    /// Accepted.
    pub sampler: Unsupported,
    /// Accepted.
    pub limits: Unsupported,
}

impl Validate for TracesConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.processors.is_given() {
            at.error("processors", "the collector does not export traces of its own yet\nleave this key out");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use millrace_config::{Diagnostics, Sources, decode};

    use super::*;
    use crate::expose::{Options, Selection};
    use crate::metrics::{Labels, Level};

    fn read(yaml: &str) -> Result<TelemetryConfig, String> {
        let mut sources = Sources::new();
        let mut diags = Diagnostics::new();
        let id = sources.add("test.yaml", yaml);
        let node = millrace_config::parse::parse_tree(&sources, id, &mut diags);
        let config = node.and_then(|node| decode(&node, "service::telemetry", &mut diags));
        config.ok_or_else(|| diags.render(&sources))
    }

    fn refused(yaml: &str, complaint: &str) {
        let error = read(yaml).expect_err(yaml);
        assert!(error.contains(complaint), "{yaml}\n{error}");
    }

    #[test]
    fn without_any_keys_it_is_as_in_the_go_collector() {
        let config = read("{}").expect("nothing is fine");
        assert_eq!(config, TelemetryConfig::default());
        assert_eq!(config.metrics.level, Level::Normal);
        let readers: Vec<_> = config.metrics.prometheus().collect();
        assert_eq!(readers.len(), 1);
        assert_eq!(readers[0].address(), "localhost:8888");
        assert_eq!(readers[0].options(), Options::default());
        assert_eq!(config.logs.level, LogLevel::Info);
        assert_eq!(config.logs.encoding, Encoding::Console);
        assert_eq!(config.logs.output_paths, ["stderr"]);
        let sampling = config.logs.sampling.expect("logs are sampled");
        assert_eq!((sampling.initial, sampling.thereafter), (10, 100));
        assert_eq!(sampling.tick.get(), Duration::from_secs(10));
    }

    #[test]
    fn a_reader_keeps_the_defaults_of_what_it_does_not_say() {
        let config = read(
            "metrics:\n  level: Detailed\n  readers:\n  - pull: {exporter: {prometheus: {host: '[::1]', port: 9}}}\n  \
             - pull:\n      exporter:\n        prometheus:\n          host: 0.0.0.0\n          without_units: false\n\
             \x20         with_resource_constant_labels: {included: [service.name]}\n",
        )
        .expect("two readers");
        assert_eq!(config.metrics.level, Level::Detailed);
        let readers: Vec<_> = config.metrics.prometheus().collect();
        assert_eq!(readers[0].address(), "[::1]:9");
        assert_eq!(readers[0].options(), Options::default());
        assert_eq!(readers[1].address(), "0.0.0.0:8888");
        let selection = Selection { included: vec!["service.name".to_owned()], excluded: Vec::new() };
        let options = Options {
            without_units: false,
            with_resource_constant_labels: Some(selection),
            ..Options::default()
        };
        assert_eq!(readers[1].options(), options);
    }

    #[test]
    fn logs_are_read() {
        let config = read(
            "logs:\n  level: WARN\n  encoding: json\n  development: true\n  disable_caller: true\n  \
             disable_stacktrace: true\n  disable_zap_resource: true\n  output_paths: [stdout, /tmp/x]\n  \
             error_output_paths: [stderr]\n  initial_fields: {a: 1, b: {c: [x]}}\n  sampling: {tick: 1m, initial: 5}\n",
        )
        .expect("all keys are known");
        let logs = config.logs;
        assert_eq!(logs.level, LogLevel::Warn);
        assert_eq!(logs.encoding, Encoding::Json);
        assert!(logs.disable_caller && logs.disable_zap_resource);
        assert_eq!(logs.output_paths, ["stdout", "/tmp/x"]);
        let fields = BTreeMap::from([
            ("a".to_owned(), serde_json::json!(1)),
            ("b".to_owned(), serde_json::json!({"c": ["x"]})),
        ]);
        assert_eq!(logs.initial_fields, fields);
        let sampling =
            Sampling { enabled: true, tick: Duration::from_secs(60).into(), initial: 5, thereafter: 100 };
        assert_eq!(logs.sampling, Some(sampling));
    }

    #[test]
    fn the_resource_is_described_in_either_form() {
        let defaults = read("{}").expect("nothing is fine").resource.labels("millrace", "1.2.3");
        assert_eq!(defaults.get("service.name"), Some("millrace"));
        assert_eq!(defaults.get("service.version"), Some("1.2.3"));
        assert_eq!(defaults.len(), 3);

        let old =
            read("resource: {service.name: gateway, service.instance.id: null, region: eu}").expect("a map");
        let old = old.resource.labels("millrace", "1.2.3");
        let expected =
            Labels::from([("service.name", "gateway"), ("service.version", "1.2.3"), ("region", "eu")]);
        assert_eq!(old, expected);

        let new = read(
            "resource:\n  schema_url: https://x\n  attributes:\n  - {name: service.instance.id, value: one}\n  \
             - {name: n, value: 3, type: int}\n  - {name: l, value: [a, true]}\n  - {name: service.name, value: null}\n",
        );
        let new = new.expect("a list").resource.labels("millrace", "1.2.3");
        let expected = Labels::from([
            ("service.instance.id", "one"),
            ("service.version", "1.2.3"),
            ("n", "3"),
            ("l", "[\"a\",true]"),
        ]);
        assert_eq!(new, expected);
    }

    #[test]
    fn every_process_has_an_id_of_its_own() {
        let id = || {
            let labels = ResourceConfig::default().labels("a", "b");
            labels.get("service.instance.id").map(str::to_owned).expect("an id")
        };
        let (one, two) = (id(), id());
        assert_ne!(one, two);
        let groups: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert!(one.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{one}");
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }

    #[test]
    fn what_is_not_done_yet_is_refused_by_name() {
        let periodic =
            "metrics: {readers: [{periodic: {interval: 1000, exporter: {otlp: {protocol: grpc}}}}]}";
        refused(periodic, "readers that push are not supported yet");
        refused("metrics: {level: detailed, views: [{selector: {}}]}", "views are not supported yet");
        refused("logs: {processors: [{batch: {}}]}", "logs cannot be sent by OTLP yet");
        refused("traces: {processors: [{batch: {}}]}", "does not export traces of its own yet");
        refused("resource: {attributes_list: a=b}", "not supported");
        refused("resource: {detection/development: {detectors: [{host: {}}]}}", "not supported");
        refused("metrics: {address: 'localhost:8888'}", "unknown key `address`");
    }

    #[test]
    fn what_only_concerns_own_traces_is_accepted() {
        read("traces: {level: none, propagators: [b3], sampler: {always_on: {}}, processors: []}")
            .expect("accepted");
        read("metrics: {views: []}\nlogs: {processors: []}").expect("nothing is asked for");
    }

    #[test]
    fn mistakes_are_explained() {
        refused("metrics: {readers: []}", "there are no readers");
        read("metrics: {level: none, readers: []}").expect("nobody reads what is not collected");
        refused("metrics: {readers: [{}]}", "a reader needs `pull`");
        refused("metrics: {readers: [{pull: {exporter: {}}}]}", "`prometheus`");
        refused("metrics: {level: bogus}", "none, basic, normal, detailed");
        refused("logs: {level: bogus}", "debug, info, warn, error");
        refused("logs: {encoding: xml}", "console, json");
        refused("logs: {sampling: {tick: 5}}", "unit");
        refused("resource: {a: 1}", "text or null");
        refused("resource: {a: b, attributes: [{name: c, value: d}]}", "cannot stand beside");
        let twice = "metrics: {readers: [{pull: {exporter: {prometheus: {}}}}, {pull: {exporter: {prometheus: {}}}}]}";
        refused(twice, "localhost:8888");
        let both = "metrics: {readers: [{pull: {exporter: {prometheus: {with_resource_constant_labels: \
                    {included: [a], excluded: [a]}}}}}]}";
        refused(both, "both included and excluded");
    }
}
