//! What the border accepts, repairs, rewrites and refuses, example by example.

mod support;

use bytes::Bytes;
use millrace_wire::cursor::{WireError, WireType};
use millrace_wire::validate::{MAX_DEPTH, Problem};
use millrace_wire::writer::{put_len_field, put_tag, put_varint, put_varint_field};
use millrace_wire::{Malformed, Policy, Signal, Utf8Policy, Validated, validate};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use support::{Rng, assert_in_form, oracle};

const REPAIR: Policy = Policy { utf8: Utf8Policy::Repair, max_depth: MAX_DEPTH };
const PASS: Policy = Policy { utf8: Utf8Policy::Pass, max_depth: MAX_DEPTH };
const REJECT: Policy = Policy { utf8: Utf8Policy::Reject, max_depth: MAX_DEPTH };

/// A field that holds `body`.
fn field(number: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len_field(&mut out, number, body);
    out
}

/// A message at the end of the given field numbers, outermost first.
fn nested(path: &[u32], body: &[u8]) -> Vec<u8> {
    path.iter().rev().fold(body.to_vec(), |body, number| field(*number, &body))
}

/// A request with one span.
fn span(body: &[u8]) -> Vec<u8> {
    nested(&[1, 2, 2], body)
}

fn key_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    [field(1, key), field(2, value)].concat()
}

fn check(signal: Signal, bytes: Vec<u8>, policy: &Policy) -> Result<Validated, Malformed> {
    let result = validate(signal, Bytes::from(bytes), policy);
    if let Ok(validated) = &result {
        assert_in_form(&validated.payload);
    }
    result
}

#[test]
fn an_empty_request_is_an_empty_payload() {
    for signal in Signal::ALL {
        let validated = check(signal, Vec::new(), &Policy::default()).unwrap();
        assert!(validated.payload.is_empty());
        assert_eq!(validated.payload.items(), 0);
    }
}

#[test]
fn a_request_in_form_shares_its_allocation() {
    let bytes = Bytes::from(span(&field(5, b"GET")));
    let validated = validate(Signal::Traces, bytes.clone(), &Policy::default()).unwrap();
    assert_eq!(validated.payload.bytes().as_ptr(), bytes.as_ptr());
    assert!(!validated.normalised);
}

#[test]
fn refusal_names_the_path_and_the_offset() {
    // given: two resources, the second with two scopes, whose second span's third attribute has a bad value
    let good = field(9, &key_value(b"k", &field(1, b"v")));
    let bad = field(9, &key_value(b"k", &[0x0a, 0x05, b'v']));
    let span_bytes = field(2, &[good.clone(), good, bad].concat());
    let scopes = [field(2, &[]), field(2, &[field(2, &[]), span_bytes].concat())].concat();
    let request = [field(1, &[]), field(1, &scopes)].concat();

    // when
    let malformed = check(Signal::Traces, request.clone(), &Policy::default()).unwrap_err();

    // then
    assert_eq!(
        malformed.path.to_string(),
        "resource_spans[1].scope_spans[1].spans[1].attributes[2].value.string_value"
    );
    assert_eq!(&request[malformed.offset..], [0x0a, 0x05, b'v']);
    assert_eq!(malformed.problem, Problem::Wire(WireError::LengthOverrun));
    assert_eq!(
        malformed.to_string(),
        format!(
            "malformed OTLP in {}, at byte {}: a length reaches past the end of its message",
            malformed.path, malformed.offset
        )
    );
}

#[test]
fn refusal_at_the_top_names_the_request() {
    let malformed = check(Signal::Logs, vec![0x07], &Policy::default()).unwrap_err();
    assert_eq!(malformed.path.to_string(), "the request");
    assert_eq!(malformed.problem, Problem::Wire(WireError::BadWireType));
    let malformed = check(Signal::Logs, vec![0x92, 0x03, 0x05], &Policy::default()).unwrap_err();
    assert_eq!(malformed.path.to_string(), "(unknown field 50)");
}

