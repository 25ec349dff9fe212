//! Metrics of all five kinds.

use super::{Attributes, Groups, Scope, Value, put_fixed64, put_id, put_key_value, put_text, put_varint};
use crate::view::Number;
use crate::writer::{
    begin_message, end_message, put_double_field, put_fixed64_field, put_sint_field, put_varint_field,
};
use crate::{Payload, Signal};

/// Writes an `ExportMetricsServiceRequest`.
#[derive(Debug, Default)]
pub struct Metrics {
    groups: Groups,
}

/// What a metric has once, whatever its kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Metric<'a> {
    /// The name, for example `http.server.request.duration`.
    pub name: &'a str,
    /// What is measured.
    pub description: &'a str,
    /// The unit by UCUM, for example `s` or `By`.
    pub unit: &'a str,
}

impl<'a> From<&'a str> for Metric<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }
}

/// `AggregationTemporality`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// Since the last report.
    Delta = 1,
    /// Since the start.
    Cumulative = 2,
}

impl Metrics {
    /// A payload of what `fill` writes.
    pub fn build(fill: impl FnOnce(&mut Self)) -> Payload {
        let mut metrics = Self::default();
        fill(&mut metrics);
        metrics.groups.finish(Signal::Metrics)
    }

    /// Begins a resource.
    pub fn resource(&mut self, schema_url: &str, attributes: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.groups.resource(schema_url, attributes);
        self
    }

    /// Begins a scope in the current resource.
    pub fn scope(&mut self, scope: Scope<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.groups.scope(&scope, attributes);
        self
    }

    /// Writes a gauge.
    pub fn gauge<'m>(
        &mut self,
        metric: impl Into<Metric<'m>>,
        points: impl FnOnce(&mut NumberPoints<'_>),
    ) -> &mut Self {
        self.metric(metric.into(), 5, None, |out, items| points(&mut NumberPoints { out, items }))
    }

    /// Writes a monotonic sum.
    pub fn counter<'m>(
        &mut self,
        metric: impl Into<Metric<'m>>,
        temporality: Temporality,
        points: impl FnOnce(&mut NumberPoints<'_>),
    ) -> &mut Self {
        self.metric(metric.into(), 7, Some(temporality), |out, items| {
            put_varint_field(out, 3, 1);
            points(&mut NumberPoints { out, items });
        })
    }

    /// Writes a sum that may also fall.
    pub fn up_down_counter<'m>(
        &mut self,
        metric: impl Into<Metric<'m>>,
        temporality: Temporality,
        points: impl FnOnce(&mut NumberPoints<'_>),
    ) -> &mut Self {
        self.metric(metric.into(), 7, Some(temporality), |out, items| {
            points(&mut NumberPoints { out, items });
        })
    }

    /// Writes a histogram with explicit bounds.
    pub fn histogram<'m>(
        &mut self,
        metric: impl Into<Metric<'m>>,
        temporality: Temporality,
        points: impl FnOnce(&mut HistogramPoints<'_>),
    ) -> &mut Self {
        self.metric(metric.into(), 9, Some(temporality), |out, items| {
            points(&mut HistogramPoints { out, items });
        })
    }

    /// Writes a histogram with exponential buckets.
    pub fn exponential_histogram<'m>(
        &mut self,
        metric: impl Into<Metric<'m>>,
        temporality: Temporality,
        points: impl FnOnce(&mut ExponentialHistogramPoints<'_>),
    ) -> &mut Self {
        self.metric(metric.into(), 10, Some(temporality), |out, items| {
            points(&mut ExponentialHistogramPoints { out, items });
        })
    }

    /// Writes a summary.
    pub fn summary<'m>(
        &mut self,
        metric: impl Into<Metric<'m>>,
        points: impl FnOnce(&mut SummaryPoints<'_>),
    ) -> &mut Self {
        self.metric(metric.into(), 11, None, |out, items| points(&mut SummaryPoints { out, items }))
    }

    fn metric(
        &mut self,
        metric: Metric<'_>,
        kind: u32,
        temporality: Option<Temporality>,
        points: impl FnOnce(&mut Vec<u8>, &mut u32),
    ) -> &mut Self {
        let mut items = 0;
        self.groups.item(|out| {
            put_text(out, 1, metric.name.as_bytes());
            put_text(out, 2, metric.description.as_bytes());
            put_text(out, 3, metric.unit.as_bytes());
            let data = begin_message(out, kind);
            if let Some(temporality) = temporality {
                put_varint_field(out, 2, temporality as u64);
            }
            points(out, &mut items);
            end_message(out, data);
        });
        self.groups.items += items;
        self
    }
}

