//! What servers and clients of HTTP and gRPC count at level detailed, as the semantic conventions say and as the Go
//! collector's instrumentation labels it. Below that level everything here is a single branch.

use crate::grpc::{Code, Status};
use crate::stream::{OverTls, Peer};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use millrace_engine::component::Context;
use millrace_telemetry::catalogue::rpc as defs;
use millrace_telemetry::trace::{self, Instrumentation, Span, SpanContext, Tracer};
use millrace_telemetry::{Dynamic, Histogram, Labels, Level, Registry};
use millrace_wire::Signal;
use millrace_wire::write::SpanKind;
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
pub struct RpcServer {
    series: Series<1>,
    spans: Spans,
    /// Where it listens.
    server: Labels,
}

impl RpcServer {
    /// Of a component whose server listens at `endpoint`.
    #[must_use]
    pub fn new(context: &Context, endpoint: &str) -> Self {
        let (address, port) = split_host(endpoint);
        let server = server(Labels::new(), address, port);
        let spans = Spans::new(context, GRPC_SCOPE, &[]);
        Self { series: Series::new(&context.shared.registry), spans, server }
    }

    /// Whether calls are within spans; lets callers do without [`traced`](Self::traced).
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.spans.tracer.is_on()
    }

    /// Answers a call of `path` that began at `received` within a span, which belongs to the sender's trace if its
    /// `headers` tell of one.
    ///
    /// # Errors
    /// The answer's.
    pub async fn traced<T>(
        &self,
        path: &str,
        headers: HeaderMap,
        received: Instant,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let method = path.strip_prefix('/').unwrap_or(path);
        let mut span = self.spans.start(method, SpanKind::Server, self.spans.tracer.extract(&headers));
        drop(headers);
        span.began_at(received);
        span.set("rpc.method", method);
        span.set("rpc.system.name", "grpc");
        set_server(&mut span, &self.server);
        let result = span.around(answer).await;
        let code = result.as_ref().err().map_or(Code::Ok, |status| status.code);
        span.set("rpc.response.status_code", code.name());
        // The sender's mistakes are none of the server's.
        let is_ours = matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        );
        if let Err(status) = &result
            && is_ours
        {
            span.fail(status.message.clone());
        }
        result
    }

    /// A call of `path` that began at `started` has been answered.
    pub fn answered(&self, path: &str, code: Code, started: Instant) {
        let Some(kept) = &self.series.0 else { return };
        let labels = || rpc(path, code);
        let make = || [kept.registry.histogram(&defs::RPC_SERVER_CALL_DURATION, &labels())];
        kept.histograms.with(&(path, code as u8), make, |[duration]| duration.record(seconds(started)));
    }
}

/// Calls that a gRPC client makes.
#[derive(Debug, Clone)]
pub struct RpcClient {
    series: Series<1>,
    spans: Spans,
    server: Labels,
}

impl RpcClient {
    /// The calls of a component to a server that the labels `server.address` and `server.port` describe.
    #[must_use]
    pub fn new(context: &Context, signal: Signal, server: Labels) -> Self {
        let spans = Spans::new(context, GRPC_SCOPE, &[("otelcol.signal", signal.name())]);
        Self { series: Series::new(&context.shared.registry), spans, server }
    }

