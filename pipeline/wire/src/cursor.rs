//! Reading the protobuf wire format: varints, tags, and the four payload shapes that proto3 has.
//!
//! Everything here is checked and returns [`WireError`]; the infallible views are built on bytes that have passed
//! the validating walk.

use thiserror::Error;

/// The shape of a field's payload, from the low three bits of its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WireType {
    /// int32, int64, uint32, uint64, sint32, sint64, bool, enum.
    Varint = 0,
    /// fixed64, sfixed64, double.
    Fixed64 = 1,
    /// string, bytes, messages, packed repeated scalars.
    Len = 2,
    /// The start of a group (proto2; only ever seen as an unknown field).
    StartGroup = 3,
    /// The end of a group.
    EndGroup = 4,
    /// fixed32, sfixed32, float.
    Fixed32 = 5,
}

/// What is wrong with some bytes, without saying where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A varint of more than ten bytes, or one that does not fit 64 bits.
    #[error("a varint is longer than ten bytes")]
    VarintTooLong,
    /// Field number zero, or one above 2^29 - 1.
    #[error("a tag has an impossible field number")]
    BadFieldNumber,
    /// Wire types 6 and 7 do not exist.
    #[error("a tag has an impossible wire type")]
    BadWireType,
    /// A length that reaches past the end of the enclosing message.
    #[error("a length reaches past the end of its message")]
    LengthOverrun,
    /// A group end without a start, or with another field's number.
    #[error("a group is not closed, or was never opened")]
    UnbalancedGroup,
    /// Groups or messages nested deeper than the limit.
    #[error("messages are nested too deeply")]
    TooDeep,
}

/// A field's number and shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// 1 to 2^29 - 1.
    pub field: u32,
    /// The shape of what follows.
    pub wire: WireType,
}

/// A position in a byte slice.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether every byte has been read.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The offset of the next byte from the start.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// All the bytes the cursor walks over.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads a varint of one to ten bytes. Over-long encodings are accepted, as prost accepts them.
    ///
    /// # Errors
    /// [`WireError::Truncated`], or [`WireError::VarintTooLong`] when ten bytes do not end it or overflow 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            Some(_) => self.varint_long(),
            None => Err(WireError::Truncated),
        }
    }

    fn varint_long(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for index in 0..10 {
            let byte = *self.bytes.get(self.at + index).ok_or(WireError::Truncated)?;
            if index == 9 && byte > 1 {
                return Err(WireError::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong)
    }

    /// Reads a tag.
    ///
    /// # Errors
    /// Anything [`Cursor::varint`] says, or an impossible field number or wire type.
    #[inline]
    pub fn tag(&mut self) -> Result<Tag, WireError> {
        let raw = u32::try_from(self.varint()?).map_err(|_| WireError::BadFieldNumber)?;
        let wire = match raw & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            3 => WireType::StartGroup,
            4 => WireType::EndGroup,
            5 => WireType::Fixed32,
            _ => return Err(WireError::BadWireType),
        };
        match raw >> 3 {
            0 => Err(WireError::BadFieldNumber),
            field => Ok(Tag { field, wire }),
        }
    }

    /// Reads the next `len` bytes.
    ///
    /// # Errors
    /// [`WireError::LengthOverrun`] when there are fewer.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let taken = self.bytes[self.at..].get(..len).ok_or(WireError::LengthOverrun)?;
        self.at += len;
        Ok(taken)
    }

    /// Reads a length and that many bytes.
    ///
    /// # Errors
    /// Anything [`Cursor::varint`] and [`Cursor::take`] say.
    #[inline]
    pub fn len_prefixed(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.varint()?).map_err(|_| WireError::LengthOverrun)?;
        self.take(len)
    }

    /// Reads eight bytes, little-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, WireError> {
        let chunk = self.bytes[self.at..].first_chunk().ok_or(WireError::Truncated)?;
        self.at += 8;
        Ok(u64::from_le_bytes(*chunk))
    }

    /// Reads four bytes, little-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn fixed32(&mut self) -> Result<u32, WireError> {
        let chunk = self.bytes[self.at..].first_chunk().ok_or(WireError::Truncated)?;
        self.at += 4;
        Ok(u32::from_le_bytes(*chunk))
    }

    /// Steps over the payload of a field whose tag has just been read; groups up to `depth` levels.
    ///
    /// # Errors
    /// Whatever is wrong with the payload.
    pub fn skip(&mut self, tag: Tag, depth: u32) -> Result<(), WireError> {
        match tag.wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.fixed64().map(drop),
            WireType::Fixed32 => self.fixed32().map(drop),
            WireType::Len => self.len_prefixed().map(drop),
            WireType::StartGroup => self.skip_group(tag.field, depth),
            WireType::EndGroup => Err(WireError::UnbalancedGroup),
        }
    }

    fn skip_group(&mut self, field: u32, depth: u32) -> Result<(), WireError> {
        let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
        loop {
            let tag = self.tag()?;
            match tag.wire {
                WireType::EndGroup if tag.field == field => return Ok(()),
                _ => self.skip(tag, depth)?,
            }
        }
    }
}

/// How many bytes a varint takes.
#[inline]
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    // 1 + floor(log2(value) / 7), without a loop or a division by a variable.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_are_read() {
        for shift in 0..64 {
            let value = 1u64 << shift;
            let mut encoded = Vec::new();
            crate::writer::put_varint(&mut encoded, value);
            assert_eq!(encoded.len(), varint_len(value));
            assert_eq!(Cursor::new(&encoded).varint(), Ok(value));
        }
        assert_eq!(varint_len(0), 1);
        assert_eq!(varint_len(u64::MAX), 10);
    }

    #[test]
    fn overlong_varints_are_accepted_up_to_ten_bytes() {
        let mut overlong = vec![0x81; 9];
        overlong.push(0);
        assert!(Cursor::new(&overlong).varint().is_ok());
        assert_eq!(Cursor::new(&[0x80; 11]).varint(), Err(WireError::VarintTooLong));
        assert_eq!(Cursor::new(&[0x80; 3]).varint(), Err(WireError::Truncated));
    }

    #[test]
    fn groups_are_skipped_whole_or_refused() {
        let group = [0x0b, 0x10, 0x05, 0x0c]; // field 1 { field 2: 5 }
        let mut cursor = Cursor::new(&group);
        let tag = cursor.tag().unwrap();
        assert_eq!(cursor.skip(tag, 4), Ok(()));
        assert!(cursor.is_done());

        let wrong_end = [0x0b, 0x14];
        let mut cursor = Cursor::new(&wrong_end);
        let tag = cursor.tag().unwrap();
        assert_eq!(cursor.skip(tag, 4), Err(WireError::UnbalancedGroup));

        let deep = [0x0b; 64];
        let mut cursor = Cursor::new(&deep);
        let tag = cursor.tag().unwrap();
        assert_eq!(cursor.skip(tag, 10), Err(WireError::TooDeep));
    }
}
