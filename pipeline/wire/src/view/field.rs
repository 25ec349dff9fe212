//! Walking the top level of one message: the fields one after another, the one of a kind, all of a kind.

use super::Text;
use crate::cursor::{Cursor, WireError, WireType};
use std::marker::PhantomData;

/// How deep unknown groups may be nested; as deep as prost goes, and no shallower than the validating walk.
const GROUP_DEPTH: u32 = 100;

/// A type that reads one kind of message, or of text, in place.
pub trait View<'a>: Copy {
    /// Reads the payload of one length-delimited field, which must be well-formed.
    fn over(bytes: &'a [u8]) -> Self;
}

impl<'a> View<'a> for Text<'a> {
    #[inline]
    fn over(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

/// The payload of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Len(&'a [u8]),
    Fixed32(u32),
}

/// The body of one message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Message<'a>(pub(super) &'a [u8]);

impl<'a> Message<'a> {
    #[inline]
    pub(super) fn fields(self) -> Fields<'a> {
        Fields { rest: self.0 }
    }

    /// The payload of the string, bytes, message or packed field of that number.
    #[inline]
    pub(super) fn len(self, number: u32) -> Option<&'a [u8]> {
        self.only(number, |field| match field {
            Field::Len(bytes) => Some(bytes),
            _ => None,
        })
    }

    #[inline]
    pub(super) fn text(self, number: u32) -> Text<'a> {
        Text(self.len(number).unwrap_or_default())
    }

    /// The singular message of that number; an absent one reads as empty.
    #[inline]
    pub(super) fn message<T: View<'a>>(self, number: u32) -> T {
        T::over(self.len(number).unwrap_or_default())
    }

    /// Varints of any type; callers narrow them (`as i32`, `as u32`), as the protocol truncates.
    #[inline]
    pub(super) fn varint(self, number: u32) -> u64 {
        let only = self.only(number, |field| match field {
            Field::Varint(value) => Some(value),
            _ => None,
        });
        only.unwrap_or_default()
    }

    #[inline]
    pub(super) fn sint32(self, number: u32) -> i32 {
        let zigzag = self.varint(number) as u32;
        (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)
    }

    #[inline]
    pub(super) fn fixed64(self, number: u32) -> Option<u64> {
        self.only(number, |field| match field {
            Field::Fixed64(value) => Some(value),
            _ => None,
        })
    }

    #[inline]
    pub(super) fn double(self, number: u32) -> Option<f64> {
        self.fixed64(number).map(f64::from_bits)
    }

    #[inline]
    pub(super) fn fixed32(self, number: u32) -> u32 {
        let only = self.only(number, |field| match field {
            Field::Fixed32(value) => Some(value),
            _ => None,
        });
        only.unwrap_or_default()
    }

    /// All occurrences of a repeated message or string, in order.
    #[inline]
    pub(super) fn repeated<T>(self, number: u32) -> Repeated<'a, T> {
        Repeated { fields: self.fields(), number, of: PhantomData }
    }

    /// The first field of that number and shape: the only one, in a payload.
    #[inline]
    fn only<T>(self, number: u32, read: impl Fn(Field<'a>) -> Option<T>) -> Option<T> {
        self.fields().find_map(|(at, field)| if at == number { read(field) } else { None })
    }
}

/// The fields of a message in the order of the wire, groups left out.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    fn read(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        // Nearly all fields that telemetry consists of have a tag of one byte and, if they have one, a length of one
        // byte. Without this path the walk takes a good half longer.
        match *self.rest {
            [] => return Ok(None),
            [tag @ 0x08..0x80, len @ 0..0x80, ref body @ ..] if tag & 7 == WireType::Len as u8 => {
                if let Some((payload, rest)) = body.split_at_checked(usize::from(len)) {
                    self.rest = rest;
                    return Ok(Some((u32::from(tag >> 3), Field::Len(payload))));
                }
            }
            _ => {}
        }
        self.read_any()
    }

    fn read_any(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        let mut cursor = Cursor::new(self.rest);
        while !cursor.is_done() {
            let tag = cursor.tag()?;
            let field = match tag.wire {
                WireType::Len => Field::Len(cursor.len_prefixed()?),
                WireType::Fixed64 => Field::Fixed64(cursor.fixed64()?),
                WireType::Varint => Field::Varint(cursor.varint()?),
                WireType::Fixed32 => Field::Fixed32(cursor.fixed32()?),
                WireType::StartGroup | WireType::EndGroup => {
                    cursor.skip(tag, GROUP_DEPTH)?;
                    continue;
                }
            };
            self.rest = &self.rest[cursor.offset()..];
            return Ok(Some((tag.field, field)));
        }
        self.rest = &[];
        Ok(None)
    }

    #[cold]
    fn give_up(&mut self, error: WireError) {
        debug_assert!(false, "a view met bytes that no validation lets through: {error}");
        self.rest = &[];
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Field<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(field) => field,
            Err(error) => {
                self.give_up(error);
                None
            }
        }
    }
}

