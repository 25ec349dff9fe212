//! OTLP/JSON that is damaged, hostile or not UTF-8: where errors point, what is bounded, and that nothing panics.

mod support;

use millrace_wire::json::{JsonError, Options, Parsed, Problem, from_json, to_json};
use millrace_wire::{Policy, Signal, Utf8Policy, validate};
use support::Rng;

fn read(text: impl AsRef<[u8]>) -> Result<Parsed, JsonError> {
    from_json(Signal::Traces, text.as_ref(), &Options::default())
}

fn in_span(members: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{members}}}]}}]}}]}}"#)
}

fn written(parsed: &Parsed) -> String {
    let mut out = Vec::new();
    to_json(&parsed.payload, &mut out).expect("a payload can be written");
    String::from_utf8(out).expect("JSON is always text")
}

#[test]
fn errors_say_where_and_what() {
    let text =
        "{\"resourceSpans\": [\n  {},\n  {\"scopeSpans\": [{\"spans\": [{}, {\"traceId\": \"0102\"}]}]}\n]}";

    let error = read(text).expect_err("the id is too short");

    assert_eq!(error.path, "resourceSpans[1].scopeSpans[0].spans[1].traceId");
    assert_eq!(error.problem, Problem::IdLength { expected: 32, found: 4 });
    assert_eq!((error.line, error.column), (3, 47));
    assert_eq!(&text[error.offset..error.offset + 4], "0102");
    assert_eq!(
        error.to_string(),
        "line 3, column 47 (in resourceSpans[1].scopeSpans[0].spans[1].traceId): \
         an id must have 32 hexadecimal digits or none, not 4"
    );
}

#[test]
fn paths_name_keys_as_the_protocol_does_and_unknown_ones_as_they_are() {
    let cases = [
        (r#"{"resource_spans":{}}"#, "resourceSpans"),
        (
            r#"{"resourceSpans":[{"resource":{"attributes":[{"value":{"arrayValue":{"values":[{},{"intValue":"x"}]}}}]}}]}"#,
            "resourceSpans[0].resource.attributes[0].value.arrayValue.values[1].intValue",
        ),
        (r#"{"resourceSpans":[{"new":{"inner":[01]}}]}"#, "resourceSpans[0].new"),
        (r#"[]"#, ""),
        (r#"{} {}"#, ""),
    ];
    for (text, path) in cases {
        assert_eq!(read(text).expect_err("is damaged").path, path, "{text}");
    }
}

#[test]
fn every_prefix_of_a_request_is_truncated_at_its_end() {
    let whole = in_span(
        r#""traceId":"5B8EFFF798038103D269B633813FC60C","name":"a\u00e4\n","kind":2,"attributes":[{"key":"k","value":{"doubleValue":-1.5e3}},{"value":{"boolValue":true}}],"x":[null,{"y":1}],"flags":null"#,
    );
    assert!(read(&whole).is_ok());
    for len in 0..whole.len() {
        let error = read(&whole[..len]).expect_err("is cut");
        assert_eq!((&error.problem, error.offset), (&Problem::Truncated, len), "{}", &whole[..len]);
    }
}

#[test]
fn text_that_is_not_utf8_follows_the_policy() {
    let mut text =
        in_span(r#""name":"a?b","traceState":"\u00e4?","events":[{"name":"fine ä"}]"#).into_bytes();
    text.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
    let with = |utf8| {
        let options = Options { policy: Policy { utf8, ..Policy::default() }, ..Options::default() };
        from_json(Signal::Traces, &text, &options)
    };
    let expected = r#""traceState":"ä�","name":"a�b","events":[{"name":"fine ä"}]"#;

    let repaired = with(Utf8Policy::Repair).expect("repaired");
    assert_eq!(repaired.repaired_strings, 2);
    assert!(written(&repaired).contains(expected));
    assert!(std::str::from_utf8(repaired.payload.bytes()).is_ok());

    let passed = with(Utf8Policy::Pass).expect("passed on");
    assert_eq!(passed.repaired_strings, 0);
    assert!(passed.payload.bytes().windows(3).any(|bytes| bytes == b"a\xffb"));
    assert!(written(&passed).contains(expected), "what is written is text again");

    let error = with(Utf8Policy::Reject).expect_err("refused");
    assert_eq!(error.problem, Problem::InvalidUtf8);
    assert_eq!(error.path, "resourceSpans[0].scopeSpans[0].spans[0].name");
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        let value = format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels));
        in_span(&format!(r#""attributes":[{{"value":{value}}}]"#))
    };
    // The value of an attribute of a span is at level 5, and each list takes two more.
    let parsed = read(nested(47)).expect("level 99");
    assert!(validate(Signal::Traces, parsed.payload.bytes().clone(), &Policy::default()).is_ok());
    assert_eq!(read(nested(48)).expect_err("level 101").problem, Problem::TooDeep);
    assert_eq!(read(nested(200_000)).expect_err("far too deep").problem, Problem::TooDeep);

    let unknown = |levels: usize| in_span(&format!(r#""x":{}{}"#, "[".repeat(levels), "]".repeat(levels)));
    assert!(read(unknown(100)).is_ok());
    assert_eq!(read(unknown(101)).expect_err("too deep").problem, Problem::TooDeep);
    assert_eq!(read(unknown(200_000)).expect_err("far too deep").problem, Problem::TooDeep);

    let shallow = Options { policy: Policy { max_depth: 3, ..Policy::default() }, ..Options::default() };
    let span = in_span(r#""name":"a""#);
    assert!(from_json(Signal::Traces, span.as_bytes(), &shallow).is_ok());
    let status = in_span(r#""status":{}"#);
    let error = from_json(Signal::Traces, status.as_bytes(), &shallow).expect_err("level 4");
    assert_eq!(error.problem, Problem::TooDeep);
}

#[test]
fn size_is_bounded() {
    let text = in_span(&format!(r#""name":"{}""#, "x".repeat(1000)));
    let at_most = |max_bytes| {
        from_json(Signal::Traces, text.as_bytes(), &Options { max_bytes, ..Options::default() })
            .map_err(|error| error.problem)
    };
    let len = at_most(usize::MAX).expect("no limit").payload.len();
    assert!(at_most(len).is_ok());
    assert_eq!(at_most(900), Err(Problem::TooLarge(900)));
}

#[test]
fn packed_zeros_are_the_worst_that_protobuf_makes_of_json() {
    let zeros = "0,".repeat(50_000) + "0";
    let text = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{zeros}]}}]}}}}]}}]}}]}}"#
    );
    let parsed = from_json(Signal::Metrics, text.as_bytes(), &Options::default()).expect("well-formed");
    assert!(parsed.payload.len() > 3 * text.len());
    assert!(parsed.payload.len() < 5 * text.len());
}

