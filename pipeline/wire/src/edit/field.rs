//! Fields by name and type.

use crate::place::varint_value;
use crate::split::MetricKind;
use crate::view::{self, Text};
use crate::write::{Encoded, Value, put_text};
use crate::writer::{
    begin_message, end_message, put_double_field, put_fixed32_field, put_fixed64_field, put_len_field,
    put_varint_field,
};
use std::marker::PhantomData;

/// A singular field of the messages at one level; the constants of the levels (`Span::NAME`) are all there are.
#[derive(Debug)]
pub struct Field<L, T> {
    numbers: [u8; 5],
    of: PhantomData<fn() -> (L, T)>,
}

impl<L, T> Clone for Field<L, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L, T> Copy for Field<L, T> {}

impl<L, T> Field<L, T> {
    pub(super) const fn new(numbers: [u8; 5]) -> Self {
        Self { numbers, of: PhantomData }
    }

    /// The number that the field has in messages of that kind; `None` if they do not have it.
    pub(super) fn number(&self, kind: MetricKind) -> Option<u32> {
        match self.numbers[kind as usize] {
            0 => None,
            number => Some(number.into()),
        }
    }
}

/// A type of field: what is read, and what is written.
pub trait FieldType {
    /// What reading gives.
    type Get<'m>;
    /// What is written.
    type Set<'v>;

    /// Reads the field's value (without tag and length), or what its absence means.
    #[doc(hidden)]
    fn get(value: Option<&[u8]>) -> Self::Get<'_>;

    /// Appends the field; nothing if `value` is what its absence means.
    #[doc(hidden)]
    fn put(out: &mut Vec<u8>, number: u32, value: Self::Set<'_>);
}

/// `string`: bytes, as text may be other than UTF-8; what is written is repaired.
#[derive(Debug)]
pub enum TextType {}

impl FieldType for TextType {
    type Get<'m> = Text<'m>;
    type Set<'v> = &'v [u8];

    fn get(value: Option<&[u8]>) -> Text<'_> {
        Text(value.unwrap_or_default())
    }

    fn put(out: &mut Vec<u8>, number: u32, value: &[u8]) {
        put_text(out, number, value);
    }
}

/// A trace id (16) or span id (8). Reading gives all bytes or none; writing all zeros removes it.
#[derive(Debug)]
pub enum Id<const LEN: usize> {}

impl<const LEN: usize> FieldType for Id<LEN> {
    type Get<'m> = &'m [u8];
    type Set<'v> = [u8; LEN];

    fn get(value: Option<&[u8]>) -> &[u8] {
        value.unwrap_or_default()
    }

    fn put(out: &mut Vec<u8>, number: u32, value: [u8; LEN]) {
        if value != [0; LEN] {
            put_len_field(out, number, &value);
        }
    }
}

/// `fixed64`: times in nanoseconds since the Unix epoch, counts of measurements.
#[derive(Debug)]
pub enum Fixed64 {}

impl FieldType for Fixed64 {
    type Get<'m> = u64;
    type Set<'v> = u64;

    fn get(value: Option<&[u8]>) -> u64 {
        value.and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn put(out: &mut Vec<u8>, number: u32, value: u64) {
        if value != 0 {
            put_fixed64_field(out, number, value);
        }
    }
}

/// `fixed32`: flags.
#[derive(Debug)]
pub enum Fixed32 {}

impl FieldType for Fixed32 {
    type Get<'m> = u32;
    type Set<'v> = u32;

    fn get(value: Option<&[u8]>) -> u32 {
        value.and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn put(out: &mut Vec<u8>, number: u32, value: u32) {
        if value != 0 {
            put_fixed32_field(out, number, value);
        }
    }
}

macro_rules! varints {
    ($($(#[$doc:meta])* $name:ident: $type:ty, $read:expr, $write:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}

            impl FieldType for $name {
                type Get<'m> = $type;
                type Set<'v> = $type;

                fn get(value: Option<&[u8]>) -> $type {
                    let read: fn(u64) -> $type = $read;
                    read(value.map_or(0, varint_value))
                }

                fn put(out: &mut Vec<u8>, number: u32, value: $type) {
                    let write: fn($type) -> u64 = $write;
                    if write(value) != 0 {
                        put_varint_field(out, number, write(value));
                    }
                }
            }
        )*
    };
}

varints! {
    /// `uint32`: what was discarded, flags of data points.
    Count: u32, |value| value as u32, u64::from;
    /// An enum, by number: the protocol asks that unknown ones be kept.
    Enum: i32, |value| value as i32, |value| i64::from(value) as u64;
    /// `bool`.
    Bool: bool, |value| value != 0, u64::from;
}

/// `double`; absent means zero.
#[derive(Debug)]
pub enum Double {}

impl FieldType for Double {
    type Get<'m> = f64;
    type Set<'v> = f64;

    fn get(value: Option<&[u8]>) -> f64 {
        f64::from_bits(Fixed64::get(value))
    }

    fn put(out: &mut Vec<u8>, number: u32, value: f64) {
        Fixed64::put(out, number, value.to_bits());
    }
}

/// `optional double`; absent means not known.
#[derive(Debug)]
pub enum OptionalDouble {}

impl FieldType for OptionalDouble {
    type Get<'m> = Option<f64>;
    type Set<'v> = Option<f64>;

    fn get(value: Option<&[u8]>) -> Option<f64> {
        value.map(|_| Double::get(value))
    }

    fn put(out: &mut Vec<u8>, number: u32, value: Option<f64>) {
        if let Some(value) = value {
            put_double_field(out, number, value);
        }
    }
}

/// `Status`: code and message are written together, and an unknown field in it is not kept.
#[derive(Debug)]
pub enum StatusType {}

impl FieldType for StatusType {
    type Get<'m> = view::Status<'m>;
    /// The code (see [`view::Status`]) and the message.
    type Set<'v> = (i32, &'v [u8]);

    fn get(value: Option<&[u8]>) -> view::Status<'_> {
        view::Status::over(value.unwrap_or_default())
    }

    fn put(out: &mut Vec<u8>, number: u32, (code, message): (i32, &[u8])) {
        if code != 0 || !message.is_empty() {
            let status = begin_message(out, number);
            TextType::put(out, 2, message);
            Enum::put(out, 3, code);
            end_message(out, status);
        }
    }
}

/// An `AnyValue` that may be absent: the body of a log record.
#[derive(Debug)]
pub enum OptionalValue {}

impl FieldType for OptionalValue {
    type Get<'m> = Option<Encoded<'m>>;
    type Set<'v> = Option<Value<'v>>;

    fn get(value: Option<&[u8]>) -> Option<Encoded<'_>> {
        value.map(Encoded::vouched)
    }

    fn put(out: &mut Vec<u8>, number: u32, value: Option<Value<'_>>) {
        if let Some(value) = value {
            let body = begin_message(out, number);
            value.put(out);
            end_message(out, body);
        }
    }
}
