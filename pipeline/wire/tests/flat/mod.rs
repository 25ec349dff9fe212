//! Requests as flat lists: every item with all that encloses it, as prost sees it.
#![allow(dead_code)] // Each test binary uses a part of it.

use super::support::{self, Rng};
use bytes::Bytes;
use millrace_wire::{Payload, Policy, Signal, schema, validate};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message;

pub const STRUCTURED: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// One span, log record or data point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlatItem {
    /// Everything of the `ResourceX` but its scopes.
    pub resource: Vec<u8>,
    /// Everything of the `ScopeX` but its items.
    pub scope: Vec<u8>,
    /// Everything of the `Metric` but its points; empty for spans and logs.
    pub metric: Vec<u8>,
    pub item: Vec<u8>,
}

/// A random request in an encoding that a payload may have as it is.
pub fn random(signal: Signal, seed: u64) -> Payload {
    let mut rng = Rng::new(seed);
    let bytes = support::request_bytes(signal, &mut rng);
    if seed.is_multiple_of(2) { payload(signal, bytes) } else { shuffled(signal, &bytes, &mut rng) }
}

fn shuffled(signal: Signal, bytes: &[u8], rng: &mut Rng) -> Payload {
    let table = schema::request(signal).expect("not profiles");
    payload(signal, support::shuffled(table, bytes, rng))
}

pub fn payload(signal: Signal, bytes: Vec<u8>) -> Payload {
    validate(signal, Bytes::from(bytes), &Policy::default()).expect("prost's bytes are valid").payload
}

/// A random request of several items.
pub fn filled(signal: Signal) -> Payload {
    (0..).map(|seed| random(signal, seed)).find(|payload| payload.items() > 3).expect("some seed gives items")
}

/// Some profiles request: opaque, but shaped like the others at the top.
pub fn profiles() -> Payload {
    payload(Signal::Profiles, vec![0x0a, 2, 0x10, 7])
}

/// Asserts that the bytes are what a payload promises: the border passes them on unchanged, and counts the same.
pub fn assert_sound(payload: &Payload) {
    let validated = validate(payload.signal(), payload.bytes().clone(), &Policy::default());
    let validated = validated.expect("what the library made is valid");
    assert!(!validated.normalised, "what the library made is normal");
    assert_eq!(&validated.payload, payload, "bytes and items");
}

pub fn traces(payload: &Payload) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(payload.bytes().clone()).expect("a payload decodes")
}

pub fn metrics(payload: &Payload) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(payload.bytes().clone()).expect("a payload decodes")
}

pub fn logs(payload: &Payload) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest::decode(payload.bytes().clone()).expect("a payload decodes")
}

/// All items, in order.
pub fn items(payload: &Payload) -> Vec<FlatItem> {
    let mut all = Vec::new();
    match payload.signal() {
        Signal::Traces => {
            for mut resource in traces(payload).resource_spans {
                for mut scope in std::mem::take(&mut resource.scope_spans) {
                    for item in std::mem::take(&mut scope.spans) {
                        all.push(flat(&resource, &scope, Vec::new(), &item));
                    }
                }
            }
        }
        Signal::Logs => {
            for mut resource in logs(payload).resource_logs {
                for mut scope in std::mem::take(&mut resource.scope_logs) {
                    for item in std::mem::take(&mut scope.log_records) {
                        all.push(flat(&resource, &scope, Vec::new(), &item));
                    }
                }
            }
        }
        Signal::Metrics => {
            for mut resource in metrics(payload).resource_metrics {
                for mut scope in std::mem::take(&mut resource.scope_metrics) {
                    for metric in std::mem::take(&mut scope.metrics) {
                        let (header, points) = take_points(metric);
                        let header = header.encode_to_vec();
                        all.extend(points.into_iter().map(|item| FlatItem {
                            resource: resource.encode_to_vec(),
                            scope: scope.encode_to_vec(),
                            metric: header.clone(),
                            item,
                        }));
                    }
                }
            }
        }
        Signal::Profiles => unreachable!("profiles have no inside"),
    }
    all
}

/// The items in an order of their own, for comparing as multisets.
pub fn sorted(mut items: Vec<FlatItem>) -> Vec<FlatItem> {
    items.sort();
    items
}

fn flat(resource: &impl Message, scope: &impl Message, metric: Vec<u8>, item: &impl Message) -> FlatItem {
    FlatItem {
        resource: resource.encode_to_vec(),
        scope: scope.encode_to_vec(),
        metric,
        item: item.encode_to_vec(),
    }
}

fn take_points(mut metric: Metric) -> (Metric, Vec<Vec<u8>>) {
    fn all<T: Message>(points: &mut Vec<T>) -> Vec<Vec<u8>> {
        std::mem::take(points).iter().map(Message::encode_to_vec).collect()
    }
    let points = match &mut metric.data {
        Some(Data::Gauge(data)) => all(&mut data.data_points),
        Some(Data::Sum(data)) => all(&mut data.data_points),
        Some(Data::Histogram(data)) => all(&mut data.data_points),
        Some(Data::ExponentialHistogram(data)) => all(&mut data.data_points),
        Some(Data::Summary(data)) => all(&mut data.data_points),
        None => Vec::new(),
    };
    (metric, points)
}
