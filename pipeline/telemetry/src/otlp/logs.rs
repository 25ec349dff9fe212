//! Own log records as OTLP.

use std::sync::Arc;

use millrace_wire::Payload;
use millrace_wire::write::{LogRecord, Logs, Scope, Value};
use tracing::Level;

use super::{attributes, nanos};
use crate::config::Resource;
use crate::logs::Record;

/// The scope of all records, as in the Go collector.
const SCOPE: Scope<'static> =
    Scope { name: "go.opentelemetry.io/collector/service", version: "", schema_url: "" };

/// A request of those records, in their order.
#[must_use]
pub fn logs(resource: &Resource, records: &[Arc<Record>]) -> Payload {
    Logs::build(|out| {
        out.resource(attributes::schema_url(resource), |out| attributes::resource(resource, out));
        for run in records.chunk_by(|a, b| a.scope == b.scope) {
            out.scope(SCOPE, |out| {
                for (name, value) in &run[0].scope {
                    out.attr(name, value.value());
                }
            });
            for record in run {
                write(out, record);
            }
        }
    })
}

fn write(out: &mut Logs, record: &Record) {
    let (severity_number, severity_text) = match record.level {
        Level::TRACE | Level::DEBUG => (5, "debug"),
        Level::INFO => (9, "info"),
        Level::WARN => (13, "warn"),
        Level::ERROR => (17, "error"),
    };
    let time = nanos(record.time);
    let span = record.span.unwrap_or_default();
    let written = LogRecord {
        time_ns: time,
        observed_ns: time,
        severity_number,
        severity_text,
        body: Some(Value::Str(&record.message)),
        trace_id: span.trace_id,
        span_id: span.span_id,
        flags: u32::from(span.is_sampled),
        ..LogRecord::default()
    };
    out.record(written, |out| {
        for (name, value) in &record.attributes {
            out.attr(name, value.value());
        }
    });
}
