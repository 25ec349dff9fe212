//! The collector's own telemetry on its way out: the metrics page, and what is pushed.
//!
//! Pushing has a thread and a runtime of its own, as the page has: it goes on when the workers are busy, and nobody
//! who counts, logs or traces ever waits for it.

mod destination;
mod page;
mod push;

pub use page::Served;
pub use push::{Made, Pushing};