    /// A call of `path` that began at `started` has ended. `reached` says whether there was a connection for it: if
    /// not, nobody was called, and the labels do not say whom.
    pub fn ended(&self, path: &str, code: Code, reached: bool, started: Instant) {
        self.trace(path, code, reached, started);
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

impl RpcClient {
    fn trace(&self, path: &str, code: Code, reached: bool, started: Instant) {
        if !self.spans.tracer.is_on() {
            return;
        }
        let method = path.strip_prefix('/').unwrap_or(path);
        let mut span = self.spans.start(method, SpanKind::Client, trace::current());
        span.began_at(started);
        span.set("rpc.method", method);
        span.set("rpc.system.name", "grpc");
        if reached {
            set_server(&mut span, &self.server);
        }
        span.set("rpc.response.status_code", code.name());
        if code != Code::Ok {
            span.fail(code.name());
        }
    }
}

/// Makes spans of the instrumentation library of that name.
#[derive(Debug, Clone)]
struct Spans {
    tracer: Tracer,
    by: Arc<Instrumentation>,
}

const GRPC_SCOPE: &str = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc";
const HTTP_SCOPE: &str = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp";

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

/// Requests that an HTTP server answers.
#[derive(Debug, Clone)]
pub struct HttpServer {
    series: Series<3>,
    spans: Spans,
}

/// The longest `Host` that becomes a label: a name has at most 253 bytes, and then there is the port. Clients choose it,
/// and a page of series that are as long as a header may be would not fit into memory.
const HOST_MAX: usize = 260;

/// What is known of a request when it has been answered.
struct Exchange<'a> {
    method: &'a Method,
    version: Version,
    scheme: &'static str,
    host: Option<&'a str>,
    route: Option<&'a str>,
    status: StatusCode,
    /// What was read of the body, as it came.
    request_bytes: u64,
    response_bytes: u64,
    started: Instant,
}

impl HttpServer {
    /// Of a component.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self { series: Series::new(&context.shared.registry), spans: Spans::new(context, HTTP_SCOPE, &[]) }
    }

