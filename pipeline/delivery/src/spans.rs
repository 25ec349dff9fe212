//! Spans of putting requests in line and of sending them, named as the Go collector's.

use millrace_engine::component::Context;
use millrace_telemetry::trace::{self, Instrumentation, Span, SpanContext, Tracer};
use millrace_wire::Signal;
use millrace_wire::write::SpanKind;
use std::sync::Arc;

const SCOPE: &str = "go.opentelemetry.io/collector/exporter/exporterhelper";

/// Makes them, if there are any; the default makes none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans {
    tracer: Tracer,
    by: Arc<Instrumentation>,
    exporter: Arc<str>,
    signal: &'static str,
}

/// What came of a send.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) error: Option<String>,
}

impl Spans {
    pub(crate) fn new(context: &Context, signal: Signal) -> Self {
        let mut by = Instrumentation { name: SCOPE.to_owned(), ..context.instrumentation() };
        by.attributes.push(("otelcol.signal", signal.name().into()));
        Self {
            tracer: context.shared.registry.tracer(),
            by: Arc::new(by),
            exporter: context.id.to_string().into(),
            signal: signal.name(),
        }
    }

    pub(crate) fn are_made(&self) -> bool {
        self.tracer.is_on()
    }

    /// The span that a request is handed in within.
    pub(crate) fn current(&self) -> Option<SpanContext> {
        if self.tracer.is_on() { trace::current() } else { None }
    }

    /// A request is put in line; the span of that.
    pub(crate) fn enqueue(&self) -> Option<SpanContext> {
        if !self.tracer.is_on() {
            return None;
        }
        let mut span = self.tracer.start(&self.by, "exporter/enqueue", SpanKind::Internal, trace::current());
        span.event("Enqueued item.", Vec::new());
        span.context()
    }

    /// A send begins, of requests that were handed in within those spans: within the only one, or linked to all.
    pub(crate) fn send(&self, within: &[SpanContext]) -> Span {
        let parent = if let [only] = within { Some(*only) } else { None };
        let name = format!("exporter/{}/{}", self.exporter, self.signal);
        let mut span = self.tracer.start(&self.by, name, SpanKind::Internal, parent);
        if parent.is_none() {
            within.iter().for_each(|other| span.link(*other));
        }
        span.set("exporter", &*self.exporter);
        span.set("data_type", self.signal);
        span
    }

    /// An attempt begins, within the span of a send.
    pub(crate) fn attempt(&self, retries: u64) {
        if self.tracer.is_on() {
            trace::event("Sending request.", || vec![("retry_num", retries.into())]);
        }
    }

    /// A send has ended.
    pub(crate) fn sent(&self, mut span: Span, told: Told) {
        span.set("items.sent", told.sent);
        span.set("items.failed", told.failed);
        if let Some(error) = told.error {
            span.fail(error);
        }
    }
}