#[test]
fn text_that_is_not_utf8_is_repaired_passed_or_refused() {
    // given: a plain attribute, one with a bad key, one with two bad characters in its value, and bytes
    let attributes = [
        key_value(b"k", &field(1, b"v")),
        key_value(b"\xff", &field(1, b"v")),
        key_value(b"k", &field(1, b"a\xc3\xffb")),
        key_value(b"k", &field(7, b"\xff\xff")),
    ];
    let request = span(&attributes.iter().flat_map(|attribute| field(9, attribute)).collect::<Vec<u8>>());

    // when, then: repair
    let repaired = check(Signal::Traces, request.clone(), &REPAIR).unwrap();
    assert_eq!(repaired.repaired_strings, 2);
    assert!(!repaired.normalised);
    let decoded = ExportTraceServiceRequest::decode(&repaired.payload.bytes()[..]).unwrap();
    let attributes = &decoded.resource_spans[0].scope_spans[0].spans[0].attributes;
    assert_eq!(attributes[1].key, "\u{fffd}");
    assert!(format!("{:?}", attributes[2]).contains("a\u{fffd}\u{fffd}b"));
    assert!(format!("{:?}", attributes[3]).contains("[255, 255]"));

    // pass
    let passed = check(Signal::Traces, request.clone(), &PASS).unwrap();
    assert_eq!(passed.payload.bytes(), &request);
    assert_eq!(passed.repaired_strings, 0);

    // reject
    let malformed = check(Signal::Traces, request, &REJECT).unwrap_err();
    assert_eq!(malformed.problem, Problem::InvalidUtf8);
    assert_eq!(malformed.path.to_string(), "resource_spans[0].scope_spans[0].spans[0].attributes[1].key");
}

#[test]
fn normalising_leaves_bad_text_alone_when_the_policy_is_to_pass() {
    let odd = [span(&field(5, b"\xff")), vec![0x10, 1]].concat();
    let validated = check(Signal::Traces, odd, &PASS).unwrap();
    assert!(validated.normalised);
    assert_eq!(validated.payload.bytes(), &span(&field(5, b"\xff")));
}

#[test]
fn ids_of_impossible_length_are_refused() {
    for (number, good) in [(1, 16), (2, 8), (4, 8)] {
        for len in 0..40 {
            let result = check(Signal::Traces, span(&field(number, &vec![1; len])), &Policy::default());
            assert_eq!(result.is_ok(), len == 0 || len == good, "field {number} of {len} bytes");
        }
    }
    let malformed = check(Signal::Traces, span(&field(4, &[1; 16])), &Policy::default()).unwrap_err();
    assert_eq!(malformed.problem, Problem::IdLength);
    assert_eq!(malformed.path.to_string(), "resource_spans[0].scope_spans[0].spans[0].parent_span_id");
}

#[test]
fn what_stands_beside_the_resources_is_dropped_so_that_requests_can_be_laid_end_to_end() {
    let mut request = span(&field(5, b"a"));
    put_varint_field(&mut request, 2, 7);
    request.extend(span(&field(5, b"b")));
    let validated = check(Signal::Traces, request, &Policy::default()).unwrap();
    assert!(validated.normalised);
    assert_eq!(validated.payload.items(), 2);
    assert_eq!(validated.payload.bytes(), &[span(&field(5, b"a")), span(&field(5, b"b"))].concat());
}

#[test]
fn unknown_fields_below_the_top_are_kept() {
    let mut unknown = field(100, b"\xff anything");
    put_varint_field(&mut unknown, 101, 7);
    let plain = span(&unknown);
    let validated = check(Signal::Traces, plain.clone(), &Policy::default()).unwrap();
    assert_eq!(validated.payload.bytes(), &plain);

    // and when the span has to be rewritten for another reason
    let odd = span(&[field(5, b"a"), unknown.clone(), field(5, b"b")].concat());
    let validated = check(Signal::Traces, odd, &Policy::default()).unwrap();
    assert_eq!(validated.payload.bytes(), &span(&[field(5, b"b"), unknown].concat()));
}

