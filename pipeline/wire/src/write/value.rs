//! Attribute values and bodies.

use crate::cursor::WireType;
use crate::place::Places;
use crate::view::Text;
use crate::writer::{
    begin_message, end_message, put_double_field, put_len_field, put_tag, put_varint, put_varint_field,
};

/// How deep lists and maps may be nested in each other where we write them. What is deeper is written as empty.
pub const MAX_NESTING: u32 = 16;

/// How many messages an [`Encoded`] value may nest. With what can be above a value (at most eight, over an exemplar's
/// attribute) that stays well below what a payload may have.
const MAX_ENCODED_DEPTH: u32 = 80;

/// An `AnyValue` to be written.
#[derive(Debug, Clone, Copy, Default)]
pub enum Value<'a> {
    /// No content.
    #[default]
    Empty,
    /// `string_value`.
    Str(&'a str),
    /// `string_value`, of text that came from a payload. What is not UTF-8 in it is written as U+FFFD.
    Text(Text<'a>),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// `bytes_value`.
    Bytes(&'a [u8]),
    /// `array_value`. See [`MAX_NESTING`].
    List(&'a [Value<'a>]),
    /// `kvlist_value`. See [`MAX_NESTING`].
    Map(&'a [(&'a str, Value<'a>)]),
    /// Any value of a payload, as it is.
    Encoded(Encoded<'a>),
}

/// An `AnyValue` in its encoded form, taken from a payload: to be written elsewhere without being decoded.
///
/// One of more than 80 nested messages is written as empty, since it might be too deep where it comes to lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encoded<'a> {
    body: &'a [u8],
    stays: bool,
}

impl<'a> Encoded<'a> {
    /// Vouches that `body` is the body of an `AnyValue` of some payload.
    pub(crate) fn vouched(body: &'a [u8]) -> Self {
        Self { body, stays: false }
    }

    /// As [`Encoded::vouched`], of one that is written at the depth where it was, so that it cannot get too deep.
    pub(crate) fn in_place(body: &'a [u8]) -> Self {
        Self { body, stays: true }
    }

    /// The body of the `AnyValue`.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.body
    }

    /// The value, to be read.
    #[must_use]
    pub fn view(self) -> crate::view::Value<'a> {
        crate::view::Value::over(self.body)
    }
}

impl Value<'_> {
    /// Appends the body of the `AnyValue`.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.put_nested(out, MAX_NESTING);
    }

    fn put_nested(&self, out: &mut Vec<u8>, nesting: u32) {
        match *self {
            Self::Empty => {}
            Self::Str(text) => put_len_field(out, 1, text.as_bytes()),
            Self::Text(Text(text)) => put_valid_text(out, 1, text),
            Self::Bool(value) => put_varint_field(out, 2, value.into()),
            Self::Int(value) => put_varint_field(out, 3, value as u64),
            Self::Double(value) => put_double_field(out, 4, value),
            Self::Bytes(value) => put_len_field(out, 7, value),
            Self::Encoded(Encoded { body, stays }) => {
                if stays || depth_is_within(body, MAX_ENCODED_DEPTH) {
                    out.extend_from_slice(body);
                }
            }
            Self::List(values) => {
                let Some(nesting) = nesting.checked_sub(1) else { return };
                let list = begin_message(out, 5);
                for value in values {
                    let entry = begin_message(out, 1);
                    value.put_nested(out, nesting);
                    end_message(out, entry);
                }
                end_message(out, list);
            }
            Self::Map(entries) => {
                let Some(nesting) = nesting.checked_sub(1) else { return };
                let map = begin_message(out, 6);
                for (key, value) in entries {
                    put_entry(out, 1, key.as_bytes(), value, nesting);
                }
                end_message(out, map);
            }
        }
    }
}

/// Appends a `KeyValue` as the field of that number.
pub(crate) fn put_key_value(out: &mut Vec<u8>, number: u32, key: &[u8], value: &Value<'_>) {
    put_entry(out, number, key, value, MAX_NESTING);
}

fn put_entry(out: &mut Vec<u8>, number: u32, key: &[u8], value: &Value<'_>, nesting: u32) {
    let entry = begin_message(out, number);
    put_valid_text(out, 1, key);
    let body = begin_message(out, 2);
    value.put_nested(out, nesting);
    end_message(out, body);
    end_message(out, entry);
}

/// Appends a text field, unless the text is empty. What is not UTF-8 in it becomes U+FFFD.
pub(crate) fn put_text(out: &mut Vec<u8>, number: u32, text: &[u8]) {
    if !text.is_empty() {
        put_valid_text(out, number, text);
    }
}

/// Appends a text field. What is not UTF-8 in it becomes U+FFFD.
pub(crate) fn put_valid_text(out: &mut Vec<u8>, number: u32, text: &[u8]) {
    if simdutf8::basic::from_utf8(text).is_ok() {
        put_tag(out, number, WireType::Len);
        put_varint(out, text.len() as u64);
        out.extend_from_slice(text);
    } else {
        put_len_field(out, number, String::from_utf8_lossy(text).as_bytes());
    }
}

/// Whether the messages inside of an `AnyValue` are nested at most `levels` deep.
fn depth_is_within(any: &[u8], levels: u32) -> bool {
    let messages = |body: &[u8], number, fits: &dyn Fn(&[u8]) -> bool| {
        Places::of(body).filter(|place| place.is_len(number)).all(|place| fits(place.value(body)))
    };
    let in_list = |list: &[u8]| match levels.checked_sub(2) {
        Some(levels) => messages(list, 1, &|value| depth_is_within(value, levels)),
        None => false,
    };
    let in_map = |map: &[u8]| match levels.checked_sub(3) {
        Some(levels) => {
            messages(map, 1, &|entry| messages(entry, 2, &|value| depth_is_within(value, levels)))
        }
        None => false,
    };
    messages(any, 5, &in_list) && messages(any, 6, &in_map)
}

macro_rules! from {
    ($($source:ty => $variant:ident),*) => {
        $(impl<'a> From<$source> for Value<'a> {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from!(&'a str => Str, Text<'a> => Text, bool => Bool, i64 => Int, i32 => Int, u32 => Int, f64 => Double,
    &'a [u8] => Bytes, &'a [Value<'a>] => List, &'a [(&'a str, Value<'a>)] => Map, Encoded<'a> => Encoded);
