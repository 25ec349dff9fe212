//! The OTLP messages as tables: field numbers, types and JSON names.
//!
//! Used where speed is not the point (JSON, normalising, tests); the hot paths are straight code. A test compares
//! every row with the structs that `opentelemetry-proto` generates, so the tables cannot drift from the protocol.
//! Reference: opentelemetry-proto v1.9 (`common`, `resource`, `trace`, `metrics`, `logs`).

use crate::Signal;
use crate::cursor::WireType;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// UTF-8 text.
    String,
    /// Arbitrary bytes; base64 in JSON.
    Bytes,
    /// A trace or span id: bytes, but hexadecimal in JSON. Either empty or exactly this many bytes.
    Id(usize),
    /// bool.
    Bool,
    /// int32 (varint, sign-extended).
    Int32,
    /// int64 (varint); a string in JSON.
    Int64,
    /// uint32.
    Uint32,
    /// uint64 (varint); a string in JSON.
    Uint64,
    /// sint32 (zigzag).
    Sint32,
    /// fixed32.
    Fixed32,
    /// fixed64; a string in JSON.
    Fixed64,
    /// sfixed64; a string in JSON.
    Sfixed64,
    /// double.
    Double,
    /// An enum; written as a number, read as a number or by name.
    Enum(&'static [(&'static str, i32)]),
    /// A nested message.
    Message(&'static Message),
}

impl Kind {
    /// The wire type of one value of this kind (a packed run of them is length-delimited).
    #[must_use]
    pub const fn wire_type(self) -> WireType {
        match self {
            Self::String | Self::Bytes | Self::Id(_) | Self::Message(_) => WireType::Len,
            Self::Bool
            | Self::Int32
            | Self::Int64
            | Self::Uint32
            | Self::Uint64
            | Self::Sint32
            | Self::Enum(_) => WireType::Varint,
            Self::Fixed32 => WireType::Fixed32,
            Self::Fixed64 | Self::Sfixed64 | Self::Double => WireType::Fixed64,
        }
    }
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// A proto3 singular field: absent means the default, a default is not written.
    Single,
    /// A proto3 `optional` field: presence is kept, a default is written.
    Optional,
    /// A member of the oneof with that index (within its message): presence is kept.
    OneOf(u8),
    /// A repeated field; scalars are packed when written, and read packed or not.
    Repeated,
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The field number.
    pub number: u32,
    /// The name in the `.proto` file (snake case).
    pub name: &'static str,
    /// The name in JSON (lower camel case).
    pub json: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// How often.
    pub arity: Arity,
}

/// One message type.
#[derive(Debug)]
pub struct Message {
    /// The name in the `.proto` file, without its package.
    pub name: &'static str,
    /// In the order of field numbers.
    pub fields: &'static [Field],
}

impl Message {
    /// The field of that number.
    #[must_use]
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

/// The export request of a signal; profiles are opaque and have none.
#[must_use]
pub fn request(signal: Signal) -> Option<&'static Message> {
    match signal {
        Signal::Traces => Some(&TRACE_REQUEST),
        Signal::Metrics => Some(&METRICS_REQUEST),
        Signal::Logs => Some(&LOGS_REQUEST),
        Signal::Profiles => None,
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $ident:ident = $name:literal { $($number:literal $field:literal $json:literal $kind:expr, $arity:expr;)* })*) => {
        $(
            $(#[$doc])*
            pub static $ident: Message = Message {
                name: $name,
                fields: &[$(Field { number: $number, name: $field, json: $json, kind: $kind, arity: $arity }),*],
            };
        )*
    };
}

use Arity::{OneOf, Optional, Repeated, Single};
use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int32, Int64, Message as Msg, Sfixed64, Sint32,
    String as Str, Uint32, Uint64,
};

/// `Span.SpanKind`.
pub static SPAN_KIND: &[(&str, i32)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];
/// `Status.StatusCode`.
pub static STATUS_CODE: &[(&str, i32)] =
    &[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)];
/// `AggregationTemporality`.
pub static TEMPORALITY: &[(&str, i32)] = &[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];
/// `SeverityNumber`.
pub static SEVERITY: &[(&str, i32)] = &[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
];

