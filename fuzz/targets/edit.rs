//! One rewrite with edits at every level, against the same edits made to prost structs.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use millrace_fuzz::edit_oracle::{Oracle, Script};
use millrace_fuzz::support::Rng;
use millrace_fuzz::{Input, assert_sound, flat, protobuf};
use millrace_wire::edit::rewrite;
use millrace_wire::{Signal, Utf8Policy};
use prost::Message;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    protobuf::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    let Some(payload) = input.payload(Utf8Policy::Repair) else { return };
    let mut script = Script::random(&mut Rng::new(u64::from(input.choice)));

    let edited = rewrite(&payload, &mut script);

    assert_sound(&edited.payload, Utf8Policy::Repair);
    assert_eq!(edited.payload.items() + edited.dropped_items, payload.items());
    // Compared as encoded, because a NaN is not equal to itself.
    let oracle = Oracle { script: &script };
    let (seen, expected) = match input.signal {
        Signal::Traces => (
            flat::traces(&edited.payload).encode_to_vec(),
            oracle.traces(flat::traces(&payload)).encode_to_vec(),
        ),
        Signal::Logs => {
            (flat::logs(&edited.payload).encode_to_vec(), oracle.logs(flat::logs(&payload)).encode_to_vec())
        }
        _ => (
            flat::metrics(&edited.payload).encode_to_vec(),
            oracle.metrics(flat::metrics(&payload)).encode_to_vec(),
        ),
    };
    assert_eq!(seen, expected, "{script:?}");

    let passed = input.payload(Utf8Policy::Pass).expect("what can be repaired can be passed on");
    let edited = rewrite(&passed, &mut script);
    assert_sound(&edited.payload, Utf8Policy::Pass);
    assert_eq!(edited.payload.items() + edited.dropped_items, passed.items());
});
