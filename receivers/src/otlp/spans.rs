//! Spans of what the receiver hands to the pipelines.

use super::intake::{Format, Transport};
use millrace_engine::Failure;
use millrace_engine::component::Context;
use millrace_telemetry::trace::{self, Instrumentation, Tracer};
use millrace_wire::Signal;
use millrace_wire::write::SpanKind;
use std::future::Future;
use std::sync::Arc;

/// Makes them, if there are any.
pub(super) struct Spans {
    tracer: Tracer,
    by: Arc<Instrumentation>,
}

impl Spans {
    pub(super) fn new(context: &Context) -> Self {
        let by = Instrumentation { name: context.id.to_string(), ..context.instrumentation() };
        Self { tracer: context.shared.registry.tracer(), by: Arc::new(by) }
    }

    pub(super) fn are_made(&self) -> bool {
        self.tracer.is_on()
    }

    /// Hands items over within a span that is named as the Go collector's.
    pub(super) async fn around(
        &self,
        signal: Signal,
        transport: Transport,
        format: Format,
        items: u64,
        submitted: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let (operation, [accepted, refused, failed]) = match signal {
            Signal::Traces => ("TraceDataReceived", ["accepted_spans", "refused_spans", "failed_spans"]),
            Signal::Metrics => (
                "MetricsReceived",
                ["accepted_metric_points", "refused_metric_points", "failed_metric_points"],
            ),
            Signal::Logs => {
                ("LogsReceived", ["accepted_log_records", "refused_log_records", "failed_log_records"])
            }
            Signal::Profiles => (
                "ProfilesReceived",
                ["accepted_profile_samples", "refused_profile_samples", "failed_profile_samples"],
            ),
        };
        let name = format!("receiver/{}/{operation}", self.by.name);
        let mut span = self.tracer.start(&self.by, name, SpanKind::Internal, trace::current());
        span.set("transport", transport.name());
        span.set(
            "format",
            match format {
                Format::Protobuf => "protobuf",
                Format::Json => "json",
            },
        );
        let result = span.around(submitted).await;
        span.set(accepted, if result.is_ok() { items } else { 0 });
        span.set(refused, if result.is_ok() { 0 } else { items });
        span.set(failed, 0_u64);
        if let Err(failure) = &result {
            span.fail(failure.to_string());
        }
        result
    }
}
