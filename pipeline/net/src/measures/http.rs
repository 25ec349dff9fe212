//! Requests over HTTP.

use super::{Series, Spans, seconds, server, set_server, split_host};
use crate::stream::{OverTls, Peer};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{HOST, USER_AGENT};
use http::{Method, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use millrace_engine::component::Context;
use millrace_telemetry::Labels;
use millrace_telemetry::catalogue::rpc as defs;
use millrace_telemetry::trace::{self, Span};
use millrace_wire::Signal;
use millrace_wire::write::SpanKind;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The library by whose name the Go collector makes these spans.
const HTTP_SCOPE: &str = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp";
/// The longest `Host` that becomes a label: a name has at most 253 bytes, and then there is the port. Clients choose it,
/// and a page of series that are as long as a header may be would not fit into memory.
const HOST_MAX: usize = 260;
/// What the Go collector calls a request without an answer.
const NO_ANSWER: &str = "net.OpError";

/// Requests that an HTTP server answers.
#[derive(Debug, Clone)]
pub struct HttpServer {
    series: Series<3>,
    spans: Spans,
}

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

/// The method's name, or one for all that nobody knows: clients can make up as many as they like.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn text(status: StatusCode) -> String {
    status.as_u16().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::context;
    use super::*;
    use millrace_telemetry::{Level, Registry};

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
}
