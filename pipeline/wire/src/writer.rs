//! Writing the protobuf wire format, minimal varints throughout.
//!
//! A nested message is begun, filled and ended; ending it puts the length in front. The length is guessed to take
//! one byte and the body is moved up when it does not, so lengths are never padded.

use crate::cursor::{WireType, varint_len};

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a tag.
#[inline]
pub fn put_tag(out: &mut Vec<u8>, field: u32, wire: WireType) {
    put_varint(out, u64::from(field) << 3 | wire as u64);
}

/// Appends a varint field (int32 and int64 are passed sign-extended: `value as i64 as u64`).
#[inline]
pub fn put_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    put_tag(out, field, WireType::Varint);
    put_varint(out, value);
}

/// Appends a sint32/sint64 field, zigzag-encoded.
#[inline]
pub fn put_sint_field(out: &mut Vec<u8>, field: u32, value: i64) {
    put_varint_field(out, field, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a fixed64/sfixed64 field.
#[inline]
pub fn put_fixed64_field(out: &mut Vec<u8>, field: u32, value: u64) {
    put_tag(out, field, WireType::Fixed64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a double field.
#[inline]
pub fn put_double_field(out: &mut Vec<u8>, field: u32, value: f64) {
    put_fixed64_field(out, field, value.to_bits());
}

/// Appends a fixed32/sfixed32 field.
#[inline]
pub fn put_fixed32_field(out: &mut Vec<u8>, field: u32, value: u32) {
    put_tag(out, field, WireType::Fixed32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a string, bytes or ready-made message field.
#[inline]
pub fn put_len_field(out: &mut Vec<u8>, field: u32, payload: &[u8]) {
    put_tag(out, field, WireType::Len);
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// A nested message that has been begun and not yet ended. Must be given back to [`end_message`].
#[derive(Debug)]
#[must_use = "a begun message must be ended"]
pub struct Open {
    body: usize,
}

/// Begins a nested message (or a packed repeated field).
#[inline]
pub fn begin_message(out: &mut Vec<u8>, field: u32) -> Open {
    put_tag(out, field, WireType::Len);
    out.push(0);
    Open { body: out.len() }
}

/// Ends a nested message: puts its length in front of what was appended since it was begun.
#[inline]
pub fn end_message(out: &mut Vec<u8>, Open { body }: Open) {
    let len = out.len() - body;
    let extra = varint_len(len as u64) - 1;
    if extra > 0 {
        out.resize(out.len() + extra, 0);
        out.copy_within(body..body + len, body + extra);
    }
    let mut value = len as u64;
    let mut at = body - 1;
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_messages_get_minimal_lengths() {
        for size in [0usize, 1, 127, 128, 16_383, 16_384, 70_000] {
            let mut out = vec![0xaa];
            let outer = begin_message(&mut out, 3);
            let inner = begin_message(&mut out, 1);
            out.resize(out.len() + size, 7);
            end_message(&mut out, inner);
            end_message(&mut out, outer);

            let mut inner_bytes = Vec::new();
            put_len_field(&mut inner_bytes, 1, &vec![7; size]);
            let mut expected = vec![0xaa];
            put_len_field(&mut expected, 3, &inner_bytes);
            assert_eq!(out, expected, "body of {size} bytes");
        }
    }

    #[test]
    fn zigzag_matches_the_protobuf_encoding_page() {
        let mut out = Vec::new();
        put_sint_field(&mut out, 1, -2);
        assert_eq!(out, [0x08, 3]);
    }
}
