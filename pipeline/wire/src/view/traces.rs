//! Spans (`trace.proto`).

use super::field::Field;
use super::{Attributes, Repeated, Resource, Scope, Text, payload_view, views};
use crate::Signal;

views! {
    /// An export request of traces.
    Traces;
    /// A `ResourceSpans`.
    ResourceSpans;
    /// A `ScopeSpans`.
    ScopeSpans;
    /// A `Span`.
    Span;
    /// A `Span.Event`.
    Event;
    /// A `Span.Link`.
    Link;
    /// A `Status`.
    Status;
}
payload_view!(Traces, Signal::Traces);

impl<'a> Traces<'a> {
    /// `resource_spans`.
    #[inline]
    #[must_use]
    pub fn resource_spans(self) -> Repeated<'a, ResourceSpans<'a>> {
        self.message.repeated(1)
    }
}

impl<'a> ResourceSpans<'a> {
    /// `resource`.
    #[must_use]
    pub fn resource(self) -> Resource<'a> {
        self.message.message(1)
    }

    /// `scope_spans`.
    #[inline]
    #[must_use]
    pub fn scope_spans(self) -> Repeated<'a, ScopeSpans<'a>> {
        self.message.repeated(2)
    }

    /// `schema_url`, of the resource.
    #[must_use]
    pub fn schema_url(self) -> Text<'a> {
        self.message.text(3)
    }
}

impl<'a> ScopeSpans<'a> {
    /// `scope`.
    #[must_use]
    pub fn scope(self) -> Scope<'a> {
        self.message.message(1)
    }

    /// `spans`.
    #[inline]
    #[must_use]
    pub fn spans(self) -> Repeated<'a, Span<'a>> {
        self.message.repeated(2)
    }

    /// `schema_url`, of the scope and its spans.
    #[must_use]
    pub fn schema_url(self) -> Text<'a> {
        self.message.text(3)
    }
}

/// What samplers and routers need of a span, gathered in one pass by [`Span::head`].
#[derive(Debug, Clone, Copy, Default)]
pub struct SpanHead<'a> {
    /// The bytes of `trace_id`; [`SpanHead::trace_id`] checks their number.
    pub trace_id_bytes: &'a [u8],
    /// The bytes of `span_id`.
    pub span_id_bytes: &'a [u8],
    /// The bytes of `parent_span_id`; empty for a root span.
    pub parent_span_id_bytes: &'a [u8],
    /// `trace_state`, in the W3C encoding.
    pub trace_state: Text<'a>,
    /// `name`.
    pub name: Text<'a>,
    /// `kind`; see the constants of [`Span`].
    pub kind: i32,
    /// `start_time_unix_nano`.
    pub start_ns: u64,
    /// `end_time_unix_nano`.
    pub end_ns: u64,
    /// The code of `status`; see the constants of [`Status`].
    pub status_code: i32,
    /// `flags`.
    pub flags: u32,
}

impl SpanHead<'_> {
    /// The trace id, if it has sixteen bytes (all zero is also unset, says the specification).
    #[inline]
    #[must_use]
    pub fn trace_id(&self) -> Option<[u8; 16]> {
        self.trace_id_bytes.try_into().ok()
    }

    /// The span id, if it has eight bytes.
    #[inline]
    #[must_use]
    pub fn span_id(&self) -> Option<[u8; 8]> {
        self.span_id_bytes.try_into().ok()
    }

    /// The parent's span id, if it has eight bytes; `None` for a root span.
    #[inline]
    #[must_use]
    pub fn parent_span_id(&self) -> Option<[u8; 8]> {
        self.parent_span_id_bytes.try_into().ok()
    }

    /// From start to end; zero when the clock went backwards.
    #[inline]
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

impl<'a> Span<'a> {
    /// `SPAN_KIND_INTERNAL`.
    pub const INTERNAL: i32 = 1;
    /// `SPAN_KIND_SERVER`.
    pub const SERVER: i32 = 2;
    /// `SPAN_KIND_CLIENT`.
    pub const CLIENT: i32 = 3;
    /// `SPAN_KIND_PRODUCER`.
    pub const PRODUCER: i32 = 4;
    /// `SPAN_KIND_CONSUMER`.
    pub const CONSUMER: i32 = 5;

