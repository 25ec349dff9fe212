//! Builds prost structs from views, using every accessor there is.

use millrace_wire::view;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

fn text(text: view::Text<'_>) -> String {
    text.to_str_lossy().into_owned()
}

/// The id in a form that must agree with its bytes.
fn id<const N: usize>(bytes: &[u8], id: Option<[u8; N]>) -> Vec<u8> {
    assert_eq!(id.is_some(), bytes.len() == N);
    assert_eq!(id.map_or(&[][..], |id| &bytes[..id.len()]), id.as_ref().map_or(&[][..], |id| &id[..]));
    bytes.to_vec()
}

pub fn value(value: view::Value<'_>) -> AnyValue {
    let value = match value {
        view::Value::Empty => None,
        view::Value::Text(value) => Some(Value::StringValue(text(value))),
        view::Value::Bool(value) => Some(Value::BoolValue(value)),
        view::Value::Int(value) => Some(Value::IntValue(value)),
        view::Value::Double(value) => Some(Value::DoubleValue(value)),
        view::Value::Array(array) => {
            Some(Value::ArrayValue(ArrayValue { values: array.into_iter().map(self::value).collect() }))
        }
        view::Value::Map(entries) => Some(Value::KvlistValue(KeyValueList { values: attributes(entries) })),
        view::Value::Bytes(value) => Some(Value::BytesValue(value.to_vec())),
        view::Value::TextIndex(index) => Some(Value::StringValueStrindex(index)),
    };
    AnyValue { value }
}

fn attributes(attributes: view::Attributes<'_>) -> Vec<KeyValue> {
    let entry = |entry: view::KeyValue<'_>| KeyValue {
        key: text(entry.key()),
        value: Some(value(entry.value())),
        key_strindex: entry.key_strindex(),
    };
    attributes.into_iter().map(entry).collect()
}

fn resource(resource: view::Resource<'_>) -> Resource {
    let entity_ref = |entity: view::EntityRef<'_>| EntityRef {
        schema_url: text(entity.schema_url()),
        r#type: text(entity.entity_type()),
        id_keys: entity.id_keys().map(text).collect(),
        description_keys: entity.description_keys().map(text).collect(),
    };
    Resource {
        attributes: attributes(resource.attributes()),
        dropped_attributes_count: resource.dropped_attributes_count(),
        entity_refs: resource.entity_refs().map(entity_ref).collect(),
    }
}

fn scope(scope: view::Scope<'_>) -> InstrumentationScope {
    InstrumentationScope {
        name: text(scope.name()),
        version: text(scope.version()),
        attributes: attributes(scope.attributes()),
        dropped_attributes_count: scope.dropped_attributes_count(),
    }
}

pub fn traces(traces: view::Traces<'_>) -> ExportTraceServiceRequest {
    let scope_spans = |group: view::ScopeSpans<'_>| ScopeSpans {
        scope: Some(scope(group.scope())),
        spans: group.spans().map(span).collect(),
        schema_url: text(group.schema_url()),
    };
    let resource_spans = |group: view::ResourceSpans<'_>| ResourceSpans {
        resource: Some(resource(group.resource())),
        scope_spans: group.scope_spans().map(scope_spans).collect(),
        schema_url: text(group.schema_url()),
    };
    ExportTraceServiceRequest { resource_spans: traces.resource_spans().map(resource_spans).collect() }
}