    /// Whether requests are counted or within spans; lets callers do without [`observe`](Self::observe).
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.series.0.is_some() || self.spans.tracer.is_on()
    }

    /// Has a request answered, and counts it. `route` is the configured path that it went to, if there is one.
    pub async fn observe<F: Future<Output = Response>>(
        &self,
        route: Option<&str>,
        request: Request,
        answer: impl FnOnce(Request) -> F,
    ) -> Response {
        let started = Instant::now();
        let (method, version, scheme) = (request.method().clone(), request.version(), scheme(&request));
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.filter(|host| host.len() <= HOST_MAX).map(str::to_owned);
        let mut span = self.begin(route, &request, host.as_deref());
        let read = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&read);
        let request = request.map(|body| {
            Body::new(body.map_frame(move |frame| {
                counted.fetch_add(frame.data_ref().map_or(0, |data| data.len() as u64), Relaxed);
                frame
            }))
        });
        let response = span.around(answer(request)).await;
        let (status, response_bytes) = (response.status(), response.body().size_hint().exact().unwrap_or(0));
        span.set("http.request.body.size", read.load(Relaxed));
        span.set("http.response.body.size", response_bytes);
        span.set("http.response.status_code", u64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail("");
        }
        drop(span);
        self.answered(&Exchange {
            method: &method,
            version,
            scheme,
            host: host.as_deref(),
            route,
            status,
            request_bytes: read.load(Relaxed),
            response_bytes,
            started,
        });
        response
    }

    fn begin(&self, route: Option<&str>, request: &Request, host: Option<&str>) -> Span {
        let tracer = &self.spans.tracer;
        if !tracer.is_on() {
            return Span::default();
        }
        let method = known(request.method());
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let mut span = self.spans.start(&name, SpanKind::Server, tracer.extract(request.headers()));
        if let Some((address, port)) = host.map(split_host) {
            set_server(&mut span, &server(Labels::new(), address, port));
        }
        span.set("http.request.method", method);
        span.set("url.scheme", scheme(request));
        span.set("url.path", request.uri().path());
        span.set("network.protocol.version", protocol_version(request.version()));
        if let Some(Peer(Some(peer))) = request.extensions().get::<Peer>() {
            let address = peer.ip().to_string();
            span.set("network.peer.address", address.clone());
            span.set("network.peer.port", u64::from(peer.port()));
            span.set("client.address", address);
        }
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        if let Some(agent) = agent {
            span.set("user_agent.original", agent);
        }
        span
    }

    fn answered(&self, exchange: &Exchange<'_>) {
        let Some(kept) = &self.series.0 else { return };
        let &Exchange { method, version, scheme, host, route, status, .. } = exchange;
        let make = || {
            let mut labels = http(method, version).with("http.response.status_code", text(status));
            labels.set("url.scheme", scheme.to_owned());
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
        let key = (known(method), version, scheme, host, route, status);
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
    spans: Spans,
    labels: Labels,
}

impl HttpClient {
    /// The requests of a component to a server that the labels `server.address` and `server.port` describe.
    #[must_use]
    pub fn new(context: &Context, signal: Signal, server: &Labels, scheme: &str) -> Self {
        let mut labels = http(&Method::POST, Version::HTTP_11).with("url.scheme", scheme.to_owned());
        for name in ["server.address", "server.port"] {
            if let Some(value) = server.get(name) {
                labels.set(name, value.to_owned());
            }
        }
        let spans = Spans::new(context, HTTP_SCOPE, &[("otelcol.signal", signal.name())]);
        Self { series: Series::new(&context.shared.registry), spans, labels }
    }

    /// A request to `uri` with a body of `bytes` that began at `started` has ended: with a status, or without an
    /// answer.
    pub fn ended(&self, uri: &Uri, status: Option<StatusCode>, bytes: u64, started: Instant) {
        self.trace(uri, status, started);
        let Some(kept) = &self.series.0 else { return };
        let make = || {
            let labels = self.labels.clone();
            let labels = match status {
                Some(status) => labels.with("http.response.status_code", text(status)),
                None => labels.with("error.type", NO_ANSWER),
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

impl HttpClient {
    fn trace(&self, uri: &Uri, status: Option<StatusCode>, started: Instant) {
        if !self.spans.tracer.is_on() {
            return;
        }
        let mut span = self.spans.start("HTTP POST", SpanKind::Client, trace::current());
        span.began_at(started);
        span.set("http.request.method", "POST");
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // Not what may stand before the host, nor in a query: they are where secrets stand.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        span.set("url.full", format!("{}://{authority}{}", uri.scheme_str().unwrap_or("http"), uri.path()));
        set_server(&mut span, &self.labels);
        span.set("network.protocol.version", "1.1");
        match status {
            Some(status) => span.set("http.response.status_code", u64::from(status.as_u16())),
            None => span.set("error.type", NO_ANSWER),
        }
        if let Some(status) = status.filter(|status| !status.is_success()) {
            span.set("error.type", text(status));
        }
        if !status.is_some_and(|status| status.is_success()) {
            span.fail("");
        }
    }
}

/// What the Go collector calls a request without an answer.
const NO_ANSWER: &str = "net.OpError";

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
    Labels::from([
        ("http.request.method", known(method)),
        ("network.protocol.name", "http"),
        ("network.protocol.version", protocol_version(version)),
        ("url.scheme", "http"),
    ])
}

fn scheme(request: &Request) -> &'static str {
    if request.extensions().get::<OverTls>().is_some() { "https" } else { "http" }
}

const fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    }
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

    fn context(registry: &Registry) -> Context {
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

    #[tokio::test]
    async fn hosts_that_are_longer_than_a_name_are_no_labels() {
        let registry = Registry::new(Level::Detailed);
        let server = HttpServer::new(&context(&registry));
        for len in [253, 10_000] {
            let request = Request::post("/").header(HOST, format!("{}:4318", "a".repeat(len)));
            let request = request.body(Body::empty()).expect("a request");
            server.observe(Some("/"), request, async |_| Response::new(Body::empty())).await;
        }
        let families = registry.snapshot();
        let series = &families[0].series;
        let mut lens: Vec<_> =
            series.iter().map(|series| series.labels.get("server.address").map(str::len)).collect();
        lens.sort_unstable();
        assert_eq!(lens, [None, Some(253)]);
    }

    #[test]
    fn a_call_for_which_there_was_no_connection_does_not_say_whom_it_called() {
        let registry = Registry::new(Level::Detailed);
        let server = server(Labels::new(), "backend", Some("4317"));
        let client = RpcClient::new(&context(&registry), Signal::Logs, server);
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
