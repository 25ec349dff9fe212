//! Spans of the collector's own work: named, attributed and nested as the Go collector's.
//!
//! # Invariants
//! - While spans are off, asking for one is a branch.
//! - Nobody waits for a span to be sent: it is put into a bounded buffer, or dropped and counted.

mod context;
mod sampler;

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use millrace_wire::write::SpanKind;

pub use self::context::SpanContext;
use self::sampler::Sampler;
use crate::buffer::{Buffer, Outlet};
use crate::config::traces::{Propagator, TracesConfig};
use crate::metrics::Registry;
use crate::otlp::Attribute;

/// How long spans wait before they are sent, unless configured.
const DELAY: Duration = Duration::from_secs(5);
/// More events than this in one span are left out, as in the SDKs.
const MAX_EVENTS: usize = 128;

/// Makes spans, or none. A clone is the same.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    sampler: Sampler,
    propagators: Vec<Propagator>,
    buffers: Vec<Buffer<Arc<Finished>>>,
    ids: Ids,
}

/// Who makes a span: the scope that it stands in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Instrumentation {
    /// The scope's name.
    pub name: String,
    /// Its version.
    pub version: &'static str,
    /// `otelcol.component.id` and so on.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Which it is.
    pub context: SpanContext,
    /// The span around it.
    pub parent: Option<SpanContext>,
    /// What was done.
    pub name: String,
    /// Its role.
    pub kind: SpanKind,
    /// Who did it.
    pub by: Arc<Instrumentation>,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// Spans that it has to do with.
    pub links: Vec<SpanContext>,
    /// What went wrong; `None` if nothing did.
    pub error: Option<String>,
}

/// Something that happened within a span.
#[derive(Debug, Clone)]
pub struct SpanEvent {
    /// What.
    pub name: &'static str,
    /// When.
    pub time: SystemTime,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// A span under way, or nothing. It ends when it is dropped.
#[derive(Default)]
pub struct Span(Option<Box<Live>>);

struct Live {
    tracer: Arc<Inner>,
    finished: Finished,
    began: Instant,
    events: Events,
}

type Events = Arc<Mutex<Vec<SpanEvent>>>;

thread_local! {
    /// The span that what runs just now belongs to.
    static CURRENT: RefCell<Option<(SpanContext, Events)>> = const { RefCell::new(None) };
}

impl Tracer {
    /// As configured, and what it puts spans into.
    #[must_use]
    pub fn new(config: &TracesConfig, registry: &Registry) -> (Self, Vec<Outlet<Arc<Finished>>>) {
        if !config.is_on() {
            return (Self::default(), Vec::new());
        }
        let outlets: Vec<_> = config
            .processors
            .iter()
            .filter_map(|processor| {
                let schedule = processor.schedule(DELAY);
                let buffer = Buffer::new(&schedule, "traces", registry);
                Some(Outlet { schedule, exporter: processor.exporter()?.clone(), buffer })
            })
            .collect();
        let inner = Inner {
            sampler: Sampler::new(config.sampler.as_ref()),
            propagators: config.propagators.clone(),
            buffers: outlets.iter().map(|outlet| outlet.buffer.clone()).collect(),
            ids: Ids::new(),
        };
        (Self(Some(Arc::new(inner))), outlets)
    }

    /// Whether there are spans.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The trace that a sender tells of.
    #[must_use]
    pub fn extract(&self, headers: &HeaderMap) -> Option<SpanContext> {
        context::extract(&self.0.as_ref()?.propagators, headers)
    }

    /// Begins a span within `parent`, or a trace.
    #[must_use]
    pub fn start(
        &self,
        by: &Arc<Instrumentation>,
        name: impl Into<String>,
        kind: SpanKind,
        parent: Option<SpanContext>,
    ) -> Span {
        let Some(tracer) = &self.0 else { return Span(None) };
        let trace_id = parent.map_or_else(|| tracer.ids.trace(), |parent| parent.trace_id);
        let is_sampled = tracer.sampler.takes(&trace_id, parent.as_ref());
        let context = SpanContext { trace_id, span_id: tracer.ids.span(), is_sampled, is_remote: false };
        let now = SystemTime::now();
        let finished = Finished {
            context,
            parent,
            name: name.into(),
            kind,
            by: Arc::clone(by),
            start: now,
            end: now,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            error: None,
        };
        let live =
            Live { tracer: Arc::clone(tracer), finished, began: Instant::now(), events: Events::default() };
        Span(Some(Box::new(live)))
    }
}

impl Span {
    /// Which it is, if there are spans.
    #[must_use]
    pub fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|live| live.finished.context)
    }

    /// Says something about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Attribute>) {
        if let Some(live) = &mut self.0 {
            live.finished.attributes.push((name, value.into()));
        }
    }

    /// It has to do with another one.
    pub fn link(&mut self, to: SpanContext) {
        if let Some(live) = &mut self.0 {
            live.finished.links.push(to);
        }
    }

    /// Something went wrong.
    pub fn fail(&mut self, error: impl Into<String>) {
        if let Some(live) = &mut self.0 {
            live.finished.error = Some(error.into());
        }
    }

    /// Something happens in it.
    pub fn event(&mut self, name: &'static str, attributes: Vec<(&'static str, Attribute)>) {
        if let Some(live) = &self.0 {
            add(&live.events, name, attributes);
        }
    }

    /// It began earlier.
    pub fn began_at(&mut self, began: Instant) {
        if let Some(live) = &mut self.0 {
            live.finished.start -= live.began.saturating_duration_since(began);
            live.began = live.began.min(began);
        }
    }

    /// Runs `work` so that what happens in it, and the spans begun in it, belong to this span.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(live) = &self.0 else { return work.await };
        let mut work = pin!(work);
        poll_fn(|task| {
            let _entered = Entered::new(live.finished.context, Arc::clone(&live.events));
            work.as_mut().poll(task)
        })
        .await
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(live) = self.0.take() else { return };
        if !live.finished.context.is_sampled {
            return;
        }
        let Live { tracer, mut finished, began, events } = *live;
        finished.end = finished.start + began.elapsed();
        finished.events = std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
        let finished = Arc::new(finished);
        tracer.buffers.iter().for_each(|buffer| buffer.push(Arc::clone(&finished)));
    }
}

