//! What Prometheus reads: how things are named there, and the three formats that it scrapes.
//!
//! - [`names`]: names of metrics and labels out of OpenTelemetry's.
//! - [`negotiate`]: which format a scraper is given, by its `Accept` header.
//! - [`Exposition`]: writes families of samples in that format, as the Go client library does.

mod accept;
mod escape;
mod exposition;
pub mod names;
mod protobuf;
mod text;

pub use accept::{Format, Offer, OpenMetrics, Syntax, negotiate};
pub use escape::{Escaping, escape, is_plain};
pub use exposition::{Bucket, Exemplar, Exposition, Family, Histogram, Kind, Native, Span, Summary, Value};
pub use text::Text;