/// The occurrences of a repeated field of messages or strings, in order. A clone continues from where this one is.
#[derive(Debug, Clone)]
pub struct Repeated<'a, T> {
    fields: Fields<'a>,
    number: u32,
    of: PhantomData<T>,
}

impl<'a, T: View<'a>> Iterator for Repeated<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            match self.fields.next()? {
                (number, Field::Len(bytes)) if number == self.number => return Some(T::over(bytes)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::{put_fixed32_field, put_fixed64_field, put_len_field, put_varint_field};

    #[test]
    fn fields_are_found_whatever_stands_before_them() {
        let long = vec![b'x'; 300];
        let mut bytes = Vec::new();
        put_len_field(&mut bytes, 20, b"tag of two bytes");
        put_len_field(&mut bytes, 4, &long);
        put_len_field(&mut bytes, 5, b"");
        put_varint_field(&mut bytes, 2, 1 << 40);
        put_len_field(&mut bytes, 1, b"short");
        let message = Message(&bytes);
        assert_eq!(message.text(1), "short");
        assert_eq!(message.varint(2), 1 << 40);
        assert_eq!(message.len(4), Some(&long[..]));
        assert_eq!(message.len(5), Some(&b""[..]));
        assert_eq!(message.text(20), "tag of two bytes");
        assert_eq!(message.len(6), None);
    }

    #[test]
    fn unknown_fields_and_groups_are_stepped_over() {
        let mut bytes = vec![0x9b, 0x06, 0x08, 0x05, 0x9c, 0x06]; // field 99 as a group { 1: 5 }
        put_varint_field(&mut bytes, 1000, 7);
        put_fixed32_field(&mut bytes, 1001, 7);
        put_fixed64_field(&mut bytes, 3, 42);
        let message = Message(&bytes);
        assert_eq!(message.fixed64(3), Some(42));
        assert_eq!(message.varint(1), 0, "a field inside a group is not a field of the message");
    }

    #[test]
    fn a_known_number_of_another_shape_reads_as_absent() {
        let mut bytes = Vec::new();
        put_varint_field(&mut bytes, 1, 5);
        let message = Message(&bytes);
        assert_eq!(message.text(1), "");
        assert_eq!(message.fixed64(1), None);
        assert_eq!(message.repeated::<Text<'_>>(1).count(), 0);
    }

    #[test]
    fn every_truncation_and_every_changed_byte_ends_the_walk_without_a_panic() {
        let mut whole = Vec::new();
        put_len_field(&mut whole, 1, b"some text");
        put_fixed64_field(&mut whole, 2, 42);
        put_varint_field(&mut whole, 3, 300);
        put_fixed32_field(&mut whole, 4, 7);
        let walk = |bytes: &[u8]| {
            let mut fields = Message(bytes).fields();
            let mut steps = 0;
            while let Ok(Some(_)) = fields.read() {
                steps += 1;
            }
            steps
        };
        assert_eq!(walk(&whole), 4);
        for end in 0..whole.len() {
            assert!(walk(&whole[..end]) < 4);
        }
        for at in 0..whole.len() {
            for value in 0..=u8::MAX {
                let mut changed = whole.clone();
                changed[at] = value;
                assert!(walk(&changed) <= whole.len());
            }
        }
    }

    #[test]
    fn zigzag_is_undone_over_the_whole_range() {
        for value in [0, -1, 1, -2, 2, i32::MIN, i32::MAX] {
            let mut bytes = Vec::new();
            crate::writer::put_sint_field(&mut bytes, 1, i64::from(value));
            assert_eq!(Message(&bytes).sint32(1), value);
        }
    }
}
