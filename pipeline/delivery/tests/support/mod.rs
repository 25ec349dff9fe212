//! What the tests of delivery need: telemetry whose items have names, a process to live in, and scripted senders.

#![allow(dead_code, reason = "each test uses its part")]

pub mod disk;
pub mod moves;
pub mod process;
pub mod sender;

use bytes::Bytes;
use millrace_engine::{Batch, Charge, Origin, Piece};
use millrace_wire::validate::{Policy, validate};
use millrace_wire::{Payload, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::ops::Range;

/// A small generator of its own, so that a seed replays a run for ever.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn resource(name: u64) -> Option<Resource> {
    Some(Resource {
        attributes: vec![text("service.name", format!("service-{name}"))],
        ..Resource::default()
    })
}

/// A request of log records whose times are their ids, in resources of a few records.
pub fn logs(ids: Range<u64>) -> Payload {
    let ids: Vec<_> = ids.collect();
    let resource_logs = ids.chunks(5).map(|ids| ResourceLogs {
        resource: resource(ids[0] / 5),
        scope_logs: ids
            .chunks(3)
            .map(|ids| ScopeLogs {
                log_records: ids
                    .iter()
                    .map(|&id| LogRecord {
                        time_unix_nano: id,
                        attributes: vec![text("fill", "x".repeat((id % 7) as usize * 10))],
                        ..LogRecord::default()
                    })
                    .collect(),
                ..ScopeLogs::default()
            })
            .collect(),
        ..ResourceLogs::default()
    });
    let request = ExportLogsServiceRequest { resource_logs: resource_logs.collect() };
    payload(Signal::Logs, &request)
}

/// A request of data points whose times are their ids, all of one metric.
pub fn points(ids: Range<u64>) -> Payload {
    let point = |id| NumberDataPoint { time_unix_nano: id, ..NumberDataPoint::default() };
    let gauge = Gauge { data_points: ids.map(point).collect() };
    let metric = Metric { name: "depth".into(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource_metrics =
        ResourceMetrics { resource: resource(1), scope_metrics: vec![scope], ..ResourceMetrics::default() };
    payload(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] })
}

fn payload(signal: Signal, request: &impl Message) -> Payload {
    let bytes = Bytes::from(request.encode_to_vec());
    validate(signal, bytes, &Policy::default()).expect("prost writes well-formed requests").payload
}

pub fn piece(payload: Payload) -> Piece {
    Piece { payload, origin: Origin::local(), charge: Charge::none() }
}

/// One request of log records.
pub fn batch(ids: Range<u64>) -> Batch {
    Batch::of(piece(logs(ids)))
}

/// The ids in a batch, in order, as another decoder finds them in its bytes laid end to end.
pub fn ids(batch: &Batch) -> Vec<u64> {
    let bytes: Vec<u8> = batch.pieces().iter().flat_map(|piece| piece.payload.bytes().to_vec()).collect();
    match batch.signal() {
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(&bytes[..]).expect("well-formed");
            let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
            scopes.flat_map(|scope| scope.log_records).map(|record| record.time_unix_nano).collect()
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(&bytes[..]).expect("well-formed");
            let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            let metrics = scopes.flat_map(|scope| scope.metrics);
            let points = metrics.flat_map(|metric| match metric.data {
                Some(metric::Data::Gauge(gauge)) => gauge.data_points,
                other => panic!("only gauges were sent, not {other:?}"),
            });
            points.map(|point| point.time_unix_nano).collect()
        }
        other => panic!("no test sends {other}"),
    }
}
