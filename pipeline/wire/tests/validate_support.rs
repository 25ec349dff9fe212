//! The generator checks itself: every other encoding of a request decodes to the same request.

mod support;

use millrace_wire::{Signal, schema};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use support::Rng;

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(signal: Signal, seed: u64) {
    let mut rng = Rng::new(seed);
    let table = schema::request(signal).expect("not profiles");
    let bytes = support::request_bytes(signal, &mut rng);
    let plain = M::decode(&bytes[..]).expect("prost reads what it wrote");

    let shuffled = support::shuffled(table, &bytes, &mut rng);
    assert_eq!(M::decode(&shuffled[..]).as_ref(), Ok(&plain), "shuffled, {signal}, seed {seed}");

    let odd = support::odd(table, &bytes, &mut rng);
    assert_eq!(M::decode(&odd[..]).as_ref(), Ok(&plain), "odd, {signal}, seed {seed}");
}

#[test]
fn other_encodings_decode_to_the_same_request() {
    for seed in 0..300 {
        check::<ExportTraceServiceRequest>(Signal::Traces, seed);
        check::<ExportMetricsServiceRequest>(Signal::Metrics, seed);
        check::<ExportLogsServiceRequest>(Signal::Logs, seed);
    }
}
