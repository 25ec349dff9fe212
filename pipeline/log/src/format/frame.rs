//! One entry: a header of 56 bytes, the meta section, the payload, and zeros up to a multiple of 8.

use super::{Salt, aligned, put, u16_at, u32_at, u64_at};
use bytes::Bytes;

/// The length of the header that is written.
pub(crate) const HEADER: usize = 56;

/// A later version's header may be longer. Its checksum is in the last four of the bytes that we know all the same.
const HEADER_MAX: usize = 256;

/// What a frame says of itself, before its meta section and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) header_len: u16,
    pub(crate) codec: u8,
    pub(crate) kind: u8,
    pub(crate) sequence: u64,
    pub(crate) time_ns: u64,
    /// Up to this number, everything was known to be on disk when this frame was written.
    pub(crate) synced: u64,
    pub(crate) items: u32,
    pub(crate) meta_len: u32,
    pub(crate) payload_len: u32,
    /// Of the meta section and the payload.
    pub(crate) body_crc: u32,
}

impl Header {
    pub(crate) fn encode(&self, salt: Salt) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        put(&mut bytes, 0, &salt.marker.to_le_bytes());
        put(&mut bytes, 4, &self.header_len.to_le_bytes());
        bytes[6] = 0; // flags
        bytes[7] = self.codec;
        put(&mut bytes, 8, &self.sequence.to_le_bytes());
        put(&mut bytes, 16, &self.time_ns.to_le_bytes());
        put(&mut bytes, 24, &self.synced.to_le_bytes());
        put(&mut bytes, 32, &self.items.to_le_bytes());
        put(&mut bytes, 36, &self.meta_len.to_le_bytes());
        put(&mut bytes, 40, &self.payload_len.to_le_bytes());
        put(&mut bytes, 44, &self.body_crc.to_le_bytes());
        bytes[48] = self.kind;
        let crc = salt.checksum(&bytes[..HEADER - 4]);
        put(&mut bytes, HEADER - 4, &crc.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`, if there is one of this segment. Its lengths are still to be held
    /// against what is left of the file.
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        if u32_at(bytes, 0) != salt.marker || u32_at(bytes, HEADER - 4) != salt.checksum(&bytes[..HEADER - 4])
        {
            return None;
        }
        let header_len = u16_at(bytes, 4);
        let fits = (HEADER..=HEADER_MAX).contains(&usize::from(header_len));
        fits.then(|| Self {
            header_len,
            codec: bytes[7],
            kind: bytes[48],
            sequence: u64_at(bytes, 8),
            time_ns: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            items: u32_at(bytes, 32),
            meta_len: u32_at(bytes, 36),
            payload_len: u32_at(bytes, 40),
            body_crc: u32_at(bytes, 44),
        })
    }

    /// Of meta section and payload together.
    pub(crate) fn body_len(&self) -> u64 {
        u64::from(self.meta_len) + u64::from(self.payload_len)
    }

    /// Of the whole frame.
    pub(crate) fn frame_len(&self) -> u64 {
        aligned(u64::from(self.header_len) + self.body_len())
    }
}

/// A whole frame: its header, meta section and payload; `None` if any byte of it is not as it was written.
pub(crate) fn decode(frame: &Bytes, salt: Salt) -> Option<(Header, Bytes, Bytes)> {
    let header = Header::decode(frame, salt).filter(|header| header.frame_len() == frame.len() as u64)?;
    let body = sections(&header, frame);
    (body_crc([&body.0[..], &body.1[..]]) == header.body_crc).then_some((header, body.0, body.1))
}

/// Meta section and payload of a frame of which the header is right.
pub(crate) fn sections(header: &Header, frame: &Bytes) -> (Bytes, Bytes) {
    let begin = usize::from(header.header_len);
    let end = begin + header.meta_len as usize;
    (frame.slice(begin..end), frame.slice(end..end + header.payload_len as usize))
}

/// Of the whole frame of an entry whose sections have these lengths.
pub(crate) fn length(meta_len: u64, payload_len: u64) -> u64 {
    aligned((HEADER as u64).saturating_add(meta_len).saturating_add(payload_len).min(u64::MAX - 7))
}

/// The checksum of a body, piece by piece.
pub(crate) fn body_crc<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    pieces.into_iter().fold(0, crc32c::crc32c_append)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt { marker: 0x0102_0305, seed: 77 };

    fn header() -> Header {
        Header {
            header_len: HEADER as u16,
            codec: 1,
            kind: 2,
            sequence: 3,
            time_ns: 4,
            synced: 5,
            items: 6,
            meta_len: 7,
            payload_len: 8,
            body_crc: 9,
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_page() {
        let crc = crc32c::crc32c_append(77, &header().encode(SALT)[..52]).to_le_bytes();
        let mut expected = vec![5, 3, 2, 1, 56, 0, 0, 1];
        for number in [3_u64, 4, 5] {
            expected.extend(number.to_le_bytes());
        }
        for number in [6_u32, 7, 8, 9] {
            expected.extend(number.to_le_bytes());
        }
        expected.extend([2, 0, 0, 0]);
        expected.extend(crc);
        assert_eq!(header().encode(SALT)[..], expected[..]);
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Header::decode(&header().encode(SALT), SALT), Some(header()));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        for bit in 0..HEADER * 8 {
            let mut bytes = header().encode(SALT);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes, SALT), None, "bit {bit}");
        }
    }

    #[test]
    fn another_segments_frame_is_none() {
        let bytes = header().encode(SALT);
        assert_eq!(Header::decode(&bytes, Salt { seed: 78, ..SALT }), None);
        assert_eq!(Header::decode(&bytes, Salt { marker: 1, ..SALT }), None);
        assert_eq!(Header::decode(&bytes[..55], SALT), None);
    }
}
