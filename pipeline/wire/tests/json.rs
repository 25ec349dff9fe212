//! OTLP/JSON against an oracle that shares none of our code: the serde of `opentelemetry-proto`, and prost.

mod support;

use millrace_wire::cursor::{Cursor, WireType};
use millrace_wire::json::{Options, from_json, to_json, to_json_all};
use millrace_wire::schema::{Arity, Kind, Message, request};
use millrace_wire::writer::{begin_message, end_message, put_tag};
use millrace_wire::{Payload, Policy, Signal, validate};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::{Value, json};
use std::fmt::Debug;
use support::Rng;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];
const SEEDS: u64 = 300;

/// A random request without infinities, for which serde has no JSON: they become another large number.
fn finite(signal: Signal, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = support::request_bytes(signal, rng);
    for at in 0..bytes.len().saturating_sub(7) {
        if bytes[at..at + 6] == [0; 6] && bytes[at + 6] == 0xf0 && bytes[at + 7] & 0x7f == 0x7f {
            bytes[at + 6] = 0xe0;
        }
    }
    bytes
}

fn payload(signal: Signal, bytes: &[u8]) -> Payload {
    validate(signal, bytes.to_vec().into(), &Policy::default())
        .expect("prost writes well-formed bytes")
        .payload
}

fn written(payload: &Payload) -> Vec<u8> {
    let mut out = Vec::new();
    to_json(payload, &mut out).expect("a payload can be written");
    out
}

/// The same request without empty messages that need not be there, and without ids of zeros: what is left is what
/// JSON tells apart. Goes without the fields named by `unread`, too.
fn stripped(message: &'static Message, bytes: &[u8], unread: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_done() {
        let start = cursor.offset();
        let tag = cursor.tag().expect("well-formed");
        let field = message.field(tag.field).expect("a known field");
        match field.kind {
            Kind::Message(inner) => {
                let body = stripped(inner, cursor.len_prefixed().expect("well-formed"), unread);
                if !body.is_empty() || field.arity != Arity::Single {
                    let open = begin_message(&mut out, field.number);
                    out.extend_from_slice(&body);
                    end_message(&mut out, open);
                }
            }
            Kind::Id(_) => {
                let id = cursor.len_prefixed().expect("well-formed");
                if id.iter().any(|&byte| byte != 0) {
                    put_tag(&mut out, field.number, WireType::Len);
                    out.push(id.len() as u8);
                    out.extend_from_slice(id);
                }
            }
            _ => {
                cursor.skip(tag, 0).expect("well-formed");
                if !unread.contains(&field.name) {
                    out.extend_from_slice(&bytes[start..cursor.offset()]);
                }
            }
        }
    }
    out
}

/// Like `assert_eq!`, but shows only where large requests begin to differ.
fn assert_same<T: PartialEq + Debug>(left: &T, right: &T, what: &str) {
    if left != right {
        let [left, right] = [format!("{left:?}"), format!("{right:?}")];
        let at = left.bytes().zip(right.bytes()).position(|(left, right)| left != right).unwrap_or_default();
        let around = |text: &str| {
            String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(80)..])
                .chars()
                .take(200)
                .collect::<String>()
        };
        panic!("{what}:\n left: {}\nright: {}", around(&left), around(&right));
    }
}

/// Adds the defaults that Go leaves out and that serde insists on.
fn spell_out(tree: &mut Value) {
    match tree {
        Value::Array(elements) => elements.iter_mut().for_each(spell_out),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let defaults = match &name[..] {
                    "arrayValue" | "kvlistValue" => json!({"values": []}),
                    "entityRefs" => json!({"schemaUrl": "", "type": "", "idKeys": [], "descriptionKeys": []}),
                    "attributes" | "values" | "metadata" | "filteredAttributes" => json!({"key": ""}),
                    _ => json!({}),
                };
                let inner = match &mut *member {
                    Value::Array(elements) => elements.iter_mut().collect(),
                    single => vec![single],
                };
                for object in inner.into_iter().filter_map(Value::as_object_mut) {
                    for (key, default) in defaults.as_object().expect("an object") {
                        object.entry(key).or_insert_with(|| default.clone());
                    }
                }
                spell_out(member);
            }
        }
        _ => {}
    }
}

/// Calls a generic function with the prost type of a signal.
macro_rules! with_type {
    ($signal:expr, $function:ident, $($argument:expr),*) => {
        match $signal {
            Signal::Traces => $function::<ExportTraceServiceRequest>($($argument),*),
            Signal::Metrics => $function::<ExportMetricsServiceRequest>($($argument),*),
            _ => $function::<ExportLogsServiceRequest>($($argument),*),
        }
    };
}

