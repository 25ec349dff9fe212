//! Rewrites a request that is legal into the form that a payload has, by the schema tables.
//!
//! Fields stay in the order of their first occurrence, and what is already in form is copied as it is, so that a
//! request comes out changed only where it was odd, and one odd span in a thousand costs little. Unknown fields are
//! kept; groups and unknown top-level fields are dropped.
//!
//! # Invariants
//! - The input has passed the walk: errors here mean that the two disagree.
//! - Recursion is as deep as the messages are nested, which the walk has bounded.
//! - A message in many parts is never copied together, so that parts within parts do not multiply memory: a list of
//!   the parts, at most eight bytes for each byte of input over all levels, is all.

use super::walk::is_in_form;
use crate::cursor::{Cursor, WireError, WireType};
use crate::schema::{Arity, Field, Kind, Message};
use crate::writer::{begin_message, end_message, put_len_field, put_tag, put_varint};

/// A rewritten request.
pub(super) struct Rewritten {
    pub(super) bytes: Vec<u8>,
    pub(super) repaired_strings: u32,
}

/// Rewrites a request, and its text to UTF-8 if `repair` is set.
pub(super) fn request(message: &'static Message, bytes: &[u8], repair: bool) -> Result<Rewritten, WireError> {
    let mut writer = Writer { out: Vec::with_capacity(bytes.len()), repair, repaired_strings: 0 };
    writer.message(message, &[bytes], Unknown::Dropped)?;
    Ok(Rewritten { bytes: writer.out, repaired_strings: writer.repaired_strings })
}

/// What becomes of fields that the message does not define.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Kept,
    Dropped,
}

/// The payload of a field.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Len(&'a [u8]),
    Group,
}

/// What a singular field amounts to, over all its occurrences.
#[derive(Default)]
struct Slot<'a> {
    /// The last occurrence of it.
    last: Option<Raw<'a>>,
    /// The parts of a message that are not empty, in order.
    parts: Vec<&'a [u8]>,
    written: bool,
}

struct Writer {
    out: Vec<u8>,
    repair: bool,
    repaired_strings: u32,
}

impl Writer {
    /// Writes the fields of a message whose encoding is the `parts` one after another.
    fn message(
        &mut self,
        message: &'static Message,
        parts: &[&[u8]],
        unknown: Unknown,
    ) -> Result<(), WireError> {
        let mut slots = gather(message, parts)?;
        for_each_field(parts, |number, raw| {
            let Some(at) = position(message, number) else {
                if unknown == Unknown::Kept {
                    self.raw(number, raw);
                }
                return Ok(());
            };
            let field = &message.fields[at];
            let slot = &mut slots[at];
            match (field.arity, field.kind, raw) {
                (Arity::Repeated, Kind::Message(inner), Raw::Len(body)) => {
                    self.nested(number, inner, &[body])?;
                }
                (Arity::Repeated, kind, _) if kind.wire_type() != WireType::Len => {
                    if !std::mem::replace(&mut slot.written, true) {
                        self.packed(field, parts)?;
                    }
                }
                (Arity::Repeated, ..) => self.scalar(field, raw),
                _ if std::mem::replace(&mut slot.written, true) => {}
                (_, Kind::Message(inner), _) if slot.last.is_some() => {
                    self.nested(number, inner, &slot.parts)?;
                }
                _ => {
                    if let Some(last) = slot.last {
                        self.scalar(field, last);
                    }
                }
            }
            Ok(())
        })
    }

    fn nested(&mut self, number: u32, message: &'static Message, parts: &[&[u8]]) -> Result<(), WireError> {
        if let [body] = parts
            && is_in_form(message, body, self.repair)
        {
            put_len_field(&mut self.out, number, body);
            return Ok(());
        }
        let open = begin_message(&mut self.out, number);
        self.message(message, parts, Unknown::Kept)?;
        end_message(&mut self.out, open);
        Ok(())
    }

    /// All elements of a packed field, wherever they are, in one run.
    fn packed(&mut self, field: &Field, parts: &[&[u8]]) -> Result<(), WireError> {
        let open = begin_message(&mut self.out, field.number);
        for_each_field(parts, |number, raw| {
            match raw {
                _ if number != field.number => {}
                Raw::Len(run) => {
                    let mut run = Cursor::new(run);
                    while !run.is_done() {
                        let element = read(&mut run, field.number, field.kind.wire_type())?;
                        self.bare(field.kind, element);
                    }
                }
                element => self.bare(field.kind, element),
            }
            Ok(())
        })?;
        end_message(&mut self.out, open);
        Ok(())
    }

