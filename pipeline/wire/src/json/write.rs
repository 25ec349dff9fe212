//! Protobuf to JSON, message by message, in the order and with the empty fields that Go writes.

use super::error::ToJsonError;
use super::fields::{Fields, Raw, packed_element};
use super::number::{put_double, put_signed, put_unsigned};
use super::order::order;
use super::text::{put_base64, put_hex, put_json_string};
use crate::Payload;
use crate::cursor::{Cursor, WireError};
use crate::schema::{Arity, Field, Kind, Message, request};
use crate::validate::MAX_DEPTH;

pub(super) fn requests<'a>(
    payloads: impl IntoIterator<Item = &'a Payload>,
    out: &mut Vec<u8>,
) -> Result<(), ToJsonError> {
    let mut signal = None;
    let mut members = Members::open(out);
    for payload in payloads {
        if *signal.get_or_insert(payload.signal()) != payload.signal() {
            return Err(ToJsonError::MixedSignals);
        }
        let [field] = request(payload.signal()).ok_or(ToJsonError::Profiles)?.fields else {
            return Err(ToJsonError::Profiles);
        };
        let Kind::Message(resource) = field.kind else { return Err(ToJsonError::Profiles) };
        // Names and quotes make JSON two to three times as long as protobuf.
        members.out.reserve(payload.len() * 2);
        let mut cursor = Cursor::new(payload.bytes());
        while !cursor.is_done() {
            let tag = cursor.tag()?;
            if tag.field != field.number {
                return Err(WireError::BadFieldNumber.into());
            }
            members.element(field);
            object(resource, cursor.len_prefixed()?, MAX_DEPTH, members.out)?;
        }
    }
    members.close();
    Ok(())
}

/// Writes a message as an object; `depth` counts it and what is nested in it.
fn object(message: &'static Message, body: &[u8], depth: u32, out: &mut Vec<u8>) -> Result<(), WireError> {
    let inner_depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
    let fields = Fields::gather(message, body)?;
    let mut members = Members::open(out);
    for &index in order(message) {
        let index = usize::from(index);
        let field = &message.fields[index];
        if field.arity == Arity::Repeated {
            for element in fields.each(index, field.number) {
                match field.kind {
                    Kind::Message(inner) => {
                        members.element(field);
                        object(inner, element?.bytes()?, inner_depth, members.out)?;
                    }
                    kind => scalars(field, kind, element?, &mut members)?,
                }
            }
            continue;
        }
        match (field.kind, fields.single(index)?) {
            (Kind::Message(inner), Some(raw)) => {
                members.key(field);
                object(inner, raw.bytes()?, inner_depth, members.out)?;
            }
            // Go holds these by value: they are always there.
            (Kind::Message(_), None) if field.arity == Arity::Single => {
                members.key(field);
                members.out.extend_from_slice(b"{}");
            }
            (kind, Some(raw)) if field.arity != Arity::Single || !raw.is_default(kind) => {
                members.key(field);
                scalar(kind, raw, members.out)?;
            }
            _ => {}
        }
    }
    members.close();
    Ok(())
}

/// Writes one occurrence of a repeated field: a string, or a run of numbers.
fn scalars(
    field: &'static Field,
    kind: Kind,
    raw: Raw<'_>,
    members: &mut Members<'_>,
) -> Result<(), WireError> {
    match (kind, raw) {
        (Kind::String | Kind::Bytes | Kind::Id(_), _) => {
            members.element(field);
            scalar(kind, raw, members.out)
        }
        (_, Raw::Len(run)) => {
            let mut cursor = Cursor::new(run);
            while !cursor.is_done() {
                members.element(field);
                scalar(kind, packed_element(&mut cursor, kind)?, members.out)?;
            }
            Ok(())
        }
        _ => Err(WireError::BadWireType),
    }
}

fn scalar(kind: Kind, raw: Raw<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    match (kind, raw) {
        (Kind::String, Raw::Len(text)) => put_json_string(out, text),
        (Kind::Bytes, Raw::Len(bytes)) => {
            out.push(b'"');
            put_base64(out, bytes);
            out.push(b'"');
        }
        (Kind::Id(_), Raw::Len(id)) => {
            out.push(b'"');
            put_hex(out, id);
            out.push(b'"');
        }
        (Kind::Bool, Raw::Varint(value)) => {
            out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
        }
        (Kind::Int32 | Kind::Enum(_), Raw::Varint(value)) => put_signed(out, i64::from(value as i32)),
        (Kind::Uint32, Raw::Varint(value)) => put_unsigned(out, u64::from(value as u32)),
        (Kind::Sint32, Raw::Varint(value)) => {
            let value = value as u32;
            put_signed(out, i64::from((value >> 1) as i32 ^ -((value & 1) as i32)));
        }
        (Kind::Fixed32, Raw::Fixed32(value)) => put_unsigned(out, u64::from(value)),
        (Kind::Int64, Raw::Varint(value)) | (Kind::Sfixed64, Raw::Fixed64(value)) => {
            out.push(b'"');
            put_signed(out, value as i64);
            out.push(b'"');
        }
        (Kind::Uint64, Raw::Varint(value)) | (Kind::Fixed64, Raw::Fixed64(value)) => {
            out.push(b'"');
            put_unsigned(out, value);
            out.push(b'"');
        }
        (Kind::Double, Raw::Fixed64(bits)) => put_double(out, f64::from_bits(bits)),
        _ => return Err(WireError::BadWireType),
    }
    Ok(())
}

/// An object that is being written. A list is opened by its first element and closed by what follows.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
    list: Option<u32>,
}

impl<'o> Members<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true, list: None }
    }

    /// Begins the member of that name.
    fn key(&mut self, field: &Field) {
        self.end_list();
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(field.json.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Begins the next element of the member that is a list.
    fn element(&mut self, field: &Field) {
        if self.list == Some(field.number) {
            self.out.push(b',');
        } else {
            self.key(field);
            self.out.push(b'[');
            self.list = Some(field.number);
        }
    }

    fn end_list(&mut self) {
        if self.list.take().is_some() {
            self.out.push(b']');
        }
    }

    fn close(mut self) {
        self.end_list();
        self.out.push(b'}');
    }
}
