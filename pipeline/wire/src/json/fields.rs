//! A message taken apart by its table, so that its fields can be written in another order.
//!
//! Payloads have every singular field once and one member of every oneof ([`crate::payload`]).

use crate::cursor::{Cursor, Tag, WireError, WireType};
use crate::schema::{Kind, Message};

/// The most fields that a message of the tables has.
pub(super) const MAX_FIELDS: usize = 16;

/// How deep an unknown group may be: payloads have none.
const GROUP_DEPTH: u32 = 16;

/// A field's payload.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Len(&'a [u8]),
}

impl<'a> Raw<'a> {
    fn read(cursor: &mut Cursor<'a>, tag: Tag) -> Result<Self, WireError> {
        Ok(match tag.wire {
            WireType::Varint => Self::Varint(cursor.varint()?),
            WireType::Fixed64 => Self::Fixed64(cursor.fixed64()?),
            WireType::Fixed32 => Self::Fixed32(cursor.fixed32()?),
            WireType::Len => Self::Len(cursor.len_prefixed()?),
            WireType::StartGroup | WireType::EndGroup => return Err(WireError::BadWireType),
        })
    }

    /// The payload of a string, bytes, message or packed field.
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Len(bytes) => Ok(bytes),
            _ => Err(WireError::BadWireType),
        }
    }

    /// Whether a proto3 singular field with this value is left out.
    pub(super) fn is_default(self, kind: Kind) -> bool {
        match (self, kind) {
            // A negative zero is a default too, as in Go.
            (Self::Fixed64(bits), Kind::Double) => f64::from_bits(bits) == 0.0,
            (Self::Len(id), Kind::Id(_)) => id.iter().all(|&byte| byte == 0),
            (Self::Varint(value) | Self::Fixed64(value), _) => value == 0,
            (Self::Fixed32(value), _) => value == 0,
            (Self::Len(bytes), _) => bytes.is_empty(),
        }
    }
}

/// Reads one element of a packed run.
pub(super) fn packed_element<'a>(cursor: &mut Cursor<'a>, kind: Kind) -> Result<Raw<'a>, WireError> {
    Ok(match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Raw::Fixed64(cursor.fixed64()?),
        Kind::Fixed32 => Raw::Fixed32(cursor.fixed32()?),
        _ => Raw::Varint(cursor.varint()?),
    })
}

/// A message of a payload, taken apart.
pub(super) struct Fields<'a> {
    body: &'a [u8],
    slots: [Slot; MAX_FIELDS],
}

/// Where a field stands first, and how often it occurs. Small, because there is one for every field of every message.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    times: u32,
}

impl<'a> Fields<'a> {
    pub(super) fn gather(message: &'static Message, body: &'a [u8]) -> Result<Self, WireError> {
        let mut slots = [Slot { tag: 0, times: 0 }; MAX_FIELDS];
        let mut cursor = Cursor::new(body);
        while !cursor.is_done() {
            let start = u32::try_from(cursor.offset()).map_err(|_| WireError::LengthOverrun)?;
            let tag = cursor.tag()?;
            cursor.skip(tag, GROUP_DEPTH)?;
            if let Some(index) = message.fields.iter().position(|field| field.number == tag.field) {
                let slot = &mut slots[index];
                if slot.times == 0 {
                    slot.tag = start;
                }
                slot.times += 1;
            }
        }
        Ok(Self { body, slots })
    }

    /// Whether a field occurs.
    pub(super) fn has(&self, index: usize) -> bool {
        self.slots[index].times > 0
    }

    /// The value of a field that is not repeated.
    pub(super) fn single(&self, index: usize) -> Result<Option<Raw<'a>>, WireError> {
        if !self.has(index) {
            return Ok(None);
        }
        let mut cursor = Cursor::new(&self.body[self.slots[index].tag as usize..]);
        let tag = cursor.tag()?;
        Raw::read(&mut cursor, tag).map(Some)
    }

    /// Every occurrence of a repeated field, in order.
    pub(super) fn each(
        &self,
        index: usize,
        number: u32,
    ) -> impl Iterator<Item = Result<Raw<'a>, WireError>> + use<'a> {
        let slot = self.slots[index];
        let mut cursor = Cursor::new(&self.body[slot.tag as usize..]);
        (0..slot.times).map(move |_| {
            loop {
                let tag = cursor.tag()?;
                if tag.field == number {
                    return Raw::read(&mut cursor, tag);
                }
                cursor.skip(tag, GROUP_DEPTH)?;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Signal, schema};

    fn check(message: &'static Message, depth: u32) {
        assert!(message.fields.len() <= MAX_FIELDS, "{}", message.name);
        for field in message.fields {
            if let (Kind::Message(inner), Some(depth)) = (field.kind, depth.checked_sub(1)) {
                check(inner, depth);
            }
        }
    }

    #[test]
    fn every_message_fits_the_slots() {
        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            check(schema::request(signal).expect("has a table"), 8);
        }
    }
}
