//! Events as OTLP log records.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::Level;
use tracing::field::{Field, Visit};

use crate::otlp::Attribute;
use crate::trace::SpanContext;

thread_local! {
    static MUTED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps what this thread logs from being sent as log records: what is said about sending own logs must not have to be
/// sent in turn. Lines are written all the same.
pub fn mute_records_of_this_thread() {
    MUTED.set(true);
}

pub(super) fn is_muted() -> bool {
    MUTED.get()
}

/// Fields whose names begin like this describe the component, and stand at the scope.
const ABOUT_THE_COMPONENT: &str = "otelcol.";

/// A log record.
#[derive(Debug, Clone)]
pub struct Record {
    /// When.
    pub time: SystemTime,
    /// How bad.
    pub level: Level,
    /// What.
    pub message: String,
    /// Whose, by the attributes of its scope.
    pub scope: Vec<(&'static str, Attribute)>,
    /// Further fields.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Within which span of our own it was said.
    pub span: Option<SpanContext>,
}

/// The fields of an event or a span of `tracing`, as attributes.
#[derive(Debug, Clone, Default)]
pub(super) struct Structured {
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

impl Structured {
    fn put(&mut self, field: &Field, value: impl Into<Attribute>) {
        // The conventions' name for what the Go collector has under this one, too.
        let name = if field.name() == "error" { "exception.message" } else { field.name() };
        if name != "message" {
            self.attributes.push((name, value.into()));
        }
    }
}

impl Visit for Structured {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut words = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            words.push_str(&format!(": {error}"));
            cause = error.source();
        }
        self.put(field, words);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Attribute::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Attribute::Bool(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Attribute::Double(value));
    }
}

/// A record of all the fields around an event and in it.
pub(super) fn record(
    time: SystemTime,
    level: Level,
    message: String,
    caller: Option<(&str, u32)>,
    fields: Vec<(&'static str, Attribute)>,
) -> Arc<Record> {
    let (scope, mut attributes): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|(name, _)| name.starts_with(ABOUT_THE_COMPONENT));
    if let Some((file, line)) = caller {
        attributes.push(("code.file.path", file.into()));
        attributes.push(("code.line.number", Attribute::Int(line.into())));
    }
    Arc::new(Record { time, level, message, scope, attributes, span: crate::trace::current() })
}
