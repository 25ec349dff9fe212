//! Dividing a payload: by size, in halves, by a key of each item, and into what is kept and what is not.
//!
//! Items are spans, log records and data points. They are copied as ranges and never looked into; what encloses them
//! (resource, scope, metric) is repeated in every part that holds some of its items, so association is never lost. A
//! run of whole resources is not even copied: it is a slice of the input, which then pins the input's allocation.
//!
//! # Invariants
//! - Every item of the input is in exactly one part (or was dropped, and counted, by [`retain`]); order is kept
//!   within a part; `items` of each part is exact.
//! - A profiles request is one item that is never divided.

mod assembly;
mod by_key;
mod by_size;
mod item;
mod retain;
pub(crate) mod tree;

pub use by_key::by_key;
pub use by_size::{Limit, MAX_REPEATED_BASE_BYTES, MAX_REPEATED_FACTOR, by_size, halve};
pub use item::{Item, ItemMetric, MetricKind};
pub use retain::retain;
