//! What is private, for the fuzz target of records.

use super::record::{self, Now};
use bytes::Bytes;
use millrace_engine::Batch;
use millrace_log::Entry;
use millrace_telemetry::trace::SpanContext;
use millrace_wire::Signal;
use std::time::Instant;

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the one that durations are taken from.
    pub instant: Instant,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
}

impl Moment {
    fn now(self) -> Now {
        Now { instant: self.instant, unix_ns: self.unix_ns }
    }
}

/// What the two sections of an entry hold, if they hold a batch.
#[must_use]
pub fn read(signal: Signal, meta: Bytes, payload: Bytes, at: Moment) -> Option<(Batch, Option<SpanContext>)> {
    record::batch(signal, meta, payload, at.now()).ok()
}

/// A batch as an entry.
#[must_use]
pub fn written(batch: &Batch, span: Option<SpanContext>, at: Moment) -> Entry {
    record::entry(batch, span, at.now())
}
