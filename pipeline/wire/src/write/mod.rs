//! Writing telemetry of our own: OTLP straight into bytes, without intermediate structs.
//!
//! A writer is driven in the order of the wire: begin a resource, begin a scope in it, write items into that; the
//! next resource or scope ends the one before. What an item has once is a struct of borrowed fields with defaults;
//! what it has many times (attributes, events, exemplars) is written by a closure. So no field can be written twice,
//! and what comes out is a [`Payload`] by construction, with its items counted.
//!
//! ```
//! use millrace_wire::write::{Scope, Span, SpanKind, Traces};
//!
//! let payload = Traces::build(|traces| {
//!     traces.resource("", |resource| {
//!         resource.attr("service.name", "shop");
//!     });
//!     traces.scope(Scope { name: "checkout", ..Scope::default() }, |_| {});
//!     traces.span(Span { name: "GET /cart", kind: SpanKind::Server, start_ns: 1, end_ns: 2, ..Span::default() }, |span| {
//!         span.attr("http.response.status_code", 200).event("cache miss", 1, |event| {
//!             event.attr("key", "cart:42");
//!         });
//!     });
//! });
//! assert_eq!(payload.items(), 1);
//! ```
//!
//! Defaults are not written: zero, an empty text, an id that is all zeros. Items written without a scope or a
//! resource get nameless ones.

mod logs;
mod metrics;
mod traces;
mod value;

pub use logs::{LogRecord, Logs};
pub use metrics::{
    Buckets, Exemplar, ExponentialHistogram, ExponentialHistogramPoints, Histogram, HistogramPoints, Metric,
    Metrics, NumberPoints, Point, PointBody, Summary, SummaryPoints, Temporality,
};
pub use traces::{Span, SpanBody, SpanKind, Status, StatusCode, Traces};
pub use value::{Encoded, MAX_NESTING, Value};
pub(crate) use value::{put_key_value, put_text, put_valid_text};

use crate::writer::{
    Open, begin_message, end_message, put_fixed32_field, put_fixed64_field, put_varint_field,
};
use crate::{Payload, Signal};
use bytes::Bytes;

/// An `InstrumentationScope`, but for its attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// The library's name.
    pub name: &'a str,
    /// The library's version.
    pub version: &'a str,
    /// The schema of what the scope holds.
    pub schema_url: &'a str,
}

/// Writes attributes.
#[derive(Debug)]
pub struct Attributes<'o> {
    out: &'o mut Vec<u8>,
    number: u32,
}

impl Attributes<'_> {
    /// Writes one. Keys should be unique; nothing checks it.
    pub fn attr<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> &mut Self {
        put_key_value(self.out, self.number, key.as_bytes(), &value.into());
        self
    }
}

/// The resources and scopes around the items.
#[derive(Debug, Default)]
struct Groups {
    out: Vec<u8>,
    items: u32,
    resource: Option<Open>,
    scope: Option<Open>,
}

impl Groups {
    /// The field number of items (or metrics) in a scope.
    const ITEM: u32 = 2;

    fn resource(&mut self, schema_url: &str, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.end_resource();
        self.resource = Some(begin_message(&mut self.out, 1));
        let resource = begin_message(&mut self.out, 1);
        attributes(&mut Attributes { out: &mut self.out, number: 1 });
        end_message(&mut self.out, resource);
        put_text(&mut self.out, 3, schema_url.as_bytes());
    }

    fn scope(&mut self, scope: &Scope<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.begin_scope();
        let message = begin_message(&mut self.out, 1);
        put_text(&mut self.out, 1, scope.name.as_bytes());
        put_text(&mut self.out, 2, scope.version.as_bytes());
        attributes(&mut Attributes { out: &mut self.out, number: 3 });
        end_message(&mut self.out, message);
        put_text(&mut self.out, 3, scope.schema_url.as_bytes());
    }

    /// Writes one item or metric; its body is what `fill` appends.
    fn item(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        if self.scope.is_none() {
            self.begin_scope();
        }
        let item = begin_message(&mut self.out, Self::ITEM);
        fill(&mut self.out);
        end_message(&mut self.out, item);
    }

    fn begin_scope(&mut self) {
        self.end_scope();
        if self.resource.is_none() {
            self.resource = Some(begin_message(&mut self.out, 1));
        }
        self.scope = Some(begin_message(&mut self.out, 2));
    }

    fn end_scope(&mut self) {
        if let Some(scope) = self.scope.take() {
            end_message(&mut self.out, scope);
        }
    }

    fn end_resource(&mut self) {
        self.end_scope();
        if let Some(resource) = self.resource.take() {
            end_message(&mut self.out, resource);
        }
    }

    fn finish(mut self, signal: Signal) -> Payload {
        self.end_resource();
        Payload::vouched(signal, self.items, Bytes::from(self.out))
    }
}

fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_fixed64_field(out, number, value);
    }
}

fn put_fixed32(out: &mut Vec<u8>, number: u32, value: u32) {
    if value != 0 {
        put_fixed32_field(out, number, value);
    }
}

fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_varint_field(out, number, value);
    }
}

fn put_id(out: &mut Vec<u8>, number: u32, id: &[u8]) {
    if id.iter().any(|&byte| byte != 0) {
        crate::writer::put_len_field(out, number, id);
    }
}
