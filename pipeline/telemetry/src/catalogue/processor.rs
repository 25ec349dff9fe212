//! What processors count. Label of all: `processor` (the component's id as configured).

use super::{BYTE_BOUNDS, ITEM_BOUNDS, PerSignal, per_signal};
use crate::metrics::{Def, Level, Scope, Stability};

const HELPER: Scope = Scope::named("go.opentelemetry.io/collector/processor/processorhelper");
const BATCH: Scope = Scope::named("go.opentelemetry.io/collector/processor/batchprocessor");
const QUEUEBATCH: Scope = Scope::named("go.opentelemetry.io/collector/processor/queuebatchprocessor");
const MEMORY_LIMITER: Scope = Scope::named("go.opentelemetry.io/collector/processor/memorylimiterprocessor");

/// Those of Go: the bounds for items, and on in even steps.
const QUEUEBATCH_BYTE_BOUNDS: &[f64] = &[
    10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0,
    7000.0, 8000.0, 9000.0, 10000.0, 20000.0, 30000.0, 50000.0, 100000.0, 200000.0, 300000.0, 400000.0,
    500000.0, 600000.0, 700000.0, 800000.0, 900000.0, 1000000.0, 2000000.0, 3000000.0, 4000000.0, 5000000.0,
    6000000.0, 7000000.0, 8000000.0, 9000000.0,
];

const DETECTION: Scope = Scope::named(
    "github.com/open-telemetry/opentelemetry-collector-contrib/processor/resourcedetectionprocessor",
);

/// Items given to a processor. Also labelled `otel.signal`. In Go not counted by `batch`, `tail_sampling` and
/// `groupbytrace`.
pub static INCOMING_ITEMS: Def =
    Def::counter("otelcol_processor_incoming_items", "Number of items passed to the processor.", "{item}")
        .of(HELPER)
        .labelled(&["processor", "otel.signal"]);

/// Items that a processor passed on. Also labelled `otel.signal`.
pub static OUTGOING_ITEMS: Def =
    Def::counter("otelcol_processor_outgoing_items", "Number of items emitted from the processor.", "{item}")
        .of(HELPER)
        .labelled(&["processor", "otel.signal"]);

/// Seconds that a processor worked on a batch. Also labelled `otel.signal`.
pub static INTERNAL_DURATION: Def = Def::histogram(
    "otelcol_processor_internal_duration",
    "Duration of time taken to process a batch of telemetry data through the processor.",
    "s",
)
.at(Level::Detailed)
.of(HELPER)
.labelled(&["processor", "otel.signal"]);

/// Items per batch that a `queuebatch` processor sent. Also labelled `otel.signal`.
pub static QUEUEBATCH_ITEMS: Def =
    Def::histogram("otelcol_processor_queuebatch_items", "Batch size in items.", "{item}")
        .with_bounds(ITEM_BOUNDS)
        .stability(Stability::Development)
        .at(Level::Detailed)
        .of(QUEUEBATCH);

/// Bytes per batch that a `queuebatch` processor sent. Also labelled `otel.signal`.
pub static QUEUEBATCH_BYTES: Def =
    Def::histogram("otelcol_processor_queuebatch_bytes", "Batch size in bytes.", "By")
        .with_bounds(QUEUEBATCH_BYTE_BOUNDS)
        .stability(Stability::Development)
        .at(Level::Detailed)
        .of(QUEUEBATCH);

/// Items that a `memory_limiter` let through. The one for profiles is ours; Go's does not take them.
pub static MEMORY_LIMITER_ACCEPTED: PerSignal = per_signal!(
    MEMORY_LIMITER,
    "otelcol_processor_memory_limiter_accepted_",
    ["Number of ", " successfully pushed into the next component in the pipeline."]
)
.labelled(&["processor"]);

/// Items that a `memory_limiter` refused. The one for profiles is ours; Go's does not take them.
pub static MEMORY_LIMITER_REFUSED: PerSignal = per_signal!(
    MEMORY_LIMITER,
    "otelcol_processor_memory_limiter_refused_",
    ["Number of ", " that were rejected by the next component in the pipeline."]
)
.labelled(&["processor"]);