fn span(span: view::Span<'_>) -> Span {
    let event = |event: view::Event<'_>| Event {
        time_unix_nano: event.time_ns(),
        name: text(event.name()),
        attributes: attributes(event.attributes()),
        dropped_attributes_count: event.dropped_attributes_count(),
    };
    let link = |link: view::Link<'_>| Link {
        trace_id: id(link.trace_id_bytes(), link.trace_id()),
        span_id: id(link.span_id_bytes(), link.span_id()),
        trace_state: text(link.trace_state()),
        attributes: attributes(link.attributes()),
        dropped_attributes_count: link.dropped_attributes_count(),
        flags: link.flags(),
    };
    Span {
        trace_id: id(span.trace_id_bytes(), span.trace_id()),
        span_id: id(span.span_id_bytes(), span.span_id()),
        trace_state: text(span.trace_state()),
        parent_span_id: id(span.parent_span_id_bytes(), span.parent_span_id()),
        flags: span.flags(),
        name: text(span.name()),
        kind: span.kind(),
        start_time_unix_nano: span.start_ns(),
        end_time_unix_nano: span.end_ns(),
        attributes: attributes(span.attributes()),
        dropped_attributes_count: span.dropped_attributes_count(),
        events: span.events().map(event).collect(),
        dropped_events_count: span.dropped_events_count(),
        links: span.links().map(link).collect(),
        dropped_links_count: span.dropped_links_count(),
        status: Some(Status { message: text(span.status().message()), code: span.status().code() }),
    }
}

pub fn logs(logs: view::Logs<'_>) -> ExportLogsServiceRequest {
    let scope_logs = |group: view::ScopeLogs<'_>| ScopeLogs {
        scope: Some(scope(group.scope())),
        log_records: group.log_records().map(log_record).collect(),
        schema_url: text(group.schema_url()),
    };
    let resource_logs = |group: view::ResourceLogs<'_>| ResourceLogs {
        resource: Some(resource(group.resource())),
        scope_logs: group.scope_logs().map(scope_logs).collect(),
        schema_url: text(group.schema_url()),
    };
    ExportLogsServiceRequest { resource_logs: logs.resource_logs().map(resource_logs).collect() }
}

fn log_record(record: view::LogRecord<'_>) -> LogRecord {
    LogRecord {
        time_unix_nano: record.time_ns(),
        observed_time_unix_nano: record.observed_time_ns(),
        severity_number: record.severity_number(),
        severity_text: text(record.severity_text()),
        body: Some(value(record.body())),
        attributes: attributes(record.attributes()),
        dropped_attributes_count: record.dropped_attributes_count(),
        flags: record.flags(),
        trace_id: id(record.trace_id_bytes(), record.trace_id()),
        span_id: id(record.span_id_bytes(), record.span_id()),
        event_name: text(record.event_name()),
    }
}

pub fn metrics(metrics: view::Metrics<'_>) -> ExportMetricsServiceRequest {
    let scope_metrics = |group: view::ScopeMetrics<'_>| ScopeMetrics {
        scope: Some(scope(group.scope())),
        metrics: group.metrics().map(metric).collect(),
        schema_url: text(group.schema_url()),
    };
    let resource_metrics = |group: view::ResourceMetrics<'_>| ResourceMetrics {
        resource: Some(resource(group.resource())),
        scope_metrics: group.scope_metrics().map(scope_metrics).collect(),
        schema_url: text(group.schema_url()),
    };
    ExportMetricsServiceRequest {
        resource_metrics: metrics.resource_metrics().map(resource_metrics).collect(),
    }
}

fn metric(metric: view::Metric<'_>) -> Metric {
    let data = metric.data().map(|data| {
        let prost = metric_data(data);
        assert_eq!(data.point_count(), point_count(&prost));
        assert_eq!(data.temporality(), temporality(&prost));
        prost
    });
    Metric {
        name: text(metric.name()),
        description: text(metric.description()),
        unit: text(metric.unit()),
        metadata: attributes(metric.metadata()),
        data,
    }
}

fn metric_data(data: view::MetricData<'_>) -> Data {
    match data {
        view::MetricData::Gauge(gauge) => {
            Data::Gauge(Gauge { data_points: gauge.data_points().map(number_point).collect() })
        }
        view::MetricData::Sum(sum) => Data::Sum(Sum {
            data_points: sum.data_points().map(number_point).collect(),
            aggregation_temporality: sum.temporality(),
            is_monotonic: sum.is_monotonic(),
        }),
        view::MetricData::Histogram(histogram) => Data::Histogram(Histogram {
            data_points: histogram.data_points().map(histogram_point).collect(),
            aggregation_temporality: histogram.temporality(),
        }),
        view::MetricData::ExponentialHistogram(histogram) => {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: histogram.data_points().map(exponential_point).collect(),
                aggregation_temporality: histogram.temporality(),
            })
        }
        view::MetricData::Summary(summary) => {
            Data::Summary(Summary { data_points: summary.data_points().map(summary_point).collect() })
        }
    }
}

