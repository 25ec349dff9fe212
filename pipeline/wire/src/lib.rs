//! OTLP as bytes: the data plane of Millrace.
//!
//! A request is validated once, at the border ([`mod@validate`]), and from then on travels as a [`Payload`]: a run of
//! whole `ResourceSpans` / `ResourceMetrics` / `ResourceLogs` fields that is known to be well-formed. It is read
//! through zero-copy views ([`view`]), changed by one bottom-up rewrite ([`edit`]), split by copying ranges
//! ([`split`]), merged by concatenation ([`merge`]) and built without intermediate structs ([`mod@write`]).
//!
//! This crate does no I/O, reads no clock and knows no async runtime.
//!
//! # Invariants
//! - The only ways to make a [`Payload`] are the validating walk and this crate's own writers.
//! - No function here panics on bytes from outside, and none treats damage as absence.

pub mod cursor;
pub mod edit;
pub mod json;
pub mod merge;
mod mix;
pub mod payload;
mod place;
pub mod response;
pub mod schema;
pub mod signal;
pub mod split;
pub mod validate;
pub mod view;
pub mod write;
pub mod writer;

pub use payload::Payload;
pub use signal::Signal;
pub use validate::{Malformed, Policy, Utf8Policy, Validated, validate};
