//! What validating costs, against decoding with prost.
//!
//! `cargo run --release -p millrace-wire --example validate_cost [-- once]`
//!
//! Requests of 1000 items as an instrumented service sends them: about 700 bytes a span, 320 a log record, 260 a data
//! point. Prints the best of several rounds, per item. With `once`, validates the spans a few times and prints
//! nothing: for callgrind.
#![allow(clippy::print_stdout)] // It is a report.

use bytes::Bytes;
use millrace_wire::{Policy, Signal, validate};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use std::hint::black_box;
use std::time::Instant;

const ITEMS: u64 = 1000;
/// More distinct requests than fit a second-level cache.
const REQUESTS: u64 = 8;
const ROUNDS: u32 = 15;
/// The name of all spans.
const NAME: &str = "GET /api/v1/orders/{id}/items";

fn main() {
    let spans: Vec<Bytes> = (0..REQUESTS).map(|seed| traces(seed).encode_to_vec().into()).collect();
    if std::env::args().any(|argument| argument == "once") {
        validate_all(Signal::Traces, &spans);
        return;
    }
    let records: Vec<Bytes> = (0..REQUESTS).map(|seed| logs(seed).encode_to_vec().into()).collect();
    let points: Vec<Bytes> = (0..REQUESTS).map(|seed| metrics(seed).encode_to_vec().into()).collect();
    let one_odd: Vec<Bytes> = spans.iter().map(|request| with_odd_spans(request, 1)).collect();
    let all_odd: Vec<Bytes> = spans.iter().map(|request| with_odd_spans(request, usize::MAX)).collect();

    println!("{:28} {:>8} {:>9} {:>9}", "", "B/item", "ns/item", "MB/s");
    report("spans, validate", &spans, || validate_all(Signal::Traces, &spans));
    report("spans, one in 1000 is odd", &one_odd, || validate_all(Signal::Traces, &one_odd));
    report("spans, all are odd", &all_odd, || validate_all(Signal::Traces, &all_odd));
    report("spans, prost decode", &spans, || decode_all::<ExportTraceServiceRequest>(&spans));
    report("log records, validate", &records, || validate_all(Signal::Logs, &records));
    report("log records, prost decode", &records, || decode_all::<ExportLogsServiceRequest>(&records));
    report("data points, validate", &points, || validate_all(Signal::Metrics, &points));
    report("data points, prost decode", &points, || decode_all::<ExportMetricsServiceRequest>(&points));
}

fn report(what: &str, requests: &[Bytes], mut run: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .expect("at least one round");
    let bytes = requests.iter().map(Bytes::len).sum::<usize>() as f64;
    let items = (REQUESTS * ITEMS) as f64;
    let seconds = best.as_secs_f64();
    println!("{what:28} {:8.0} {:9.1} {:9.0}", bytes / items, seconds * 1e9 / items, bytes / seconds / 1e6);
}

fn validate_all(signal: Signal, requests: &[Bytes]) {
    let policy = Policy::default();
    for request in requests {
        let validated = validate(signal, request.clone(), &policy).expect("prost writes valid requests");
        assert_eq!(u64::from(black_box(validated).payload.items()), ITEMS);
    }
}

/// Writes the tag of up to `most` span names with a byte too many. So that all lengths around it stay, the name loses
/// its last letter.
fn with_odd_spans(request: &[u8], most: usize) -> Bytes {
    let mut bytes = request.to_vec();
    let len = NAME.len() as u8;
    let plain = [&[0x2a, len], NAME.as_bytes()].concat();
    let odd = [&[0xaa, 0x00, len - 1], &NAME.as_bytes()[..NAME.len() - 1]].concat();
    let mut from = 0;
    for _ in 0..most {
        let Some(at) = bytes[from..].windows(plain.len()).position(|window| window == plain) else { break };
        from += at + plain.len();
        bytes[from - plain.len()..from].copy_from_slice(&odd);
    }
    assert!(from > 0, "the request has spans of that name");
    bytes.into()
}

fn decode_all<M: Message + Default>(requests: &[Bytes]) {
    for request in requests {
        drop(black_box(M::decode(&request[..]).expect("prost reads what it wrote")));
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(value as i64))
}

fn resource() -> Resource {
    let attributes = vec![
        text("service.name", "checkout"),
        text("service.namespace", "shop"),
        text("service.version", "2.31.0"),
        text("service.instance.id", "9b9f5d2e-5c0b-4dd4-8f3a-1f9c2f3b7a10"),
        text("k8s.pod.name", "checkout-6d5f9c7b9d-x2x7k"),
        text("k8s.namespace.name", "production"),
        text("telemetry.sdk.language", "go"),
        text("host.name", "ip-10-0-12-34.eu-central-1.compute.internal"),
    ];
    Resource { attributes, ..Resource::default() }
}

fn scope(index: u64) -> InstrumentationScope {
    InstrumentationScope {
        name: format!("github.com/example/checkout/{index}"),
        version: "1.4.2".to_owned(),
        ..InstrumentationScope::default()
    }
}

/// A number without pattern.
fn hash(value: u64) -> u64 {
    let mixed = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
}