#[test]
fn repeated_keys_leave_a_payload_in_form_with_its_items_counted_once() {
    let point = r#"{"asInt":"1","asDouble":2,"timeUnixNano":"5","timeUnixNano":"0"}"#;
    let text = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"droppedAttributesCount":1}},"scopeMetrics":[{{"metrics":[
            {{"gauge":{{"dataPoints":[{point},{point}]}},"sum":{{"dataPoints":[{point}],"isMonotonic":true,"isMonotonic":false}}}}
        ]}}],"resource":{{"attributes":[{{"key":"a"}}],"droppedAttributesCount":2}}}}]}}"#
    );

    let parsed = from_json(Signal::Metrics, text.as_bytes(), &Options::default()).expect("well-formed");

    assert_eq!(parsed.payload.items(), 1);
    assert!(
        !validate(Signal::Metrics, parsed.payload.bytes().clone(), &Policy::default())
            .expect("valid")
            .normalised
    );
    assert_eq!(
        written(&parsed),
        r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{}}],"droppedAttributesCount":2},"scopeMetrics":[{"scope":{},"metrics":[{"sum":{"dataPoints":[{"asDouble":2}]}}]}]}]}"#
    );
}

#[test]
fn mutated_requests_are_refused_or_give_payloads_in_form() {
    let fragments: [&[u8]; 16] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\\ud800",
        b"null",
        b"0",
        b"-",
        b"1e9",
        b"\xff",
        b"\"name\":\"x\",",
        b"\"attributes\":[{}],",
    ];
    let (mut refused, mut accepted) = (0, 0);
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let signal = *rng.pick(&[Signal::Traces, Signal::Metrics, Signal::Logs]);
        let bytes = support::request_bytes(signal, &mut rng);
        let original =
            validate(signal, bytes.into(), &Policy::default()).expect("prost writes well-formed bytes");
        let mut text = Vec::new();
        to_json(&original.payload, &mut text).expect("a payload can be written");
        for _ in 0..=rng.below(3) {
            // Deletions may have left nothing.
            text.extend_from_slice(b" ");
            let at = rng.below(text.len());
            match rng.below(4) {
                0 => text[at] = rng.next() as u8,
                1 => drop(text.drain(at..(at + 1 + rng.below(8)).min(text.len()))),
                2 => drop(text.splice(at..at, rng.pick(&fragments).iter().copied())),
                // A member or element that occurs twice.
                _ => {
                    let end = (at + rng.below(60)).min(text.len());
                    let copy = text[at..end].to_vec();
                    text.splice(at..at, copy);
                }
            }
        }
        let utf8 = *rng.pick(&[Utf8Policy::Repair, Utf8Policy::Pass, Utf8Policy::Reject]);
        let options = Options { policy: Policy { utf8, ..Policy::default() }, ..Options::default() };

        match from_json(signal, &text, &options) {
            Ok(parsed) => {
                accepted += 1;
                let again = validate(signal, parsed.payload.bytes().clone(), &options.policy).expect("valid");
                assert!(!again.normalised, "seed {seed}");
                assert_eq!(again.payload, parsed.payload, "seed {seed}");
                assert!(parsed.payload.len() <= 5 * text.len(), "seed {seed}");
            }
            Err(error) => {
                refused += 1;
                assert!(error.offset <= text.len() && error.line > 0 && error.column > 0, "seed {seed}");
            }
        }
    }
    assert!(refused > 300 && accepted > 300, "{refused} refused, {accepted} accepted");
}
