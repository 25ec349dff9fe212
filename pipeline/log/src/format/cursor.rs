//! What a consumer is done with. A cursor's file has two slots of equal size that are written in turn, in place: the
//! older one is intact while the newer one is being written, and no write needs room that the disk may not have.

use super::{VERSION, put, u16_at, u32_at, u64_at};

/// The length of a slot's header.
pub(crate) const HEADER: usize = 64;

const MAGIC: [u8; 8] = *b"\x89MRCUR\r\n";

/// The head of a stretch: its first number, and how many bits follow.
const STRETCH: usize = 16;

/// What a consumer is done with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cursor {
    /// Of two slots, the one with the higher generation counts.
    pub(crate) generation: u64,
    /// Everything below is done with.
    pub(crate) low: u64,
    /// The number that the next entry was to get. Never given to another, whatever became of the segments.
    pub(crate) next_sequence: u64,
    /// What is done with above `low`.
    pub(crate) stretches: Vec<Stretch>,
}

/// One bit for each entry from `first` on: set, if it is done with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stretch {
    pub(crate) first: u64,
    pub(crate) bits: Vec<u64>,
}

/// What can be made of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decoded {
    Cursor(Cursor),
    Newer(u16),
    Nothing,
}

impl Cursor {
    /// How long the encoded cursor is.
    pub(crate) fn encoded_len(&self) -> usize {
        HEADER + self.stretches.iter().map(Stretch::encoded_len).sum::<usize>()
    }

    /// As it is written. What does not fit into `limit` bytes is left out, from the end; `true` if nothing was.
    pub(crate) fn encode(&self, limit: usize) -> (Vec<u8>, bool) {
        let mut bytes = vec![0; HEADER];
        let mut parts = 0_u32;
        for stretch in &self.stretches {
            if bytes.len() + stretch.encoded_len() > limit {
                break;
            }
            bytes.extend(stretch.first.to_le_bytes());
            bytes.extend((stretch.bits.len() as u64).to_le_bytes());
            bytes.extend(stretch.bits.iter().flat_map(|word| word.to_le_bytes()));
            parts += 1;
        }
        let body_len = (bytes.len() - HEADER) as u32;
        let body_crc = crc32c::crc32c(&bytes[HEADER..]);
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &(HEADER as u16).to_le_bytes());
        put(&mut bytes, 12, &body_len.to_le_bytes());
        put(&mut bytes, 16, &self.generation.to_le_bytes());
        put(&mut bytes, 24, &self.low.to_le_bytes());
        put(&mut bytes, 32, &self.next_sequence.to_le_bytes());
        put(&mut bytes, 40, &parts.to_le_bytes());
        put(&mut bytes, 44, &body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        put(&mut bytes, HEADER - 4, &crc.to_le_bytes());
        (bytes, parts as usize == self.stretches.len())
    }

    /// The cursor in a slot.
    pub(crate) fn decode(slot: &[u8]) -> Decoded {
        if slot.len() < HEADER || slot[..8] != MAGIC {
            return Decoded::Nothing;
        }
        let header_len = usize::from(u16_at(slot, 10));
        let Some(header) = slot.get(..header_len).filter(|header| header.len() >= HEADER) else {
            return Decoded::Nothing;
        };
        if u32_at(header, header_len - 4) != crc32c::crc32c(&header[..header_len - 4]) {
            return Decoded::Nothing;
        }
        if u16_at(header, 8) > VERSION {
            return Decoded::Newer(u16_at(header, 8));
        }
        let body = slot.get(header_len..).and_then(|rest| rest.get(..u32_at(header, 12) as usize));
        let Some(body) = body.filter(|body| crc32c::crc32c(body) == u32_at(header, 44)) else {
            return Decoded::Nothing;
        };
        let Some(stretches) = stretches(body, u32_at(header, 40)) else { return Decoded::Nothing };
        Decoded::Cursor(Self {
            generation: u64_at(header, 16),
            low: u64_at(header, 24),
            next_sequence: u64_at(header, 32),
            stretches,
        })
    }

    /// Whether an entry is done with.
    #[cfg(test)]
    fn contains(&self, sequence: u64) -> bool {
        sequence < self.low
            || self.stretches.iter().any(|stretch| {
                sequence.checked_sub(stretch.first).is_some_and(|at| {
                    stretch.bits.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
                })
            })
    }
}

impl Stretch {
    fn encoded_len(&self) -> usize {
        STRETCH + self.bits.len() * 8
    }
}

fn stretches(mut body: &[u8], parts: u32) -> Option<Vec<Stretch>> {
    let mut stretches = Vec::new();
    for _ in 0..parts {
        let (head, rest) = body.split_at_checked(STRETCH)?;
        let words = usize::try_from(u64_at(head, 8)).ok()?;
        let (bits, rest) = rest.split_at_checked(words.checked_mul(8)?)?;
        let bits = bits.chunks_exact(8).map(|word| u64_at(word, 0)).collect();
        stretches.push(Stretch { first: u64_at(head, 0), bits });
        body = rest;
    }
    Some(stretches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let stretches = vec![
            Stretch { first: 100, bits: vec![0b101, u64::MAX] },
            Stretch { first: 1000, bits: vec![1 << 63] },
        ];
        Cursor { generation: 7, low: 90, next_sequence: 2000, stretches }
    }

    #[test]
    fn what_is_written_is_read() {
        let (bytes, whole) = cursor().encode(usize::MAX);
        assert!(whole);
        assert_eq!(bytes.len(), cursor().encoded_len());
        assert_eq!(Cursor::decode(&[bytes, vec![0; 100]].concat()), Decoded::Cursor(cursor()));
        let done: Vec<u64> = (0..1100).filter(|sequence| cursor().contains(*sequence)).collect();
        let expected: Vec<u64> = (0..90).chain([100, 102]).chain(164..228).chain([1063]).collect();
        assert_eq!(done, expected);
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let (bytes, whole) = cursor().encode(HEADER + 40);
        assert!(!whole);
        let Decoded::Cursor(read) = Cursor::decode(&bytes) else { panic!("a cursor") };
        assert_eq!(read.stretches, cursor().stretches[..1]);
    }

    #[test]
    fn damage_is_noticed() {
        let (bytes, _) = cursor().encode(usize::MAX);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Cursor::decode(&bytes), Decoded::Nothing, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Cursor::decode(&bytes[..length]), Decoded::Nothing);
        }
    }
}
