//! Random requests of every signal, as prost structs.

use super::Rng;
use millrace_wire::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

/// A request of that signal, encoded by prost. Profiles get arbitrary well-formed fields.
pub fn request_bytes(signal: Signal, rng: &mut Rng) -> Vec<u8> {
    match signal {
        Signal::Traces => traces(rng).encode_to_vec(),
        Signal::Metrics => metrics(rng).encode_to_vec(),
        Signal::Logs => logs(rng).encode_to_vec(),
        // The top level of a profiles request is shaped like the others: repeated messages.
        Signal::Profiles => traces(rng).encode_to_vec(),
    }
}

/// Zero to three resources, with zero to three scopes, with zero to three spans each.
pub fn traces(rng: &mut Rng) -> ExportTraceServiceRequest {
    let resource_spans = many(rng, 3, |rng| ResourceSpans {
        resource: maybe(rng, resource),
        scope_spans: many(rng, 3, |rng| ScopeSpans {
            scope: maybe(rng, scope),
            spans: many(rng, 3, span),
            schema_url: rng.text(),
        }),
        schema_url: rng.text(),
    });
    ExportTraceServiceRequest { resource_spans }
}

/// Like [`traces`], with metrics of all five kinds and of none.
pub fn metrics(rng: &mut Rng) -> ExportMetricsServiceRequest {
    let resource_metrics = many(rng, 3, |rng| ResourceMetrics {
        resource: maybe(rng, resource),
        scope_metrics: many(rng, 3, |rng| ScopeMetrics {
            scope: maybe(rng, scope),
            metrics: many(rng, 3, metric),
            schema_url: rng.text(),
        }),
        schema_url: rng.text(),
    });
    ExportMetricsServiceRequest { resource_metrics }
}

/// Like [`traces`], with log records.
pub fn logs(rng: &mut Rng) -> ExportLogsServiceRequest {
    let resource_logs = many(rng, 3, |rng| ResourceLogs {
        resource: maybe(rng, resource),
        scope_logs: many(rng, 3, |rng| ScopeLogs {
            scope: maybe(rng, scope),
            log_records: many(rng, 3, log_record),
            schema_url: rng.text(),
        }),
        schema_url: rng.text(),
    });
    ExportLogsServiceRequest { resource_logs }
}

fn resource(rng: &mut Rng) -> Resource {
    Resource {
        attributes: attributes(rng),
        dropped_attributes_count: count(rng),
        entity_refs: if rng.one_in(3) { many(rng, 2, entity_ref) } else { Vec::new() },
    }
}

fn entity_ref(rng: &mut Rng) -> EntityRef {
    EntityRef {
        schema_url: rng.text(),
        r#type: rng.text(),
        id_keys: many(rng, 3, Rng::key),
        description_keys: many(rng, 3, Rng::key),
    }
}

fn scope(rng: &mut Rng) -> InstrumentationScope {
    InstrumentationScope {
        name: rng.text(),
        version: rng.text(),
        attributes: attributes(rng),
        dropped_attributes_count: count(rng),
    }
}

fn attributes(rng: &mut Rng) -> Vec<KeyValue> {
    many(rng, 4, |rng| key_value(rng, 3))
}

fn key_value(rng: &mut Rng, depth: usize) -> KeyValue {
    KeyValue {
        key: rng.key(),
        value: if rng.one_in(12) { None } else { Some(any_value(rng, depth)) },
        key_strindex: if rng.one_in(12) { rng.integer() as i32 } else { 0 },
    }
}

fn any_value(rng: &mut Rng, depth: usize) -> AnyValue {
    let value = match rng.below(if depth == 0 { 9 } else { 11 }) {
        0 => None,
        1 => Some(Value::BoolValue(rng.one_in(2))),
        2 => Some(Value::IntValue(rng.integer() as i64)),
        3 => Some(Value::DoubleValue(rng.double())),
        4 => {
            let len = rng.below(200);
            Some(Value::BytesValue(rng.bytes(len)))
        }
        5 if rng.one_in(3) => Some(Value::StringValueStrindex(rng.integer() as i32)),
        5..=8 => Some(Value::StringValue(rng.text())),
        9 => Some(Value::ArrayValue(ArrayValue { values: many(rng, 3, |rng| any_value(rng, depth - 1)) })),
        _ => Some(Value::KvlistValue(KeyValueList { values: many(rng, 3, |rng| key_value(rng, depth - 1)) })),
    };
    AnyValue { value }
}

fn span(rng: &mut Rng) -> Span {
    Span {
        trace_id: rng.id(16),
        span_id: rng.id(8),
        trace_state: rng.text(),
        parent_span_id: rng.id(8),
        flags: count(rng),
        name: rng.text(),
        kind: enumeration(rng, 6),
        start_time_unix_nano: rng.integer(),
        end_time_unix_nano: rng.integer(),
        attributes: attributes(rng),
        dropped_attributes_count: count(rng),
        events: many(rng, 2, |rng| Event {
            time_unix_nano: rng.integer(),
            name: rng.text(),
            attributes: attributes(rng),
            dropped_attributes_count: count(rng),
        }),
        dropped_events_count: count(rng),
        links: many(rng, 2, |rng| Link {
            trace_id: rng.id(16),
            span_id: rng.id(8),
            trace_state: rng.text(),
            attributes: attributes(rng),
            dropped_attributes_count: count(rng),
            flags: count(rng),
        }),
        dropped_links_count: count(rng),
        status: maybe(rng, |rng| Status { message: rng.text(), code: enumeration(rng, 3) }),
    }
}

