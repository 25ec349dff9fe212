//! The validating walk against prost: both accept the same bytes, count the same items and mean the same messages.
//!
//! The deliberate differences, and the only ones:
//! - ids of impossible length are refused, as the Go collector refuses them ([`Problem::IdLength`]);
//! - text that is not UTF-8 is refused only by [`Utf8Policy::Reject`];
//! - nesting may be limited below prost's 100 levels (not here: these tests allow 100).

mod support;

use bytes::Bytes;
use millrace_wire::validate::{MAX_DEPTH, Problem};
use millrace_wire::{Policy, Signal, Utf8Policy, Validated, schema, validate};
use support::{Rng, assert_in_form, oracle};

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

fn policy(utf8: Utf8Policy) -> Policy {
    Policy { utf8, max_depth: MAX_DEPTH }
}

/// What must hold of a validated request, whatever it was before.
fn check_accepted(signal: Signal, input: &[u8], validated: &Validated, context: &str) {
    let payload = &validated.payload;
    assert_in_form(payload);
    if !validated.normalised && validated.repaired_strings == 0 {
        assert_eq!(payload.bytes(), input, "passed on as it came, {context}");
    }
    for utf8 in [Utf8Policy::Repair, Utf8Policy::Pass] {
        let again = validate(signal, payload.bytes().clone(), &policy(utf8)).expect("a payload is valid");
        assert!(!again.normalised, "a payload needs no normalising, {context}");
        assert_eq!(again.payload.items(), payload.items(), "{context}");
    }
}

/// Holds the walk against prost on some bytes; says whether they were accepted.
fn check(signal: Signal, input: &[u8], context: &str) -> bool {
    let prost = oracle(signal, input);
    let bytes = Bytes::copy_from_slice(input);
    let strict = validate(signal, bytes.clone(), &policy(Utf8Policy::Reject));
    let accepted = match (&prost, &strict) {
        (Some(decoded), Ok(validated)) => {
            assert_eq!(validated.payload.items(), decoded.items, "items, {context}");
            let read = oracle(signal, validated.payload.bytes());
            assert_eq!(read.as_ref(), Some(decoded), "the same messages, {context}");
            check_accepted(signal, input, validated, context);
            true
        }
        (None, Err(malformed)) => {
            assert!(malformed.offset <= input.len(), "{malformed}, {context}");
            false
        }
        (Some(_), Err(malformed)) => {
            assert_eq!(malformed.problem, Problem::IdLength, "refused alone: {malformed}, {context}");
            false
        }
        (None, Ok(_)) => panic!("accepted alone, {context}, {input:02x?}"),
    };
    check_lenient(signal, &bytes, accepted, context);
    accepted
}

/// Without the demand for UTF-8, more is accepted, and repaired text can be read by prost.
fn check_lenient(signal: Signal, bytes: &Bytes, strictly_accepted: bool, context: &str) {
    let repaired = validate(signal, bytes.clone(), &policy(Utf8Policy::Repair));
    let passed = validate(signal, bytes.clone(), &policy(Utf8Policy::Pass));
    assert_eq!(repaired.is_ok(), passed.is_ok(), "{context}");
    assert!(repaired.is_ok() || !strictly_accepted, "{context}");
    let (Ok(repaired), Ok(passed)) = (repaired, passed) else { return };
    if strictly_accepted {
        assert_eq!(repaired.repaired_strings, 0, "{context}");
    }
    assert_eq!(passed.payload.items(), repaired.payload.items(), "{context}");
    assert_eq!(passed.normalised, repaired.normalised, "{context}");
    check_accepted(signal, bytes, &repaired, context);
    check_accepted(signal, bytes, &passed, context);
    let read = oracle(signal, repaired.payload.bytes()).expect("repaired text can be read by all");
    assert_eq!(read.items, repaired.payload.items(), "{context}");
}

#[test]
fn what_prost_writes_is_passed_on_as_it_came() {
    for seed in 0..400 {
        for signal in SIGNALS {
            let input = support::request_bytes(signal, &mut Rng::new(seed));
            assert!(check(signal, &input, &format!("{signal}, seed {seed}")));
            let validated = validate(signal, input.into(), &Policy::default()).expect("checked above");
            assert!(!validated.normalised, "{signal}, seed {seed}");
        }
    }
}

#[test]
fn fields_out_of_order_and_unknown_fields_are_passed_on_as_they_came() {
    for seed in 0..400 {
        for signal in SIGNALS {
            let mut rng = Rng::new(seed);
            let table = schema::request(signal).expect("not profiles");
            let plain = support::request_bytes(signal, &mut rng);
            let input = support::shuffled(table, &plain, &mut rng);
            assert!(check(signal, &input, &format!("{signal}, seed {seed}")));
            let validated = validate(signal, input.into(), &Policy::default()).expect("checked above");
            assert!(!validated.normalised, "{signal}, seed {seed}");
        }
    }
}

