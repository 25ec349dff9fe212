//! What servers and clients of HTTP and gRPC count at level detailed, as the semantic conventions say and as the Go
//! collector's instrumentation labels it. Below that level everything here is a single branch.

mod http;
mod rpc;

pub use self::http::{HttpClient, HttpServer};
pub use self::rpc::{RpcClient, RpcServer};

use millrace_engine::component::Context;
use millrace_telemetry::catalogue::rpc as defs;
use millrace_telemetry::trace::{Instrumentation, Span, SpanContext, Tracer};
use millrace_telemetry::{Dynamic, Histogram, Labels, Level, Registry};
use millrace_wire::write::SpanKind;
use std::sync::Arc;
use std::time::Instant;

/// Series made on first use, by whatever their labels are made of.
#[derive(Debug, Clone)]
struct Series<const N: usize>(Option<Arc<Kept<N>>>);

#[derive(Debug)]
struct Kept<const N: usize> {
    registry: Registry,
    histograms: Dynamic<[Histogram; N]>,
}

impl<const N: usize> Series<N> {
    fn new(registry: &Registry) -> Self {
        let detailed = registry.level() >= Level::Detailed;
        Self(detailed.then(|| Arc::new(Kept { registry: registry.clone(), histograms: Dynamic::new() })))
    }
}

/// Makes spans of the instrumentation library of that name.
#[derive(Debug, Clone)]
struct Spans {
    tracer: Tracer,
    by: Arc<Instrumentation>,
}

impl Spans {
    fn new(context: &Context, scope: &str, further: &[(&'static str, &'static str)]) -> Self {
        let mut by = context.instrumentation();
        by.name = scope.to_owned();
        by.version = defs::VERSION;
        by.attributes.extend(further.iter().map(|(name, value)| (*name, (*value).into())));
        Self { tracer: context.shared.registry.tracer(), by: Arc::new(by) }
    }

    fn start(&self, name: &str, kind: SpanKind, parent: Option<SpanContext>) -> Span {
        self.tracer.start(&self.by, name, kind, parent)
    }
}

fn set_server(span: &mut Span, server: &Labels) {
    if let Some(address) = server.get("server.address") {
        span.set("server.address", address);
    }
    if let Some(port) = server.get("server.port").and_then(|port| port.parse::<u64>().ok()) {
        span.set("server.port", port);
    }
}

fn seconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64()
}

fn server(labels: Labels, address: &str, port: Option<&str>) -> Labels {
    let labels = labels.with("server.address", address.to_owned());
    port.into_iter().fold(labels, |labels, port| labels.with("server.port", port.to_owned()))
}

/// Host and port of a `Host` header.
fn split_host(host: &str) -> (&str, Option<&str>) {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').unwrap_or((rest, ""));
        return (address, rest.strip_prefix(':'));
    }
    match host.rsplit_once(':') {
        Some((address, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (address, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::Code;
    use ::http::Uri;
    use millrace_wire::Signal;

    /// Of a component whose metrics and spans go to `registry`.
    pub(super) fn context(registry: &Registry) -> Context {
        let shared = millrace_engine::component::Shared::new(
            registry.clone(),
            &millrace_engine::Health::starting(),
            1,
            1,
            "test",
        );
        Context { shared, kind: "exporter", id: "otlp".parse().expect("an id"), pipeline: None }
    }

    #[test]
    fn a_host_header_is_an_address_and_perhaps_a_port() {
        assert_eq!(split_host("a.b:80"), ("a.b", Some("80")));
        assert_eq!(split_host("a.b"), ("a.b", None));
        assert_eq!(split_host("[::1]:80"), ("::1", Some("80")));
        assert_eq!(split_host("[::1]"), ("::1", None));
        assert_eq!(split_host("a:b"), ("a:b", None));
    }

    #[test]
    fn below_level_detailed_nothing_is_counted() {
        let registry = Registry::new(Level::Normal);
        let context = context(&registry);
        RpcServer::new(&context, "x:1").answered("/a/b", Code::Ok, Instant::now());
        let client = HttpClient::new(&context, Signal::Logs, &Labels::new(), "http");
        client.ended(&Uri::from_static("http://x/"), None, 1, Instant::now());
        assert!(!HttpServer::new(&context).is_active());
        assert!(registry.snapshot().is_empty());
    }
}
