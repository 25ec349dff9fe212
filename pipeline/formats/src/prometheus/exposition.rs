//! Families of samples, and the one writer of all formats.

use super::protobuf::Protobuf;
use super::text::Text;
use super::{Format, Syntax};

/// What introduces a metric.
#[derive(Debug, Clone, Copy)]
pub struct Family<'a> {
    /// Its name, not escaped.
    pub name: &'a str,
    /// What it is, for people.
    pub help: &'a str,
    /// Its type.
    pub kind: Kind,
}

/// The types of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket, with fixed bounds or native.
    Histogram,
    /// Quantiles.
    Summary,
    /// Nobody said.
    Unknown,
}

impl Kind {
    /// The name in Prometheus' text format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "untyped",
        }
    }
}

/// The value of a series. It must be of its family's [`Kind`].
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Of a gauge or of an unknown type.
    Number(f64),
    /// Of a counter.
    Counter {
        /// The sum.
        value: f64,
        /// When it was zero.
        created_ns: Option<u64>,
        /// One of the measurements.
        exemplar: Option<Exemplar>,
    },
    /// Of a histogram with fixed bounds.
    Histogram(Histogram<'a>),
    /// Of a native histogram.
    Native(Native<'a>),
    /// Of a summary.
    Summary(Summary<'a>),
}

/// A histogram with fixed bounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Histogram<'a> {
    /// How many measurements.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The buckets but for the last, by ascending bounds.
    pub buckets: &'a [Bucket],
    /// When it was empty.
    pub created_ns: Option<u64>,
    /// Some of the measurements, the oldest first; of those in one bucket the last is shown.
    pub exemplars: &'a [Exemplar],
}

/// A bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The largest value in it.
    pub upper_bound: f64,
    /// How many measurements in this one and those below.
    pub cumulative: u64,
}

/// A native histogram: exponential buckets. Shown with its buckets in protobuf only; text has its count and sum.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native<'a> {
    /// How many measurements.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Bounds are powers of 2^(2^-schema); from -4 to 8.
    pub schema: i32,
    /// How far from zero counts as zero.
    pub zero_threshold: f64,
    /// How many do.
    pub zero_count: u64,
    /// Runs of buckets above zero.
    pub positive: Span<'a>,
    /// And below.
    pub negative: Span<'a>,
    /// When it was empty.
    pub created_ns: Option<u64>,
    /// Some of the measurements.
    pub exemplars: &'a [Exemplar],
}

/// Consecutive buckets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span<'a> {
    /// The index of the first: the bucket up to 1 has index 0.
    pub offset: i32,
    /// What is in them.
    pub counts: &'a [u64],
}

/// Quantiles of measurements.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary<'a> {
    /// How many measurements.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Quantiles, ascending, and their values.
    pub quantiles: &'a [(f64, f64)],
    /// When it was empty.
    pub created_ns: Option<u64>,
}

/// One measurement, and what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// What was measured.
    pub value: f64,
    /// When.
    pub time_ns: u64,
    /// The trace.
    pub trace_id: Option<[u8; 16]>,
    /// The span in it.
    pub span_id: Option<[u8; 8]>,
}

impl Exemplar {
    /// The ids as labels in hexadecimal.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&'static str, String)> {
        let trace_id = self.trace_id.map(|id| ("trace_id", hex(&id)));
        let span_id = self.span_id.map(|id| ("span_id", hex(&id)));
        trace_id.into_iter().chain(span_id)
    }
}

fn hex(id: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = id.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

/// An answer to a scrape under way: families, each with its samples, in the order in which they are to appear.
#[derive(Debug)]
pub enum Exposition {
    /// In one of the text formats.
    Text(Text),
    /// In protobuf.
    Protobuf(Protobuf),
}

impl Exposition {
    /// An empty one.
    #[must_use]
    pub fn new(format: Format) -> Self {
        match format.syntax {
            Syntax::Protobuf => Self::Protobuf(Protobuf::new(format.escaping)),
            _ => Self::Text(Text::new(format)),
        }
    }

    /// Begins a family; the samples that follow belong to it.
    pub fn family(&mut self, family: Family<'_>) {
        match self {
            Self::Text(text) => text.family(family),
            Self::Protobuf(protobuf) => protobuf.family(family),
        }
    }

    /// Adds a sample. Label names are not escaped yet and must be unique.
    pub fn sample<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        timestamp_ms: Option<i64>,
        value: &Value<'_>,
    ) {
        match self {
            Self::Text(text) => text.sample(labels, timestamp_ms, value),
            Self::Protobuf(protobuf) => protobuf.sample(labels, timestamp_ms, value),
        }
    }

    /// How much can be taken now.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Protobuf(protobuf) => protobuf.len(),
        }
    }

    /// What it takes of memory, in bytes. That is more than can be taken now where a family is written after its length.
    #[must_use]
    pub fn held(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Protobuf(protobuf) => protobuf.held(),
        }
    }

    /// Whether nothing can be taken now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what is ready to be sent.
    pub fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.take().into_bytes(),
            Self::Protobuf(protobuf) => protobuf.take(),
        }
    }

    /// Ends it; what has not been taken.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.finish().into_bytes(),
            Self::Protobuf(protobuf) => protobuf.finish(),
        }
    }
}
