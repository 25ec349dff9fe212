//! Own spans as OTLP.

use std::sync::Arc;

use millrace_wire::Payload;
use millrace_wire::write::{Scope, Span, Status, StatusCode, Traces};

use super::{attributes, nanos};
use crate::config::Resource;
use crate::trace::Finished;

/// In the flags: it is known whether the parent is remote, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A request of those spans.
#[must_use]
pub fn spans(resource: &Resource, spans: &[Arc<Finished>]) -> Payload {
    Traces::build(|out| {
        out.resource(attributes::schema_url(resource), |out| attributes::resource(resource, out));
        for run in spans.chunk_by(|a, b| a.by == b.by) {
            let by = &run[0].by;
            out.scope(Scope { name: &by.name, version: by.version, schema_url: "" }, |out| {
                for (name, value) in &by.attributes {
                    out.attr(name, value.value());
                }
            });
            for span in run {
                write(out, span);
            }
        }
    })
}

fn write(out: &mut Traces, span: &Finished) {
    let parent = span.parent.unwrap_or_default();
    let remote = if parent.is_remote { IS_REMOTE } else { 0 };
    let code = if span.error.is_some() { StatusCode::Error } else { StatusCode::Unset };
    let written = Span {
        trace_id: span.context.trace_id,
        span_id: span.context.span_id,
        parent_span_id: parent.span_id,
        name: &span.name,
        kind: span.kind,
        start_ns: nanos(span.start),
        end_ns: nanos(span.end),
        status: Status { code, message: span.error.as_deref().unwrap_or_default() },
        flags: HAS_IS_REMOTE | remote | u32::from(span.context.is_sampled),
        ..Span::default()
    };
    out.span(written, |body| {
        for (name, value) in &span.attributes {
            body.attr(name, value.value());
        }
        for event in &span.events {
            body.event(event.name, nanos(event.time), |out| {
                for (name, value) in &event.attributes {
                    out.attr(name, value.value());
                }
            });
        }
        for link in &span.links {
            body.link(link.trace_id, link.span_id, |_| {});
        }
    });
}