fn log_record(rng: &mut Rng) -> LogRecord {
    LogRecord {
        time_unix_nano: rng.integer(),
        observed_time_unix_nano: rng.integer(),
        severity_number: enumeration(rng, 25),
        severity_text: rng.text(),
        body: maybe(rng, |rng| any_value(rng, 3)),
        attributes: attributes(rng),
        dropped_attributes_count: count(rng),
        flags: count(rng),
        trace_id: rng.id(16),
        span_id: rng.id(8),
        event_name: rng.text(),
    }
}

fn metric(rng: &mut Rng) -> Metric {
    let data = match rng.below(6) {
        0 => None,
        1 => Some(metric::Data::Gauge(Gauge { data_points: many(rng, 3, number_point) })),
        2 => Some(metric::Data::Sum(Sum {
            data_points: many(rng, 3, number_point),
            aggregation_temporality: enumeration(rng, 3),
            is_monotonic: rng.one_in(2),
        })),
        3 => Some(metric::Data::Histogram(Histogram {
            data_points: many(rng, 3, histogram_point),
            aggregation_temporality: enumeration(rng, 3),
        })),
        4 => Some(metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: many(rng, 3, exponential_point),
            aggregation_temporality: enumeration(rng, 3),
        })),
        _ => Some(metric::Data::Summary(Summary { data_points: many(rng, 3, summary_point) })),
    };
    Metric {
        name: rng.text(),
        description: rng.text(),
        unit: rng.text(),
        metadata: if rng.one_in(4) { attributes(rng) } else { Vec::new() },
        data,
    }
}

fn number_point(rng: &mut Rng) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.integer(),
        time_unix_nano: rng.integer(),
        exemplars: exemplars(rng),
        flags: count(rng),
        value: match rng.below(3) {
            0 => None,
            1 => Some(number_data_point::Value::AsDouble(rng.double())),
            _ => Some(number_data_point::Value::AsInt(rng.integer() as i64)),
        },
    }
}

fn histogram_point(rng: &mut Rng) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.integer(),
        time_unix_nano: rng.integer(),
        count: rng.integer(),
        sum: maybe(rng, Rng::double),
        bucket_counts: many(rng, 20, Rng::integer),
        explicit_bounds: many(rng, 20, Rng::double),
        exemplars: exemplars(rng),
        flags: count(rng),
        min: maybe(rng, Rng::double),
        max: maybe(rng, Rng::double),
    }
}

fn exponential_point(rng: &mut Rng) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.integer(),
        time_unix_nano: rng.integer(),
        count: rng.integer(),
        sum: maybe(rng, Rng::double),
        scale: rng.integer() as i32,
        zero_count: rng.integer(),
        positive: maybe(rng, buckets),
        negative: maybe(rng, buckets),
        flags: count(rng),
        exemplars: exemplars(rng),
        min: maybe(rng, Rng::double),
        max: maybe(rng, Rng::double),
        zero_threshold: rng.double(),
    }
}

fn buckets(rng: &mut Rng) -> Buckets {
    Buckets { offset: rng.integer() as i32, bucket_counts: many(rng, 20, Rng::integer) }
}

fn summary_point(rng: &mut Rng) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.integer(),
        time_unix_nano: rng.integer(),
        count: rng.integer(),
        sum: rng.double(),
        quantile_values: many(rng, 4, |rng| ValueAtQuantile { quantile: rng.double(), value: rng.double() }),
        flags: count(rng),
    }
}

fn exemplars(rng: &mut Rng) -> Vec<Exemplar> {
    many(rng, 2, |rng| Exemplar {
        filtered_attributes: attributes(rng),
        time_unix_nano: rng.integer(),
        span_id: rng.id(8),
        trace_id: rng.id(16),
        value: match rng.below(3) {
            0 => None,
            1 => Some(exemplar::Value::AsDouble(rng.double())),
            _ => Some(exemplar::Value::AsInt(rng.integer() as i64)),
        },
    })
}

fn many<T>(rng: &mut Rng, most: usize, mut make: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..rng.below(most + 1)).map(|_| make(rng)).collect()
}

fn maybe<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    if rng.one_in(4) { None } else { Some(make(rng)) }
}

/// A uint32: mostly zero, as most counts and flags are.
fn count(rng: &mut Rng) -> u32 {
    if rng.one_in(3) { rng.integer() as u32 } else { 0 }
}

/// An enum number: mostly one of the `known`, sometimes any int32.
fn enumeration(rng: &mut Rng, known: usize) -> i32 {
    if rng.one_in(10) { rng.integer() as i32 } else { rng.below(known) as i32 }
}
