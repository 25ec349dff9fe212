//! OTLP/JSON: anything is read or refused; what is read is in form; what is written is read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_fuzz::{Input, assert_sound};
use millrace_wire::json::{Options, Parsed, from_json, to_json};
use millrace_wire::{Payload, Policy, Utf8Policy};

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    let utf8 = [Utf8Policy::Repair, Utf8Policy::Pass, Utf8Policy::Reject][usize::from(input.choice % 3)];
    let policy = Policy { utf8, ..Policy::default() };
    let text = input.request;

    match from_json(input.signal, text, &Options { policy, ..Options::default() }) {
        Ok(parsed) => {
            assert!(parsed.payload.len() <= 5 * text.len(), "memory follows the input");
            assert_sound(&parsed.payload, utf8);
            survives(&parsed.payload);
            bounded(&input, policy, &parsed);
        }
        Err(error) => {
            assert!(error.offset <= text.len() && error.line > 0 && error.column > 0, "{error}");
            assert!(error.column <= text.len() + 1, "{error}");
        }
    }

    // The same bytes as protobuf: whatever is let in can be written.
    if let Some(payload) = input.payload(Utf8Policy::Repair) {
        survives(&payload);
    }
});

/// What JSON cannot tell (unknown fields, ids of zeros, absent or empty) is gone after the first round; from then on
/// nothing changes.
fn survives(payload: &Payload) {
    let first = again(payload);
    assert_eq!(first.items(), payload.items());
    assert_sound(&first, Utf8Policy::Reject);
    let second = again(&first);
    assert_eq!(written(&second), written(&first));
    assert_eq!(second, first);
}

fn again(payload: &Payload) -> Payload {
    let options =
        Options { policy: Policy { utf8: Utf8Policy::Reject, ..Policy::default() }, ..Options::default() };
    from_json(payload.signal(), &written(payload), &options).expect("what we write we read").payload
}

fn written(payload: &Payload) -> Vec<u8> {
    let mut out = Vec::new();
    to_json(payload, &mut out).expect("a payload can be written");
    out
}

/// The limit on the size refuses exactly what is larger.
fn bounded(input: &Input<'_>, policy: Policy, parsed: &Parsed) {
    let len = parsed.payload.len();
    let fits = |max_bytes| from_json(input.signal, input.request, &Options { policy, max_bytes });
    // Of repeated keys, the earlier value may have needed more room than the result.
    if let Ok(again) = fits(len) {
        assert_eq!(again.payload, parsed.payload);
    }
    if len > 0 {
        assert!(fits(len - 1).is_err(), "{len} bytes do not fit one less");
    }
}
