//! What an exporter counts: the Go collector's metrics, and how old things are.

use crate::BatchNames;
use crate::batcher::Trigger;
use crate::concurrency::Slots;
use crate::spans::Spans;
use millrace_engine::component::Context;
use millrace_engine::{Batch, Cost, Failure, Reason, Status};
use millrace_telemetry::catalogue::{exporter as go, millrace as ours, processor as batches};
use millrace_telemetry::{Counter, Def, Dynamic, Histogram, Labels, Level, Registration, Registry, UpDown};
use millrace_wire::Signal;
use std::sync::Arc;
use std::time::Instant;

/// The handles of one exporter and signal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measures {
    pub(crate) sent: Counter,
    failed: Failed,
    pub(crate) spans: Spans,
    pub(crate) enqueue_failed: Counter,
    in_flight: UpDown,
    batch_items: Histogram,
    batch_bytes: Histogram,
    by_size: Counter,
    by_timeout: Counter,
    enqueue_items: Histogram,
    enqueue_bytes: Histogram,
    delay: Histogram,
    /// Whether the destination takes what it is sent, for health checks.
    status: Option<Status>,
    pub(crate) retries: Counter,
    pub(crate) held_back: Counter,
    waiting: UpDown,
    incoming: Counter,
    outgoing: Counter,
}

impl Measures {
    /// Of a component within a pipeline, which counts its batches.
    pub(crate) fn of_batches(context: &Context, signal: Signal, names: BatchNames) -> Self {
        let registry = &context.shared.registry;
        let mut labels = Labels::new().with("processor", context.id.to_string());
        match names {
            BatchNames::Unnamed => return Self::default(),
            BatchNames::Batch => {}
            BatchNames::QueueBatch => {
                labels.set("otel.signal".to_owned(), signal.name().to_owned());
                return Self {
                    incoming: registry.counter(&batches::INCOMING_ITEMS, &labels),
                    outgoing: registry.counter(&batches::OUTGOING_ITEMS, &labels),
                    batch_items: registry.histogram(&batches::QUEUEBATCH_ITEMS, &labels),
                    batch_bytes: registry.histogram(&batches::QUEUEBATCH_BYTES, &labels),
                    ..Self::default()
                };
            }
        }
        Self {
            batch_items: registry.histogram(&batches::BATCH_SEND_SIZE, &labels),
            batch_bytes: registry.histogram(&batches::BATCH_SEND_SIZE_BYTES, &labels),
            by_size: registry.counter(&batches::BATCH_SIZE_TRIGGER_SEND, &labels),
            by_timeout: registry.counter(&batches::BATCH_TIMEOUT_TRIGGER_SEND, &labels),
            ..Self::default()
        }
    }

    /// Of an exporter; `destination` are the labels that say where to (`server.address`, …).
    pub(crate) fn new(context: &Context, signal: Signal, destination: &Labels) -> Self {
        let registry = &context.shared.registry;
        let exporter = Labels::new().with("exporter", context.id.to_string());
        let queue = queue_labels(context, signal);
        let mut to = exporter.clone();
        for (name, value) in destination.iter() {
            to.set(name.to_owned(), value.to_owned());
        }
        Self {
            sent: registry.counter(go::SENT.of(signal), &to),
            failed: Failed::new(registry, go::SEND_FAILED.of(signal), to.clone()),
            spans: Spans::new(context, signal),
            enqueue_failed: registry.counter(go::ENQUEUE_FAILED.of(signal), &exporter),
            in_flight: registry.updown(&go::IN_FLIGHT_REQUESTS, &queue),
            batch_items: registry.histogram(&go::QUEUE_BATCH_SEND_SIZE, &to),
            batch_bytes: registry.histogram(&go::QUEUE_BATCH_SEND_SIZE_BYTES, &to),
            enqueue_items: registry.histogram(&go::ENQUEUE_SIZE, &exporter),
            enqueue_bytes: registry.histogram(&go::ENQUEUE_SIZE_BYTES, &exporter),
            delay: registry.histogram(&ours::END_TO_END_DELAY, &queue),
            status: Some(context.status(Some(signal))),
            retries: registry.counter(&ours::RETRY_ATTEMPTS, &queue),
            held_back: registry.counter(&ours::RETRY_HELD_BACK, &queue),
            waiting: registry.updown(&ours::RETRY_WAITING, &queue),
            ..Self::default()
        }
    }

    /// What came of an attempt says how the destination is.
    pub(crate) fn attempted<T>(&self, result: &Result<T, Failure>) {
        let Some(status) = &self.status else { return };
        match result {
            Ok(_) => status.works(),
            Err(failure) => status.failed(failure),
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.add(1);
        InFlight(&self.in_flight)
    }

    /// Counts a request as waiting for its next attempt until the guard is dropped.
    pub(crate) fn waiting(&self) -> InFlight<'_> {
        self.waiting.add(1);
        InFlight(&self.waiting)
    }

    pub(crate) fn enqueued(&self, cost: Cost) {
        self.enqueue_items.record(cost.items as f64);
        self.enqueue_bytes.record(cost.bytes as f64);
        self.incoming.add(cost.items);
    }

