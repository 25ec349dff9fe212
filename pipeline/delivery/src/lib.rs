//! What every exporter has in front of its protocol: a sending queue, batching, retrying, and splitting what the
//! destination finds too large. An exporter implements [`Sender`] and gets a stage of the graph from [`Exporter`].
//!
//! The order is that of the Go collector's exporterhelper: queue → batch → retry → timeout → send.
//!
//! # Invariants
//! - Whatever is taken from the queue is delivered, handed back to a waiting caller, or counted as lost by reason.
//! - The queue's room is given back only when that has happened, so what is in flight counts as queued.
//! - Nothing waits longer than its configuration or the drain's deadline says.
//! - What is held back for the sake of the destination is never given up because of it.

pub mod batcher;
mod budget;
mod concurrency;
pub mod config;
mod courier;
pub mod dead_letters;
mod direct;
mod exporter;
mod measures;
pub mod partition;
mod parts;
mod queue;
mod retry;
mod says;
mod spans;
mod status_codes;
pub mod storage;
mod ticket;

pub use config::{
    BatchConfig, DeadLettersConfig, DeliveryConfig, MAX_ELAPSED_TIME, OnFull, PartitionConfig, QueueConfig,
    RetryConfig, Sizer,
};
pub use exporter::{BatchNames, Delivery, Exporter};
#[cfg(fuzzing)]
pub use queue::fuzzing;
pub use status_codes::{StatusCode, StatusCodes};

use millrace_engine::{Batch, BoxFuture, Failure};

/// The destination has answered that it has the batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Accepted {
    /// Items that it has refused all the same (OTLP's partial success). They are not sent again.
    pub rejected_items: u64,
}

/// A protocol: how one batch gets to the destination, in one attempt.
pub trait Sender: Send + Sync + 'static {
    /// Sends a batch, and returns when the destination has answered. Retrying, deadlines and splitting are the
    /// caller's business: the future may be dropped at any time.
    ///
    /// # Errors
    /// A [`Failure`] that says whether the same batch may succeed later. [`Reason::TooLarge`] makes the caller send
    /// it in halves.
    ///
    /// [`Reason::TooLarge`]: millrace_engine::Reason::TooLarge
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>>;

    /// Whoever it is built for begins to work: what others would notice of it begins here.
    fn begin(&self) {}

    /// Flushes and closes; runs after the last send.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