messages! {
    /// `ExportTraceServiceRequest`.
    TRACE_REQUEST = "ExportTraceServiceRequest" { 1 "resource_spans" "resourceSpans" Msg(&RESOURCE_SPANS), Repeated; }
    /// `ExportMetricsServiceRequest`.
    METRICS_REQUEST = "ExportMetricsServiceRequest" { 1 "resource_metrics" "resourceMetrics" Msg(&RESOURCE_METRICS), Repeated; }
    /// `ExportLogsServiceRequest`.
    LOGS_REQUEST = "ExportLogsServiceRequest" { 1 "resource_logs" "resourceLogs" Msg(&RESOURCE_LOGS), Repeated; }
    /// `ResourceSpans`.
    RESOURCE_SPANS = "ResourceSpans" {
        1 "resource" "resource" Msg(&RESOURCE), Single;
        2 "scope_spans" "scopeSpans" Msg(&SCOPE_SPANS), Repeated;
        3 "schema_url" "schemaUrl" Str, Single;
    }
    /// `ResourceMetrics`.
    RESOURCE_METRICS = "ResourceMetrics" {
        1 "resource" "resource" Msg(&RESOURCE), Single;
        2 "scope_metrics" "scopeMetrics" Msg(&SCOPE_METRICS), Repeated;
        3 "schema_url" "schemaUrl" Str, Single;
    }
    /// `ResourceLogs`.
    RESOURCE_LOGS = "ResourceLogs" {
        1 "resource" "resource" Msg(&RESOURCE), Single;
        2 "scope_logs" "scopeLogs" Msg(&SCOPE_LOGS), Repeated;
        3 "schema_url" "schemaUrl" Str, Single;
    }
    /// `ScopeSpans`.
    SCOPE_SPANS = "ScopeSpans" {
        1 "scope" "scope" Msg(&SCOPE), Single;
        2 "spans" "spans" Msg(&SPAN), Repeated;
        3 "schema_url" "schemaUrl" Str, Single;
    }
    /// `ScopeMetrics`.
    SCOPE_METRICS = "ScopeMetrics" {
        1 "scope" "scope" Msg(&SCOPE), Single;
        2 "metrics" "metrics" Msg(&METRIC), Repeated;
        3 "schema_url" "schemaUrl" Str, Single;
    }
    /// `ScopeLogs`.
    SCOPE_LOGS = "ScopeLogs" {
        1 "scope" "scope" Msg(&SCOPE), Single;
        2 "log_records" "logRecords" Msg(&LOG_RECORD), Repeated;
        3 "schema_url" "schemaUrl" Str, Single;
    }
    /// `Resource`.
    RESOURCE = "Resource" {
        1 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        2 "dropped_attributes_count" "droppedAttributesCount" Uint32, Single;
        3 "entity_refs" "entityRefs" Msg(&ENTITY_REF), Repeated;
    }
    /// `EntityRef`.
    ENTITY_REF = "EntityRef" {
        1 "schema_url" "schemaUrl" Str, Single;
        2 "type" "type" Str, Single;
        3 "id_keys" "idKeys" Str, Repeated;
        4 "description_keys" "descriptionKeys" Str, Repeated;
    }
    /// `InstrumentationScope`.
    SCOPE = "InstrumentationScope" {
        1 "name" "name" Str, Single;
        2 "version" "version" Str, Single;
        3 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        4 "dropped_attributes_count" "droppedAttributesCount" Uint32, Single;
    }
    /// `KeyValue`.
    KEY_VALUE = "KeyValue" {
        1 "key" "key" Str, Single;
        2 "value" "value" Msg(&ANY_VALUE), Single;
        3 "key_strindex" "keyStrindex" Int32, Single;
    }
    /// `AnyValue`.
    ANY_VALUE = "AnyValue" {
        1 "string_value" "stringValue" Str, OneOf(0);
        2 "bool_value" "boolValue" Bool, OneOf(0);
        3 "int_value" "intValue" Int64, OneOf(0);
        4 "double_value" "doubleValue" Double, OneOf(0);
        5 "array_value" "arrayValue" Msg(&ARRAY_VALUE), OneOf(0);
        6 "kvlist_value" "kvlistValue" Msg(&KEY_VALUE_LIST), OneOf(0);
        7 "bytes_value" "bytesValue" Bytes, OneOf(0);
        8 "string_value_strindex" "stringValueStrindex" Int32, OneOf(0);
    }
    /// `ArrayValue`.
    ARRAY_VALUE = "ArrayValue" { 1 "values" "values" Msg(&ANY_VALUE), Repeated; }
    /// `KeyValueList`.
    KEY_VALUE_LIST = "KeyValueList" { 1 "values" "values" Msg(&KEY_VALUE), Repeated; }
    /// `Span`.
    SPAN = "Span" {
        1 "trace_id" "traceId" Id(16), Single;
        2 "span_id" "spanId" Id(8), Single;
        3 "trace_state" "traceState" Str, Single;
        4 "parent_span_id" "parentSpanId" Id(8), Single;
        5 "name" "name" Str, Single;
        6 "kind" "kind" Enum(SPAN_KIND), Single;
        7 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Single;
        8 "end_time_unix_nano" "endTimeUnixNano" Fixed64, Single;
        9 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        10 "dropped_attributes_count" "droppedAttributesCount" Uint32, Single;
        11 "events" "events" Msg(&SPAN_EVENT), Repeated;
        12 "dropped_events_count" "droppedEventsCount" Uint32, Single;
        13 "links" "links" Msg(&SPAN_LINK), Repeated;
        14 "dropped_links_count" "droppedLinksCount" Uint32, Single;
        15 "status" "status" Msg(&STATUS), Single;
        16 "flags" "flags" Fixed32, Single;
    }
    /// `Span.Event`.
    SPAN_EVENT = "Event" {
        1 "time_unix_nano" "timeUnixNano" Fixed64, Single;
        2 "name" "name" Str, Single;
        3 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        4 "dropped_attributes_count" "droppedAttributesCount" Uint32, Single;
    }
    /// `Span.Link`.
    SPAN_LINK = "Link" {
        1 "trace_id" "traceId" Id(16), Single;
        2 "span_id" "spanId" Id(8), Single;
        3 "trace_state" "traceState" Str, Single;
        4 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        5 "dropped_attributes_count" "droppedAttributesCount" Uint32, Single;
        6 "flags" "flags" Fixed32, Single;
    }
    /// `Status`.
    STATUS = "Status" {
        2 "message" "message" Str, Single;
        3 "code" "code" Enum(STATUS_CODE), Single;
    }
    /// `LogRecord`.
    LOG_RECORD = "LogRecord" {
        1 "time_unix_nano" "timeUnixNano" Fixed64, Single;
        2 "severity_number" "severityNumber" Enum(SEVERITY), Single;
        3 "severity_text" "severityText" Str, Single;
        5 "body" "body" Msg(&ANY_VALUE), Single;
        6 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        7 "dropped_attributes_count" "droppedAttributesCount" Uint32, Single;
        8 "flags" "flags" Fixed32, Single;
        9 "trace_id" "traceId" Id(16), Single;
        10 "span_id" "spanId" Id(8), Single;
        11 "observed_time_unix_nano" "observedTimeUnixNano" Fixed64, Single;
        12 "event_name" "eventName" Str, Single;
    }
    /// `Metric`.
    METRIC = "Metric" {
        1 "name" "name" Str, Single;
        2 "description" "description" Str, Single;
        3 "unit" "unit" Str, Single;
        5 "gauge" "gauge" Msg(&GAUGE), OneOf(0);
        7 "sum" "sum" Msg(&SUM), OneOf(0);
        9 "histogram" "histogram" Msg(&HISTOGRAM), OneOf(0);
        10 "exponential_histogram" "exponentialHistogram" Msg(&EXPONENTIAL_HISTOGRAM), OneOf(0);
        11 "summary" "summary" Msg(&SUMMARY), OneOf(0);
        12 "metadata" "metadata" Msg(&KEY_VALUE), Repeated;
    }
    /// `Gauge`.
    GAUGE = "Gauge" { 1 "data_points" "dataPoints" Msg(&NUMBER_DATA_POINT), Repeated; }
    /// `Sum`.
    SUM = "Sum" {
        1 "data_points" "dataPoints" Msg(&NUMBER_DATA_POINT), Repeated;
        2 "aggregation_temporality" "aggregationTemporality" Enum(TEMPORALITY), Single;
        3 "is_monotonic" "isMonotonic" Bool, Single;
    }
    /// `Histogram`.
    HISTOGRAM = "Histogram" {
        1 "data_points" "dataPoints" Msg(&HISTOGRAM_DATA_POINT), Repeated;
        2 "aggregation_temporality" "aggregationTemporality" Enum(TEMPORALITY), Single;
    }
    /// `ExponentialHistogram`.
    EXPONENTIAL_HISTOGRAM = "ExponentialHistogram" {
        1 "data_points" "dataPoints" Msg(&EXPONENTIAL_HISTOGRAM_DATA_POINT), Repeated;
        2 "aggregation_temporality" "aggregationTemporality" Enum(TEMPORALITY), Single;
    }
    /// `Summary`.
    SUMMARY = "Summary" { 1 "data_points" "dataPoints" Msg(&SUMMARY_DATA_POINT), Repeated; }
    /// `NumberDataPoint`.
    NUMBER_DATA_POINT = "NumberDataPoint" {
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Single;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Single;
        4 "as_double" "asDouble" Double, OneOf(0);
        5 "exemplars" "exemplars" Msg(&EXEMPLAR), Repeated;
        6 "as_int" "asInt" Sfixed64, OneOf(0);
        7 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        8 "flags" "flags" Uint32, Single;
    }
    /// `HistogramDataPoint`.
    HISTOGRAM_DATA_POINT = "HistogramDataPoint" {
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Single;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Single;
        4 "count" "count" Fixed64, Single;
        5 "sum" "sum" Double, Optional;
        6 "bucket_counts" "bucketCounts" Fixed64, Repeated;
        7 "explicit_bounds" "explicitBounds" Double, Repeated;
        8 "exemplars" "exemplars" Msg(&EXEMPLAR), Repeated;
        9 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        10 "flags" "flags" Uint32, Single;
        11 "min" "min" Double, Optional;
        12 "max" "max" Double, Optional;
    }
    /// `ExponentialHistogramDataPoint`.
    EXPONENTIAL_HISTOGRAM_DATA_POINT = "ExponentialHistogramDataPoint" {
        1 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Single;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Single;
        4 "count" "count" Fixed64, Single;
        5 "sum" "sum" Double, Optional;
        6 "scale" "scale" Sint32, Single;
        7 "zero_count" "zeroCount" Fixed64, Single;
        8 "positive" "positive" Msg(&BUCKETS), Single;
        9 "negative" "negative" Msg(&BUCKETS), Single;
        10 "flags" "flags" Uint32, Single;
        11 "exemplars" "exemplars" Msg(&EXEMPLAR), Repeated;
        12 "min" "min" Double, Optional;
        13 "max" "max" Double, Optional;
        14 "zero_threshold" "zeroThreshold" Double, Single;
    }
    /// `ExponentialHistogramDataPoint.Buckets`.
    BUCKETS = "Buckets" {
        1 "offset" "offset" Sint32, Single;
        2 "bucket_counts" "bucketCounts" Uint64, Repeated;
    }
    /// `SummaryDataPoint`.
    SUMMARY_DATA_POINT = "SummaryDataPoint" {
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Single;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Single;
        4 "count" "count" Fixed64, Single;
        5 "sum" "sum" Double, Single;
        6 "quantile_values" "quantileValues" Msg(&VALUE_AT_QUANTILE), Repeated;
        7 "attributes" "attributes" Msg(&KEY_VALUE), Repeated;
        8 "flags" "flags" Uint32, Single;
    }
    /// `SummaryDataPoint.ValueAtQuantile`.
    VALUE_AT_QUANTILE = "ValueAtQuantile" {
        1 "quantile" "quantile" Double, Single;
        2 "value" "value" Double, Single;
    }
    /// `Exemplar`.
    EXEMPLAR = "Exemplar" {
        2 "time_unix_nano" "timeUnixNano" Fixed64, Single;
        3 "as_double" "asDouble" Double, OneOf(0);
        4 "span_id" "spanId" Id(8), Single;
        5 "trace_id" "traceId" Id(16), Single;
        6 "as_int" "asInt" Sfixed64, OneOf(0);
        7 "filtered_attributes" "filteredAttributes" Msg(&KEY_VALUE), Repeated;
    }
}
