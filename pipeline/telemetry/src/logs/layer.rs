//! From events of `tracing` to lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as Values};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::encode::{Fields, Head};
use super::records::{Record, Structured, is_muted, record};
use super::sampler::Sampler;
use super::sink::Sink;
use crate::buffer::Buffer;
use crate::catalogue::millrace::LOG_LINES_DROPPED;
use crate::config::{Encoding, LogsConfig};
use crate::metrics::{Counter, Labels, Registry};

/// What the targets of our own events begin with.
const OWN_TARGETS: &str = "millrace";

/// From which level on events are logged; may change while the process runs.
#[derive(Debug)]
pub(super) struct Threshold(AtomicUsize);

const FILTERS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

impl Threshold {
    pub(super) fn new(filter: LevelFilter) -> Self {
        let threshold = Self(AtomicUsize::new(0));
        threshold.set(filter);
        threshold
    }

    pub(super) fn set(&self, filter: LevelFilter) {
        let at = FILTERS.iter().position(|known| *known == filter).unwrap_or_default();
        self.0.store(at, Ordering::Relaxed);
    }

    fn get(&self) -> LevelFilter {
        FILTERS[self.0.load(Ordering::Relaxed)]
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        let own = self.get();
        let limit = if !metadata.target().starts_with(OWN_TARGETS) {
            own.min(if own >= LevelFilter::DEBUG { LevelFilter::INFO } else { LevelFilter::WARN })
        } else if metadata.is_span() {
            // A warning needs the span it happens in, though the span itself says nothing alarming.
            own.max(LevelFilter::INFO)
        } else {
            own
        };
        *metadata.level() <= limit
    }
}

/// Writes events as lines.
pub(super) struct LogLayer {
    encoding: Encoding,
    with_caller: bool,
    /// Initial fields and resource, encoded.
    prefix: String,
    sampler: Option<Sampler>,
    sampled: Counter,
    started: Instant,
    sink: Arc<Sink>,
    threshold: Arc<Threshold>,
    /// What is also sent as log records goes here.
    buffers: Vec<Buffer<Arc<Record>>>,
}

/// The encoded fields of a span.
struct SpanFields(String);

impl LogLayer {
    pub(super) fn new(
        config: &LogsConfig,
        resource: &Labels,
        registry: &Registry,
        sink: Arc<Sink>,
        threshold: Arc<Threshold>,
        buffers: Vec<Buffer<Arc<Record>>>,
    ) -> Self {
        let mut prefix = Fields::new(config.encoding);
        for (name, value) in &config.initial_fields {
            prefix.json(name, value);
        }
        if !config.disable_zap_resource {
            prefix.resource(resource);
        }
        Self {
            encoding: config.encoding,
            with_caller: !config.disable_caller,
            prefix: prefix.out,
            sampler: config.sampling.as_ref().and_then(Sampler::new),
            sampled: registry.counter(&LOG_LINES_DROPPED, &Labels::from([("reason", "sampled")])),
            started: Instant::now(),
            sink,
            threshold,
            buffers,
        }
    }

    fn has_records(&self) -> bool {
        !self.buffers.is_empty() && !is_muted()
    }

    fn send<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        event: &Event<'_>,
        head: &Head<'_>,
        context: &Context<'_, S>,
    ) {
        let mut fields = Structured::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(around) = span.extensions().get::<Structured>() {
                fields.attributes.extend(around.attributes.iter().cloned());
            }
        }
        event.record(&mut fields);
        let caller = head.file.zip(head.line);
        let record = record(head.time, head.level, head.message.to_owned(), caller, fields.attributes);
        self.buffers.iter().for_each(|buffer| buffer.push(Arc::clone(&record)));
    }

    fn admits(&self, level: Level, message: &str) -> bool {
        let now_ms = self.started.elapsed().as_millis() as u64;
        let admits = self.sampler.as_ref().is_none_or(|sampler| sampler.admits(level, message, now_ms));
        if !admits {
            self.sampled.add(1);
        }
        admits
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.threshold.admits(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.threshold.get().max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::new(self.encoding);
        attributes.record(&mut fields);
        span.extensions_mut().insert(SpanFields(fields.out));
        if self.has_records() {
            let mut fields = Structured::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Values<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let known = extensions.remove::<SpanFields>().map_or_else(String::new, |fields| fields.0);
        let mut fields = Fields::after(self.encoding, known);
        values.record(&mut fields);
        extensions.insert(SpanFields(fields.out));
        if let Some(fields) = extensions.get_mut::<Structured>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::new(self.encoding);
        event.record(&mut fields);
        if !self.admits(*metadata.level(), &fields.message) {
            return;
        }

        let mut around: Vec<String> = Vec::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<SpanFields>() {
                around.push(fields.0.clone());
            }
        }

        let head = Head {
            time: SystemTime::now(),
            level: *metadata.level(),
            file: metadata.file().filter(|_| self.with_caller),
            line: metadata.line(),
            message: &fields.message,
        };
        let runs = std::iter::once(self.prefix.as_str())
            .chain(around.iter().map(String::as_str))
            .chain([fields.out.as_str()]);
        let mut line = String::with_capacity(512);
        self.encoding.line(&mut line, &head, runs);
        self.sink.push(&line);
        if self.has_records() {
            self.send(event, &head, &context);
        }
    }
}