/// What a data point has once, whatever its kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Point {
    /// Since when it counts, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When it was taken, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// `DataPointFlags`: 1 says that there is no value.
    pub flags: u32,
}

/// A sampled measurement behind a data point.
#[derive(Debug, Clone, Copy)]
pub struct Exemplar {
    /// When it was measured, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// What was measured.
    pub value: Number,
    /// All zero if it belongs to no trace.
    pub trace_id: [u8; 16],
    /// All zero if it belongs to no span.
    pub span_id: [u8; 8],
}

/// Writes what a data point has many times.
#[derive(Debug)]
pub struct PointBody<'o> {
    out: &'o mut Vec<u8>,
    attributes: u32,
    exemplars: u32,
}

impl PointBody<'_> {
    /// Writes an attribute. Keys should be unique; nothing checks it.
    pub fn attr<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> &mut Self {
        put_key_value(self.out, self.attributes, key.as_bytes(), &value.into());
        self
    }

    /// Writes an exemplar with those attributes that the point has not.
    pub fn exemplar(
        &mut self,
        exemplar: Exemplar,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        let message = begin_message(self.out, self.exemplars);
        put_fixed64(self.out, 2, exemplar.time_ns);
        put_number(self.out, 3, exemplar.value);
        put_id(self.out, 4, &exemplar.span_id);
        put_id(self.out, 5, &exemplar.trace_id);
        attributes(&mut Attributes { out: self.out, number: 7 });
        end_message(self.out, message);
        self
    }
}

/// Writes the points of a gauge or a sum.
#[derive(Debug)]
pub struct NumberPoints<'o> {
    out: &'o mut Vec<u8>,
    items: &'o mut u32,
}

impl NumberPoints<'_> {
    /// Writes a point.
    pub fn point(&mut self, point: Point, value: Number, body: impl FnOnce(&mut PointBody<'_>)) -> &mut Self {
        put_point(self.out, self.items, |out| {
            put_times(out, point);
            put_number(out, 4, value);
            put_varint(out, 8, point.flags.into());
            body(&mut PointBody { out, attributes: 7, exemplars: 5 });
        });
        self
    }
}

/// The value of a histogram's point.
#[derive(Debug, Clone, Copy, Default)]
pub struct Histogram<'a> {
    /// How many measurements.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// The least of them.
    pub min: Option<f64>,
    /// The greatest of them.
    pub max: Option<f64>,
    /// How many fell into each bucket: one more than there are bounds, or none at all.
    pub bucket_counts: &'a [u64],
    /// The upper bounds (inclusive) of all buckets but the last, ascending.
    pub explicit_bounds: &'a [f64],
}

/// Writes the points of a histogram.
#[derive(Debug)]
pub struct HistogramPoints<'o> {
    out: &'o mut Vec<u8>,
    items: &'o mut u32,
}

impl HistogramPoints<'_> {
    /// Writes a point.
    pub fn point(
        &mut self,
        point: Point,
        value: Histogram<'_>,
        body: impl FnOnce(&mut PointBody<'_>),
    ) -> &mut Self {
        put_point(self.out, self.items, |out| {
            put_times(out, point);
            put_fixed64(out, 4, value.count);
            put_optional(out, 5, value.sum);
            put_packed_words(out, 6, value.bucket_counts.iter().copied());
            put_packed_words(out, 7, value.explicit_bounds.iter().map(|bound| bound.to_bits()));
            put_varint(out, 10, point.flags.into());
            put_optional(out, 11, value.min);
            put_optional(out, 12, value.max);
            body(&mut PointBody { out, attributes: 9, exemplars: 8 });
        });
        self
    }
}

/// The value of an exponential histogram's point.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExponentialHistogram<'a> {
    /// How many measurements.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// The least of them.
    pub min: Option<f64>,
    /// The greatest of them.
    pub max: Option<f64>,
    /// The base of the buckets is `2^(2^-scale)`.
    pub scale: i32,
    /// How many were zero, or too close to it.
    pub zero_count: u64,
    /// How close to zero that is.
    pub zero_threshold: f64,
    /// The measurements above zero.
    pub positive: Buckets<'a>,
    /// The measurements below zero, by magnitude.
    pub negative: Buckets<'a>,
}

