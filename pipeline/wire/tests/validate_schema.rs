//! The schema tables against the structs that `opentelemetry-proto` generates from the `.proto` files: every field's
//! number, name, type and presence, and that no field is missing.

use millrace_wire::Signal;
use millrace_wire::cursor::WireType;
use millrace_wire::schema::{self, Arity, Field, Kind, Message as Table};
use millrace_wire::writer::{put_len_field, put_tag, put_varint};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use prost::Message;
use std::fmt::Debug;

macro_rules! check_all {
    ($($table:ident $message:ty;)*) => {{
        $(check::<$message>(&schema::$table);)*
        [$(&schema::$table),*]
    }};
}

#[test]
fn the_tables_say_what_the_generated_structs_say() {
    let checked: &[&'static Table] = &check_all! {
        TRACE_REQUEST ExportTraceServiceRequest;
        METRICS_REQUEST ExportMetricsServiceRequest;
        LOGS_REQUEST ExportLogsServiceRequest;
        RESOURCE_SPANS trace::ResourceSpans;
        RESOURCE_METRICS metrics::ResourceMetrics;
        RESOURCE_LOGS logs::ResourceLogs;
        SCOPE_SPANS trace::ScopeSpans;
        SCOPE_METRICS metrics::ScopeMetrics;
        SCOPE_LOGS logs::ScopeLogs;
        RESOURCE resource::Resource;
        ENTITY_REF common::EntityRef;
        SCOPE common::InstrumentationScope;
        KEY_VALUE common::KeyValue;
        ANY_VALUE common::AnyValue;
        ARRAY_VALUE common::ArrayValue;
        KEY_VALUE_LIST common::KeyValueList;
        SPAN trace::Span;
        SPAN_EVENT trace::span::Event;
        SPAN_LINK trace::span::Link;
        STATUS trace::Status;
        LOG_RECORD logs::LogRecord;
        METRIC metrics::Metric;
        GAUGE metrics::Gauge;
        SUM metrics::Sum;
        HISTOGRAM metrics::Histogram;
        EXPONENTIAL_HISTOGRAM metrics::ExponentialHistogram;
        SUMMARY metrics::Summary;
        NUMBER_DATA_POINT metrics::NumberDataPoint;
        HISTOGRAM_DATA_POINT metrics::HistogramDataPoint;
        EXPONENTIAL_HISTOGRAM_DATA_POINT metrics::ExponentialHistogramDataPoint;
        BUCKETS Buckets;
        SUMMARY_DATA_POINT metrics::SummaryDataPoint;
        VALUE_AT_QUANTILE ValueAtQuantile;
        EXEMPLAR metrics::Exemplar;
    };

    // Nothing that a request can hold has been left out.
    let mut reachable: Vec<&'static Table> = Signal::ALL.into_iter().filter_map(schema::request).collect();
    let mut at = 0;
    while at < reachable.len() {
        for field in reachable[at].fields {
            if let Kind::Message(inner) = field.kind
                && !reachable.iter().any(|known| std::ptr::eq(*known, inner))
            {
                reachable.push(inner);
            }
        }
        at += 1;
    }
    assert_eq!(reachable.len(), checked.len());
    for table in reachable {
        assert!(checked.iter().any(|known| std::ptr::eq(*known, table)), "{} is not checked", table.name);
    }
}

fn check<M: Message + Default + PartialEq + Debug>(table: &'static Table) {
    let type_name = std::any::type_name::<M>().rsplit("::").next().expect("a name");
    assert_eq!(table.name, type_name);
    assert!(table.fields.is_sorted_by_key(|field| field.number), "{type_name} is in order");
    for field in table.fields {
        check_field::<M>(table, field);
        assert_eq!(field.json, lower_camel(field.name), "{type_name}");
    }
    // A number that is not in the table is unknown to prost: it takes any wire type, and leaves no trace.
    for number in (1..=40).filter(|number| table.field(*number).is_none()) {
        for (wire, payload) in
            [(WireType::Varint, &[1][..]), (WireType::Fixed64, &[1; 8]), (WireType::Len, &[1, b'x'])]
        {
            let mut bytes = Vec::new();
            put_tag(&mut bytes, number, wire);
            bytes.extend_from_slice(payload);
            assert_eq!(M::decode(&bytes[..]), Ok(M::default()), "{type_name} has a field {number}");
        }
    }
}

