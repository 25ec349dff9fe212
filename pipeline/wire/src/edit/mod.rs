//! Changing payloads: any number of edits at any level, one rewrite.
//!
//! An [`Edit`] is called for every message at the levels it asks for ([`Edit::reach`]), parents before what is in
//! them, in the order of the wire. It gets a [`Message`]: the message as it came in under the changes made so far, so
//! what is written is what is read next. What encloses a message is passed along and can be changed from there too;
//! a resource that is changed from one of its spans is changed for all of them.
//!
//! ```
//! use millrace_wire::edit::{Above, Edit, Message, Reach, Span, Verdict, rewrite};
//!
//! /// Drops health checks, and keeps addresses out of the rest.
//! struct Tidy;
//!
//! impl Edit for Tidy {
//!     fn reach(&self) -> Reach {
//!         Reach::SPAN
//!     }
//!
//!     fn span(&mut self, span: &mut Message<'_, Span>, _: &mut Above<'_, '_>) -> Verdict {
//!         if span.get(Span::NAME) == "GET /health" {
//!             return Verdict::Drop;
//!         }
//!         if span.remove(b"client.address") {
//!             span.upsert(b"tidied", true);
//!         }
//!         Verdict::Keep
//!     }
//! }
//! # let payload = millrace_wire::write::Traces::build(|traces| {
//! #     let span = |name| millrace_wire::write::Span { name, ..Default::default() };
//! #     traces.span(span("GET /health"), |_| {});
//! #     traces.span(span("GET /cart"), |span| {
//! #         span.attr("client.address", "192.0.2.1");
//! #     });
//! # });
//! let edited = rewrite(&payload, &mut Tidy);
//! assert_eq!((edited.payload.items(), edited.dropped_items), (1, 1));
//! ```
//!
//! # What it costs
//! Levels below and beside those asked for are hopped over. A visited message is indexed (one slot per field, in
//! scratch space that is reused). Changes are collected as patches, lengths are corrected only for what encloses a
//! change, and everything else is copied once, in runs. If nothing was changed the very same bytes come back.
//!
//! # Invariants
//! - The result is a payload again, whatever the edit does: each field can only be set to its own type, once, and
//!   text that is not UTF-8 is repaired as it is written.
//! - Setting a field or attribute to what it already is changes nothing.
//! - Where a resource, scope, metric or item is dropped, its items are counted, and containers that are emptied by it
//!   go too; those that were empty before stay.
//! - A profiles request is never changed.

mod field;
mod level;
mod message;
mod patches;
mod rewrite;
mod texts;

pub use field::{
    Bool, Count, Double, Enum, Field, FieldType, Fixed32, Fixed64, Id, OptionalDouble, OptionalValue,
    StatusType, TextType,
};
pub use level::{
    Attributed, Data, Event, Exemplar, Level, Link, LogRecord, Metric, Point, Resource, Scope, Span,
};
pub use message::{Attribute, Message};
pub use rewrite::{Above, Edit, Edited, OfMetric, Reach, Verdict, rewrite};
