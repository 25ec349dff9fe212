//! Attribute values: plain, or as JSON if they have parts.

use super::number;
use millrace_wire::view::{Array, Attributes, Text, Value};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};

/// A value without its type. Maps and arrays are JSON with sorted keys, of equal keys the last; one that JSON cannot
/// hold because a number in it is infinite or not a number shows as nothing, as in Go.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a>(pub Value<'a>);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Empty | Value::TextIndex(_) => Ok(()),
            Value::Text(text) => text.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Double(value) if value.is_nan() => f.write_str("NaN"),
            Value::Double(f64::INFINITY) => f.write_str("Infinity"),
            Value::Double(f64::NEG_INFINITY) => f.write_str("-Infinity"),
            Value::Double(value) => number::Json(value).fmt(f),
            Value::Bytes(bytes) => Base64(bytes).fmt(f),
            Value::Array(_) | Value::Map(_) => {
                let mut text = String::new();
                match json(self.0, &mut text) {
                    Ok(()) => f.write_str(&text),
                    Err(fmt::Error) => Ok(()),
                }
            }
        }
    }
}

/// Fails on what JSON cannot hold. Values nest no deeper than validation allows.
fn json(value: Value<'_>, out: &mut String) -> fmt::Result {
    match value {
        Value::Empty | Value::TextIndex(_) => out.write_str("null"),
        Value::Text(text) => json_text(text, out),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Double(value) if !value.is_finite() => Err(fmt::Error),
        Value::Double(value) => write!(out, "{}", number::Json(value)),
        Value::Bytes(bytes) => write!(out, "\"{}\"", Base64(bytes)),
        Value::Array(array) => json_array(array, out),
        Value::Map(entries) => json_map(entries, out),
    }
}

fn json_array(array: Array<'_>, out: &mut String) -> fmt::Result {
    out.push('[');
    for (index, value) in array.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json(value, out)?;
    }
    out.push(']');
    Ok(())
}

fn json_map(entries: Attributes<'_>, out: &mut String) -> fmt::Result {
    let sorted: BTreeMap<Text<'_>, Value<'_>> =
        entries.iter().map(|entry| (entry.key(), entry.value())).collect();
    out.push('{');
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json_text(key, out)?;
        out.push(':');
        json(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn json_text(text: Text<'_>, out: &mut String) -> fmt::Result {
    out.push('"');
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                // The two line separators are escaped so that JSON is also JavaScript.
                '\0'..' ' | '\u{2028}' | '\u{2029}' => write!(out, "\\u{:04x}", u32::from(char))?,
                _ => out.push(char),
            }
        }
        for _ in chunk.invalid() {
            out.push_str("\\ufffd");
        }
    }
    out.push('"');
    Ok(())
}

/// Standard base64 with padding.
#[derive(Debug, Clone, Copy)]
pub struct Base64<'a>(pub &'a [u8]);

impl Display for Base64<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for chunk in self.0.chunks(3) {
            let mut group = [0; 4];
            group[1..=chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes(group);
            for sextet in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * sextet)) as usize & 63];
                f.write_char(if sextet <= chunk.len() { char::from(digit) } else { '=' })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        let cases: [(&[u8], &str); 5] = [
            (b"", ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (&[0xfb, 0xff, 0xfe, 0], "+//+AA=="),
        ];
        for (bytes, text) in cases {
            assert_eq!(Base64(bytes).to_string(), text);
        }
    }

    #[test]
    fn invalid_utf8_is_escaped_in_json_byte_by_byte() {
        let mut out = String::new();
        assert_eq!(json_text(Text(b"a\xff\xfe\x01\xe2\x80\xa8\xef\xbf\xbd"), &mut out), Ok(()));
        assert_eq!(out, "\"a\\ufffd\\ufffd\\u0001\\u2028\u{fffd}\"");
    }

    #[test]
    fn a_number_that_json_lacks_empties_the_whole_list_but_not_a_plain_value() {
        let double = |value: f64| {
            let mut bytes = Vec::new();
            millrace_wire::writer::put_double_field(&mut bytes, 4, value);
            bytes
        };
        let mut array = Vec::new();
        millrace_wire::writer::put_len_field(&mut array, 1, &double(1.5));
        assert_eq!(Plain(Value::Array(Array::over(&array))).to_string(), "[1.5]");
        millrace_wire::writer::put_len_field(&mut array, 1, &double(f64::INFINITY));
        assert_eq!(Plain(Value::Array(Array::over(&array))).to_string(), "");
        assert_eq!(Plain(Value::over(&double(f64::NEG_INFINITY))).to_string(), "-Infinity");
    }
}