fn point_count(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}

fn temporality(data: &Data) -> Option<i32> {
    match data {
        Data::Gauge(_) | Data::Summary(_) => None,
        Data::Sum(sum) => Some(sum.aggregation_temporality),
        Data::Histogram(histogram) => Some(histogram.aggregation_temporality),
        Data::ExponentialHistogram(histogram) => Some(histogram.aggregation_temporality),
    }
}

fn exemplars<'a>(exemplars: view::Repeated<'a, view::Exemplar<'a>>) -> Vec<Exemplar> {
    let exemplar = |exemplar: view::Exemplar<'_>| Exemplar {
        filtered_attributes: attributes(exemplar.filtered_attributes()),
        time_unix_nano: exemplar.time_ns(),
        span_id: id(exemplar.span_id_bytes(), exemplar.span_id()),
        trace_id: id(exemplar.trace_id_bytes(), exemplar.trace_id()),
        value: exemplar.value().map(|value| match value {
            view::Number::Int(value) => exemplar::Value::AsInt(value),
            view::Number::Double(value) => exemplar::Value::AsDouble(value),
        }),
    };
    exemplars.map(exemplar).collect()
}

fn number_point(point: view::NumberPoint<'_>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(point.attributes()),
        start_time_unix_nano: point.start_ns(),
        time_unix_nano: point.time_ns(),
        exemplars: exemplars(point.exemplars()),
        flags: point.flags(),
        value: point.value().map(|value| match value {
            view::Number::Int(value) => number_data_point::Value::AsInt(value),
            view::Number::Double(value) => number_data_point::Value::AsDouble(value),
        }),
    }
}

fn histogram_point(point: view::HistogramPoint<'_>) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(point.attributes()),
        start_time_unix_nano: point.start_ns(),
        time_unix_nano: point.time_ns(),
        count: point.count(),
        sum: point.sum(),
        bucket_counts: point.bucket_counts().collect(),
        explicit_bounds: point.explicit_bounds().collect(),
        exemplars: exemplars(point.exemplars()),
        flags: point.flags(),
        min: point.min(),
        max: point.max(),
    }
}

fn exponential_point(point: view::ExponentialPoint<'_>) -> ExponentialHistogramDataPoint {
    let buckets = |buckets: view::Buckets<'_>| {
        Some(Buckets { offset: buckets.offset(), bucket_counts: buckets.bucket_counts().collect() })
    };
    ExponentialHistogramDataPoint {
        attributes: attributes(point.attributes()),
        start_time_unix_nano: point.start_ns(),
        time_unix_nano: point.time_ns(),
        count: point.count(),
        sum: point.sum(),
        scale: point.scale(),
        zero_count: point.zero_count(),
        positive: buckets(point.positive()),
        negative: buckets(point.negative()),
        flags: point.flags(),
        exemplars: exemplars(point.exemplars()),
        min: point.min(),
        max: point.max(),
        zero_threshold: point.zero_threshold(),
    }
}

fn summary_point(point: view::SummaryPoint<'_>) -> SummaryDataPoint {
    let quantile_value =
        |at: view::QuantileValue<'_>| ValueAtQuantile { quantile: at.quantile(), value: at.value() };
    SummaryDataPoint {
        attributes: attributes(point.attributes()),
        start_time_unix_nano: point.start_ns(),
        time_unix_nano: point.time_ns(),
        count: point.count(),
        sum: point.sum(),
        quantile_values: point.quantile_values().map(quantile_value).collect(),
        flags: point.flags(),
    }
}
