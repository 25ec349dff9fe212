//! The bytes on disk. Described one by one in this crate's README; this is the only place that knows them.
//!
//! Everything is little-endian. Every structure says its own length, and is covered by a CRC32C that is looked at
//! before anything else. Frames and trailers are checked against two random numbers of their segment besides
//! ([`Salt`]): stale blocks, other segments' frames, and frames that somebody smuggled into a payload are none.

pub(crate) mod cursor;
pub(crate) mod frame;
pub(crate) mod segment;
pub(crate) mod trailer;

/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u16 = 1;

/// Frames, headers and trailers begin at multiples of it, so that none straddles more blocks than it must.
pub(crate) const ALIGN: u64 = 8;

/// What tells a segment's own frames from anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt {
    /// The first four bytes of each frame.
    pub(crate) marker: u32,
    /// Where the checksums of headers and trailers begin.
    pub(crate) seed: u32,
}

impl Salt {
    /// From a number that nobody can guess.
    pub(crate) fn new(random: u64) -> Self {
        // Never zero: preallocated space is not to look like the beginning of a frame.
        let marker = (random >> 32) as u32 | 1;
        Self { marker, seed: random as u32 }
    }

    /// The checksum of a structure of this segment.
    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.seed, bytes)
    }
}

/// Rounds up to the next multiple of [`ALIGN`].
pub(crate) fn aligned(length: u64) -> u64 {
    length.next_multiple_of(ALIGN)
}

/// Numbers at fixed places. The places are constants of this module's children, within arrays of known length.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
