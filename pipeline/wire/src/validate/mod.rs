//! The validating walk: the border between bytes from outside and a [`Payload`].
//!
//! One pass over the request checks its whole structure (what prost accepts is accepted: repeated singular messages,
//! packed and unpacked scalars, unknown fields and groups, over-long varints), counts its items, checks text and ids,
//! and notices encodings that are legal but would burden every reader after it. Those, and text that is to be
//! repaired, are rewritten once by a slow path into the form that [`crate::payload`] promises; everything else is
//! passed on as it came.
//!
//! What is refused although prost would accept it: ids of impossible length (the Go collector refuses them as well),
//! nesting beyond [`Policy::max_depth`] when that is set below [`MAX_DEPTH`], and requests of 2 GiB and more. What is
//! accepted although prost would refuse it: invalid UTF-8, unless the policy is [`Utf8Policy::Reject`].
//!
//! # Layout
//! - `walk`: the pass itself; it knows no paths and remembers no offsets. `messages`: its straight code per message.
//!   `scan`: what it decides by a look at a few bytes.
//! - `locate`: walks again, slowly, by the schema tables, to say where a refused request is damaged.
//! - `normalise`: rewrites, by the same tables, what is legal but not in a payload's form.
//!
//! # Invariants
//! - Work is linear in the size of the request times its depth, and depth is bounded: no input overflows the stack.
//! - Nothing is allocated for a request that is passed on as it came.

mod locate;
mod malformed;
mod messages;
mod normalise;
mod profiles;
mod scan;
mod walk;

pub use malformed::{FieldPath, Malformed, Problem, Step};

use crate::{Payload, Signal, schema};
use bytes::Bytes;
use walk::Walk;

/// How many messages and groups may be nested below the request, at most: the limit that prost and other protobuf
/// libraries have, so that whoever comes after us can read what we pass on.
pub const MAX_DEPTH: u32 = 100;

/// The length at which protobuf ends: lengths are int32.
const MAX_LEN: usize = i32::MAX as usize;

/// What to do with text that is not UTF-8. The Go collector passes it on; protobuf forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Utf8Policy {
    /// Replaces what is not UTF-8 by U+FFFD (one for each maximal piece of a character) and counts the strings.
    #[default]
    Repair,
    /// Passes it on as it is.
    Pass,
    /// Refuses the request.
    Reject,
}

/// What the border accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What to do with text that is not UTF-8.
    pub utf8: Utf8Policy,
    /// How many messages and groups may be nested below the request. An attribute value of a span is at level 5, and
    /// each list in it takes two more, each map three. Values above [`MAX_DEPTH`] count as [`MAX_DEPTH`].
    pub max_depth: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { utf8: Utf8Policy::Repair, max_depth: MAX_DEPTH }
    }
}

/// A request that has passed the border.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The request, in the form that [`crate::payload`] promises.
    pub payload: Payload,
    /// How many strings were not UTF-8 and have been repaired ([`Utf8Policy::Repair`]).
    pub repaired_strings: u32,
    /// Whether the encoding was legal but odd, and has been rewritten. It decodes to the same messages; unknown
    /// fields at the top level and groups are gone.
    pub normalised: bool,
}

/// Checks an export request.
///
/// Takes about a sixteenth of the time of decoding with prost (`examples/validate_cost.rs`). The payload shares the
/// allocation of `bytes` unless the request had to be rewritten, which costs what is odd in it about as much as
/// decoding, and everything else a few more walks. Rewriting takes memory of about the request's length; of hostile
/// requests (all text broken, or every message in tiny parts) up to nine times that.
///
/// A profiles request is opaque: only the messages down to its samples are checked, and those are its items. Without
/// any it counts as one, unless it is empty.
///
/// # Errors
/// [`Malformed`] when the request is not OTLP, or lies outside the policy. Nothing of it can be kept.
pub fn validate(signal: Signal, bytes: Bytes, policy: &Policy) -> Result<Validated, Malformed> {
    if bytes.len() > MAX_LEN {
        return Err(Malformed::of_request(Problem::TooLarge));
    }
    let mut walk = Walk::new(policy);
    let Some(message) = schema::request(signal) else {
        walk.opaque(&bytes).map_err(|problem| locate::opaque(&bytes, policy, problem))?;
        walk.samples(&bytes).map_err(Malformed::of_request)?;
        return Ok(passed_on(signal, walk.items.max(u32::from(!bytes.is_empty())), bytes));
    };
    walk.request(signal, &bytes).map_err(|problem| locate::request(message, &bytes, policy, problem))?;
    if !walk.odd && !walk.broken_text {
        return Ok(passed_on(signal, walk.items, bytes));
    }

    let rewritten = normalise::request(message, &bytes, walk.broken_text)
        .map_err(|problem| Malformed::of_request(problem.into()))?;
    let normalised = walk.odd;
    // Counts again, because a oneof that was set twice may have hidden items; and proves the rewriting right.
    let mut walk = Walk::new(policy);
    walk.request(signal, &rewritten.bytes).map_err(Malformed::of_request)?;
    debug_assert!(!walk.odd && !walk.broken_text, "what has been rewritten is in the form of a payload");
    let payload = Payload::vouched(signal, walk.items, rewritten.bytes.into());
    Ok(Validated { payload, repaired_strings: rewritten.repaired_strings, normalised })
}

fn passed_on(signal: Signal, items: u32, bytes: Bytes) -> Validated {
    Validated { payload: Payload::vouched(signal, items, bytes), repaired_strings: 0, normalised: false }
}
