//! Well-formed OTLP bytes, and the proof that they are.

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
