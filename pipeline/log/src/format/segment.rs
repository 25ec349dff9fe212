//! The first block of a segment file. It holds the header twice, so that one damaged sector does not cost the segment.

use super::{Salt, VERSION, put, u16_at, u32_at, u64_at};
use crate::tally::Tally;

/// The length of the header that is written.
pub(crate) const HEADER: usize = 104;

/// The length of the shortest one: of those that do not say how much was taken before.
const HEADER_MIN: usize = 64;

/// Where the frames begin.
pub(crate) const BLOCK: u64 = 4096;

/// Where the copies of the header are.
const COPIES: [usize; 2] = [0, 2048];

/// Where a header says how much was taken before.
const TALLY: usize = 64;

/// Where it says how many segments before it are void.
const VOID: usize = 96;

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
    /// How much had been taken when the segment was begun, if it says so.
    pub(crate) tally: Option<Tally>,
    /// Of the numbers of segments directly before this one's, so many are of none into which anything has been taken.
    pub(crate) void_before: u32,
}

/// What can be made of the first block of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    Header(Header),
    /// All zeros, but for what may be the beginning of one copy of the header: prepared, and nothing has been synced.
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
        Tally::encode(self.tally, &mut bytes, TALLY);
        put(&mut bytes, VOID, &self.void_before.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        put(&mut bytes, HEADER - 4, &crc.to_le_bytes());
        let mut block = vec![0; BLOCK as usize];
        for copy in COPIES {
            put(&mut block, copy, &bytes);
        }
        block
    }

    /// Whether it says that nothing has been taken into the segment of that number, and nothing will be.
    pub(crate) fn voids(&self, number: u64) -> bool {
        let before = self.number.checked_sub(number);
        before.is_some_and(|before| (1..=u64::from(self.void_before)).contains(&before))
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
            None if is_blank(block) => Decoded::Blank,
            None => Decoded::Damaged,
        }
    }
}

/// Whether nothing is there of a header, or no more than a write that was cut short has left when the power took the
/// sector before: the second copy, without its checksum.
fn is_blank(block: &[u8]) -> bool {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let [_, second] = COPIES;
    let Some((before, copy)) = block.split_at_checked(second) else { return is_zero(block) };
    let begins = copy.iter().zip(MAGIC).take_while(|(byte, magic)| *byte == magic).count();
    let length = copy.get(10..12).map_or(0, |bytes| usize::from(u16_at(bytes, 0)));
    let rest = if begins == MAGIC.len() { length.clamp(14, HEADER) - 4 } else { begins };
    is_zero(before) && is_zero(copy.get(rest..).unwrap_or_default())
}

/// The first block of a file in which nothing counts any more, and nothing has been begun. It says so whatever the
/// file is called: it is written before the file is renamed.
pub(crate) fn prepared(number: u64) -> Vec<u8> {
    let salt = Salt { marker: 0, seed: 0 };
    let void_before = 0;
    Header { number, base: 0, prior: 0, created_ns: 0, salt, reused: false, tally: None, void_before }
        .block(PREPARED)
}