/// Items per batch that a `batch` processor sent.
pub static BATCH_SEND_SIZE: Def =
    Def::histogram("otelcol_processor_batch_batch_send_size", "Number of units in the batch", "{unit}")
        .with_bounds(ITEM_BOUNDS)
        .stability(Stability::Development)
        .at(Level::Normal)
        .of(BATCH)
        .labelled(&["processor"]);

/// Bytes per batch that a `batch` processor sent.
pub static BATCH_SEND_SIZE_BYTES: Def = Def::histogram(
    "otelcol_processor_batch_batch_send_size_bytes",
    "Number of bytes in batch that was sent. Only available on detailed level.",
    "By",
)
.with_bounds(BYTE_BOUNDS)
.stability(Stability::Development)
.at(Level::Detailed)
.of(BATCH)
.labelled(&["processor"]);

/// Batches sent because they were full.
pub static BATCH_SIZE_TRIGGER_SEND: Def = Def::counter(
    "otelcol_processor_batch_batch_size_trigger_send",
    "Number of times the batch was sent due to a size trigger",
    "{time}",
)
.stability(Stability::Development)
.at(Level::Normal)
.of(BATCH)
.labelled(&["processor"]);

/// Batches sent because their time was up.
pub static BATCH_TIMEOUT_TRIGGER_SEND: Def = Def::counter(
    "otelcol_processor_batch_timeout_trigger_send",
    "Number of times the batch was sent due to a timeout trigger",
    "{time}",
)
.stability(Stability::Development)
.at(Level::Normal)
.of(BATCH)
.labelled(&["processor"]);

/// Combinations of metadata that a `batch` processor keeps apart; 1 without `metadata_keys`.
pub static BATCH_METADATA_CARDINALITY: Def = Def::updown(
    "otelcol_processor_batch_metadata_cardinality",
    "Number of distinct metadata value combinations being processed",
    "{combination}",
)
.stability(Stability::Development)
.at(Level::Normal)
.of(BATCH)
.labelled(&["processor"]);

/// Attributes that a `resource_detection` processor has found; without labels.
pub static DETECTED_ATTRIBUTES: Def = Def::updown(
    "otelcol.resourcedetection.attributes.detected",
    "Number of resource attributes in the currently detected resource.",
    "{attribute}",
)
.stability(Stability::Development)
.of(DETECTION);

/// How long a detector took, its retries included. Labels: `detector`, `outcome` (`success`, `failure`).
pub static DETECTION_DURATION: Def = Def::histogram(
    "otelcol.resourcedetection.detector.duration",
    "Time taken by an individual detector to run, including backoff between retries.",
    "s",
)
.stability(Stability::Development)
.of(DETECTION);

/// How often a detector was asked. Labels: `detector`, `outcome` (`success`, `failure`).
pub static DETECTION_RESULTS: Def = Def::counter(
    "otelcol.resourcedetection.detector.results",
    "Number of resource detection results, by detector and outcome.",
    "{detection}",
)
.stability(Stability::Development)
.of(DETECTION);

pub(super) const ALL: &[&Def] = &[
    &INCOMING_ITEMS,
    &OUTGOING_ITEMS,
    &INTERNAL_DURATION,
    &QUEUEBATCH_ITEMS,
    &QUEUEBATCH_BYTES,
    &BATCH_SEND_SIZE,
    &BATCH_SEND_SIZE_BYTES,
    &BATCH_SIZE_TRIGGER_SEND,
    &BATCH_TIMEOUT_TRIGGER_SEND,
    &BATCH_METADATA_CARDINALITY,
    &DETECTED_ATTRIBUTES,
    &DETECTION_DURATION,
    &DETECTION_RESULTS,
];
pub(super) const PER_SIGNAL: &[&PerSignal] = &[&MEMORY_LIMITER_ACCEPTED, &MEMORY_LIMITER_REFUSED];
