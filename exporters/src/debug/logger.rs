//! Saying it in the collector's own logs.
//!
//! The lines are the Go collector's: the component's fields before the counts, after the message however many lines
//! it has, and no place in the source. `tracing`'s macros always give the place, so the event is put together here.

use super::render::Counts;
use millrace_engine::component::Context;
use millrace_wire::Signal;
use tracing::callsite::{DefaultCallsite, Identifier};
use tracing::field::{Field, FieldSet, Value};
use tracing::metadata::Kind;
use tracing::{Event, Level, Metadata};

static CALLSITE: DefaultCallsite = DefaultCallsite::new(&EVENT);

static EVENT: Metadata<'static> = Metadata::new(
    "debug exporter",
    "millrace_exporters::debug",
    Level::INFO,
    None,
    None,
    None,
    FieldSet::new(FIELDS, Identifier(&CALLSITE)),
    Kind::EVENT,
);

const FIELDS: &[&str] = &[
    "message",
    "otelcol.component.id",
    "otelcol.component.kind",
    "otelcol.signal",
    // Those of `Counts`, in any order that keeps each signal's own.
    "resource spans",
    "spans",
    "resource metrics",
    "metrics",
    "data points",
    "resource logs",
    "log records",
    "resource profiles",
    "sample records",
];

/// The logs, as one exporter and signal speaks in them.
#[derive(Debug)]
pub(super) struct Logger {
    component: String,
    signal: &'static str,
}

impl Logger {
    pub(super) fn new(context: &Context, signal: Signal) -> Self {
        Self { component: context.id.to_string(), signal: signal.name() }
    }

    /// Whether anybody listens.
    pub(super) fn is_heard() -> bool {
        // Registering is what makes the level of the logs known here, and does nothing the second time.
        CALLSITE.register();
        tracing::dispatcher::get_default(|logs| logs.enabled(&EVENT))
    }

    /// Says how much there is.
    pub(super) fn counts(&self, counts: Counts) {
        self.say(counts.message(), &counts.fields().collect::<Vec<_>>());
    }

    /// Says a text.
    pub(super) fn text(&self, text: &str) {
        self.say(text, &[]);
    }

    fn say(&self, message: &str, counts: &[(&'static str, u64)]) {
        let kind = "exporter";
        let value = |field: &Field| -> Option<&dyn Value> {
            match field.name() {
                "message" => Some(&message as &dyn Value),
                "otelcol.component.id" => Some(&self.component),
                "otelcol.component.kind" => Some(&kind),
                "otelcol.signal" => Some(&self.signal),
                name => counts.iter().find(|(count, _)| *count == name).map(|(_, value)| value as &dyn Value),
            }
        };
        let fields: [Field; FIELDS.len()] = std::array::from_fn(|at| {
            EVENT.fields().field(FIELDS[at]).expect("the event has all of its fields")
        });
        let values: [(&Field, Option<&dyn Value>); FIELDS.len()] =
            std::array::from_fn(|at| (&fields[at], value(&fields[at])));
        Event::dispatch(&EVENT, &EVENT.fields().value_set(&values));
    }
}
