//! What is put into a log, and what is handed out.

use crate::format::frame;
use bytes::Bytes;

/// Something to be appended. The log looks at none of it; `kind`, `codec`, `meta` and `payload` are its user's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What kind of entry this is.
    pub kind: u8,
    /// How the payload is encoded.
    pub codec: u8,
    /// How many spans, data points or log records are in it; for counting what is held and what was lost.
    pub items: u32,
    /// A small section for what belongs to the payload without being part of it: times, client metadata, a reason.
    pub meta: Bytes,
    /// Written one after the other, without copying them together first.
    pub payload: Vec<Bytes>,
}

impl Entry {
    /// An entry without a meta section.
    #[must_use]
    pub fn new(kind: u8, items: u32, payload: Vec<Bytes>) -> Self {
        Self { kind, items, payload, ..Self::default() }
    }

    /// The length of the payload, in bytes.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        self.payload.iter().map(|piece| piece.len() as u64).sum()
    }

    /// How many bytes of the log it takes: what is to be [reserved](crate::Log::reserve).
    #[must_use]
    pub fn framed_len(&self) -> u64 {
        framed_len(self.meta.len() as u64, self.payload_len())
    }
}

/// How many bytes of the log an entry takes whose sections have these lengths.
#[must_use]
pub fn framed_len(meta_len: u64, payload_len: u64) -> u64 {
    frame::length(meta_len, payload_len)
}

/// Where an entry is, and that it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its number. Numbers grow in the order of appending; some may be skipped.
    pub sequence: u64,
}

/// An entry has been handed out, and waits for [`ack`](crate::Consumer::ack) or [`defer`](crate::Consumer::defer).
/// Forgetting both costs the room that the entry takes until the next start, when it is handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The number of the entry.
    pub sequence: u64,
    /// As given on appending.
    pub kind: u8,
    /// As given on appending.
    pub codec: u8,
    /// As given on appending.
    pub items: u32,
    /// When it was appended, in nanoseconds since 1970. What clock jumps do to it: see [`Clock`](crate::Clock).
    pub time_ns: u64,
    /// The bytes of the log that it takes.
    pub framed_len: u64,
}

impl Lease {
    /// What a frame says of itself.
    pub(crate) fn of(header: &frame::Header) -> Self {
        Self {
            sequence: header.sequence,
            kind: header.kind,
            codec: header.codec,
            items: header.items,
            time_ns: header.time_ns,
            framed_len: header.frame_len(),
        }
    }
}

/// An entry as read from disk, its checksums verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What has to be ended.
    pub lease: Lease,
    /// As given on appending.
    pub meta: Bytes,
    /// The pieces given on appending, as one.
    pub payload: Bytes,
}

/// What there is for a consumer, as far as can be told without touching the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next entry is one that the caller said to hold. It is now handed out.
    Held(Lease),
    /// There is one, and it has to be read: call [`read_next`](crate::Consumer::read_next) where blocking is allowed.
    OnDisk,
    /// There is none; [`ready`](crate::Consumer::ready) tells when to look again.
    Empty,
}
