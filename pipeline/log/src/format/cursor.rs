//! What a consumer is done with. A cursor's file has two slots of equal size that are written in turn, in place: the
//! older one is intact while the newer one is being written, and no write needs room that the disk may not have.

use super::{VERSION, put, u16_at, u32_at, u64_at};
use crate::report::Totals;
use crate::tally::Tally;

/// The length of a slot's header.
pub(crate) const HEADER: usize = 104;

/// The length of the shortest one: of those that do not say how much was taken.
const HEADER_MIN: usize = 64;

/// Where the header says how much was taken.
const TALLY: usize = 64;

const MAGIC: [u8; 8] = *b"\x89MRCUR\r\n";

/// The head of what is said of a segment, before the bits.
const PART: usize = 48;

/// What a consumer is done with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cursor {
    /// Of two slots, the one with the higher generation counts.
    pub(crate) generation: u64,
    /// Everything below is done with.
    pub(crate) low: u64,
    /// The number that the next entry was to get. Never given to another, whatever became of the segments.
    pub(crate) next_sequence: u64,
    /// The segments that are not done with, in order.
    pub(crate) parts: Vec<Part>,
    /// All of them are listed. Set when it is written.
    pub(crate) whole: bool,
    /// How much had been taken below `next_sequence`, if it is known.
    pub(crate) tally: Option<Tally>,
}

/// What there is in a segment for the consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) segment: u64,
    pub(crate) base: u64,
    /// One more than the number of the last entry.
    pub(crate) end: u64,
    /// What is left in it.
    pub(crate) left: Totals,
    /// One bit for each entry from `base` on: set, if it is done with. Those that are missing are not.
    pub(crate) done: Vec<u64>,
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
        HEADER + self.parts.iter().map(Part::encoded_len).sum::<usize>()
    }

    /// As it is written. What does not fit into `limit` bytes is left out, from the end; `true` if nothing was.
    pub(crate) fn encode(&self, limit: usize) -> (Vec<u8>, bool) {
        let mut bytes = vec![0; HEADER];
        let mut parts = 0_u32;
        for part in &self.parts {
            if bytes.len() + part.encoded_len() > limit {
                break;
            }
            let head = [part.segment, part.base, part.end, part.left.items, part.left.bytes];
            bytes.extend(head.iter().chain([&(part.done.len() as u64)]).flat_map(|word| word.to_le_bytes()));
            bytes.extend(part.done.iter().flat_map(|word| word.to_le_bytes()));
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
        let whole = parts as usize == self.parts.len();
        bytes[48] = u8::from(whole);
        Tally::encode(self.tally, &mut bytes, TALLY);
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        put(&mut bytes, HEADER - 4, &crc.to_le_bytes());
        (bytes, whole)
    }

    /// The cursor in a slot.
    pub(crate) fn decode(slot: &[u8]) -> Decoded {
        if slot.len() < HEADER_MIN || slot[..8] != MAGIC {
            return Decoded::Nothing;
        }
        let header_len = usize::from(u16_at(slot, 10));
        let Some(header) = slot.get(..header_len).filter(|header| header.len() >= HEADER_MIN) else {
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
        let Some(parts) = parts(body, u32_at(header, 40)) else { return Decoded::Nothing };
        Decoded::Cursor(Self {
            generation: u64_at(header, 16),
            low: u64_at(header, 24),
            next_sequence: u64_at(header, 32),
            parts,
            whole: header[48] == 1,
            tally: Tally::decode(&header[..header_len - 4], TALLY),
        })
    }

    /// Whatever had been taken below this number is done with, or a part says that it is not.
    pub(crate) fn heard(&self) -> u64 {
        self.next_sequence.max(self.low)
    }

    /// Stretches of numbers of which is known only that they are not done with.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.parts.iter().filter(|part| part.is_unknown()).map(|part| (part.base, part.end))
    }

    /// What is said of a segment.
    pub(crate) fn part(&self, segment: u64) -> Option<&Part> {
        self.parts.iter().find(|part| part.segment == segment)
    }

    /// Whether an entry in a segment of which that `part` is said is done with.
    pub(crate) fn is_done(&self, part: Option<&Part>, sequence: u64) -> bool {
        let said = match part {
            Some(part) => part.is_done(sequence) || self.is_elsewhere(part, sequence),
            // Its segment was complete, and is not listed.
            None => self.whole && sequence < self.next_sequence,
        };
        said || sequence < self.low
    }

    /// Whether a number was in another segment than that of which `part` is said, or given up: others had followed it by
    /// then, and it was not in it.
    fn is_elsewhere(&self, part: &Part, sequence: u64) -> bool {
        let heard = part.end <= sequence && sequence < self.heard() && !part.is_unknown();
        heard && !self.unknown().any(|(begin, end)| (begin..end).contains(&sequence))
    }

    /// Whether all entries from `base` to `end` in a segment are done with, or none; `None`: some.
    pub(crate) fn all_or_none(&self, segment: u64, base: u64, end: u64) -> Option<bool> {
        match self.part(segment) {
            _ if self.low >= end => Some(true),
            None if self.whole && self.next_sequence >= end => Some(true),
            None if self.low <= base && (!self.whole || self.next_sequence <= base) => Some(false),
            Some(part)
                if self.low <= base && part.base <= base && part.done.iter().all(|word| *word == 0) =>
            {
                Some(false)
            }
            _ => None,
        }
    }
}