    pub(crate) fn batched(&self, cost: Cost, trigger: Trigger) {
        match trigger {
            Trigger::Size => self.by_size.add(1),
            Trigger::Timeout => self.by_timeout.add(1),
        }
        self.batch_items.record(cost.items as f64);
        self.batch_bytes.record(cost.bytes as f64);
    }

    /// Items that were given up. As in Go, the series of what is sent appears with the first attempt, whatever becomes
    /// of it.
    pub(crate) fn failed(&self, items: u64, failure: &Failure) {
        self.sent.add(0);
        self.failed.add(items, failure);
    }

    pub(crate) fn delivered(&self, batch: &Batch, cost: Cost) {
        self.sent.add(cost.items);
        self.outgoing.add(cost.items);
        if self.delay.is_active() {
            let now = Instant::now();
            for piece in batch.pieces() {
                self.delay.record(now.saturating_duration_since(piece.origin.received).as_secs_f64());
            }
        }
    }
}

/// Items of sends that failed; at level detailed by what it was.
#[derive(Debug, Clone, Default)]
struct Failed {
    all: Counter,
    by_error: Option<Arc<ByError>>,
}

#[derive(Debug)]
struct ByError {
    registry: Registry,
    def: &'static Def,
    to: Labels,
    counters: Dynamic<Counter>,
}

impl Failed {
    fn new(registry: &Registry, def: &'static Def, to: Labels) -> Self {
        if registry.level() < Level::Detailed {
            return Self { all: registry.counter(def, &to), by_error: None };
        }
        let by_error = ByError { registry: registry.clone(), def, to, counters: Dynamic::new() };
        Self { all: Counter::inert(), by_error: Some(Arc::new(by_error)) }
    }

    fn add(&self, items: u64, failure: &Failure) {
        let Some(ByError { registry, def, to, counters }) = self.by_error.as_deref() else {
            return self.all.add(items);
        };
        let (error, permanent) = (error_type(failure), !failure.is_transient());
        let make = || {
            let labels = to.clone().with("error.type", error);
            registry.counter(def, &labels.with("error.permanent", if permanent { "true" } else { "false" }))
        };
        counters.with(&(error, permanent), make, |counter| counter.add(items));
    }
}

/// What the Go collector calls it: a gRPC code in its library's spelling, or one of few words.
fn error_type(failure: &Failure) -> &'static str {
    match (failure.reason, failure.grpc_code) {
        (Reason::ShuttingDown, _) => "Shutdown",
        (_, Some(1)) => "Canceled",
        (_, Some(2)) => "Unknown",
        (_, Some(3)) => "InvalidArgument",
        (_, Some(4)) => "DeadlineExceeded",
        (_, Some(5)) => "NotFound",
        (_, Some(6)) => "AlreadyExists",
        (_, Some(7)) => "PermissionDenied",
        (_, Some(8)) => "ResourceExhausted",
        (_, Some(9)) => "FailedPrecondition",
        (_, Some(10)) => "Aborted",
        (_, Some(11)) => "OutOfRange",
        (_, Some(12)) => "Unimplemented",
        (_, Some(13)) => "Internal",
        (_, Some(14)) => "Unavailable",
        (_, Some(15)) => "DataLoss",
        (_, Some(16)) => "Unauthenticated",
        (Reason::Timeout, _) => "Deadline_Exceeded",
        _ => "_OTHER",
    }
}

/// Makes visible how many attempts may be under way, until the registration is dropped.
pub(crate) fn watch_concurrency(context: &Context, signal: Signal, slots: &Arc<Slots>) -> Registration {
    let slots = Arc::downgrade(slots);
    let read = move || slots.upgrade().map_or(f64::NAN, |slots| slots.size() as f64);
    context.shared.registry.observe(&ours::EXPORTER_CONCURRENCY, &queue_labels(context, signal), read)
}

/// A request that is counted for as long as this is held.
pub(crate) struct InFlight<'a>(&'a UpDown);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// The labels of a queue's own metrics.
fn queue_labels(context: &Context, signal: Signal) -> Labels {
    Labels::new().with("exporter", context.id.to_string()).with("data_type", signal.name())
}

/// What can be read off a queue at any time.
pub(crate) trait Gauges: Send + Sync + 'static {
    /// Units in use.
    fn size(&self) -> u64;
    /// Units in all.
    fn capacity(&self) -> u64;
    /// How long the oldest request has waited, in seconds; 0 when empty.
    fn oldest_age(&self) -> f64;
}

/// Makes a queue visible until the registrations are dropped.
pub(crate) fn watch_queue(context: &Context, signal: Signal, queue: &Arc<dyn Gauges>) -> Vec<Registration> {
    let labels = queue_labels(context, signal);
    let observe = |def, read: fn(&dyn Gauges) -> f64| {
        let queue = Arc::downgrade(queue);
        context
            .shared
            .registry
            .observe(def, &labels, move || queue.upgrade().map_or(f64::NAN, |queue| read(&*queue)))
    };
    vec![
        observe(&go::QUEUE_SIZE, |queue| queue.size() as f64),
        observe(&go::QUEUE_CAPACITY, |queue| queue.capacity() as f64),
        observe(&ours::QUEUE_OLDEST_AGE, |queue| queue.oldest_age()),
    ]
}
