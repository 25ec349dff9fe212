//! The first block of a segment file. It holds the header twice, so that one damaged sector does not cost the segment.

use super::{Salt, VERSION, put, u16_at, u32_at, u64_at};

/// The length of the header that is written.
pub(crate) const HEADER: usize = 64;

/// Where the frames begin.
pub(crate) const BLOCK: u64 = 4096;

/// Where the copies of the header are.
const COPIES: [usize; 2] = [0, 2048];

const MAGIC: [u8; 8] = *b"\x89MRSEG\r\n";

/// Flag: another segment has been in the file before, and its bytes lie behind the frames of this one.
const REUSED: u32 = 1;

/// Flag: the file is for a segment that has not been begun.
const PREPARED: u32 = 2;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// As in the file's name.
    pub(crate) number: u64,
    /// The first entry in it has this number.
    pub(crate) base: u64,
    /// The last entry that had been taken when the segment was begun. What lies between it and `base` was refused.
    pub(crate) prior: u64,
    pub(crate) created_ns: u64,
    pub(crate) salt: Salt,
    /// What lies behind the frames is an earlier segment's, and not zeros.
    pub(crate) reused: bool,
}

/// What can be made of the first block of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    Header(Header),
    /// All zeros: prepared, and never written to.
    Blank,
    /// The file of an earlier segment, prepared for another one that has not been begun.
    Prepared,
    Newer(u16),
    Damaged,
}

impl Header {
    /// The whole first block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.block(if self.reused { REUSED } else { 0 })
    }

    fn block(&self, flags: u32) -> Vec<u8> {
        let mut bytes = [0; HEADER];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &(HEADER as u16).to_le_bytes());
        put(&mut bytes, 12, &(BLOCK as u32).to_le_bytes());
        put(&mut bytes, 16, &self.number.to_le_bytes());
        put(&mut bytes, 24, &self.base.to_le_bytes());
        put(&mut bytes, 32, &self.prior.to_le_bytes());
        put(&mut bytes, 40, &self.created_ns.to_le_bytes());
        put(&mut bytes, 48, &self.salt.marker.to_le_bytes());
        put(&mut bytes, 52, &self.salt.seed.to_le_bytes());
        put(&mut bytes, 56, &flags.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        put(&mut bytes, HEADER - 4, &crc.to_le_bytes());
        let mut block = vec![0; BLOCK as usize];
        for copy in COPIES {
            put(&mut block, copy, &bytes);
        }
        block
    }

    /// What the first block of the segment of that number says. Either copy is enough.
    pub(crate) fn decode(block: &[u8], number: u64) -> Decoded {
        let (mut newer, mut prepared) = (None, false);
        for copy in COPIES {
            match decode_copy(block.get(copy..).unwrap_or_default()) {
                Decoded::Newer(version) => newer = Some(version),
                Decoded::Header(header) if header.number == number => return Decoded::Header(header),
                Decoded::Prepared => prepared = true,
                Decoded::Header(_) | Decoded::Blank | Decoded::Damaged => {}
            }
        }
        match newer {
            Some(version) => Decoded::Newer(version),
            None if prepared => Decoded::Prepared,
            None if block.iter().all(|byte| *byte == 0) => Decoded::Blank,
            None => Decoded::Damaged,
        }
    }
}

/// The first block of a file in which nothing counts any more, and nothing has been begun. It says so whatever the
/// file is called: it is written before the file is renamed.
pub(crate) fn prepared(number: u64) -> Vec<u8> {
    let salt = Salt { marker: 0, seed: 0 };
    Header { number, base: 0, prior: 0, created_ns: 0, salt, reused: false }.block(PREPARED)
}

