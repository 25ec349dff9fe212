//! Our texts against what the Go collector v0.159 printed for the same requests (`use_internal_logger: false`).
//! `testdata/README.md` says how to record them again.

use super::*;
use bytes::Bytes;
use millrace_wire::{json, validate, writer};

const TRACES: &[u8] = include_bytes!("../testdata/traces.json");
const METRICS: &[u8] = include_bytes!("../testdata/metrics.json");
const LOGS: &[u8] = include_bytes!("../testdata/logs.json");

fn payload(signal: Signal, text: &[u8]) -> Payload {
    json::from_json(signal, text, &json::Options::default()).unwrap().payload
}

fn valid(signal: Signal, bytes: Vec<u8>) -> Payload {
    validate(signal, Bytes::from(bytes), &validate::Policy::default()).unwrap().payload
}

fn text(render: impl FnOnce(&mut dyn Write) -> fmt::Result) -> String {
    let mut text = String::new();
    render(&mut text).unwrap();
    text
}

/// What the exporter prints in all: a log line with the counts, then one whose message is the text.
fn printed(payload: &Payload) -> [String; 3] {
    let counts = basic(payload.signal(), [payload]);
    let normal = text(|out| normal([payload], out));
    let detailed = text(|out| detailed([payload], out));
    [format!("{counts}\n"), format!("{counts}\n{normal}\n"), format!("{counts}\n{detailed}\n")]
}

/// Compares line by line, so that a failure shows the line.
fn assert_same_text(ours: &str, golden: &str) {
    for (number, (ours, golden)) in ours.lines().zip(golden.lines()).enumerate() {
        assert_eq!(ours, golden, "line {}", number + 1);
    }
    assert_eq!(ours, golden);
}

#[test]
fn traces_print_as_go_prints_them() {
    let [basic, normal, detailed] = printed(&payload(Signal::Traces, TRACES));
    assert_same_text(&basic, include_str!("../testdata/traces.basic.txt"));
    assert_same_text(&normal, include_str!("../testdata/traces.normal.txt"));
    assert_same_text(&detailed, include_str!("../testdata/traces.detailed.txt"));
}

#[test]
fn metrics_print_as_go_prints_them() {
    let [basic, normal, detailed] = printed(&payload(Signal::Metrics, METRICS));
    assert_same_text(&basic, include_str!("../testdata/metrics.basic.txt"));
    assert_same_text(&normal, include_str!("../testdata/metrics.normal.txt"));
    assert_same_text(&detailed, include_str!("../testdata/metrics.detailed.txt"));
}

#[test]
fn logs_print_as_go_prints_them() {
    let [basic, normal, detailed] = printed(&payload(Signal::Logs, LOGS));
    assert_same_text(&basic, include_str!("../testdata/logs.basic.txt"));
    assert_same_text(&normal, include_str!("../testdata/logs.normal.txt"));
    assert_same_text(&detailed, include_str!("../testdata/logs.detailed.txt"));
}

#[test]
fn several_payloads_print_as_the_one_request_that_they_are_side_by_side() {
    for (signal, request) in [(Signal::Traces, TRACES), (Signal::Metrics, METRICS), (Signal::Logs, LOGS)] {
        let piece = payload(signal, request);
        let pieces = [&piece, &Payload::empty(signal), &piece];
        let whole = valid(signal, [piece.bytes().as_ref(), piece.bytes()].concat());
        assert_eq!(basic(signal, pieces), basic(signal, [&whole]));
        assert_eq!(text(|out| normal(pieces, out)), text(|out| normal([&whole], out)));
        assert_eq!(text(|out| detailed(pieces, out)), text(|out| detailed([&whole], out)));
    }
}

#[test]
fn an_empty_batch_counts_nothing_and_prints_nothing() {
    for (signal, counts) in [
        (Signal::Traces, "Traces\t{\"resource spans\": 0, \"spans\": 0}"),
        (Signal::Metrics, "Metrics\t{\"resource metrics\": 0, \"metrics\": 0, \"data points\": 0}"),
        (Signal::Logs, "Logs\t{\"resource logs\": 0, \"log records\": 0}"),
        (Signal::Profiles, "Profiles\t{\"resource profiles\": 0, \"sample records\": 0}"),
    ] {
        assert_eq!(basic(signal, []).to_string(), counts);
        assert_eq!(text(|out| normal([], out)), "");
        assert_eq!(text(|out| detailed([], out)), "");
    }
}

#[test]
fn profiles_are_counted_and_not_looked_into() {
    let mut request = Vec::new();
    writer::put_len_field(&mut request, 1, b"");
    writer::put_len_field(&mut request, 2, b"the dictionary");
    let payload = valid(Signal::Profiles, request);
    let counts = basic(Signal::Profiles, [&payload]);
    assert_eq!(counts.to_string(), "Profiles\t{\"resource profiles\": 1, \"sample records\": 1}");
    assert_eq!(text(|out| detailed([&payload], out)), "");
}

#[test]
fn a_failing_writer_stops_the_rendering() {
    struct Full(usize);
    impl Write for Full {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let payload = payload(Signal::Traces, TRACES);
    assert_eq!(normal([&payload], &mut Full(100)), Err(fmt::Error));
    assert_eq!(detailed([&payload], &mut Full(100)), Err(fmt::Error));
}
