//! `service::telemetry`: what the collector tells about itself, and where.
//!
//! The keys and defaults are the Go collector's: OpenTelemetry's declarative configuration 0.3, and the forms of 0.2 with
//! a warning.

mod logs;
mod metrics;
pub mod otlp;
pub mod processor;
mod resource;
pub mod traces;
mod unsupported;
pub mod views;

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::logs::{Encoding, LogLevel, LogsConfig, Sampling};
pub use self::metrics::{
    IncludeExclude, MetricsConfig, Periodic, Prometheus, Pull, PullExporter, PushExporter, Reader,
};
pub use self::resource::{Attribute, Resource, ResourceConfig};
pub use self::traces::TracesConfig;
pub use self::unsupported::Unsupported;

/// `service::telemetry`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Its log lines.
    pub logs: LogsConfig,
    /// Its metrics.
    pub metrics: MetricsConfig,
    /// Spans of its own work.
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
        let defaults = read("{}").expect("nothing is fine").resource.resource("millrace", "1.2.3").labels;
        assert_eq!(defaults.get("service.name"), Some("millrace"));
        assert_eq!(defaults.get("service.version"), Some("1.2.3"));
        assert_eq!(defaults.len(), 3);

        let old =
            read("resource: {service.name: gateway, service.instance.id: null, region: eu}").expect("a map");
        let old = old.resource.resource("millrace", "1.2.3").labels;
        let expected =
            Labels::from([("service.name", "gateway"), ("service.version", "1.2.3"), ("region", "eu")]);
        assert_eq!(old, expected);

        let new = read(
            "resource:\n  schema_url: https://x\n  attributes:\n  - {name: service.instance.id, value: one}\n  \
             - {name: n, value: 3, type: int}\n  - {name: l, value: [a, true]}\n  - {name: service.name, value: null}\n",
        );
        let new = new.expect("a list").resource.resource("millrace", "1.2.3").labels;
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
            let labels = ResourceConfig::default().resource("a", "b").labels;
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
    fn what_there_is_not_is_refused_by_name() {
        refused("resource: {attributes_list: a=b}", "not supported");
        refused("resource: {detection/development: {detectors: [{gcp: {}}]}}", "resourcedetection");
        refused("traces: {sampler: {jaeger_remote: {endpoint: x}}}", "not supported");
        refused("traces: {limits: {attribute_count_limit: 1}}", "limits of spans cannot be set");
        refused("traces: {propagators: [jaeger]}", "tracecontext");
        refused("metrics: {address: 'localhost:8888'}", "unknown key `address`");
    }

    #[test]
    fn readers_that_push_are_read_in_both_formats() {
        let config = read(
            "metrics:\n  readers:\n  - periodic: {interval: 500, timeout: 200, exporter: {otlp: {protocol: grpc, \
             endpoint: 'x:1', insecure: true, headers: [{name: a, value: b}, {name: c, value: null}], \
             headers_list: 'a=z,d=e', compression: gzip, timeout: 100, temporality_preference: delta}}}\n  \
             - periodic: {exporter: {console: {}}}\n  - periodic: {exporter: {otlp: {protocol: http/protobuf, \
             endpoint: 'https://y/v1/metrics', headers: {old: way}}}}\n",
        )
        .expect("three readers");
        let [first, second, third] = &config.metrics.readers[..] else { panic!("three readers") };
        let first = first.periodic.as_ref().expect("it pushes");
        assert_eq!(
            (first.interval(), first.timeout()),
            (Duration::from_millis(500), Duration::from_millis(200))
        );
        let target = first.exporter.otlp.as_ref().and_then(|otlp| otlp.target()).expect("a target");
        assert_eq!(target.url, "http://x:1");
        let headers: Vec<_> =
            target.headers.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(headers, [("d", "e"), ("a", "b")]);
        assert_eq!(target.timeout, Duration::from_millis(100));
        let second = second.periodic.as_ref().expect("it pushes");
        assert_eq!((second.interval(), second.timeout()), (Duration::from_secs(60), Duration::from_secs(30)));
        assert!(second.exporter.console.is_some());
        let third = third.periodic.as_ref().and_then(|reader| reader.exporter.otlp.as_ref()?.target());
        assert_eq!(third.map(|target| target.headers.len()), Some(1));
    }

    #[test]
    fn processors_have_the_sdks_defaults() {
        let config = read(
            "logs: {processors: [{simple: {exporter: {console: {}}}}]}\ntraces: {processors: [{batch: {exporter: \
             {otlp: {protocol: grpc}}, max_queue_size: 100}}], sampler: {parent_based: {root: \
             {trace_id_ratio_based: {ratio: 0.1}}}}, propagators: [tracecontext, b3]}",
        )
        .expect("processors");
        assert!(config.traces.is_on());
        let logs = config.logs.processors[0].schedule(Duration::from_secs(1));
        assert_eq!((logs.delay, logs.queue, logs.batch), (Duration::ZERO, 2048, 512));
        let spans = config.traces.processors[0].schedule(Duration::from_secs(5));
        assert_eq!((spans.delay, spans.queue, spans.batch), (Duration::from_secs(5), 100, 100));
        assert_eq!(spans.export_timeout, Duration::from_secs(30));
    }

    #[test]
    fn detected_attributes_give_way_to_configured_ones() {
        let config = read(
            "resource:\n  attributes: [{name: process.pid, value: mine}]\n  detection/development:\n    \
             attributes: {included: ['process.pid', 'process.executable.name']}\n    detectors: [{process: {}}, {host: {}}]\n",
        )
        .expect("detectors");
        let labels = config.resource.resource("millrace", "1").labels;
        assert_eq!(labels.get("process.pid"), Some("mine"));
        assert!(labels.get("process.executable.name").is_some());
        assert_eq!(labels.get("host.name"), None);
    }

    #[test]
    fn mistakes_are_explained() {
        refused("metrics: {readers: []}", "there are no readers");
        read("metrics: {level: none, readers: []}").expect("nobody reads what is not collected");
        refused("metrics: {readers: [{}]}", "a reader needs `pull` or `periodic`");
        refused("metrics: {readers: [{periodic: {exporter: {}}}]}", "an exporter is needed");
        refused("metrics: {readers: [{periodic: {exporter: {otlp: {}}}}]}", "a protocol is needed");
        let protocol = "metrics: {readers: [{periodic: {exporter: {otlp: {protocol: http/json}}}}]}";
        refused(protocol, "http/protobuf");
        refused("logs: {processors: [{}]}", "needs `batch` or `simple`");
        let temporality = "logs: {processors: [{simple: {exporter: {otlp: {protocol: grpc, temporality_preference: delta}}}}]}";
        refused(temporality, "unknown key `temporality_preference`");
        refused("metrics: {views: [{selector: {instrument_name: a}}]}", "only with level detailed");
        refused("metrics: {level: detailed, views: [{selector: {}}]}", "a selector that selects something");
        let name =
            "metrics: {level: detailed, views: [{selector: {instrument_name: 'a*'}, stream: {name: b}}]}";
        refused(name, "cannot all have the same name");
        refused("traces: {sampler: {}}", "a sampler is one of");
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
