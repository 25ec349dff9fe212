//! The form of a payload, stated once more and independently of the walk.

use millrace_wire::cursor::{Cursor, Tag, WireType, varint_len};
use millrace_wire::schema::{Arity, Field, Kind, Message};
use millrace_wire::{Payload, schema};

/// Panics unless the payload keeps every promise that `millrace_wire::payload` makes about its bytes (text apart:
/// the policy decides about that).
pub fn assert_in_form(payload: &Payload) {
    let Some(message) = schema::request(payload.signal()) else { return };
    let mut cursor = Cursor::new(payload.bytes());
    while !cursor.is_done() {
        assert_eq!(
            minimal_tag(&mut cursor),
            Tag { field: 1, wire: WireType::Len },
            "only field 1 at the top"
        );
        minimal_len(&mut cursor);
    }
    assert_message_in_form(message, payload.bytes(), 0);
}

fn assert_message_in_form(message: &'static Message, bytes: &[u8], depth: u32) {
    assert!(depth <= 100, "nested too deeply");
    let mut seen: Vec<&'static Field> = Vec::new();
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_done() {
        let tag = minimal_tag(&mut cursor);
        assert!(
            !matches!(tag.wire, WireType::StartGroup | WireType::EndGroup),
            "a group in {}",
            message.name
        );
        let Some(field) = message.field(tag.field) else {
            match tag.wire {
                WireType::Varint => drop(minimal_varint(&mut cursor)),
                WireType::Len => drop(minimal_len(&mut cursor)),
                _ => cursor.skip(tag, 0).expect("well-formed"),
            }
            continue;
        };
        let own = field.kind.wire_type();
        let place = format!("{}.{}", message.name, field.name);
        let once = field.arity != Arity::Repeated || own != WireType::Len;
        if once {
            assert!(!seen.iter().any(|other| other.number == field.number), "{place} occurs twice");
        }
        if matches!(field.arity, Arity::OneOf(_)) {
            assert!(
                !seen.iter().any(|other| other.arity == field.arity),
                "two members of the oneof of {place}"
            );
        }
        seen.push(field);
        if field.arity == Arity::Repeated && own != WireType::Len {
            assert_eq!(tag.wire, WireType::Len, "{place} is packed");
            let mut run = Cursor::new(minimal_len(&mut cursor));
            while !run.is_done() {
                scalar_in_form(field, &mut run);
            }
            continue;
        }
        assert_eq!(tag.wire, own, "{place} has its own wire type");
        if own != WireType::Len {
            scalar_in_form(field, &mut cursor);
            continue;
        }
        let body = minimal_len(&mut cursor);
        match field.kind {
            Kind::Message(inner) => assert_message_in_form(inner, body, depth + 1),
            Kind::Id(len) => {
                assert!(body.is_empty() || body.len() == len, "{place} has {} bytes", body.len());
            }
            _ => {}
        }
    }
}

fn scalar_in_form(field: &Field, cursor: &mut Cursor<'_>) {
    match field.kind.wire_type() {
        WireType::Fixed64 => drop(cursor.fixed64().expect("a whole fixed64")),
        WireType::Fixed32 => drop(cursor.fixed32().expect("a whole fixed32")),
        _ => {
            let value = minimal_varint(cursor);
            let fits = match field.kind {
                Kind::Bool => value <= 1,
                Kind::Uint32 | Kind::Sint32 => u32::try_from(value).is_ok(),
                Kind::Int32 | Kind::Enum(_) => i32::try_from(value as i64).is_ok(),
                _ => true,
            };
            assert!(fits, "{} holds {value:#x}", field.name);
        }
    }
}

fn minimal_tag(cursor: &mut Cursor<'_>) -> Tag {
    let mut ahead = *cursor;
    minimal_varint(&mut ahead);
    cursor.tag().expect("a tag")
}

fn minimal_len<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    let len = minimal_varint(cursor);
    cursor.take(usize::try_from(len).expect("a length")).expect("a whole payload")
}

fn minimal_varint(cursor: &mut Cursor<'_>) -> u64 {
    let start = cursor.offset();
    let value = cursor.varint().expect("a varint");
    assert_eq!(cursor.offset() - start, varint_len(value), "an over-long varint");
    value
}