/// In every version, the header's length is at 10, and the last four bytes of it are the checksum of the others.
fn decode_copy(bytes: &[u8]) -> Decoded {
    if bytes.len() < HEADER_MIN || bytes[..8] != MAGIC {
        return Decoded::Damaged;
    }
    let length = usize::from(u16_at(bytes, 10));
    let Some(bytes) = bytes.get(..length).filter(|bytes| bytes.len() >= HEADER_MIN) else {
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
        tally: Tally::decode(&bytes[..length - 4], TALLY),
        void_before: if length >= VOID + 8 { u32_at(bytes, VOID) } else { 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Totals;

    fn header() -> Header {
        let salt = Salt { marker: 5, seed: 6 };
        let tally = Some(Tally { since: 7, taken: Totals { entries: 8, items: 9, bytes: 10 } });
        Header { number: 1, base: 2, prior: 3, created_ns: 4, salt, reused: false, tally, void_before: 11 }
    }

    #[test]
    fn the_bytes_are_those_of_the_page() {
        let block = header().encode();
        assert_eq!(block.len(), 4096);
        assert_eq!(block[..16], *b"\x89MRSEG\r\n\x01\x00\x68\x00\x00\x10\x00\x00");
        assert_eq!((u64_at(&block, 16), u64_at(&block, 24), u64_at(&block, 32)), (1, 2, 3));
        assert_eq!((u64_at(&block, 40), u32_at(&block, 48), u32_at(&block, 52)), (4, 5, 6));
        assert_eq!((u64_at(&block, 64), u64_at(&block, 72)), (7, 8));
        assert_eq!((u64_at(&block, 80), u64_at(&block, 88), u32_at(&block, 96)), (9, 10, 11));
        assert_eq!(block[..104], block[2048..2152]);
    }

    #[test]
    fn a_header_that_does_not_say_how_much_was_taken_before_is_read() {
        let mut block = header().encode();
        for copy in COPIES {
            put(&mut block, copy + 10, &(HEADER_MIN as u16).to_le_bytes());
            let crc = crc32c::crc32c(&block[copy..copy + 60]);
            put(&mut block, copy + 60, &crc.to_le_bytes());
        }
        let silent = Header { tally: None, void_before: 0, ..header() };
        assert_eq!(Header::decode(&block, 1), Decoded::Header(silent));
        let unknown = Header { tally: None, ..header() };
        assert_eq!(Header::decode(&unknown.encode(), 1), Decoded::Header(unknown));
    }

    #[test]
    fn a_header_voids_as_many_segments_before_it_as_it_says() {
        let voids = |number, void_before, of| Header { number, void_before, ..header() }.voids(of);
        assert_eq!([7, 8, 9, 10, 11].map(|of| voids(10, 2, of)), [false, true, true, false, false]);
        assert!(!voids(10, 0, 9));
        assert!(!voids(1, u32::MAX, u64::MAX - 1), "none has a number below that");
    }

    #[test]
    fn either_copy_is_enough() {
        for damaged in [0, 8, 16, 63, 103, 2048, 2151] {
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
            let crc = crc32c::crc32c(&block[copy..copy + 100]);
            put(&mut block, copy + 100, &crc.to_le_bytes());
        }
        assert_eq!(Header::decode(&block, 1), Decoded::Newer(2));
        block[100] ^= 1;
        assert_eq!(Header::decode(&block, 1), Decoded::Newer(2));
        block[2148] ^= 1;
        assert_eq!(Header::decode(&block, 1), Decoded::Damaged);
    }

    #[test]
    fn what_was_only_prepared_is_blank() {
        assert_eq!(Header::decode(&[0; 4096], 1), Decoded::Blank);
        assert_eq!(Header::decode(&[], 1), Decoded::Blank);
        assert_eq!(Header::decode(&[0, 1], 1), Decoded::Damaged);
        let whole = header().encode();
        let mut short = vec![0; 4096];
        short[2048..2048 + HEADER_MIN].copy_from_slice(&whole[..HEADER_MIN]);
        (short[2048 + 10], short[2048 + 63]) = (HEADER_MIN as u8, 1);
        assert_eq!(Header::decode(&short, 1), Decoded::Damaged, "with a checksum");
        assert_eq!(Header::decode(&short[..2048 + 9], 1), Decoded::Blank);
        for (len, begun) in
            [(1, Decoded::Blank), (8, Decoded::Blank), (100, Decoded::Blank), (101, Decoded::Damaged)]
        {
            let mut block = vec![0; 4096];
            block[2048..2048 + len].copy_from_slice(&whole[..len]);
            assert_eq!(Header::decode(&block, 1), begun, "{len} bytes");
            block[2048] ^= 1;
            assert_eq!(Header::decode(&block, 1), Decoded::Damaged, "{len} bytes of something else");
            let mut block = vec![0; 4096];
            block[..len].copy_from_slice(&whole[..len]);
            assert_eq!(Header::decode(&block, 1), Decoded::Damaged, "{len} bytes of the first");
        }
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
