//! Calls over gRPC.

use super::{Series, Spans, seconds, server, set_server, split_host};
use crate::grpc::{Code, Status};
use http::HeaderMap;
use millrace_engine::component::Context;
use millrace_telemetry::Labels;
use millrace_telemetry::catalogue::rpc as defs;
use millrace_telemetry::trace;
use millrace_wire::Signal;
use millrace_wire::write::SpanKind;
use std::future::Future;
use std::time::Instant;

/// The library by whose name the Go collector makes these spans.
const GRPC_SCOPE: &str = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc";

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

fn rpc(path: &str, code: Code) -> Labels {
    let method = path.strip_prefix('/').unwrap_or(path).to_owned();
    Labels::from([("rpc.method", method)])
        .with("rpc.response.status_code", code.name())
        .with("rpc.system.name", "grpc")
}

#[cfg(test)]
mod tests {
    use super::super::tests::context;
    use super::*;
    use millrace_telemetry::metrics::Value;
    use millrace_telemetry::{Level, Registry};

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
