//! The validating walk against prost: the same verdict, items and meaning, under every policy; profiles, too, which
//! are opaque.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use millrace_fuzz::support::judge;
use millrace_fuzz::{Input, protobuf};
use millrace_wire::{Policy, Signal, validate};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    protobuf::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    judge(input.signal, input.request, "fuzzed");

    let request = Bytes::copy_from_slice(input.request);
    let shallow = Policy { max_depth: u32::from(input.choice % 16), ..Policy::default() };
    for signal in [input.signal, Signal::Profiles] {
        match validate(signal, request.clone(), &shallow) {
            Ok(validated) => {
                let deep = validate(signal, request.clone(), &Policy::default()).expect("a higher limit");
                assert_eq!(deep.payload, validated.payload, "the limit does not change what is let in");
            }
            Err(malformed) => {
                assert!(malformed.offset <= input.request.len(), "{malformed}");
                assert!(!malformed.to_string().is_empty());
            }
        }
    }
});
