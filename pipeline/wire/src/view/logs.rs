//! Log records (`logs.proto`).

use super::{Attributes, Repeated, Resource, Scope, Text, Value, payload_view, views};
use crate::Signal;

views! {
    /// An export request of logs.
    Logs;
    /// A `ResourceLogs`.
    ResourceLogs;
    /// A `ScopeLogs`.
    ScopeLogs;
    /// A `LogRecord`.
    LogRecord;
}
payload_view!(Logs, Signal::Logs);

impl<'a> Logs<'a> {
    /// `resource_logs`.
    #[must_use]
    pub fn resource_logs(self) -> Repeated<'a, ResourceLogs<'a>> {
        self.message.repeated(1)
    }
}

impl<'a> ResourceLogs<'a> {
    /// `resource`.
    #[must_use]
    pub fn resource(self) -> Resource<'a> {
        self.message.message(1)
    }

    /// `scope_logs`.
    #[must_use]
    pub fn scope_logs(self) -> Repeated<'a, ScopeLogs<'a>> {
        self.message.repeated(2)
    }

    /// `schema_url`, of the resource.
    #[must_use]
    pub fn schema_url(self) -> Text<'a> {
        self.message.text(3)
    }
}

impl<'a> ScopeLogs<'a> {
    /// `scope`.
    #[must_use]
    pub fn scope(self) -> Scope<'a> {
        self.message.message(1)
    }

    /// `log_records`.
    #[must_use]
    pub fn log_records(self) -> Repeated<'a, LogRecord<'a>> {
        self.message.repeated(2)
    }

    /// `schema_url`, of the scope and its records.
    #[must_use]
    pub fn schema_url(self) -> Text<'a> {
        self.message.text(3)
    }
}

impl<'a> LogRecord<'a> {
    /// `time_unix_nano`: when it happened; 0 if unknown.
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.message.fixed64(1).unwrap_or_default()
    }

    /// `observed_time_unix_nano`: when the collection system saw it.
    #[must_use]
    pub fn observed_time_ns(self) -> u64 {
        self.message.fixed64(11).unwrap_or_default()
    }

    /// `severity_number`: 1 to 24 in steps of four per level, 0 if unknown.
    #[must_use]
    pub fn severity_number(self) -> i32 {
        self.message.varint(2) as i32
    }

    /// `severity_text`: the level as the source called it.
    #[must_use]
    pub fn severity_text(self) -> Text<'a> {
        self.message.text(3)
    }

    /// `body`.
    #[must_use]
    pub fn body(self) -> Value<'a> {
        self.message.message(5)
    }

    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 6)
    }

    /// `dropped_attributes_count`.
    #[must_use]
    pub fn dropped_attributes_count(self) -> u32 {
        self.message.varint(7) as u32
    }

    /// `flags`: the W3C trace flags in the low eight bits.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.message.fixed32(8)
    }

    /// The bytes of `trace_id`; empty outside of a trace.
    #[must_use]
    pub fn trace_id_bytes(self) -> &'a [u8] {
        self.message.len(9).unwrap_or_default()
    }

    /// The trace id, if it has sixteen bytes.
    #[must_use]
    pub fn trace_id(self) -> Option<[u8; 16]> {
        self.trace_id_bytes().try_into().ok()
    }

    /// The bytes of `span_id`; empty outside of a span.
    #[must_use]
    pub fn span_id_bytes(self) -> &'a [u8] {
        self.message.len(10).unwrap_or_default()
    }

    /// The span id, if it has eight bytes.
    #[must_use]
    pub fn span_id(self) -> Option<[u8; 8]> {
        self.span_id_bytes().try_into().ok()
    }

    /// `event_name`; empty if the record is not an event.
    #[must_use]
    pub fn event_name(self) -> Text<'a> {
        self.message.text(12)
    }
}