/// Consecutive exponential buckets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Buckets<'a> {
    /// The index of the first one.
    pub offset: i32,
    /// How many measurements fell into each.
    pub counts: &'a [u64],
}

impl Buckets<'_> {
    fn put(&self, out: &mut Vec<u8>, number: u32) {
        if self.counts.is_empty() {
            return;
        }
        let buckets = begin_message(out, number);
        if self.offset != 0 {
            put_sint_field(out, 1, self.offset.into());
        }
        let run = begin_message(out, 2);
        for &count in self.counts {
            crate::writer::put_varint(out, count);
        }
        end_message(out, run);
        end_message(out, buckets);
    }
}

/// Writes the points of an exponential histogram.
#[derive(Debug)]
pub struct ExponentialHistogramPoints<'o> {
    out: &'o mut Vec<u8>,
    items: &'o mut u32,
}

impl ExponentialHistogramPoints<'_> {
    /// Writes a point.
    pub fn point(
        &mut self,
        point: Point,
        value: ExponentialHistogram<'_>,
        body: impl FnOnce(&mut PointBody<'_>),
    ) -> &mut Self {
        put_point(self.out, self.items, |out| {
            put_times(out, point);
            put_fixed64(out, 4, value.count);
            put_optional(out, 5, value.sum);
            if value.scale != 0 {
                put_sint_field(out, 6, value.scale.into());
            }
            put_fixed64(out, 7, value.zero_count);
            value.positive.put(out, 8);
            value.negative.put(out, 9);
            put_varint(out, 10, point.flags.into());
            put_optional(out, 12, value.min);
            put_optional(out, 13, value.max);
            put_fixed64(out, 14, value.zero_threshold.to_bits());
            body(&mut PointBody { out, attributes: 1, exemplars: 11 });
        });
        self
    }
}

/// The value of a summary's point.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary<'a> {
    /// How many measurements.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Quantiles (0 to 1) with their values.
    pub quantiles: &'a [(f64, f64)],
}

/// Writes the points of a summary.
#[derive(Debug)]
pub struct SummaryPoints<'o> {
    out: &'o mut Vec<u8>,
    items: &'o mut u32,
}

impl SummaryPoints<'_> {
    /// Writes a point.
    pub fn point(
        &mut self,
        point: Point,
        value: Summary<'_>,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        put_point(self.out, self.items, |out| {
            put_times(out, point);
            put_fixed64(out, 4, value.count);
            put_fixed64(out, 5, value.sum.to_bits());
            for &(quantile, value) in value.quantiles {
                let pair = begin_message(out, 6);
                put_fixed64(out, 1, quantile.to_bits());
                put_fixed64(out, 2, value.to_bits());
                end_message(out, pair);
            }
            put_varint(out, 8, point.flags.into());
            attributes(&mut Attributes { out, number: 7 });
        });
        self
    }
}

fn put_point(out: &mut Vec<u8>, items: &mut u32, fill: impl FnOnce(&mut Vec<u8>)) {
    *items += 1;
    let point = begin_message(out, 1);
    fill(out);
    end_message(out, point);
}

fn put_times(out: &mut Vec<u8>, point: Point) {
    put_fixed64(out, 2, point.start_ns);
    put_fixed64(out, 3, point.time_ns);
}

/// A oneof keeps its member even if it is zero; `as_int` has number 6 wherever it occurs.
fn put_number(out: &mut Vec<u8>, as_double: u32, value: Number) {
    match value {
        Number::Int(value) => put_fixed64_field(out, 6, value as u64),
        Number::Double(value) => put_double_field(out, as_double, value),
    }
}

fn put_optional(out: &mut Vec<u8>, number: u32, value: Option<f64>) {
    if let Some(value) = value {
        put_double_field(out, number, value);
    }
}

fn put_packed_words(out: &mut Vec<u8>, number: u32, words: impl ExactSizeIterator<Item = u64>) {
    if words.len() > 0 {
        let run = begin_message(out, number);
        for word in words {
            out.extend_from_slice(&word.to_le_bytes());
        }
        end_message(out, run);
    }
}