/// A value of the field that no other type would write the same way or read as the same.
fn check_field<M: Message + Default + PartialEq + Debug>(table: &Table, field: &Field) {
    let place = format!("{}.{}", table.name, field.name);
    let (value, shown) = sample(field.kind);
    let mut bytes = Vec::new();
    put(&mut bytes, field, &value);
    if field.arity == Arity::Repeated && field.kind.wire_type() == WireType::Len {
        put(&mut bytes, field, &value);
    }
    let message = M::decode(&bytes[..]).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(message.encode_to_vec(), bytes, "{place} is read and written the same");

    // Its name, and the value as a struct of the right type shows it.
    let debug = format!("{message:?}");
    let name =
        if let Arity::OneOf(_) = field.arity { upper_camel(field.name) } else { field.name.to_owned() };
    assert!(debug.contains(&name), "{place} is not in {debug}");
    assert!(debug.contains(shown), "{place} is not shown as {shown} in {debug}");
    if let Kind::Enum(names) = field.kind {
        check_enum::<M>(field, names);
    }

    // Whether a default that is written out is kept.
    let mut default = Vec::new();
    put(&mut default, field, &default_of(field.kind));
    let kept = M::decode(&default[..]).expect("a default").encode_to_vec() == default;
    let presence = field.arity != Arity::Single || matches!(field.kind, Kind::Message(_));
    assert_eq!(kept, presence, "presence of {place}");
}

fn check_enum<M: Message + Default + Debug>(field: &Field, names: &[(&str, i32)]) {
    for (name, number) in names {
        let mut bytes = Vec::new();
        put_tag(&mut bytes, field.number, WireType::Varint);
        put_varint(&mut bytes, *number as u64);
        let debug = format!("{:?}", M::decode(&bytes[..]).expect("an enum"));
        // Prost shows `SPAN_KIND_SERVER` as `Server`, with the name of the enum taken off.
        let variant = debug
            .split(&format!("{}: ", field.name))
            .nth(1)
            .and_then(|rest| rest.split([',', ' ']).next())
            .expect("the field is shown");
        let ours = upper_camel(&name.to_lowercase());
        assert!(ours.ends_with(variant), "{name} is {variant} there");
    }
    let unknown = names.iter().map(|(_, number)| number).max().expect("not empty") + 1;
    let mut bytes = Vec::new();
    put_tag(&mut bytes, field.number, WireType::Varint);
    put_varint(&mut bytes, unknown as u64);
    let debug = format!("{:?}", M::decode(&bytes[..]).expect("an enum"));
    assert!(debug.contains(&format!("{}: {unknown}", field.name)), "{} is defined: {debug}", unknown);
}

/// The payload of a value (without tag; a packed run of one for repeated scalars comes from [`put`]), and how Rust
/// shows it.
fn sample(kind: Kind) -> (Vec<u8>, &'static str) {
    let varint = |value: u64| {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        out
    };
    match kind {
        Kind::String => (b"text".to_vec(), "\"text\""),
        Kind::Bytes => (vec![1, 0xff], "[1, 255]"),
        Kind::Id(len) => (vec![7; len], "[7, 7"),
        Kind::Bool => (varint(1), "true"),
        Kind::Int32 => (varint(-5i64 as u64), "-5"),
        Kind::Int64 => (varint(-5i64 as u64), "-5"),
        Kind::Enum(_) => (varint(-5i64 as u64), "-5"),
        Kind::Uint32 => (varint(u64::from(u32::MAX)), "4294967295"),
        Kind::Uint64 => (varint(u64::MAX), "18446744073709551615"),
        Kind::Sint32 => (varint(u64::from(u32::MAX)), "-2147483648"),
        Kind::Fixed32 => (u32::MAX.to_le_bytes().to_vec(), "4294967295"),
        Kind::Fixed64 => (u64::MAX.to_le_bytes().to_vec(), "18446744073709551615"),
        Kind::Sfixed64 => (u64::MAX.to_le_bytes().to_vec(), "-1"),
        Kind::Double => (1.5f64.to_le_bytes().to_vec(), "1.5"),
        Kind::Message(_) => (Vec::new(), ""),
    }
}

fn default_of(kind: Kind) -> Vec<u8> {
    match kind.wire_type() {
        WireType::Varint => vec![0],
        WireType::Fixed64 => vec![0; 8],
        WireType::Fixed32 => vec![0; 4],
        _ => Vec::new(),
    }
}

fn put(out: &mut Vec<u8>, field: &Field, payload: &[u8]) {
    let wire = field.kind.wire_type();
    if wire == WireType::Len || field.arity == Arity::Repeated {
        put_len_field(out, field.number, payload);
    } else {
        put_tag(out, field.number, wire);
        out.extend_from_slice(payload);
    }
}

fn upper_camel(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
        })
        .collect()
}

fn lower_camel(snake: &str) -> String {
    let camel = upper_camel(snake);
    camel[..1].to_ascii_lowercase() + &camel[1..]
}