#[test]
fn a_message_in_several_parts_becomes_one() {
    let status = [field(15, &field(2, b"mess")), field(15, &[]), field(15, &[0x18, 2])].concat();
    let validated = check(Signal::Traces, span(&status), &Policy::default()).unwrap();
    assert!(validated.normalised);
    let whole = span(&field(15, &[field(2, b"mess"), vec![0x18, 2]].concat()));
    assert_eq!(validated.payload.bytes(), &whole);
}

#[test]
fn only_the_last_member_of_a_oneof_counts() {
    // given: a metric that is first a gauge with two points, then a sum with one point in two parts
    let point = field(1, &[0x31, 1, 0, 0, 0, 0, 0, 0, 0]);
    let gauge = field(5, &[point.clone(), point.clone()].concat());
    let sum = [field(7, &point), field(7, &[0x18, 1])].concat();
    let request = nested(&[1, 2, 2], &[gauge, sum].concat());

    // when
    let validated = check(Signal::Metrics, request.clone(), &Policy::default()).unwrap();

    // then
    assert_eq!(validated.payload.items(), 1);
    let whole = nested(&[1, 2, 2], &field(7, &[point, vec![0x18, 1]].concat()));
    assert_eq!(validated.payload.bytes(), &whole);
    assert_eq!(oracle(Signal::Metrics, &request).unwrap().items, 1);
}

#[test]
fn a_member_of_a_oneof_starts_afresh_after_another() {
    // given: a list of one, then a bool, then a list of another one
    let value = [field(5, &field(1, &field(1, b"a"))), vec![0x10, 1], field(5, &field(1, &field(1, b"b")))];
    let request = span(&field(9, &key_value(b"k", &value.concat())));
    // when
    let validated = check(Signal::Traces, request.clone(), &Policy::default()).unwrap();
    // then
    let whole = span(&field(9, &key_value(b"k", &field(5, &field(1, &field(1, b"b"))))));
    assert_eq!(validated.payload.bytes(), &whole);
    assert_eq!(oracle(Signal::Traces, &request), oracle(Signal::Traces, &whole));
}

#[test]
fn packed_runs_and_single_elements_become_one_run() {
    // given: bucket counts 1, then [2, 3], then 4
    let mut buckets = Vec::new();
    put_varint_field(&mut buckets, 2, 1);
    buckets.extend(field(2, &[2, 3]));
    put_varint_field(&mut buckets, 2, 4);
    let path = [1, 2, 2, 10, 1, 8];
    let validated = check(Signal::Metrics, nested(&path, &buckets), &Policy::default()).unwrap();
    assert!(validated.normalised);
    assert_eq!(validated.payload.bytes(), &nested(&path, &field(2, &[1, 2, 3, 4])));
    assert_eq!(validated.payload.items(), 1);
}

#[test]
fn profiles_are_opaque() {
    let request = [field(1, b""), field(2, b"\xff: the dictionary is nobody's business")].concat();
    let validated = check(Signal::Profiles, request.clone(), &Policy::default()).unwrap();
    assert_eq!(validated.payload.bytes(), &request);
    assert_eq!(validated.payload.items(), 1, "there is something in it");
    assert!(!validated.normalised);
    let malformed = check(Signal::Profiles, vec![0x0a, 5, 1], &Policy::default()).unwrap_err();
    assert_eq!(malformed.problem, Problem::Wire(WireError::LengthOverrun));
    assert_eq!(malformed.offset, 0);
}

