//! The protobuf format: one `io.prometheus.client.MetricFamily` after another, each after its length.
//!
//! Fields that proto2 would leave out when they are unset are always written where the Go client library sets them.

use super::exposition::{Exemplar, Family, Histogram, Kind, Native, Span, Summary, Value};
use super::text::within;
use super::{Escaping, escape};
use millrace_wire::writer::{
    begin_message, end_message, put_double_field, put_len_field, put_sint_field, put_varint, put_varint_field,
};
use std::mem;

/// The room that is kept for the next family.
const KEPT_BYTES: usize = 64 << 10;

/// Messages under way.
#[derive(Debug)]
pub struct Protobuf {
    out: Vec<u8>,
    /// The family that samples belong to; empty before the first.
    family: Vec<u8>,
    kind: Kind,
    escaping: Escaping,
}

impl Protobuf {
    pub(super) fn new(escaping: Escaping) -> Self {
        Self { out: Vec::new(), family: Vec::new(), kind: Kind::Unknown, escaping }
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// A family is copied to be written after its length, so until then it counts twice.
    pub(super) fn held(&self) -> usize {
        self.out.capacity() + 2 * self.family.capacity()
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.out)
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_family();
        self.out
    }

    fn end_family(&mut self) {
        if !self.family.is_empty() {
            put_varint(&mut self.out, self.family.len() as u64);
            self.out.append(&mut self.family);
            if self.family.capacity() > KEPT_BYTES {
                self.family = Vec::new();
            }
        }
    }

    pub(super) fn family(&mut self, family: Family<'_>) {
        self.end_family();
        self.kind = family.kind;
        put_len_field(&mut self.family, 1, escape(family.name, self.escaping).as_bytes());
        put_len_field(&mut self.family, 2, family.help.as_bytes());
        let kind = match family.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Summary => 2,
            Kind::Unknown => 3,
            Kind::Histogram => 4,
        };
        put_varint_field(&mut self.family, 3, kind);
    }

    pub(super) fn sample<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        timestamp_ms: Option<i64>,
        value: &Value<'_>,
    ) {
        const TIMESTAMP: u32 = 6;
        let out = &mut self.family;
        let put_timestamp = |out: &mut Vec<u8>| {
            if let Some(timestamp_ms) = timestamp_ms {
                put_varint_field(out, TIMESTAMP, timestamp_ms.cast_unsigned());
            }
        };
        let metric = begin_message(out, 4);
        for (name, value) in labels {
            put_label(out, 1, &escape(name, self.escaping), value);
        }
        // Fields are in the order of their numbers, as the Go library writes them.
        let is_histogram = matches!(value, Value::Histogram(_) | Value::Native(_));
        if is_histogram {
            put_timestamp(out);
        }
        match value {
            Value::Number(number) => {
                let message = begin_message(out, if self.kind == Kind::Gauge { 2 } else { 5 });
                put_double_field(out, 1, *number);
                end_message(out, message);
            }
            Value::Counter { value, created_ns, exemplar } => {
                let message = begin_message(out, 3);
                put_double_field(out, 1, *value);
                if let Some(exemplar) = exemplar {
                    put_exemplar(out, 2, exemplar);
                }
                put_time(out, 3, *created_ns);
                end_message(out, message);
            }
            Value::Summary(summary) => put_summary(out, summary),
            Value::Histogram(histogram) => put_histogram(out, histogram),
            Value::Native(native) => put_native(out, native),
        }
        if !is_histogram {
            put_timestamp(out);
        }
        end_message(out, metric);
    }
}

fn put_label(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    let label = begin_message(out, field);
    put_len_field(out, 1, name.as_bytes());
    put_len_field(out, 2, value.as_bytes());
    end_message(out, label);
}

/// A `google.protobuf.Timestamp`.
fn put_time(out: &mut Vec<u8>, field: u32, time_ns: Option<u64>) {
    const SECOND: u64 = 1_000_000_000;
    let Some(time_ns) = time_ns else { return };
    let time = begin_message(out, field);
    put_varint_field(out, 1, time_ns / SECOND);
    if !time_ns.is_multiple_of(SECOND) {
        put_varint_field(out, 2, time_ns % SECOND);
    }
    end_message(out, time);
}

