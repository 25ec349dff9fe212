//! OTLP/JSON against the Go collector v0.159.0: `json_golden/requests.jsonl` holds, for each input, the HTTP status
//! that its receiver answered and the line that its file exporter wrote;
//! `json_golden/protobuf.jsonl` random requests that were posted in protobuf, and that line.

use millrace_wire::json::{Options, from_json, to_json};
use millrace_wire::{Policy, Signal, validate};
use serde_json::Value;

/// Inputs that Go refuses and we accept, as the proto3 JSON mapping asks.
const WE_ACCEPT: &[(&str, &str)] = &[
    ("empty key", r#""name":"a""#),
    ("null kind", r#"{"traceState":"t","status":{}}"#),
    ("null startTimeUnixNano", r#"{"traceState":"t","status":{}}"#),
    ("null droppedAttributesCount", r#"{"traceState":"t","status":{}}"#),
    ("null traceId", r#"{"traceState":"t","status":{}}"#),
    ("null flags", r#"{"traceState":"t","status":{}}"#),
    ("null boolValue", r#""value":{}"#),
    ("null intValue", r#""value":{}"#),
    ("null doubleValue", r#""value":{}"#),
    ("null bytesValue", r#""value":{}"#),
    ("null optional", r#"{"count":"1"}"#),
    ("severity trace by name", r#""severityNumber":1"#),
    ("trace id escaped", r#""traceId":"0002030405060708090a0b0c0d0e0f10""#),
    ("trace id escaped same length", r#""traceId":"1002030405060708090a0b0c0d0e0f10""#),
    ("base64 unpadded", r#""bytesValue":"aGVsbG8=""#),
    ("base64 url alphabet", r#""bytesValue":"+/+/""#),
    ("base64 escaped slash", r#""bytesValue":"////""#),
    ("base64 line end", r#""bytesValue":"aGVsbG8=""#),
];

/// Inputs that Go accepts, with loss or by accident, and we refuse.
const WE_REFUSE: &[&str] = &[
    "trailing text",
    "two requests",
    "list without bracket",
    "starts with a closing brace",
    "starts with a comma",
    "fixed64 far too large",
    "double hex string",
    "double underscore string",
    "text raw tab after escape",
    "severity trace with a blank",
    "values nested 60 deep",
    "unknown nested 200 deep",
];

/// Inputs that both accept, to another effect.
const WE_DIFFER: &[(&str, &str)] = &[
    ("same data twice", r#"[{"asInt":"1"},{"asInt":"2"}]"#),
    ("deprecated scope spans", r#"{"resourceSpans":[{"resource":{}}]}"#),
];

struct Case {
    name: String,
    signal: Signal,
    input: String,
    accepted: bool,
    output: Option<String>,
}

fn cases() -> Vec<Case> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    include_str!("json_golden/requests.jsonl")
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("one case per line");
            Case {
                name: text(&row["name"]).expect("a name"),
                signal: Signal::from_name(row["signal"].as_str().expect("a signal")).expect("a known signal"),
                input: text(&row["input"]).expect("an input"),
                accepted: row["status"] == 200,
                output: text(&row["output"]),
            }
        })
        .collect()
}

fn ours(case: &Case) -> Result<(String, u32), String> {
    let parsed = from_json(case.signal, case.input.as_bytes(), &Options::default())
        .map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    to_json(&parsed.payload, &mut out).expect("what was read can be written");
    Ok((String::from_utf8(out).expect("JSON is text"), parsed.payload.items()))
}

#[test]
fn requests_are_accepted_and_refused_as_in_go_except_on_purpose() {
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case.name.as_str();
        let result = ours(&case);
        let as_expected = match &result {
            Ok((json, _)) => match WE_ACCEPT.iter().chain(WE_DIFFER).find(|(known, _)| *known == name) {
                Some((_, part)) => json.contains(part) && case.output.as_ref() != Some(json),
                None => case.accepted,
            },
            Err(_) => case.accepted == WE_REFUSE.contains(&name),
        };
        if !as_expected {
            wrong.push(format!(
                "{name}: {result:?}, Go {}",
                if case.accepted { "accepts" } else { "refuses" }
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn accepted_requests_are_written_byte_for_byte_as_go_writes_them() {
    let mut compared = 0;
    for case in cases() {
        if WE_DIFFER.iter().any(|(name, _)| *name == case.name) {
            continue;
        }
        match (ours(&case), case.output) {
            (Ok((json, _)), Some(expected)) => {
                assert_eq!(json, expected, "{}", case.name);
                compared += 1;
            }
            // Go does not pass requests without items on.
            (Ok((_, items)), None) if case.accepted => assert_eq!(items, 0, "{}", case.name),
            _ => {}
        }
    }
    assert!(compared > 120, "only {compared} outputs compared");
}

#[test]
fn protobuf_is_written_byte_for_byte_as_go_writes_it() {
    for (index, line) in include_str!("json_golden/protobuf.jsonl").lines().enumerate() {
        let row: Value = serde_json::from_str(line).expect("one case per line");
        let text = |name: &str| row[name].as_str().expect("text").to_owned();
        let signal = Signal::from_name(&text("signal")).expect("a known signal");
        let hex = text("protobuf");
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
            .collect();

        let payload = validate(signal, bytes.into(), &Policy::default()).expect("Go accepted it").payload;
        let mut out = Vec::new();
        to_json(&payload, &mut out).expect("a payload can be written");

        assert_eq!(String::from_utf8(out).expect("JSON is text"), text("output"), "line {}", index + 1);
    }
}

#[test]
fn every_listed_difference_is_one() {
    let cases = cases();
    let accepted =
        |name: &str| cases.iter().find(|case| case.name == name).expect("is in the table").accepted;
    for (name, _) in WE_ACCEPT {
        assert!(!accepted(name), "Go accepts {name} as well");
    }
    for name in WE_REFUSE.iter().chain(WE_DIFFER.iter().map(|(name, _)| name)) {
        assert!(accepted(name), "Go refuses {name} as well");
    }
}