impl Part {
    /// For a segment that could not be read: what is below `base` in it is done with, and from there to `end` may be in
    /// it, and nothing else is known.
    pub(crate) fn unknown(segment: u64, base: u64, end: u64) -> Self {
        let left = Totals { entries: end - base, ..Totals::default() };
        Self { segment, base, end, left, done: Vec::new() }
    }

    /// An entry takes some bytes, if anything is known of it.
    pub(crate) fn is_unknown(&self) -> bool {
        self.left.bytes == 0
    }

    fn encoded_len(&self) -> usize {
        PART + self.done.len() * 8
    }

    fn is_done(&self, sequence: u64) -> bool {
        let at = sequence.wrapping_sub(self.base);
        sequence < self.base
            || sequence < self.end
                && self.done.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// The first that is not done with.
    pub(crate) fn first_open(&self) -> u64 {
        self.open().next().unwrap_or(self.end)
    }

    /// Which of the entries are not done with.
    pub(crate) fn open(&self) -> impl Iterator<Item = u64> + '_ {
        (self.base..self.end).filter(|sequence| !self.is_done(*sequence))
    }
}

fn parts(mut body: &[u8], count: u32) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for _ in 0..count {
        let (head, rest) = body.split_at_checked(PART)?;
        let words = usize::try_from(u64_at(head, 40)).ok()?;
        let (done, rest) = rest.split_at_checked(words.checked_mul(8)?)?;
        let mut part = Part {
            segment: u64_at(head, 0),
            base: u64_at(head, 8),
            end: u64_at(head, 16),
            left: Totals { entries: 0, items: u64_at(head, 24), bytes: u64_at(head, 32) },
            done: done.chunks_exact(8).map(|word| u64_at(word, 0)).collect(),
        };
        // More entries than can be in a segment are not walked through.
        if part.end.checked_sub(part.base)? > u64::from(u32::MAX) {
            return None;
        }
        part.left.entries = part.open().count() as u64;
        parts.push(part);
        body = rest;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let left = |entries, items, bytes| Totals { entries, items, bytes };
        let parts = vec![
            Part { segment: 3, base: 100, end: 300, left: left(134, 5, 6), done: vec![0b101, u64::MAX] },
            Part { segment: 5, base: 1000, end: 1003, left: left(3, 8, 9), done: vec![] },
        ];
        let tally = Some(Tally { since: 9, taken: left(10, 11, 12) });
        Cursor { generation: 7, low: 101, next_sequence: 2000, parts, whole: true, tally }
    }

    #[test]
    fn what_is_written_is_read() {
        let (bytes, whole) = cursor().encode(usize::MAX);
        assert!(whole);
        assert_eq!(bytes.len(), cursor().encoded_len());
        assert_eq!(Cursor::decode(&[bytes, vec![0; 100]].concat()), Decoded::Cursor(cursor()));
        let expected: Vec<u64> = [101].into_iter().chain(103..164).chain(228..300).collect();
        assert_eq!(cursor().parts[0].open().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let (bytes, whole) = cursor().encode(HEADER + 64);
        assert!(!whole);
        let Decoded::Cursor(read) = Cursor::decode(&bytes) else { panic!("a cursor") };
        assert_eq!(read.parts, cursor().parts[..1]);
    }

    #[test]
    fn a_cursor_that_does_not_say_how_much_was_taken_is_read() {
        let (long, _) = cursor().encode(usize::MAX);
        let mut short = [&long[..HEADER_MIN], &long[HEADER..]].concat();
        put(&mut short, 10, &(HEADER_MIN as u16).to_le_bytes());
        let crc = crc32c::crc32c(&short[..HEADER_MIN - 4]);
        put(&mut short, HEADER_MIN - 4, &crc.to_le_bytes());
        assert_eq!(Cursor::decode(&short), Decoded::Cursor(Cursor { tally: None, ..cursor() }));
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
