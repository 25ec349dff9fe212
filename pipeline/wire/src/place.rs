//! Where the fields of a message lie: offsets for those who copy ranges instead of reading values.
//!
//! For well-formed payloads. Bytes that cannot be read as fields are handed out as one last field of number 0, which
//! no message has: whoever copies what it does not know then loses nothing.

use crate::cursor::{Cursor, WireType};

/// The position of one field. Offsets count from the start of the slice that was walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The field number; 0 for bytes that are no field.
    pub number: u32,
    pub wire: WireType,
    /// The first byte of the tag.
    pub start: usize,
    /// The first byte behind the tag: the length, or the value.
    pub after_tag: usize,
    /// The first byte of the value, behind the length if there is one.
    pub body: usize,
    /// The first byte behind the field.
    pub end: usize,
}

impl Place {
    /// Whether it is a message, string, bytes or packed field of that number.
    #[inline]
    pub fn is_len(&self, number: u32) -> bool {
        self.number == number && self.wire == WireType::Len
    }

    /// The bytes of the whole field: tag, length and value.
    #[inline]
    pub fn raw<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..self.end]
    }

    /// The bytes of the value alone.
    #[inline]
    pub fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.body..self.end]
    }
}

/// The fields of the message that occupies a range of `bytes`, in order.
#[derive(Debug, Clone)]
pub(crate) struct Places<'a> {
    /// Ends where the message ends.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Places<'a> {
    /// A message that is all of `bytes`.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A message from `start` to `end`; offsets still count from the start of `bytes`.
    #[inline]
    pub fn within(bytes: &'a [u8], start: usize, end: usize) -> Self {
        Self { bytes: &bytes[..end], at: start }
    }

    #[inline]
    fn varint(&self, at: usize) -> Option<(u64, usize)> {
        match *self.bytes.get(at)? {
            byte if byte < 0x80 => Some((u64::from(byte), at + 1)),
            low => match *self.bytes.get(at + 1)? {
                high if high < 0x80 => Some((u64::from(low & 0x7f) | u64::from(high) << 7, at + 2)),
                _ => self.long_varint(at),
            },
        }
    }

    #[inline(never)]
    fn long_varint(&self, at: usize) -> Option<(u64, usize)> {
        let mut cursor = Cursor::new(&self.bytes[at..]);
        let value = cursor.varint().ok()?;
        Some((value, at + cursor.offset()))
    }

    #[inline]
    fn read(&self) -> Option<Place> {
        let start = self.at;
        let (tag, after_tag) = self.varint(start)?;
        let number = u32::try_from(tag >> 3).ok().filter(|&number| number != 0)?;
        let (wire, body, end) = match tag & 7 {
            2 => {
                let (len, body) = self.varint(after_tag)?;
                (WireType::Len, body, body.checked_add(usize::try_from(len).ok()?)?)
            }
            0 => (WireType::Varint, after_tag, self.varint(after_tag)?.1),
            1 => (WireType::Fixed64, after_tag, after_tag + 8),
            5 => (WireType::Fixed32, after_tag, after_tag + 4),
            _ => return None,
        };
        (end <= self.bytes.len()).then_some(Place { number, wire, start, after_tag, body, end })
    }

    #[cold]
    fn remainder(&self) -> Place {
        debug_assert!(false, "bytes that no validation lets through at offset {}", self.at);
        let (start, end) = (self.at, self.bytes.len());
        Place { number: 0, wire: WireType::Len, start, after_tag: start, body: start, end }
    }
}

impl Iterator for Places<'_> {
    type Item = Place;

    #[inline]
    fn next(&mut self) -> Option<Place> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let place = self.read().unwrap_or_else(|| self.remainder());
        self.at = place.end;
        Some(place)
    }
}

/// The value of a varint field whose bytes are `value`; zero for bytes that are none.
#[inline]
pub(crate) fn varint_value(value: &[u8]) -> u64 {
    Cursor::new(value).varint().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::{put_fixed32_field, put_fixed64_field, put_len_field, put_varint_field};

    #[test]
    fn fields_of_every_shape_are_found_where_they_lie() {
        let mut bytes = vec![0xff; 3];
        put_varint_field(&mut bytes, 1, 300);
        put_fixed64_field(&mut bytes, 2, 1);
        put_len_field(&mut bytes, 1000, &[7; 20_000]);
        put_fixed32_field(&mut bytes, 4, 1);
        let end = bytes.len();
        bytes.extend([0xff; 3]);

        let found: Vec<_> = Places::within(&bytes, 3, end).collect();

        assert_eq!(found.iter().map(|place| place.number).collect::<Vec<_>>(), [1, 2, 1000, 4]);
        assert_eq!(varint_value(found[0].value(&bytes)), 300);
        assert_eq!(found[2].value(&bytes), [7; 20_000]);
        assert_eq!(found[2].after_tag - found[2].start, 2);
        assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((found[0].start, found[3].end), (3, end));
    }
}
