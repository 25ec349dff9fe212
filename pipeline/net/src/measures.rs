//! What servers and clients of HTTP and gRPC count at level detailed, as the semantic conventions say and as the Go
//! collector's instrumentation labels it. Below that level everything here is a single branch.

use crate::grpc::Code;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::HOST;
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use millrace_telemetry::catalogue::rpc as defs;
use millrace_telemetry::{Dynamic, Histogram, Labels, Level, Registry};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
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

/// Calls that a gRPC server answers.
#[derive(Debug, Clone)]
pub struct RpcServer(Series<1>);

impl RpcServer {
    /// Counts in `registry`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self(Series::new(registry))
    }

    /// A call of `path` that began at `started` has been answered.
    pub fn answered(&self, path: &str, code: Code, started: Instant) {
        let Some(kept) = &self.0.0 else { return };
        let labels = || rpc(path, code);
        let make = || [kept.registry.histogram(&defs::RPC_SERVER_CALL_DURATION, &labels())];
        kept.histograms.with(&(path, code as u8), make, |[duration]| duration.record(seconds(started)));
    }
}

/// Calls that a gRPC client makes.
#[derive(Debug, Clone)]
pub struct RpcClient {
    series: Series<1>,
    server: Labels,
}

impl RpcClient {
    /// Counts in `registry` the calls to a server that `server.address` and `server.port` describe.
    #[must_use]
    pub fn new(registry: &Registry, address: &str, port: Option<u16>) -> Self {
        let port = port.map(|port| port.to_string());
        let server = server(Labels::new(), address, port.as_deref());
        Self { series: Series::new(registry), server }
    }

    /// A call of `path` that began at `started` has ended. `reached` says whether there was a connection for it: if
    /// not, nobody was called, and the labels do not say whom.
    pub fn ended(&self, path: &str, code: Code, reached: bool, started: Instant) {
        let Some(kept) = &self.series.0 else { return };
        let labels = || {
            let server = self.server.iter().filter(|_| reached);
            server
                .fold(rpc(path, code), |labels, (name, value)| labels.with(name.to_owned(), value.to_owned()))
        };
        let make = || [kept.registry.histogram(&defs::RPC_CLIENT_CALL_DURATION, &labels())];
        let key = (path, code as u8, reached);
        kept.histograms.with(&key, make, |[duration]| duration.record(seconds(started)));
    }
}

/// Requests that an HTTP server answers.
#[derive(Debug, Clone)]
pub struct HttpServer(Series<3>);

/// What is known of a request when it has been answered.
struct Exchange<'a> {
    method: &'a Method,
    version: Version,
    host: Option<&'a str>,
    route: Option<&'a str>,
    status: StatusCode,
    /// What was read of the body, as it came.
    request_bytes: u64,
    response_bytes: u64,
    started: Instant,
}

impl HttpServer {
    /// Counts in `registry`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self(Series::new(registry))
    }

    /// Whether anything is counted; lets callers skip the work of finding out what.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.0.0.is_some()
    }

    /// Has a request answered, and counts it. `route` is the configured path that it went to, if there is one.
    pub async fn observe<F: Future<Output = Response>>(
        &self,
        route: Option<&str>,
        request: Request,
        answer: impl FnOnce(Request) -> F,
    ) -> Response {
        let started = Instant::now();
        let (method, version) = (request.method().clone(), request.version());
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let read = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&read);
        let request = request.map(|body| {
            Body::new(body.map_frame(move |frame| {
                counted.fetch_add(frame.data_ref().map_or(0, |data| data.len() as u64), Relaxed);
                frame
            }))
        });
        let response = answer(request).await;
        self.answered(&Exchange {
            method: &method,
            version,
            host: host.as_deref(),
            route,
            status: response.status(),
            request_bytes: read.load(Relaxed),
            response_bytes: response.body().size_hint().exact().unwrap_or(0),
            started,
        });
        response
    }

    fn answered(&self, exchange: &Exchange<'_>) {
        let Some(kept) = &self.0.0 else { return };
        let &Exchange { method, version, host, route, status, .. } = exchange;
        let make = || {
            let mut labels = http(method, version).with("http.response.status_code", text(status));
            if let Some(route) = route {
                labels.set("http.route", route.to_owned());
            }
            if let Some(host) = host {
                let (address, port) = split_host(host);
                labels = server(labels, address, port);
            }
            [
                &defs::HTTP_SERVER_REQUEST_DURATION,
                &defs::HTTP_SERVER_REQUEST_BODY_SIZE,
                &defs::HTTP_SERVER_RESPONSE_BODY_SIZE,
            ]
            .map(|def| kept.registry.histogram(def, &labels))
        };
        let key = (known(method), version, host, route, status);
        kept.histograms.with(&key, make, |[duration, request, response]| {
            duration.record(seconds(exchange.started));
            request.record(exchange.request_bytes as f64);
            response.record(exchange.response_bytes as f64);
        });
    }
}

