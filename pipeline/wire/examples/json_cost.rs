//! What OTLP/JSON costs: reading it to protobuf and writing it from protobuf, against serde and prost.
//!
//! `cargo run --release -p millrace-wire --example json_cost`
//!
//! Requests of 1000 spans or data points as an instrumented service sends them. MB/s are of JSON, best of several
//! rounds.
#![allow(clippy::print_stdout)] // It is a report.

use millrace_wire::json::{Options, from_json, to_json};
use millrace_wire::{Payload, Signal};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::hint::black_box;
use std::time::Instant;

const ITEMS: u64 = 1000;
const ROUNDS: u32 = 30;

fn main() {
    println!("{:34} {:>10} {:>8} {:>9}", "", "JSON bytes", "MB/s", "ns/item");
    compare::<ExportTraceServiceRequest>(Signal::Traces, "spans", &spans());
    compare::<ExportMetricsServiceRequest>(Signal::Metrics, "data points", &points());
}

fn compare<T>(signal: Signal, items: &str, text: &str)
where
    T: Message + Default + serde::Serialize + serde::de::DeserializeOwned,
{
    let read = || from_json(signal, text.as_bytes(), &Options::default()).expect("well-formed").payload;
    let payload: Payload = read();
    let mut out = Vec::new();
    report(&format!("{items}, from_json"), text.len(), || drop(black_box(read())));
    report(&format!("{items}, serde then prost encode"), text.len(), || {
        let request: T = serde_json::from_str(text).expect("well-formed");
        black_box(request.encode_to_vec());
    });
    report(&format!("{items}, to_json"), text.len(), || {
        out.clear();
        to_json(&payload, &mut out).expect("a payload can be written");
        black_box(&out);
    });
    report(&format!("{items}, prost decode then serde"), text.len(), || {
        let request = T::decode(payload.bytes().clone()).expect("well-formed");
        black_box(serde_json::to_vec(&request).expect("serde writes it"));
    });
}

fn report(what: &str, bytes: usize, mut run: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    let seconds = best.as_secs_f64();
    println!(
        "{what:34} {bytes:>10} {:>8.0} {:>9.0}",
        bytes as f64 / seconds / 1e6,
        seconds * 1e9 / ITEMS as f64
    );
}

fn spans() -> String {
    let spans: Vec<String> = (0..ITEMS)
        .map(|n| {
            let attributes = attributes(n);
            let time = 1_700_000_000_000_000_000 + n * 1_234_567;
            format!(
                r#"{{"traceId":"{:032x}","spanId":"{:016x}","parentSpanId":"{:016x}","flags":257,"name":"GET /api/v1/orders/{{id}}","kind":2,"startTimeUnixNano":"{time}","endTimeUnixNano":"{}","attributes":[{attributes}],"status":{{}}}}"#,
                u128::from(n / 5 + 1) << 64 | 0x5b8e_fff7,
                n + 1,
                n / 5 + 1,
                time + 5_000_000
            )
        })
        .collect();
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"orders"}}}}]}},"scopeSpans":[{{"scope":{{"name":"http"}},"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    )
}

fn points() -> String {
    let points: Vec<String> = (0..ITEMS)
        .map(|n| {
            format!(
                r#"{{"attributes":[{}],"startTimeUnixNano":"1700000000000000000","timeUnixNano":"{}","count":"{n}","sum":{}.25,"bucketCounts":["0","1","{n}","40","2","0"],"explicitBounds":[0.005,0.01,0.25,1.5,10]}}"#,
                attributes(n),
                1_700_000_060_000_000_000 + n,
                n * 17
            )
        })
        .collect();
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{}},"scopeMetrics":[{{"scope":{{"name":"http"}},"metrics":[{{"name":"http.server.duration","unit":"s","histogram":{{"dataPoints":[{}],"aggregationTemporality":2}}}}]}}]}}]}}"#,
        points.join(",")
    )
}

fn attributes(n: u64) -> String {
    let text = |key: &str, value: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    [
        text("http.request.method", "GET"),
        text("url.path", &format!("/api/v1/orders/{n}/items")),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        format!(r#"{{"key":"http.response.status_code","value":{{"intValue":"{}"}}}}"#, 200 + n % 5),
    ]
    .join(",")
}
