//! What every transform counts, whatever it does: what goes in, what comes out, and how long it takes.

use crate::component::Context;
use crate::entry::Route;
use crate::stage::Transform;
use crate::{Batch, Failure};
use millrace_telemetry::catalogue::processor as defs;
use millrace_telemetry::{Counter, Histogram, Labels, trace};
use millrace_wire::Signal;
use std::sync::Arc;
use std::time::Instant;

/// The handles of one processor in one pipeline.
pub(crate) struct Measures {
    incoming: Counter,
    outgoing: Counter,
    duration: Histogram,
    /// The processor's id, if what it does is to stand in the span around it.
    traced: Option<String>,
}

impl Measures {
    pub(crate) fn new(context: &Context, signal: Signal) -> Self {
        let registry = &context.shared.registry;
        let labels = Labels::from([("processor", context.id.to_string())]).with("otel.signal", signal.name());
        Self {
            incoming: registry.counter(&defs::INCOMING_ITEMS, &labels),
            outgoing: registry.counter(&defs::OUTGOING_ITEMS, &labels),
            duration: registry.histogram(&defs::INTERNAL_DURATION, &labels),
            traced: registry.tracer().is_on().then(|| context.id.to_string()),
        }
    }

    fn event(&self, name: &'static str) {
        if let Some(id) = &self.traced {
            trace::event(name, || vec![("processor", id.as_str().into())]);
        }
    }

    /// Has a transform counted. As in Go, what keeps things (`batch`, samplers) is not.
    pub(crate) fn around(self, route: Route) -> Route {
        match route {
            Route::Apply(inner, next) => Route::Apply(Arc::new(Measured { inner, measures: self }), next),
            other => other,
        }
    }
}

struct Measured {
    inner: Arc<dyn Transform>,
    measures: Measures,
}

impl Transform for Measured {
    fn apply(&self, batch: Batch) -> Result<Option<Batch>, Failure> {
        let incoming = batch.cost().items;
        let started = self.measures.duration.is_active().then(Instant::now);
        self.measures.event("Start processing.");
        let result = self.inner.apply(batch);
        self.measures.event("End processing.");
        if let Some(started) = started {
            self.measures.duration.record(started.elapsed().as_secs_f64());
        }
        let outgoing = result.as_ref().ok().and_then(Option::as_ref).map_or(0, |batch| batch.cost().items);
        self.measures.incoming.add(incoming);
        self.measures.outgoing.add(outgoing);
        result
    }
}