/// Which span what runs just now belongs to.
#[must_use]
pub fn current() -> Option<SpanContext> {
    CURRENT.with_borrow(|current| current.as_ref().map(|(context, _)| *context))
}

/// Something happens within the current span, if there is one.
pub fn event(name: &'static str, attributes: impl FnOnce() -> Vec<(&'static str, Attribute)>) {
    CURRENT.with_borrow(|current| {
        let Some((context, events)) = current else { return };
        if !context.is_sampled {
            return;
        }
        add(events, name, attributes());
    });
}

fn add(events: &Events, name: &'static str, attributes: Vec<(&'static str, Attribute)>) {
    let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
    if events.len() < MAX_EVENTS {
        events.push(SpanEvent { name, time: SystemTime::now(), attributes });
    }
}

/// Puts back the span before when it is dropped.
struct Entered(Option<(SpanContext, Events)>);

impl Entered {
    fn new(context: SpanContext, events: Events) -> Self {
        Self(CURRENT.replace(Some((context, events))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Ids that differ: numbers in a row under a hash with a random key.
struct Ids {
    keys: [RandomState; 2],
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        Self { keys: [RandomState::new(), RandomState::new()], next: AtomicU64::new(1) }
    }

    fn span(&self) -> [u8; 8] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.keys[0].hash_one(number).max(1).to_be_bytes()
    }

    fn trace(&self) -> [u8; 16] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let half = |key: usize| u128::from(self.keys[key].hash_one((number, "trace")));
        (half(0) << 64 | half(1)).max(1).to_be_bytes()
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.is_on()).finish()
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.context()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Level;

    fn tracer(json: &str) -> (Tracer, Vec<Outlet<Arc<Finished>>>) {
        let config: TracesConfig = serde_json::from_str(json).expect("a configuration");
        Tracer::new(&config, &Registry::new(Level::Basic))
    }

    const ON: &str = r#"{"processors": [{"simple": {"exporter": {"console": {}}}}]}"#;

    fn ready<T>(work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        match work.as_mut().poll(&mut task) {
            std::task::Poll::Ready(done) => done,
            std::task::Poll::Pending => panic!("it does not wait for anything"),
        }
    }

    #[test]
    fn spans_nest_and_know_what_happened_in_them() {
        let (tracer, outlets) = tracer(ON);
        let by = Arc::new(Instrumentation { name: "here".to_owned(), ..Instrumentation::default() });
        {
            let outer = tracer.start(&by, "outer", SpanKind::Server, None);
            ready(outer.around(async {
                event("Start processing.", || vec![("processor", "batch".into())]);
                let mut inner = tracer.start(&by, "inner", SpanKind::Internal, current());
                inner.set("items", 3_u64);
                inner.fail("no");
            }));
            assert_eq!(current(), None);
        }
        let spans = outlets[0].buffer.take(10);
        let [inner, outer] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(inner.parent, Some(outer.context));
        assert_eq!(inner.context.trace_id, outer.context.trace_id);
        assert_eq!((inner.error.as_deref(), outer.error.as_deref()), (Some("no"), None));
        assert_eq!(outer.events.len(), 1);
        assert!(outer.end >= inner.end && outer.start <= inner.start);
    }

    #[test]
    fn what_is_not_sampled_is_not_recorded_and_nothing_is_when_spans_are_off() {
        let (tracer, outlets) = tracer(
            r#"{"processors": [{"simple": {"exporter": {"console": {}}}}], "sampler": {"always_off": {}}}"#,
        );
        let by = Arc::default();
        let outer = tracer.start(&by, "outer", SpanKind::Server, None);
        let parent = outer.context();
        assert!(parent.is_some_and(|context| !context.is_sampled));
        drop((tracer.start(&by, "inner", SpanKind::Internal, parent), outer));
        assert!(outlets[0].buffer.is_empty());

        let off = Tracer::new(
            &serde_json::from_str(r#"{"level": "none"}"#).expect("off"),
            &Registry::new(Level::Basic),
        );
        assert!(!off.0.is_on() && off.1.is_empty());
        assert_eq!(off.0.start(&by, "x", SpanKind::Internal, None).context(), None);
    }

    #[test]
    fn ids_differ() {
        let ids = Ids::new();
        let spans: std::collections::HashSet<_> = (0..1_000).map(|_| ids.span()).collect();
        assert_eq!(spans.len(), 1_000);
        assert_ne!(ids.trace(), ids.trace());
    }
}
