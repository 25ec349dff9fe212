//! What exporters and their sending queues count. Label of all: `exporter` (the component's id as configured).

use super::{BYTE_BOUNDS, ITEM_BOUNDS, PerSignal, per_signal};
use crate::metrics::{Def, Level, Scope, Stability};

const SCOPE: Scope = Scope::named("go.opentelemetry.io/collector/exporter/exporterhelper");

/// Items that the destination took; added to after every send, zeros included. More labels of the OTLP exporters:
/// `server.address`, `server.port` and, over HTTP, `url.path`.
pub static SENT: PerSignal = PerSignal {
    defs: {
        let mut defs = per_signal!(
            SCOPE,
            "otelcol_exporter_sent_",
            ["Number of ", " successfully sent to destination."],
            "log record"
        )
        .defs;
        defs[3] = defs[3].stability(Stability::Development);
        defs
    },
}
.labelled(&["exporter", "server.address", "server.port", "url.path"]);

/// Items of sends that failed for good, or whose retries ended. Labels as [`SENT`]; at level detailed also
/// `error.type` and `error.permanent`.
pub static SEND_FAILED: PerSignal = PerSignal {
    defs: {
        let mut defs = per_signal!(
            SCOPE,
            "otelcol_exporter_send_failed_",
            [
                "Number of ",
                " in failed attempts to send to destination. At detailed telemetry level, includes attributes: \
                 error.type (semantic convention), error.permanent."
            ]
        )
        .defs;
        defs[3] = defs[3].stability(Stability::Development);
        defs
    },
}.labelled(&["exporter", "server.address", "server.port", "url.path", "error.type", "error.permanent"]);

/// Items that found no room in the sending queue.
pub static ENQUEUE_FAILED: PerSignal = PerSignal {
    defs: {
        let mut defs = per_signal!(
            SCOPE,
            "otelcol_exporter_enqueue_failed_",
            ["Number of ", " failed to be added to the sending queue."]
        )
        .defs;
        defs[3] = defs[3].stability(Stability::Development);
        defs
    },
}
.labelled(&["exporter"]);

/// What the sending queue holds, in units of its sizer. Also labelled `data_type`; observed.
pub static QUEUE_SIZE: Def =
    Def::gauge("otelcol_exporter_queue_size", "Current size of the retry queue (in batches).", "{batch}")
        .of(SCOPE)
        .labelled(&["exporter", "data_type"]);

/// What the sending queue can hold, in units of its sizer. Also labelled `data_type`; observed.
pub static QUEUE_CAPACITY: Def = Def::gauge(
    "otelcol_exporter_queue_capacity",
    "Fixed capacity of the retry queue (in batches).",
    "{batch}",
)
.of(SCOPE)
.labelled(&["exporter", "data_type"]);

/// Requests being sent or waiting for a retry. Also labelled `data_type`.
pub static IN_FLIGHT_REQUESTS: Def = Def::updown(
    "otelcol_exporter_in_flight_requests",
    "Number of export requests currently in-flight (including retry backoff).",
    "{request}",
)
.stability(Stability::Development)
.of(SCOPE)
.labelled(&["exporter", "data_type"]);

/// Items per batch made by the sending queue; with `sending_queue.batch` only. Labels as [`SENT`].
pub static QUEUE_BATCH_SEND_SIZE: Def = Def::histogram(
    "otelcol_exporter_queue_batch_send_size",
    "Number of units in the batch. Only recorded when batching is enabled. Only available on detailed level.",
    "{unit}",
)
.with_bounds(ITEM_BOUNDS)
.stability(Stability::Development)
.at(Level::Detailed)
.of(SCOPE)
.labelled(&["exporter", "server.address", "server.port", "url.path"]);

/// Bytes per batch made by the sending queue; with `sending_queue.batch` only. Labels as [`SENT`].
pub static QUEUE_BATCH_SEND_SIZE_BYTES: Def = Def::histogram(
    "otelcol_exporter_queue_batch_send_size_bytes",
    "Number of bytes in batch that was sent. Only recorded when batching is enabled. Only available on detailed level.",
    "By",
)
.with_bounds(BYTE_BOUNDS)
.stability(Stability::Development)
.at(Level::Detailed)
.of(SCOPE).labelled(&["exporter", "server.address", "server.port", "url.path"]);

/// Items per request put into the sending queue.
pub static ENQUEUE_SIZE: Def = Def::histogram(
    "otelcol_exporter_enqueue_size",
    "Number of units in the request added to the sending queue. Only available on detailed level.",
    "{unit}",
)
.with_bounds(ITEM_BOUNDS)
.stability(Stability::Development)
.at(Level::Detailed)
.of(SCOPE)
.labelled(&["exporter"]);

/// Bytes per request put into the sending queue.
pub static ENQUEUE_SIZE_BYTES: Def = Def::histogram(
    "otelcol_exporter_enqueue_size_bytes",
    "Number of bytes in the request added to the sending queue. Only available on detailed level.",
    "By",
)
.with_bounds(BYTE_BOUNDS)
.stability(Stability::Development)
.at(Level::Detailed)
.of(SCOPE)
.labelled(&["exporter"]);

pub(super) const ALL: &[&Def] = &[
    &QUEUE_SIZE,
    &QUEUE_CAPACITY,
    &IN_FLIGHT_REQUESTS,
    &QUEUE_BATCH_SEND_SIZE,
    &QUEUE_BATCH_SEND_SIZE_BYTES,
    &ENQUEUE_SIZE,
    &ENQUEUE_SIZE_BYTES,
];
pub(super) const PER_SIGNAL: &[&PerSignal] = &[&SENT, &SEND_FAILED, &ENQUEUE_FAILED];
