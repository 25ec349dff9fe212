//! Views against prost: whatever prost decodes from some bytes, the views read from the payload that validation makes
//! of the same bytes, field by field.

mod prost_from_view;
#[path = "../support/mod.rs"]
mod support;
mod with_presence;

use bytes::Bytes;
use millrace_wire::schema;
use millrace_wire::view::{Attributes, Logs, MetricData, Metrics, Traces, Value};
use millrace_wire::{Payload, Policy, Signal, validate};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::ops::Range;
use support::Rng;
use with_presence::WithPresence;

const SEEDS: Range<u64> = 0..400;

/// A random request as prost encodes it, in another order with unknown fields, and in an odd but legal encoding; each
/// with the payload that validation makes of it.
fn requests(signal: Signal, seed: u64) -> [(Vec<u8>, Payload); 3] {
    let rng = &mut Rng::new(seed);
    let plain = support::request_bytes(signal, rng);
    let schema = schema::request(signal).expect("a structured signal");
    let shuffled = support::shuffled(schema, &plain, rng);
    let odd = support::odd(schema, &plain, rng);
    [plain, shuffled, odd].map(|bytes| {
        let validated = validate(signal, Bytes::from(bytes.clone()), &Policy::default());
        (bytes, validated.expect("the generator writes OTLP").payload)
    })
}

#[test]
fn every_field_of_traces_reads_as_prost_reads_it() {
    for seed in SEEDS {
        for (bytes, payload) in requests(Signal::Traces, seed) {
            let mut expected = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            expected.with_presence();
            let traces = Traces::of(&payload).expect("the payload is of traces");
            assert_eq!(prost_from_view::traces(traces), expected, "seed {seed}");
        }
    }
}

#[test]
fn every_field_of_metrics_reads_as_prost_reads_it() {
    for seed in SEEDS {
        for (bytes, payload) in requests(Signal::Metrics, seed) {
            let mut expected = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
            expected.with_presence();
            let metrics = Metrics::of(&payload).expect("the payload is of metrics");
            assert_eq!(prost_from_view::metrics(metrics), expected, "seed {seed}");
        }
    }
}

#[test]
fn every_field_of_logs_reads_as_prost_reads_it() {
    for seed in SEEDS {
        for (bytes, payload) in requests(Signal::Logs, seed) {
            let mut expected = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
            expected.with_presence();
            let logs = Logs::of(&payload).expect("the payload is of logs");
            assert_eq!(prost_from_view::logs(logs), expected, "seed {seed}");
        }
    }
}

#[test]
fn the_head_of_a_span_agrees_with_the_single_accessors() {
    let mut spans_seen = 0;
    for seed in SEEDS {
        for (_, payload) in requests(Signal::Traces, seed) {
            let scopes =
                Traces::over(payload.bytes()).resource_spans().flat_map(|resource| resource.scope_spans());
            for span in scopes.flat_map(|scope| scope.spans()) {
                let head = span.head();
                assert_eq!(head.trace_id(), span.trace_id(), "seed {seed}");
                assert_eq!(head.trace_id_bytes, span.trace_id_bytes(), "seed {seed}");
                assert_eq!(head.span_id(), span.span_id(), "seed {seed}");
                assert_eq!(head.parent_span_id(), span.parent_span_id(), "seed {seed}");
                assert_eq!(head.trace_state, span.trace_state(), "seed {seed}");
                assert_eq!(head.name, span.name(), "seed {seed}");
                assert_eq!(head.kind, span.kind(), "seed {seed}");
                assert_eq!((head.start_ns, head.end_ns), (span.start_ns(), span.end_ns()), "seed {seed}");
                assert_eq!(head.duration_ns(), span.end_ns().saturating_sub(span.start_ns()), "seed {seed}");
                assert_eq!(head.status_code, span.status().code(), "seed {seed}");
                assert_eq!(head.flags, span.flags(), "seed {seed}");
                spans_seen += 1;
            }
        }
    }
    assert!(spans_seen > 1000, "the generator makes spans");
}

#[test]
fn an_attribute_is_found_by_its_key_and_the_first_one_counts() {
    let mut found = 0;
    for seed in SEEDS {
        let rng = &mut Rng::new(seed);
        let bytes = support::traces(rng).encode_to_vec();
        for resource in Traces::over(&bytes).resource_spans() {
            let attributes = resource.resource().attributes();
            assert_eq!(attributes.len(), attributes.iter().count(), "seed {seed}");
            assert_eq!(attributes.is_empty(), attributes.iter().next().is_none(), "seed {seed}");
            found += check_lookups(attributes);
            assert!(attributes.get(b"no such key in the generator").is_none(), "seed {seed}");
        }
    }
    assert!(found > 100, "the generator makes attributes");
}

/// Looks every key up, in nested maps too; gives how many there were.
fn check_lookups(attributes: Attributes<'_>) -> usize {
    let mut found = 0;
    for entry in attributes {
        let first =
            attributes.iter().find(|other| other.key() == entry.key()).expect("the entry itself has it");
        let value = attributes.get(entry.key().as_bytes()).expect("an entry has that key");
        assert_eq!(prost_from_view::value(value), prost_from_view::value(first.value()));
        let [missing, by_pass] =
            attributes.get_each([b"no such key in the generator", entry.key().as_bytes()]);
        assert_eq!(by_pass.map(prost_from_view::value), Some(prost_from_view::value(value)));
        assert!(missing.is_none());
        found += 1;
        if let Value::Map(entries) = value {
            found += check_lookups(entries);
        }
    }
    found
}

#[test]
fn packed_words_know_how_many_they_are() {
    let mut runs_seen = 0;
    for seed in SEEDS {
        let rng = &mut Rng::new(seed);
        let bytes = support::metrics(rng).encode_to_vec();
        let scopes = Metrics::over(&bytes).resource_metrics().flat_map(|resource| resource.scope_metrics());
        for metric in scopes.flat_map(|scope| scope.metrics()) {
            let Some(MetricData::Histogram(histogram)) = metric.data() else { continue };
            for point in histogram.data_points() {
                assert_eq!(point.bucket_counts().len(), point.bucket_counts().count(), "seed {seed}");
                assert_eq!(point.explicit_bounds().len(), point.explicit_bounds().count(), "seed {seed}");
                runs_seen += 1;
            }
        }
    }
    assert!(runs_seen > 100, "the generator makes histograms");
}