fn span(number: u64) -> Span {
    let random = hash(number + 1);
    let start = 1_760_000_000_000_000_000 + random % 1_000_000_000;
    let mut attributes = vec![
        text("http.request.method", ["GET", "POST", "PUT"][random as usize % 3]),
        text("url.path", &format!("/api/v1/orders/{}/items", random % 100_000)),
        int("http.response.status_code", [200, 201, 404, 500][random as usize % 4]),
        text("server.address", "checkout.production.svc.cluster.local"),
        int("server.port", 8080),
        text("network.protocol.version", "1.1"),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
        text("user.id", &format!("user-{}", random % 10_000)),
        attribute("cache.hit", Value::BoolValue(random.is_multiple_of(2))),
        attribute("queue.time_ms", Value::DoubleValue((random % 1000) as f64 / 7.0)),
        int("thread.id", random % 64),
    ];
    if random.is_multiple_of(2) {
        attributes.push(text("db.system", "postgresql"));
        attributes.push(text("db.statement", "SELECT id, name FROM orders WHERE customer_id = $1 LIMIT 50"));
    }
    if random.is_multiple_of(5) {
        attributes.push(text("customer.city", "Zürich"));
    }
    let events = (0..1 + random % 2)
        .map(|_| Event {
            time_unix_nano: start + 1000,
            name: "message".to_owned(),
            attributes: vec![text("message.type", "SENT"), int("message.id", random % 500)],
            ..Event::default()
        })
        .collect();
    Span {
        trace_id: [hash(random), random].map(u64::to_be_bytes).concat(),
        span_id: hash(random + 1).to_be_bytes().to_vec(),
        parent_span_id: hash(random + 2).to_be_bytes().to_vec(),
        name: NAME.to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + random % 5_000_000,
        flags: 0x101,
        attributes,
        events,
        status: Some(Status { code: 1, ..Status::default() }),
        ..Span::default()
    }
}

fn traces(seed: u64) -> ExportTraceServiceRequest {
    let scope_spans = (0..2)
        .map(|half| ScopeSpans {
            scope: Some(scope(half)),
            spans: (0..ITEMS / 2).map(|index| span(seed * ITEMS + half * ITEMS / 2 + index)).collect(),
            ..ScopeSpans::default()
        })
        .collect();
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource()), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn logs(seed: u64) -> ExportLogsServiceRequest {
    let record = |number: u64| {
        let random = hash(number + 1);
        LogRecord {
            time_unix_nano: 1_760_000_000_000_000_000 + random % 1_000_000_000,
            observed_time_unix_nano: 1_760_000_000_000_000_000 + random % 1_000_000_000,
            severity_number: 9,
            severity_text: "INFO".to_owned(),
            body: Some(AnyValue {
                value: Some(Value::StringValue(format!(
                    "order {} accepted for customer {}, total 42.50 EUR",
                    random % 1_000_000,
                    random % 10_000
                ))),
            }),
            attributes: vec![
                text("logger.name", "com.example.checkout.OrderService"),
                text("thread.name", "http-nio-8080-exec-7"),
                int("order.id", random % 1_000_000),
                text("event.outcome", "success"),
                text("code.function", "acceptOrder"),
            ],
            trace_id: [hash(random), random].map(u64::to_be_bytes).concat(),
            span_id: hash(random + 1).to_be_bytes().to_vec(),
            ..LogRecord::default()
        }
    };
    let log_records = (0..ITEMS).map(|index| record(seed * ITEMS + index)).collect();
    let scope_logs = vec![ScopeLogs { scope: Some(scope(0)), log_records, ..ScopeLogs::default() }];
    let resource_logs =
        vec![ResourceLogs { resource: Some(resource()), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

fn metrics(seed: u64) -> ExportMetricsServiceRequest {
    let attributes = |random: u64| {
        vec![
            text("http.request.method", "GET"),
            text("http.route", "/api/v1/orders/{id}"),
            int("http.response.status_code", 200),
            text("server.address", "checkout.production.svc.cluster.local"),
            text("shard", &format!("shard-{}", random % 64)),
        ]
    };
    let number = |number: u64| {
        let random = hash(number + 1);
        NumberDataPoint {
            attributes: attributes(random),
            start_time_unix_nano: 1_760_000_000_000_000_000,
            time_unix_nano: 1_760_000_000_000_000_000 + random % 1_000_000_000,
            value: Some(number_data_point::Value::AsInt(random as i64)),
            ..NumberDataPoint::default()
        }
    };
    let histogram = |number: u64| {
        let random = hash(number + 1);
        HistogramDataPoint {
            attributes: attributes(random),
            start_time_unix_nano: 1_760_000_000_000_000_000,
            time_unix_nano: 1_760_000_000_000_000_000 + random % 1_000_000_000,
            count: random % 1000,
            sum: Some((random % 1000) as f64),
            bucket_counts: (0..10).collect(),
            explicit_bounds: (1..10).map(f64::from).collect(),
            ..HistogramDataPoint::default()
        }
    };
    let sum = Sum {
        data_points: (0..ITEMS * 2 / 3).map(|index| number(seed * ITEMS + index)).collect(),
        aggregation_temporality: 2,
        is_monotonic: true,
    };
    let histogram = Histogram {
        data_points: (ITEMS * 2 / 3..ITEMS).map(|index| histogram(seed * ITEMS + index)).collect(),
        aggregation_temporality: 2,
    };
    let metric = |name: &str, data| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics {
        scope: Some(scope(0)),
        metrics: vec![
            metric("http.server.requests", metric::Data::Sum(sum)),
            metric("http.server.request.duration", metric::Data::Histogram(histogram)),
        ],
        ..ScopeMetrics::default()
    }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource()), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}
