//! Every accessor of every view, on payloads that the border has made of anything: nothing panics, and prost reads the
//! same.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use millrace_fuzz::with_presence::WithPresence;
use millrace_fuzz::{Input, flat, prost_from_view, protobuf};
use millrace_wire::view::{Attributes, Request, Value};
use millrace_wire::{Payload, Utf8Policy, json};
use prost::Message;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    protobuf::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    let Some(payload) = input.payload(Utf8Policy::Repair) else { return };
    assert_eq!(read(&payload), expected(&payload), "views read what prost reads");

    let passed = input.payload(Utf8Policy::Pass).expect("what can be repaired can be passed on");
    assert_eq!(read(&passed).len(), read(&payload).len(), "repairing text changes nothing else");
    let mut written = Vec::new();
    json::to_json(&passed, &mut written).expect("a payload can be written");
    assert!(std::str::from_utf8(&written).is_ok(), "JSON is text, whatever was passed on");
});

/// What the views read, encoded: that compares equal to itself when it holds a NaN.
fn read(payload: &Payload) -> Vec<u8> {
    match Request::of(payload) {
        Request::Traces(traces) => {
            for resource in traces.resource_spans() {
                look_up(resource.resource().attributes());
                for span in resource.scope_spans().flat_map(|scope| scope.spans()) {
                    let head = span.head();
                    assert_eq!((head.trace_id(), head.span_id()), (span.trace_id(), span.span_id()));
                    assert_eq!((head.name, head.kind), (span.name(), span.kind()));
                    assert_eq!((head.start_ns, head.end_ns), (span.start_ns(), span.end_ns()));
                    assert_eq!((head.status_code, head.flags), (span.status().code(), span.flags()));
                    look_up(span.attributes());
                }
            }
            prost_from_view::traces(traces).encode_to_vec()
        }
        Request::Logs(logs) => {
            for resource in logs.resource_logs() {
                for record in resource.scope_logs().flat_map(|scope| scope.log_records()) {
                    look_up(record.attributes());
                }
            }
            prost_from_view::logs(logs).encode_to_vec()
        }
        Request::Metrics(metrics) => prost_from_view::metrics(metrics).encode_to_vec(),
        Request::Profiles(_) => unreachable!("not among the inputs"),
    }
}

/// Finds every key, in maps as well. Depth is bounded by the border.
fn look_up(attributes: Attributes<'_>) {
    assert_eq!(attributes.len(), attributes.iter().count());
    assert_eq!(attributes.is_empty(), attributes.iter().next().is_none());
    for entry in attributes {
        assert!(attributes.get(entry.key().as_bytes()).is_some());
        let [found, _] = attributes.get_each([entry.key().as_bytes(), b"no such key"]);
        assert!(found.is_some());
        if let Value::Map(inner) = entry.value() {
            look_up(inner);
        }
    }
}

fn expected(payload: &Payload) -> Vec<u8> {
    match Request::of(payload) {
        Request::Traces(_) => with_presence(flat::traces(payload)),
        Request::Logs(_) => with_presence(flat::logs(payload)),
        Request::Metrics(_) => with_presence(flat::metrics(payload)),
        Request::Profiles(_) => unreachable!("not among the inputs"),
    }
}

fn with_presence(mut request: impl WithPresence + Message) -> Vec<u8> {
    request.with_presence();
    request.encode_to_vec()
}