/// What serde writes, but does not read.
const UNREAD: &[&str] = &["string_value_strindex"];

#[test]
fn json_written_by_serde_is_read_to_the_same_request() {
    fn check<T: prost::Message + Default + PartialEq + Debug + serde::Serialize>(
        signal: Signal,
        bytes: &[u8],
        seed: u64,
    ) {
        let message = request(signal).expect("has a table");
        let expected = T::decode(bytes).expect("well-formed");
        let text = serde_json::to_vec(&expected).expect("serde writes it");

        let parsed = from_json(signal, &text, &Options::default()).unwrap_or_else(|error| {
            panic!("seed {seed}, {signal}: {error}\n{}", String::from_utf8_lossy(&text))
        });

        let decoded =
            T::decode(&stripped(message, parsed.payload.bytes(), &[])[..]).expect("ours is well-formed");
        let expected = T::decode(&stripped(message, bytes, &[])[..]).expect("well-formed");
        assert_same(&decoded, &expected, &format!("seed {seed}, {signal}"));
        assert_eq!(parsed.payload.items(), payload(signal, bytes).items(), "seed {seed}, {signal}");
    }
    for seed in 0..SEEDS {
        for signal in SIGNALS {
            let bytes = finite(signal, &mut Rng::new(seed));
            with_type!(signal, check, signal, &bytes, seed);
        }
    }
}

#[test]
fn json_written_by_us_is_read_by_serde_to_the_same_request() {
    fn check<T: prost::Message + Default + PartialEq + Debug + serde::de::DeserializeOwned>(
        signal: Signal,
        bytes: &[u8],
        seed: u64,
    ) {
        let message = request(signal).expect("has a table");

        let text = written(&payload(signal, bytes));

        let mut tree = serde_json::from_slice(&text).expect("JSON");
        spell_out(&mut tree);
        let read: T = serde_json::from_value(tree).unwrap_or_else(|error| {
            panic!("seed {seed}, {signal}: {error}\n{}", String::from_utf8_lossy(&text))
        });
        let read = T::decode(&stripped(message, &read.encode_to_vec(), UNREAD)[..]).expect("well-formed");
        let expected = T::decode(&stripped(message, bytes, UNREAD)[..]).expect("well-formed");
        assert_same(&read, &expected, &format!("seed {seed}, {signal}"));
    }
    for seed in 0..SEEDS {
        for signal in SIGNALS {
            let bytes = finite(signal, &mut Rng::new(seed));
            with_type!(signal, check, signal, &bytes, seed);
        }
    }
}

#[test]
fn what_was_written_and_read_is_written_the_same() {
    for seed in 0..SEEDS {
        for signal in SIGNALS {
            let mut rng = Rng::new(seed);
            let bytes = support::request_bytes(signal, &mut rng);
            let bytes = support::shuffled(request(signal).expect("has a table"), &bytes, &mut rng);
            let original = payload(signal, &bytes);

            let text = written(&original);
            let parsed = from_json(signal, &text, &Options::default()).expect("our own JSON").payload;

            assert_eq!(parsed.items(), original.items(), "seed {seed}, {signal}");
            assert_eq!(String::from_utf8(written(&parsed)), String::from_utf8(text), "seed {seed}, {signal}");
        }
    }
}

#[test]
fn several_payloads_are_written_as_one_request() {
    let payloads: Vec<_> = (0..4)
        .map(|seed| payload(Signal::Logs, &support::request_bytes(Signal::Logs, &mut Rng::new(seed))))
        .collect();
    let joined: Vec<u8> = payloads.iter().flat_map(|payload| payload.bytes().to_vec()).collect();

    let mut out = b"before".to_vec();
    to_json_all(&payloads, &mut out).expect("one signal");

    assert_eq!(&out[6..], written(&payload(Signal::Logs, &joined)));

    let mut none = Vec::new();
    to_json_all([], &mut none).expect("an empty request");
    assert_eq!(none, b"{}");
}

#[test]
fn payloads_of_two_signals_and_profiles_are_refused_without_a_trace() {
    let traces = payload(Signal::Traces, &support::request_bytes(Signal::Traces, &mut Rng::new(1)));
    let mut out = b"before".to_vec();

    assert!(to_json_all([&traces, &Payload::empty(Signal::Logs)], &mut out).is_err());
    assert!(to_json(&Payload::empty(Signal::Profiles), &mut out).is_err());

    assert_eq!(out, b"before");
}