#[test]
fn the_items_of_profiles_are_their_samples() {
    let profile = |samples: usize| {
        let samples = field(2, b"\xff: whatever a sample is").repeat(samples);
        field(2, &[field(1, b"sample_type"), samples, field(5, b"period_type")].concat())
    };
    let scope = field(2, &[field(1, b"scope"), profile(2), profile(0), profile(1)].concat());
    let resource = field(1, &[field(1, b"resource"), scope.clone(), scope].concat());
    let request = [resource.clone(), resource, field(2, b"dictionary")].concat();
    let validated = check(Signal::Profiles, request.clone(), &Policy::default()).unwrap();
    assert_eq!((validated.payload.items(), validated.payload.bytes()), (12, &request.into()));
    assert_eq!(check(Signal::Profiles, Vec::new(), &Policy::default()).unwrap().payload.items(), 0);
    for broken in
        [field(1, b"\xff"), field(1, &field(2, &[0x12, 9])), field(1, &field(2, &field(2, &[0x0b])))]
    {
        check(Signal::Profiles, broken, &Policy::default()).expect_err("it breaks off");
    }
}

/// An attribute value of a span: `lists` lists in one another around a string.
fn deep(lists: usize) -> Vec<u8> {
    let value = (0..lists).fold(field(1, b"v"), |value, _| field(5, &field(1, &value)));
    span(&field(9, &key_value(b"k", &value)))
}

#[test]
fn nesting_is_limited_where_prost_limits_it() {
    let accepted = (0..60).filter(|lists| check(Signal::Traces, deep(*lists), &REPAIR).is_ok()).count();
    let by_prost = (0..60).filter(|lists| oracle(Signal::Traces, &deep(*lists)).is_some()).count();
    assert_eq!(accepted, by_prost);
    assert!((40..60).contains(&accepted));
}

#[test]
fn what_stands_at_the_deepest_level_is_judged_as_prost_judges_it() {
    // given: innermost values that go zero to three levels deeper, or end in fields that prost will not step over
    let innermost = [
        field(1, b"v"),
        field(5, &[]),
        field(6, &field(1, &key_value(b"k", &field(1, b"v")))),
        field(6, &field(1, &key_value(b"k", &[]))),
        field(6, &field(1, &field(1, b"k"))),
        field(6, &field(1, &key_value(b"k", &field(1, &[b'v'; 200])))),
        field(100, &[]),
        vec![0x9b, 0x06, 0x9c, 0x06],
        vec![0x9b, 0x06, 0x9b, 0x06, 0x08, 0x01, 0x9c, 0x06, 0x9c, 0x06],
        field(6, &field(1, &[0x9b, 0x06, 0x9b, 0x06, 0x9c, 0x06, 0x9c, 0x06])),
    ];
    for (number, innermost) in innermost.iter().enumerate() {
        let mut accepted = 0;
        // when: lists put them at any level, and a map below some of them at an even one
        for lists in 40..50 {
            for maps in 0..2 {
                let value = (0..lists).fold(innermost.clone(), |value, _| field(5, &field(1, &value)));
                let value = (0..maps).fold(value, |value, _| field(6, &field(1, &key_value(b"k", &value))));
                let input = span(&field(9, &key_value(b"k", &value)));
                // then
                let ours = check(Signal::Traces, input.clone(), &REPAIR).is_ok();
                assert_eq!(ours, oracle(Signal::Traces, &input).is_some(), "{number}, {lists}, {maps}");
                accepted += u32::from(ours);
            }
        }
        assert!((1..20).contains(&accepted), "value {number} was never at the limit");
    }
}

#[test]
fn nesting_can_be_limited_further_but_not_less() {
    // A span is at level 3, its attribute at 4, the value at 5, and each list adds two levels.
    let limited = |max_depth| Policy { max_depth, ..Policy::default() };
    assert!(check(Signal::Traces, deep(10), &limited(25)).is_ok());
    let malformed = check(Signal::Traces, deep(10), &limited(24)).unwrap_err();
    assert_eq!(malformed.problem, Problem::Wire(WireError::TooDeep));
    assert_eq!(malformed.path.steps().len(), 25);
    assert!(check(Signal::Traces, deep(60), &limited(u32::MAX)).is_err());
    assert!(check(Signal::Traces, deep(0), &limited(0)).is_err());
}

