//! The last bytes of a segment that is complete: what is in it, so that opening need not read it.

use super::{Salt, VERSION, put, u16_at, u32_at, u64_at};
use crate::report::Totals;

/// The length of the trailer.
pub(crate) const LENGTH: usize = 72;

const MAGIC: [u8; 8] = *b"\x89MREND\r\n";

/// Flag: [`Trailer::is_partial`].
const PARTIAL: u32 = 1;

/// What is in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trailer {
    /// One more than the number of the last entry.
    pub(crate) end: u64,
    /// Whole frames, headers and padding included.
    pub(crate) totals: Totals,
    pub(crate) oldest_ns: u64,
    pub(crate) newest_ns: u64,
    /// Something of it was damaged or gone when it was completed, and it is not known how much that was.
    pub(crate) is_partial: bool,
}

impl Trailer {
    /// Of a segment whose first entry will have that number.
    pub(crate) fn beginning_at(base: u64) -> Self {
        let totals = Totals::default();
        Self { end: base, totals, oldest_ns: u64::MAX, newest_ns: 0, is_partial: false }
    }

    pub(crate) fn encode(&self, salt: Salt) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &(LENGTH as u16).to_le_bytes());
        put(&mut bytes, 12, &salt.marker.to_le_bytes());
        put(&mut bytes, 16, &self.end.to_le_bytes());
        put(&mut bytes, 24, &self.totals.entries.to_le_bytes());
        put(&mut bytes, 32, &self.totals.items.to_le_bytes());
        put(&mut bytes, 40, &self.totals.bytes.to_le_bytes());
        put(&mut bytes, 48, &self.oldest_ns.to_le_bytes());
        put(&mut bytes, 56, &self.newest_ns.to_le_bytes());
        put(&mut bytes, 64, &if self.is_partial { PARTIAL } else { 0 }.to_le_bytes());
        let crc = salt.checksum(&bytes[..LENGTH - 4]);
        put(&mut bytes, LENGTH - 4, &crc.to_le_bytes());
        bytes
    }

    /// The trailer that `bytes` are, if they are one of this segment.
    pub(crate) fn decode(bytes: &[u8; LENGTH], salt: Salt) -> Option<Self> {
        let whole = bytes[..8] == MAGIC
            && u16_at(bytes, 10) == LENGTH as u16
            && u32_at(bytes, 12) == salt.marker
            && u32_at(bytes, LENGTH - 4) == salt.checksum(&bytes[..LENGTH - 4]);
        whole.then(|| Self {
            end: u64_at(bytes, 16),
            totals: Totals { entries: u64_at(bytes, 24), items: u64_at(bytes, 32), bytes: u64_at(bytes, 40) },
            oldest_ns: u64_at(bytes, 48),
            newest_ns: u64_at(bytes, 56),
            is_partial: u32_at(bytes, 64) & PARTIAL != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_flipped_bit_goes_unnoticed() {
        let salt = Salt { marker: 1, seed: 2 };
        let totals = Totals { entries: 4, items: 5, bytes: 6 };
        let trailer = Trailer { end: 3, totals, oldest_ns: 7, newest_ns: 8, is_partial: false };
        let partial = Trailer { is_partial: true, ..trailer };
        assert_eq!(Trailer::decode(&partial.encode(salt), salt), Some(partial));
        let bytes = trailer.encode(salt);
        assert_eq!(bytes[..16], *b"\x89MREND\r\n\x01\x00\x48\x00\x01\x00\x00\x00");
        assert_eq!(Trailer::decode(&bytes, salt), Some(trailer));
        assert_eq!(Trailer::decode(&bytes, Salt { marker: 1, seed: 3 }), None);
        for bit in (0..64).chain(80..LENGTH * 8) {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::decode(&bytes, salt), None, "bit {bit}");
        }
    }
}
