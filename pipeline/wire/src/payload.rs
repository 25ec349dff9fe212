//! Well-formed OTLP bytes, and the proof that they are.
//!
//! # What the bytes of a payload may and may not contain
//!
//! This is what views, editors and splitters rely on, and what the writers of this crate must keep to. It holds for
//! traces, metrics and logs, in every message that the schema tables ([`crate::schema`]) know, at every depth.
//!
//! May not (the validating walk refuses it or rewrites it at the border):
//! - At the top level, anything but field 1 (`resource_*`), length-delimited.
//! - A known field with another wire type than its own.
//! - A singular field (proto3 implicit, `optional`, or a message) more than once in its message.
//! - More than one member of a oneof in its message.
//! - A repeated scalar outside of one packed run: each such field occurs at most once, length-delimited, its run a
//!   whole number of elements.
//! - A varint longer than it needs to be: tags, lengths, values and elements of packed runs are minimal, those of
//!   unknown fields included.
//! - A value wider than its type: bool is 0 or 1, uint32 and sint32 are below 2^32, int32 and enums are an int32
//!   sign-extended to 64 bits. Enum numbers that the protocol does not define are kept.
//! - A group, known or unknown.
//! - A trace id of other than 0 or 16 bytes, a span id of other than 0 or 8 bytes.
//! - Messages nested deeper than 100 levels below the request (prost's and protobuf's usual limit).
//! - Text that is not UTF-8, unless the policy was to pass it on; so views give text as bytes.
//!
//! May:
//! - Fields in any order, and other fields between the elements of a repeated one.
//! - Defaults written out: zeros, empty strings and ids, empty messages, empty packed runs.
//! - Below the top level, unknown fields of the wire types varint, fixed64, length-delimited and fixed32, anywhere
//!   and any number of times. What is inside a length-delimited one is unknown.
//! - A `KeyValue` without key or value, an `AnyValue` or a `Metric` without a member, the same key twice.
//!
//! A profiles request is opaque: it is a run of whole top-level fields, and nothing else is known of it.

use crate::Signal;
use bytes::Bytes;

/// The body of an OTLP export request that is known to be well-formed.
///
/// The bytes are zero or more whole top-level `resource_*` fields (field 1), so two payloads of one signal laid end
/// to end are again a payload. `items` is exact: spans, data points or log records.
///
/// Cloning shares the bytes. A payload made by slicing pins the whole allocation it was sliced from: what outlives
/// its request must be copied ([`Payload::detached`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    signal: Signal,
    items: u32,
    bytes: Bytes,
}

impl Payload {
    /// Vouches for `bytes`. Only the validating walk and the writers of this crate may call it.
    pub(crate) fn vouched(signal: Signal, items: u32, bytes: Bytes) -> Self {
        Self { signal, items, bytes }
    }

    /// A payload without items.
    #[must_use]
    pub fn empty(signal: Signal) -> Self {
        Self { signal, items: 0, bytes: Bytes::new() }
    }

    /// The kind of telemetry.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// How many spans, data points or log records there are.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// The encoded request.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The length of the encoded request, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all. A payload without items may still carry resources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The encoded request, by value.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// A copy in an allocation of its own, for what outlives its request.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..*self }
    }
}
