//! Components that are gone from the Go collector, and what to use instead.

use crate::catalog::Kind;

/// A component that is gone.
pub(crate) struct Gone {
    pub(crate) kind: Kind,
    pub(crate) type_name: &'static str,
    /// The component that does its work when it is configured; `None` if nothing has to be done any more.
    pub(crate) successor: Option<&'static str>,
    /// What became of it.
    pub(crate) message: &'static str,
    /// What to do.
    pub(crate) help: &'static str,
}

/// Those that still work.
static GONE: &[Gone] = &[
    Gone {
        kind: Kind::Exporter,
        type_name: "logging",
        successor: Some("debug"),
        message: "the exporter `logging` has become `debug`",
        help: "rename it to `debug`, here and where it is used",
    },
    Gone {
        kind: Kind::Exporter,
        type_name: "jaeger",
        successor: Some("otlp_grpc"),
        message: "the exporter `jaeger` is gone: Jaeger takes OTLP, on port 4317",
        help: "rename it to `otlp_grpc`, here and where it is used, and send to that port",
    },
    Gone {
        kind: Kind::Exporter,
        type_name: "jaeger_thrift",
        successor: Some("otlp_http"),
        message: "the exporter `jaeger_thrift` is gone: Jaeger takes OTLP, over HTTP on port 4318",
        help: "rename it to `otlp_http`, here and where it is used, and send to that port",
    },
    Gone {
        kind: Kind::Exporter,
        type_name: "loki",
        successor: Some("otlp_http"),
        message: "the exporter `loki` is gone: Loki takes OTLP under the path /otlp",
        help: "rename it to `otlp_http`, here and where it is used, and send to that path",
    },
    Gone {
        kind: Kind::Extension,
        type_name: "memory_ballast",
        successor: None,
        message: "the extension `memory_ballast` is gone, and does nothing",
        help: "remove it here and under service::extensions; there is no garbage collector to steer",
    },
    Gone {
        kind: Kind::Processor,
        type_name: "queued_retry",
        successor: None,
        message: "the processor `queued_retry` is gone, and does nothing",
        help: "remove it here and from the pipelines; exporters have `sending_queue` and `retry_on_failure`",
    },
];

/// What is to be said of those that do not.
static ADVICE: &[(Kind, &str, &str)] = &[
    (Kind::Processor, "spanmetrics", "the processor is gone; the connector `span_metrics` does its work"),
    (Kind::Processor, "servicegraph", "the processor is gone; the connector `service_graph` does its work"),
    (Kind::Exporter, "opencensus", "OpenCensus has ended; send OTLP with `otlp_grpc`"),
    (Kind::Receiver, "opencensus", "OpenCensus has ended; let applications send OTLP to the receiver `otlp`"),
    (Kind::Exporter, "sapm", "SAPM has ended; send OTLP with `otlp_http`"),
    (Kind::Exporter, "tempo", "Tempo takes OTLP; send it with `otlp_grpc`, to port 4317"),
    (Kind::Exporter, "otlp/http", "write `otlp_http`"),
    (Kind::Exporter, "stdout", "write `debug`"),
    (Kind::Exporter, "console", "write `debug`"),
];

/// The component of that name, if it is one that is gone and still taken.
pub(crate) fn gone(kind: Kind, type_name: &str) -> Option<&'static Gone> {
    GONE.iter().find(|gone| gone.kind == kind && gone.type_name == type_name)
}

/// What to do about a component that is gone and not taken any more.
pub(crate) fn advice(kind: Kind, type_name: &str) -> Option<String> {
    let known = ADVICE.iter().find(|(of, name, _)| *of == kind && *name == type_name);
    known.map(|(_, _, advice)| (*advice).to_owned())
}
