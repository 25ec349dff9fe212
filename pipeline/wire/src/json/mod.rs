//! OTLP/JSON: [`to_json`] and [`from_json`], both driven by the tables in [`crate::schema`], without intermediate
//! structs.
//!
//! The yardstick is the Go collector v0.159 (pdata 1.65). What it writes, [`to_json`] writes byte for byte: its field
//! order (which is not that of the field numbers), `"resource":{}`, `"scope":{}`, `"status":{}`, `"body":{}`,
//! `"value":{}`, `"positive":{}` and `"negative":{}` even where the message is absent, ids in lower-case hexadecimal and
//! left out when they are all zero, 64-bit integers as strings, enums as numbers, doubles in the shortest form with an
//! exponent below 1e-6 and from 1e21 on, and no escapes but `\"`, `\\`, `\n`, `\r`, `\t` and `\u00xx`.
//!
//! What it reads, [`from_json`] reads to the same message: keys in lower camel case or as in the `.proto`, integers as
//! numbers or decimal strings (but not `1.0` or `1e3`), enums as numbers or names, doubles as numbers or strings, `null`
//! for text, messages and lists; unknown keys are skipped; of a repeated key the last value counts, while messages are
//! merged and lists are joined.
//!
//! # Deliberate differences
//! We refuse what is not JSON and what Go would lose or garble without a word: anything after the request's object,
//! raw control characters after an escape, integers that overflow by more than a factor of ten, doubles in hex or
//! with underscores (`"0x1p-2"`, `"1_0"`), a request that starts with `,` or `}`, nesting beyond [`Policy::max_depth`].
//!
//! We accept, as the proto3 JSON mapping asks, what Go refuses: `null` for numbers, booleans, enums, ids and bytes
//! (absent), base64 without padding or in the URL alphabet, escapes in ids and base64, an empty key (an unknown field),
//! and `SEVERITY_NUMBER_TRACE` (Go's table has a stray blank in that name).
//!
//! A metric's or attribute's value that is given twice in the same form (two `gauge`, two `kvlistValue`) is merged like
//! any other message; Go takes the second. We ignore the key `deprecatedScopeSpans` (and its siblings), which is an
//! artefact of Go's structs. Text that is not UTF-8, which Go relays into what is then not JSON, becomes U+FFFD when
//! written and follows [`Policy::utf8`] when read.
//!
//! # Invariants
//! - No recursion and no allocation is deeper or larger than the options and the input allow: what is written is at
//!   most five times as long as what was read.
//! - What [`from_json`] returns keeps to the contract of [`Payload`], repeated keys or not.

mod error;
mod fields;
mod number;
mod order;
mod read;
mod scan;
mod text;
mod write;

pub use error::{JsonError, Problem, ToJsonError};

use crate::validate::Policy;
use crate::{Payload, Signal};

pub(crate) use number::{Integer, integer};
pub(crate) use scan::{Fault, Scanner};
pub(crate) use text::put_json_string;

/// How far [`from_json`] goes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What to do with text that is not UTF-8, and how many messages may be nested below the request, or lists and
    /// objects in the value of an unknown key.
    pub policy: Policy,
    /// The largest request, in bytes of protobuf. Never more than 2 GiB.
    pub max_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { policy: Policy::default(), max_bytes: usize::MAX }
    }
}

/// A request that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The request.
    pub payload: Payload,
    /// How many strings were not UTF-8 and have been repaired.
    pub repaired_strings: u32,
}

/// Reads an OTLP/JSON export request.
///
/// # Errors
/// [`JsonError`] with the place and the path of what is wrong. Profiles cannot be read ([`Problem::Profiles`]).
pub fn from_json(signal: Signal, text: &[u8], options: &Options) -> Result<Parsed, JsonError> {
    read::request(signal, text, options)
}

/// Appends a request as one JSON object, without a line feed.
///
/// # Errors
/// [`ToJsonError::Profiles`]; nothing else for what has been validated. `out` is left as it was.
pub fn to_json(payload: &Payload, out: &mut Vec<u8>) -> Result<(), ToJsonError> {
    to_json_all(std::iter::once(payload), out)
}

/// Appends several requests of one signal as one JSON object; none at all gives `{}`.
///
/// # Errors
/// [`ToJsonError::Profiles`] and [`ToJsonError::MixedSignals`]; nothing else for what has been validated. `out` is
/// left as it was.
pub fn to_json_all<'a>(
    payloads: impl IntoIterator<Item = &'a Payload>,
    out: &mut Vec<u8>,
) -> Result<(), ToJsonError> {
    let start = out.len();
    let written = write::requests(payloads, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}