#[test]
fn hostile_nesting_does_not_overflow_a_small_stack() {
    let groups = |levels: usize| [vec![0x0b; levels], vec![0x0c; levels]].concat();
    let inputs = [
        deep(20_000),
        vec![0x0b; 1 << 20],
        span(&[0x9b, 0x06].repeat(100_000)),
        span(&groups(99)),
        // Maps in maps, where each value comes in two parts.
        span(&field(
            9,
            &(0..25).fold(key_value(b"k", &[]), |inner, _| {
                [field(2, &field(6, &[])), field(2, &field(6, &field(1, &inner)))].concat()
            }),
        )),
    ];
    let check_all = move || {
        for input in inputs {
            for signal in Signal::ALL {
                for policy in [REPAIR, PASS, REJECT] {
                    let problem =
                        check(signal, input.clone(), &policy).map_err(|malformed| malformed.problem).err();
                    if signal != Signal::Profiles && problem != Some(Problem::IdLength) {
                        assert_eq!(problem.is_none(), oracle(signal, &input).is_some());
                    }
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(check_all).unwrap().join().unwrap();
}

#[test]
fn lengths_of_four_gigabytes_and_more_are_refused_without_allocating() {
    for len in [u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX, u64::MAX - 7] {
        let mut lying = vec![0x0a];
        put_varint(&mut lying, len);
        lying.extend([0; 32]);
        for (signal, bytes) in [
            (Signal::Profiles, lying.clone()),
            (Signal::Metrics, lying.clone()),
            (Signal::Traces, span(&lying)),
        ] {
            let malformed = check(signal, bytes, &Policy::default()).unwrap_err();
            assert_eq!(malformed.problem, Problem::Wire(WireError::LengthOverrun), "a length of {len}");
        }
    }
}

#[test]
fn a_request_of_two_gigabytes_is_refused_unread() {
    // Zeroed pages that are never touched take no memory.
    let bytes = Bytes::from(vec![0; 1 << 31]);
    let malformed = validate(Signal::Traces, bytes, &Policy::default()).unwrap_err();
    assert_eq!(malformed.problem, Problem::TooLarge);
}

#[test]
fn many_parts_within_many_parts_are_put_together_in_linear_time() {
    // given: a resource in 50,000 parts, each with an attribute whose value is in parts
    let attribute = [field(1, b"k"), field(2, &field(1, b"x")), field(2, &field(1, b"v"))].concat();
    let part = field(1, &field(1, &attribute));
    let request = field(1, &part.repeat(50_000));

    // when
    let validated = check(Signal::Traces, request, &Policy::default()).unwrap();

    // then
    let attribute = field(1, &key_value(b"k", &field(1, b"v")));
    assert_eq!(validated.payload.bytes(), &field(1, &field(1, &attribute.repeat(50_000))));
}

#[test]
fn groups_are_dropped_from_where_they_stand() {
    let mut group = Vec::new();
    put_tag(&mut group, 30, WireType::StartGroup);
    group.extend(field(1, b"anything"));
    put_tag(&mut group, 30, WireType::EndGroup);
    let request = span(&[group, field(5, b"name")].concat());
    let validated = check(Signal::Traces, request, &Policy::default()).unwrap();
    assert!(validated.normalised);
    assert_eq!(validated.payload.bytes(), &span(&field(5, b"name")));
}

#[test]
fn damaged_text_everywhere_is_repaired_everywhere() {
    for seed in 0..200 {
        // given: a request in which random text bytes have been overwritten
        let mut rng = Rng::new(seed);
        let mut input = support::request_bytes(Signal::Logs, &mut rng);
        for byte in &mut input {
            if byte.is_ascii_alphabetic() && rng.one_in(8) {
                *byte = 0xff;
            }
        }
        // when it is still protobuf (letters can be tags and lengths, too)
        let Ok(repaired) = check(Signal::Logs, input, &REPAIR) else { continue };
        // then prost, which insists on UTF-8, can read it
        assert!(oracle(Signal::Logs, repaired.payload.bytes()).is_some(), "seed {seed}");
    }
}