/// In every version, the header's length is at 10, and the last four bytes of it are the checksum of the others.
fn decode_copy(bytes: &[u8]) -> Decoded {
    if bytes.len() < HEADER || bytes[..8] != MAGIC {
        return Decoded::Damaged;
    }
    let length = usize::from(u16_at(bytes, 10));
    let Some(bytes) = bytes.get(..length).filter(|bytes| bytes.len() >= HEADER) else {
        return Decoded::Damaged;
    };
    if u32_at(bytes, length - 4) != crc32c::crc32c(&bytes[..length - 4]) {
        return Decoded::Damaged;
    }
    let version = u16_at(bytes, 8);
    if version > VERSION {
        return Decoded::Newer(version);
    }
    if version == 0 || u32_at(bytes, 12) != BLOCK as u32 {
        return Decoded::Damaged;
    }
    let flags = u32_at(bytes, 56);
    if flags & PREPARED != 0 {
        return Decoded::Prepared;
    }
    Decoded::Header(Header {
        number: u64_at(bytes, 16),
        base: u64_at(bytes, 24),
        prior: u64_at(bytes, 32),
        created_ns: u64_at(bytes, 40),
        salt: Salt { marker: u32_at(bytes, 48), seed: u32_at(bytes, 52) },
        reused: flags & REUSED != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let salt = Salt { marker: 5, seed: 6 };
        Header { number: 1, base: 2, prior: 3, created_ns: 4, salt, reused: false }
    }

    #[test]
    fn the_bytes_are_those_of_the_page() {
        let block = header().encode();
        assert_eq!(block.len(), 4096);
        assert_eq!(block[..16], *b"\x89MRSEG\r\n\x01\x00\x40\x00\x00\x10\x00\x00");
        assert_eq!((u64_at(&block, 16), u64_at(&block, 24), u64_at(&block, 32)), (1, 2, 3));
        assert_eq!((u64_at(&block, 40), u32_at(&block, 48), u32_at(&block, 52)), (4, 5, 6));
        assert_eq!(block[..64], block[2048..2112]);
    }

    #[test]
    fn either_copy_is_enough() {
        for damaged in [0, 8, 16, 63, 2048, 2100] {
            let mut block = header().encode();
            block[damaged] ^= 4;
            assert_eq!(Header::decode(&block, 1), Decoded::Header(header()), "byte {damaged}");
        }
        let mut block = header().encode();
        assert_eq!(Header::decode(&block, 2), Decoded::Damaged, "another segment's");
        block[20] ^= 1;
        block[2060] ^= 1;
        assert_eq!(Header::decode(&block, 1), Decoded::Damaged);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut block = header().encode();
        for copy in COPIES {
            block[copy + 8] = 2;
            let crc = crc32c::crc32c(&block[copy..copy + 60]);
            put(&mut block, copy + 60, &crc.to_le_bytes());
        }
        assert_eq!(Header::decode(&block, 1), Decoded::Newer(2));
        block[60] ^= 1;
        assert_eq!(Header::decode(&block, 1), Decoded::Newer(2));
        block[2108] ^= 1;
        assert_eq!(Header::decode(&block, 1), Decoded::Damaged);
    }

    #[test]
    fn what_was_only_prepared_is_blank() {
        assert_eq!(Header::decode(&[0; 4096], 1), Decoded::Blank);
        assert_eq!(Header::decode(&[], 1), Decoded::Blank);
        assert_eq!(Header::decode(&[0, 1], 1), Decoded::Damaged);
    }

    #[test]
    fn a_file_that_is_used_again_says_so() {
        let reused = Header { reused: true, ..header() };
        assert_eq!(Header::decode(&reused.encode(), 1), Decoded::Header(reused));
    }

    #[test]
    fn nothing_has_been_begun_in_a_prepared_file_whatever_it_is_called() {
        assert_eq!(Header::decode(&prepared(7), 7), Decoded::Prepared);
        assert_eq!(Header::decode(&prepared(7), 3), Decoded::Prepared);
        // Half-way there, an old header counts under the old name and a new one under the new.
        let mut block = prepared(7);
        block[2048..].copy_from_slice(&header().encode()[2048..]);
        assert_eq!(Header::decode(&block, 1), Decoded::Header(header()));
        assert_eq!(Header::decode(&block, 7), Decoded::Prepared);
    }
}
