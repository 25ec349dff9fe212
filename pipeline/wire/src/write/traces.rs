//! Spans.

use super::{
    Attributes, Groups, Scope, Value, put_fixed32, put_fixed64, put_id, put_key_value, put_text, put_varint,
};
use crate::writer::{begin_message, end_message};
use crate::{Payload, Signal};

/// Writes an `ExportTraceServiceRequest`.
#[derive(Debug, Default)]
pub struct Traces {
    groups: Groups,
}

impl Traces {
    /// A payload of what `fill` writes.
    pub fn build(fill: impl FnOnce(&mut Self)) -> Payload {
        let mut traces = Self::default();
        fill(&mut traces);
        traces.groups.finish(Signal::Traces)
    }

    /// Begins a resource.
    pub fn resource(&mut self, schema_url: &str, attributes: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.groups.resource(schema_url, attributes);
        self
    }

    /// Begins a scope in the current resource.
    pub fn scope(&mut self, scope: Scope<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.groups.scope(&scope, attributes);
        self
    }

    /// Writes a span into the current scope.
    pub fn span(&mut self, span: Span<'_>, body: impl FnOnce(&mut SpanBody<'_>)) -> &mut Self {
        self.groups.items += 1;
        self.groups.item(|out| {
            span.put(out);
            body(&mut SpanBody { out });
        });
        self
    }
}

/// What a span has once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span<'a> {
    /// Sixteen bytes, not all zero.
    pub trace_id: [u8; 16],
    /// Eight bytes, not all zero.
    pub span_id: [u8; 8],
    /// All zero for a root span.
    pub parent_span_id: [u8; 8],
    /// W3C `tracestate`.
    pub trace_state: &'a str,
    /// The operation.
    pub name: &'a str,
    /// The span's role.
    pub kind: SpanKind,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// How it ended.
    pub status: Status<'a>,
    /// W3C trace flags and more.
    pub flags: u32,
    /// How many attributes were discarded.
    pub dropped_attributes_count: u32,
    /// How many events were discarded.
    pub dropped_events_count: u32,
    /// How many links were discarded.
    pub dropped_links_count: u32,
}

/// `Span.SpanKind`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified,
    /// Inside of an application.
    Internal,
    /// The server's side of a call.
    Server,
    /// The client's side of a call.
    Client,
    /// The sender of a message.
    Producer,
    /// The receiver of a message.
    Consumer,
}

/// `Status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// Whether the operation succeeded.
    pub code: StatusCode,
    /// What went wrong.
    pub message: &'a str,
}

/// `Status.StatusCode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StatusCode {
    /// Not said.
    #[default]
    Unset,
    /// Known to have succeeded.
    Ok,
    /// Failed.
    Error,
}

impl Span<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        put_id(out, 1, &self.trace_id);
        put_id(out, 2, &self.span_id);
        put_text(out, 3, self.trace_state.as_bytes());
        put_id(out, 4, &self.parent_span_id);
        put_text(out, 5, self.name.as_bytes());
        put_varint(out, 6, self.kind as u64);
        put_fixed64(out, 7, self.start_ns);
        put_fixed64(out, 8, self.end_ns);
        put_varint(out, 10, self.dropped_attributes_count.into());
        put_varint(out, 12, self.dropped_events_count.into());
        put_varint(out, 14, self.dropped_links_count.into());
        if self.status != Status::default() {
            let status = begin_message(out, 15);
            put_text(out, 2, self.status.message.as_bytes());
            put_varint(out, 3, self.status.code as u64);
            end_message(out, status);
        }
        put_fixed32(out, 16, self.flags);
    }
}

/// Writes what a span has many times.
#[derive(Debug)]
pub struct SpanBody<'o> {
    out: &'o mut Vec<u8>,
}

impl SpanBody<'_> {
    /// Writes an attribute. Keys should be unique; nothing checks it.
    pub fn attr<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> &mut Self {
        put_key_value(self.out, 9, key.as_bytes(), &value.into());
        self
    }

    /// Writes an event; its time is in nanoseconds since the Unix epoch.
    pub fn event(
        &mut self,
        name: &str,
        time_ns: u64,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        let event = begin_message(self.out, 11);
        put_fixed64(self.out, 1, time_ns);
        put_text(self.out, 2, name.as_bytes());
        attributes(&mut Attributes { out: self.out, number: 3 });
        end_message(self.out, event);
        self
    }

    /// Writes a link to another span.
    pub fn link(
        &mut self,
        trace_id: [u8; 16],
        span_id: [u8; 8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        let link = begin_message(self.out, 13);
        put_id(self.out, 1, &trace_id);
        put_id(self.out, 2, &span_id);
        attributes(&mut Attributes { out: self.out, number: 4 });
        end_message(self.out, link);
        self
    }
}
