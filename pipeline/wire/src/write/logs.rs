//! Log records.

use super::{Attributes, Groups, Scope, Value, put_fixed32, put_fixed64, put_id, put_text, put_varint};
use crate::writer::{begin_message, end_message};
use crate::{Payload, Signal};

/// Writes an `ExportLogsServiceRequest`.
#[derive(Debug, Default)]
pub struct Logs {
    groups: Groups,
}

impl Logs {
    /// A payload of what `fill` writes.
    pub fn build(fill: impl FnOnce(&mut Self)) -> Payload {
        let mut logs = Self::default();
        fill(&mut logs);
        logs.groups.finish(Signal::Logs)
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

    /// Writes a record into the current scope.
    pub fn record(
        &mut self,
        record: LogRecord<'_>,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        self.groups.items += 1;
        self.groups.item(|out| {
            record.put(out);
            attributes(&mut Attributes { out, number: 6 });
        });
        self
    }
}

/// What a log record has once.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRecord<'a> {
    /// When it happened, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// When it was noticed, in nanoseconds since the Unix epoch.
    pub observed_ns: u64,
    /// 1 (TRACE) to 24 (FATAL4); 0 if not known.
    pub severity_number: u8,
    /// The severity as the source named it.
    pub severity_text: &'a str,
    /// What it says; `None` writes no body, which differs from an empty one.
    pub body: Option<Value<'a>>,
    /// The type of event that it is.
    pub event_name: &'a str,
    /// W3C trace flags.
    pub flags: u32,
    /// All zero if it belongs to no trace.
    pub trace_id: [u8; 16],
    /// All zero if it belongs to no span.
    pub span_id: [u8; 8],
    /// How many attributes were discarded.
    pub dropped_attributes_count: u32,
}

impl LogRecord<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        put_fixed64(out, 1, self.time_ns);
        put_varint(out, 2, self.severity_number.into());
        put_text(out, 3, self.severity_text.as_bytes());
        if let Some(value) = &self.body {
            let body = begin_message(out, 5);
            value.put(out);
            end_message(out, body);
        }
        put_varint(out, 7, self.dropped_attributes_count.into());
        put_fixed32(out, 8, self.flags);
        put_id(out, 9, &self.trace_id);
        put_id(out, 10, &self.span_id);
        put_fixed64(out, 11, self.observed_ns);
        put_text(out, 12, self.event_name.as_bytes());
    }
}