/// Requests that an HTTP client makes.
#[derive(Debug, Clone)]
pub struct HttpClient {
    series: Series<2>,
    labels: Labels,
}

impl HttpClient {
    /// Counts in `registry` the requests to one server.
    #[must_use]
    pub fn new(registry: &Registry, address: &str, port: u16, scheme: &str) -> Self {
        let labels = http(&Method::POST, Version::HTTP_11).with("url.scheme", scheme.to_owned());
        Self { series: Series::new(registry), labels: server(labels, address, Some(&port.to_string())) }
    }

    /// A request with a body of `bytes` that began at `started` has ended: with a status, or without an answer.
    pub fn ended(&self, status: Option<StatusCode>, bytes: u64, started: Instant) {
        let Some(kept) = &self.series.0 else { return };
        let make = || {
            let labels = self.labels.clone();
            let labels = match status {
                Some(status) => labels.with("http.response.status_code", text(status)),
                // What the Go collector calls it.
                None => labels.with("error.type", "net.OpError"),
            };
            [&defs::HTTP_CLIENT_REQUEST_DURATION, &defs::HTTP_CLIENT_REQUEST_BODY_SIZE]
                .map(|def| kept.registry.histogram(def, &labels))
        };
        kept.histograms.with(&status, make, |[duration, size]| {
            duration.record(seconds(started));
            size.record(bytes as f64);
        });
    }
}

fn seconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64()
}

fn rpc(path: &str, code: Code) -> Labels {
    let method = path.strip_prefix('/').unwrap_or(path).to_owned();
    Labels::from([("rpc.method", method)])
        .with("rpc.response.status_code", code.name())
        .with("rpc.system.name", "grpc")
}

fn http(method: &Method, version: Version) -> Labels {
    let version = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    Labels::from([
        ("http.request.method", known(method)),
        ("network.protocol.name", "http"),
        ("network.protocol.version", version),
        ("url.scheme", "http"),
    ])
}

fn server(labels: Labels, address: &str, port: Option<&str>) -> Labels {
    let labels = labels.with("server.address", address.to_owned());
    port.into_iter().fold(labels, |labels, port| labels.with("server.port", port.to_owned()))
}

/// The method's name, or one for all that nobody knows: clients can make up as many as they like.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn text(status: StatusCode) -> String {
    status.as_u16().to_string()
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
    use millrace_telemetry::metrics::Value;

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
        RpcServer::new(&registry).answered("/a/b", Code::Ok, Instant::now());
        HttpClient::new(&registry, "x", 1, "http").ended(None, 1, Instant::now());
        assert!(!HttpServer::new(&registry).is_active());
        assert!(registry.snapshot().is_empty());
    }

    #[test]
    fn a_call_for_which_there_was_no_connection_does_not_say_whom_it_called() {
        let registry = Registry::new(Level::Detailed);
        let client = RpcClient::new(&registry, "backend", Some(4317));
        client.ended("/a.B/Export", Code::Unavailable, false, Instant::now());
        client.ended("/a.B/Export", Code::Unavailable, true, Instant::now());
        client.ended("/a.B/Export", Code::Unavailable, true, Instant::now());
        let families = registry.snapshot();
        let mut counts: Vec<_> = families[0]
            .series
            .iter()
            .map(|series| {
                let Value::Histogram { counts, .. } = &series.value else { panic!("a histogram") };
                (series.labels.get("server.address"), counts.iter().sum::<u64>())
            })
            .collect();
        counts.sort();
        assert_eq!(counts, [(None, 1), (Some("backend"), 2)]);
    }
}
