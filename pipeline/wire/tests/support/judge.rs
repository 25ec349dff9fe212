//! The validating walk held against prost, on any bytes: both accept the same, count the same items and mean the same
//! messages.
//!
//! The deliberate differences, and the only ones:
//! - ids of impossible length are refused, as the Go collector refuses them ([`Problem::IdLength`]);
//! - text that is not UTF-8 is refused only by [`Utf8Policy::Reject`];
//! - nesting may be limited below prost's 100 levels (not here: 100 are allowed).

use super::{assert_in_form, oracle};
use bytes::Bytes;
use millrace_wire::validate::{MAX_DEPTH, Problem};
use millrace_wire::{Policy, Signal, Utf8Policy, Validated, validate};

/// Holds the walk against prost on some bytes; says whether they were accepted. Not for profiles.
pub fn judge(signal: Signal, input: &[u8], context: &str) -> bool {
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

fn policy(utf8: Utf8Policy) -> Policy {
    Policy { utf8, max_depth: MAX_DEPTH }
}