    fn scalar(&mut self, field: &Field, raw: Raw<'_>) {
        match raw {
            Raw::Len(text) if self.repair && matches!(field.kind, Kind::String) => {
                let repaired = String::from_utf8_lossy(text);
                self.repaired_strings += u32::from(matches!(repaired, std::borrow::Cow::Owned(_)));
                self.raw(field.number, Raw::Len(repaired.as_bytes()));
            }
            Raw::Varint(value) => self.raw(field.number, Raw::Varint(narrowed(field.kind, value))),
            raw => self.raw(field.number, raw),
        }
    }

    fn raw(&mut self, number: u32, raw: Raw<'_>) {
        let wire = match raw {
            Raw::Varint(_) => WireType::Varint,
            Raw::Fixed64(_) => WireType::Fixed64,
            Raw::Fixed32(_) => WireType::Fixed32,
            Raw::Len(_) => WireType::Len,
            Raw::Group => return,
        };
        put_tag(&mut self.out, number, wire);
        if let Raw::Len(payload) = raw {
            put_varint(&mut self.out, payload.len() as u64);
        }
        self.payload(raw);
    }

    fn bare(&mut self, kind: Kind, raw: Raw<'_>) {
        match raw {
            Raw::Varint(value) => self.payload(Raw::Varint(narrowed(kind, value))),
            raw => self.payload(raw),
        }
    }

    fn payload(&mut self, raw: Raw<'_>) {
        match raw {
            Raw::Varint(value) => put_varint(&mut self.out, value),
            Raw::Fixed64(value) => self.out.extend_from_slice(&value.to_le_bytes()),
            Raw::Fixed32(value) => self.out.extend_from_slice(&value.to_le_bytes()),
            Raw::Len(payload) => self.out.extend_from_slice(payload),
            Raw::Group => {}
        }
    }
}

/// What each singular field amounts to: the last value, the parts of a message, the last member of a oneof.
fn gather<'a>(message: &'static Message, parts: &[&'a [u8]]) -> Result<Vec<Slot<'a>>, WireError> {
    let mut slots: Vec<Slot<'a>> = message.fields.iter().map(|_| Slot::default()).collect();
    for_each_field(parts, |number, raw| {
        let Some(at) = position(message, number) else { return Ok(()) };
        let field = &message.fields[at];
        if field.arity == Arity::Repeated {
            return Ok(());
        }
        if matches!(field.arity, Arity::OneOf(_)) {
            for (other, slot) in message.fields.iter().zip(&mut slots) {
                if other.arity == field.arity && other.number != number {
                    *slot = Slot::default();
                }
            }
        }
        slots[at].last = Some(raw);
        match (field.kind, raw) {
            (Kind::Message(_), Raw::Len(body)) if !body.is_empty() => slots[at].parts.push(body),
            _ => {}
        }
        Ok(())
    })?;
    Ok(slots)
}

fn for_each_field<'a>(
    parts: &[&'a [u8]],
    mut visit: impl FnMut(u32, Raw<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for part in parts {
        let mut cursor = Cursor::new(part);
        while !cursor.is_done() {
            let tag = cursor.tag()?;
            let raw = read(&mut cursor, tag.field, tag.wire)?;
            visit(tag.field, raw)?;
        }
    }
    Ok(())
}

fn read<'a>(cursor: &mut Cursor<'a>, field: u32, wire: WireType) -> Result<Raw<'a>, WireError> {
    Ok(match wire {
        WireType::Varint => Raw::Varint(cursor.varint()?),
        WireType::Fixed64 => Raw::Fixed64(cursor.fixed64()?),
        WireType::Fixed32 => Raw::Fixed32(cursor.fixed32()?),
        WireType::Len => Raw::Len(cursor.len_prefixed()?),
        WireType::StartGroup | WireType::EndGroup => {
            cursor.skip(crate::cursor::Tag { field, wire }, super::MAX_DEPTH)?;
            Raw::Group
        }
    })
}

fn position(message: &Message, number: u32) -> Option<usize> {
    message.fields.iter().position(|field| field.number == number)
}

/// A varint as its type holds it, the way every protobuf reader cuts it down.
fn narrowed(kind: Kind, value: u64) -> u64 {
    match kind {
        Kind::Bool => u64::from(value != 0),
        Kind::Int32 | Kind::Enum(_) => i64::from(value as i32) as u64,
        Kind::Uint32 | Kind::Sint32 => u64::from(value as u32),
        _ => value,
    }
}
