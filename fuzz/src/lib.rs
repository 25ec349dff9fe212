//! What the fuzz targets share: the oracles of the tests, how an input is laid out, a mutator that knows protobuf, and a
//! reader of what Prometheus scrapes.

pub mod protobuf;
pub mod scrape;

#[path = "../../pipeline/wire/tests/edit_oracle/mod.rs"]
pub mod edit_oracle;
#[path = "../../pipeline/wire/tests/flat/mod.rs"]
pub mod flat;
#[path = "../../pipeline/wire/tests/views/prost_from_view.rs"]
pub mod prost_from_view;
#[path = "../../pipeline/wire/tests/support/mod.rs"]
pub mod support;
#[path = "../../pipeline/wire/tests/views/with_presence.rs"]
pub mod with_presence;

#[path = "../../pipeline/config/tests/support/mod.rs"]
pub mod configuration;
#[path = "../../pipeline/log/tests/support/mod.rs"]
pub mod log_support;

use bytes::Bytes;
use millrace_wire::{Payload, Policy, Signal, Utf8Policy, validate};

/// How many bytes of an input come before the request.
pub const HEADER: usize = 2;

/// An input of the targets that work on requests: a byte for the signal, a byte for the target's own choices, and the
/// request.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Never profiles.
    pub signal: Signal,
    /// A seed for whatever the target does to the request.
    pub choice: u8,
    /// The encoded request.
    pub request: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads an input; nothing where there is no request.
    pub fn of(data: &'a [u8]) -> Option<Self> {
        let [signal, choice, request @ ..] = data else { return None };
        let signal = [Signal::Traces, Signal::Metrics, Signal::Logs][usize::from(*signal % 3)];
        Some(Self { signal, choice: *choice, request })
    }

    /// The bytes that [`Input::of`] reads.
    pub fn bytes(&self) -> Vec<u8> {
        [&[self.signal as u8, self.choice], self.request].concat()
    }

    /// The payload that the border makes of it, if it lets it in.
    pub fn payload(&self, utf8: Utf8Policy) -> Option<Payload> {
        let policy = Policy { utf8, ..Policy::default() };
        Some(validate(self.signal, Bytes::copy_from_slice(self.request), &policy).ok()?.payload)
    }
}

/// Asserts that the border passes a payload on as it is, and counts the same.
pub fn assert_sound(payload: &Payload, utf8: Utf8Policy) {
    let policy = Policy { utf8, ..Policy::default() };
    let again = validate(payload.signal(), payload.bytes().clone(), &policy).expect("a payload is valid");
    assert!(!again.normalised, "a payload is in form");
    assert_eq!(again.repaired_strings, 0, "a payload's text is as the policy wants it");
    assert_eq!(&again.payload, payload, "bytes and items");
}