fn put_exemplar(out: &mut Vec<u8>, field: u32, exemplar: &Exemplar) {
    let message = begin_message(out, field);
    for (name, value) in exemplar.labels() {
        put_label(out, 1, name, &value);
    }
    put_double_field(out, 2, exemplar.value);
    put_time(out, 3, Some(exemplar.time_ns));
    end_message(out, message);
}

fn put_summary(out: &mut Vec<u8>, summary: &Summary<'_>) {
    let message = begin_message(out, 4);
    put_varint_field(out, 1, summary.count);
    put_double_field(out, 2, summary.sum);
    for (quantile, value) in summary.quantiles {
        let message = begin_message(out, 3);
        put_double_field(out, 1, *quantile);
        put_double_field(out, 2, *value);
        end_message(out, message);
    }
    put_time(out, 4, summary.created_ns);
    end_message(out, message);
}

fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram<'_>) {
    let message = begin_message(out, 7);
    put_varint_field(out, 1, histogram.count);
    put_double_field(out, 2, histogram.sum);
    let mut below = f64::NEG_INFINITY;
    for bucket in histogram.buckets {
        let exemplar = histogram.exemplars.iter().rfind(|e| within(e.value, below, bucket.upper_bound));
        put_bucket(out, bucket.cumulative, bucket.upper_bound, exemplar);
        below = bucket.upper_bound;
    }
    // The last bucket goes without saying, unless it has an exemplar.
    let last = histogram.exemplars.iter().rfind(|e| within(e.value, below, f64::INFINITY));
    if below < f64::INFINITY && last.is_some() {
        put_bucket(out, histogram.count, f64::INFINITY, last);
    }
    put_time(out, 15, histogram.created_ns);
    end_message(out, message);
}

fn put_bucket(out: &mut Vec<u8>, cumulative: u64, upper_bound: f64, exemplar: Option<&Exemplar>) {
    let message = begin_message(out, 3);
    put_varint_field(out, 1, cumulative);
    put_double_field(out, 2, upper_bound);
    if let Some(exemplar) = exemplar {
        put_exemplar(out, 3, exemplar);
    }
    end_message(out, message);
}

fn put_native(out: &mut Vec<u8>, native: &Native<'_>) {
    let message = begin_message(out, 7);
    put_varint_field(out, 1, native.count);
    put_double_field(out, 2, native.sum);
    put_sint_field(out, 5, native.schema.into());
    put_double_field(out, 6, native.zero_threshold);
    put_varint_field(out, 7, native.zero_count);
    put_span(out, (9, 10), native.negative);
    put_span(out, (12, 13), native.positive);
    let says_nothing = native.zero_threshold == 0.0
        && native.zero_count == 0
        && native.positive.counts.is_empty()
        && native.negative.counts.is_empty();
    if says_nothing {
        // An empty run is what tells it from a histogram with fixed bounds.
        put_span_head(out, 12, 0, 0);
    }
    put_time(out, 15, native.created_ns);
    for exemplar in native.exemplars {
        put_exemplar(out, 16, exemplar);
    }
    end_message(out, message);
}

/// A run of buckets, and how each count differs from the one before.
fn put_span(out: &mut Vec<u8>, (head, deltas): (u32, u32), span: Span<'_>) {
    if span.counts.is_empty() {
        return;
    }
    put_span_head(out, head, span.offset, span.counts.len() as u64);
    let mut previous = 0u64;
    for count in span.counts {
        put_sint_field(out, deltas, count.wrapping_sub(previous).cast_signed());
        previous = *count;
    }
}

fn put_span_head(out: &mut Vec<u8>, field: u32, offset: i32, length: u64) {
    let message = begin_message(out, field);
    put_sint_field(out, 1, offset.into());
    put_varint_field(out, 2, length);
    end_message(out, message);
}