    /// Gathers what samplers and routers need in one pass.
    #[inline]
    #[must_use]
    pub fn head(self) -> SpanHead<'a> {
        let mut head = SpanHead::default();
        for field in self.message.fields() {
            match field {
                (1, Field::Len(id)) => head.trace_id_bytes = id,
                (2, Field::Len(id)) => head.span_id_bytes = id,
                (3, Field::Len(text)) => head.trace_state = Text(text),
                (4, Field::Len(id)) => head.parent_span_id_bytes = id,
                (5, Field::Len(text)) => head.name = Text(text),
                (6, Field::Varint(kind)) => head.kind = kind as i32,
                (7, Field::Fixed64(start)) => head.start_ns = start,
                (8, Field::Fixed64(end)) => head.end_ns = end,
                (15, Field::Len(status)) => head.status_code = Status::over(status).code(),
                (16, Field::Fixed32(flags)) => head.flags = flags,
                _ => {}
            }
        }
        head
    }

    /// The bytes of `trace_id`.
    #[inline]
    #[must_use]
    pub fn trace_id_bytes(self) -> &'a [u8] {
        self.message.len(1).unwrap_or_default()
    }

    /// The trace id, if it has sixteen bytes (all zero is also unset, says the specification).
    #[inline]
    #[must_use]
    pub fn trace_id(self) -> Option<[u8; 16]> {
        self.trace_id_bytes().try_into().ok()
    }

    /// The bytes of `span_id`.
    #[must_use]
    pub fn span_id_bytes(self) -> &'a [u8] {
        self.message.len(2).unwrap_or_default()
    }

    /// The span id, if it has eight bytes.
    #[must_use]
    pub fn span_id(self) -> Option<[u8; 8]> {
        self.span_id_bytes().try_into().ok()
    }

    /// `trace_state`, in the W3C encoding.
    #[must_use]
    pub fn trace_state(self) -> Text<'a> {
        self.message.text(3)
    }

    /// The bytes of `parent_span_id`; empty for a root span.
    #[must_use]
    pub fn parent_span_id_bytes(self) -> &'a [u8] {
        self.message.len(4).unwrap_or_default()
    }

    /// The parent's span id, if it has eight bytes; `None` for a root span.
    #[must_use]
    pub fn parent_span_id(self) -> Option<[u8; 8]> {
        self.parent_span_id_bytes().try_into().ok()
    }

    /// `name`.
    #[must_use]
    pub fn name(self) -> Text<'a> {
        self.message.text(5)
    }

    /// `kind`; see the constants.
    #[must_use]
    pub fn kind(self) -> i32 {
        self.message.varint(6) as i32
    }

    /// `start_time_unix_nano`.
    #[must_use]
    pub fn start_ns(self) -> u64 {
        self.message.fixed64(7).unwrap_or_default()
    }

    /// `end_time_unix_nano`.
    #[must_use]
    pub fn end_ns(self) -> u64 {
        self.message.fixed64(8).unwrap_or_default()
    }

    /// `attributes`.
    #[inline]
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 9)
    }

    /// `dropped_attributes_count`.
    #[must_use]
    pub fn dropped_attributes_count(self) -> u32 {
        self.message.varint(10) as u32
    }

    /// `events`.
    #[must_use]
    pub fn events(self) -> Repeated<'a, Event<'a>> {
        self.message.repeated(11)
    }

    /// `dropped_events_count`.
    #[must_use]
    pub fn dropped_events_count(self) -> u32 {
        self.message.varint(12) as u32
    }

    /// `links`.
    #[must_use]
    pub fn links(self) -> Repeated<'a, Link<'a>> {
        self.message.repeated(13)
    }

    /// `dropped_links_count`.
    #[must_use]
    pub fn dropped_links_count(self) -> u32 {
        self.message.varint(14) as u32
    }

    /// `status`; an absent one is unset.
    #[must_use]
    pub fn status(self) -> Status<'a> {
        self.message.message(15)
    }

    /// `flags`: the W3C trace flags in the low eight bits, whether the parent is remote in bits 8 and 9.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.message.fixed32(16)
    }
}

impl<'a> Event<'a> {
    /// `time_unix_nano`.
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.message.fixed64(1).unwrap_or_default()
    }

    /// `name`.
    #[must_use]
    pub fn name(self) -> Text<'a> {
        self.message.text(2)
    }

    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 3)
    }

    /// `dropped_attributes_count`.
    #[must_use]
    pub fn dropped_attributes_count(self) -> u32 {
        self.message.varint(4) as u32
    }
}

impl<'a> Link<'a> {
    /// The bytes of `trace_id`.
    #[must_use]
    pub fn trace_id_bytes(self) -> &'a [u8] {
        self.message.len(1).unwrap_or_default()
    }

    /// The linked trace's id, if it has sixteen bytes.
    #[must_use]
    pub fn trace_id(self) -> Option<[u8; 16]> {
        self.trace_id_bytes().try_into().ok()
    }

    /// The bytes of `span_id`.
    #[must_use]
    pub fn span_id_bytes(self) -> &'a [u8] {
        self.message.len(2).unwrap_or_default()
    }

    /// The linked span's id, if it has eight bytes.
    #[must_use]
    pub fn span_id(self) -> Option<[u8; 8]> {
        self.span_id_bytes().try_into().ok()
    }

    /// `trace_state`, in the W3C encoding.
    #[must_use]
    pub fn trace_state(self) -> Text<'a> {
        self.message.text(3)
    }

    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 4)
    }

    /// `dropped_attributes_count`.
    #[must_use]
    pub fn dropped_attributes_count(self) -> u32 {
        self.message.varint(5) as u32
    }

    /// `flags`.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.message.fixed32(6)
    }
}

impl<'a> Status<'a> {
    /// `STATUS_CODE_UNSET`.
    pub const UNSET: i32 = 0;
    /// `STATUS_CODE_OK`.
    pub const OK: i32 = 1;
    /// `STATUS_CODE_ERROR`.
    pub const ERROR: i32 = 2;

    /// `message`.
    #[must_use]
    pub fn message(self) -> Text<'a> {
        self.message.text(2)
    }

    /// `code`; see the constants.
    #[inline]
    #[must_use]
    pub fn code(self) -> i32 {
        self.message.varint(3) as i32
    }
}
