//! `processors` of own logs and own traces: when what was made is sent, and where to.

use std::time::Duration;

use millrace_config::{Checker, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::otlp::Otlp;

/// One of `processors`: `batch` or `simple`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Processor {
    /// Sends what has come together after a while, or when there is enough.
    pub batch: Option<Batch>,
    /// Sends as soon as there is something.
    pub simple: Option<Simple>,
}

/// `batch` of a processor.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// How long to wait before sending, in milliseconds; 1000 for logs and 5000 for spans by default.
    pub schedule_delay: Option<u64>,
    /// How long sending may take, repeated attempts included, in milliseconds; 30000 by default.
    pub export_timeout: Option<u64>,
    /// How many may wait; further ones are dropped and counted. 2048 by default.
    pub max_queue_size: Option<u64>,
    /// The most that are sent at once; 512 by default.
    pub max_export_batch_size: Option<u64>,
    /// Where to.
    pub exporter: OwnExporter,
}

/// `simple` of a processor.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Simple {
    /// Where to.
    pub exporter: OwnExporter,
}

/// Where own logs or spans go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnExporter {
    /// To standard output, as OTLP/JSON.
    pub console: Option<Console>,
    /// By OTLP.
    pub otlp: Option<Otlp>,
}

/// `console` of an exporter; nothing to configure.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Console {}

impl Validate for Console {}

/// When what is sent, worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How long to wait before sending; zero for not at all.
    pub delay: Duration,
    /// How long sending may take.
    pub export_timeout: Duration,
    /// How many may wait.
    pub queue: usize,
    /// How many are sent at once.
    pub batch: usize,
}

const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_QUEUE: u64 = 2048;
const MAX_BATCH: u64 = 512;
/// More than anybody needs to look at, and little enough to be held.
const QUEUE_LIMIT: u64 = 1 << 20;

impl Processor {
    /// When it sends; `delay` is the default.
    #[must_use]
    pub fn schedule(&self, delay: Duration) -> Schedule {
        let batch = self.batch.clone().unwrap_or_default();
        let millis = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        let queue = batch.max_queue_size.filter(|size| *size > 0).unwrap_or(MAX_QUEUE).min(QUEUE_LIMIT);
        let most = batch.max_export_batch_size.filter(|size| *size > 0).unwrap_or(MAX_BATCH).min(queue);
        Schedule {
            delay: if self.simple.is_some() { Duration::ZERO } else { millis(batch.schedule_delay, delay) },
            export_timeout: millis(batch.export_timeout, EXPORT_TIMEOUT),
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            batch: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    /// Where it sends to.
    #[must_use]
    pub fn exporter(&self) -> Option<&OwnExporter> {
        let batch = self.batch.as_ref().map(|batch| &batch.exporter);
        batch.or_else(|| self.simple.as_ref().map(|simple| &simple.exporter))
    }
}

impl Validate for Processor {
    fn validate(&self, at: &mut Checker<'_>) {
        match (&self.batch, &self.simple) {
            (Some(_), Some(_)) => at.error_here("a processor is either `batch` or `simple`\nmake two of it"),
            (None, None) => {
                at.error_here("a processor needs `batch` or `simple`\nwrite `batch: {exporter: …}`");
            }
            _ => {}
        }
        at.nested("batch", &self.batch);
        at.nested("simple", &self.simple);
    }
}

impl Validate for Batch {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.max_queue_size.is_some_and(|size| size > QUEUE_LIMIT) {
            at.error("max_queue_size", format!("at most {QUEUE_LIMIT} may wait\nlower it"));
        }
        at.nested("exporter", &self.exporter);
    }
}

impl Validate for Simple {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("exporter", &self.exporter);
    }
}

impl Validate for OwnExporter {
    fn validate(&self, at: &mut Checker<'_>) {
        one_of_both(at, self.console.is_some(), self.otlp.is_some());
        at.nested("otlp", &self.otlp);
    }
}

pub(super) fn one_of_both(at: &mut Checker<'_>, console: bool, otlp: bool) {
    match (console, otlp) {
        (true, true) => at.error_here("an exporter is either `otlp` or `console`\nmake two processors of it"),
        (false, false) => {
            at.error_here("an exporter is needed\nwrite `otlp: {protocol: …, endpoint: …}` or `console: {}`");
        }
        _ => {}
    }
}