#[test]
fn odd_encodings_are_normalised_to_the_same_messages() {
    let mut normalised = 0;
    for seed in 0..400 {
        for signal in SIGNALS {
            let mut rng = Rng::new(seed);
            let table = schema::request(signal).expect("not profiles");
            let plain = support::request_bytes(signal, &mut rng);
            let input = support::odd(table, &plain, &mut rng);
            assert!(check(signal, &input, &format!("{signal}, seed {seed}")));
            let validated = validate(signal, input.into(), &Policy::default()).expect("checked above");
            normalised += usize::from(validated.normalised);
        }
    }
    assert!(normalised > 800, "only {normalised} of 1200 odd requests needed normalising");
}

#[test]
fn damaged_requests_are_judged_as_prost_judges_them() {
    let mut accepted = 0;
    let mut refused = 0;
    for seed in 0..700 {
        for signal in SIGNALS {
            let mut rng = Rng::new(seed);
            let table = schema::request(signal).expect("not profiles");
            let plain = support::request_bytes(signal, &mut rng);
            let whole = if rng.one_in(2) { support::odd(table, &plain, &mut rng) } else { plain };
            for round in 0..4 {
                let input = damaged(&whole, &mut rng);
                let context = format!("{signal}, seed {seed}, round {round}");
                *(if check(signal, &input, &context) { &mut accepted } else { &mut refused }) += 1;
            }
        }
    }
    assert!(
        accepted > 500 && refused > 500,
        "{accepted} accepted, {refused} refused: one side is not tested"
    );
}

/// One or two bytes changed, a piece cut off, out, or copied elsewhere.
fn damaged(whole: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if bytes.is_empty() {
        return rng.bytes(3);
    }
    let at = rng.below(bytes.len());
    match rng.below(6) {
        0 => bytes[at] = rng.next() as u8,
        1 => bytes[at] ^= 1 << rng.below(8),
        2 => {
            bytes[at] = rng.next() as u8;
            let at = rng.below(bytes.len());
            bytes[at] = rng.next() as u8;
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..(at + 1 + rng.below(8)).min(whole.len()))),
        _ => {
            let from = rng.below(whole.len());
            let piece = &whole[from..(from + 1 + rng.below(20)).min(whole.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
    }
    bytes
}

#[test]
fn random_bytes_are_judged_as_prost_judges_them() {
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let len = rng.below(24);
        // Small values are more often tags and lengths that make sense.
        let input: Vec<u8> = (0..len).map(|_| rng.next() as u8 & *rng.pick(&[0x0f, 0x3f, 0xff])).collect();
        for signal in SIGNALS {
            check(signal, &input, &format!("{signal}, seed {seed}"));
        }
    }
}

#[test]
fn every_field_number_and_wire_type_of_every_message_is_judged_as_prost_judges_it() {
    let payloads: &[(u64, &[u8])] = &[
        (0, &[1]),
        (0, &[2]),
        (0, &[0x80, 0]),
        (0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        (0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        (1, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (1, &[1, 2, 3]),
        (2, &[0]),
        (2, &[1, 0xff]),
        (2, &[1, b'a']),
        (2, &[2, 0xc3, 0xa9]),
        (2, &[2, 8, 1]),
        (2, &[8, 1, 2, 3, 4, 5, 6, 7, 8]),
        (2, &[16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        (2, &[9, 1]),
        (5, &[1, 2, 3, 4]),
        (5, &[1]),
        (6, &[]),
        (7, &[]),
        (4, &[]),
    ];
    let mut judged = 0;
    for signal in SIGNALS {
        for (message, path) in messages(schema::request(signal).expect("not profiles")) {
            for number in (0..=20).chain([31, 32, 33, 34, 42, 64, 65, 66, (1 << 29) - 1]) {
                let group = [(3, [(number << 3 | 4) as u8, 0])];
                let groups = group.iter().filter(|_| number < 16).map(|(wire, end)| (*wire, &end[..1]));
                for (wire, payload) in payloads.iter().copied().chain(groups) {
                    let mut field = Vec::new();
                    millrace_wire::writer::put_varint(&mut field, number << 3 | wire);
                    field.extend_from_slice(payload);
                    for times in [1, 2] {
                        let input = path.iter().rev().fold(field.repeat(times), |body, number| {
                            let mut out = Vec::new();
                            millrace_wire::writer::put_len_field(&mut out, *number, &body);
                            out
                        });
                        let context = format!("{message} field {number} wire {wire} {payload:?} x{times}");
                        check(signal, &input, &context);
                        judged += 1;
                    }
                }
            }
        }
    }
    assert!(judged > 50_000, "only {judged} cases");
}

/// Every message that a request can hold, with the field numbers that lead to it.
fn messages(request: &'static schema::Message) -> Vec<(&'static str, Vec<u32>)> {
    let mut found: Vec<(&'static schema::Message, Vec<u32>)> = vec![(request, Vec::new())];
    let mut at = 0;
    while at < found.len() {
        let (message, path) = found[at].clone();
        for field in message.fields {
            let schema::Kind::Message(inner) = field.kind else { continue };
            if !found.iter().any(|(known, _)| std::ptr::eq(*known, inner)) {
                found.push((inner, [&path[..], &[field.number]].concat()));
            }
        }
        at += 1;
    }
    found.into_iter().map(|(message, path)| (message.name, path)).collect()
}
