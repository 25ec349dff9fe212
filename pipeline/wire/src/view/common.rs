//! What all signals share: values, attributes, resources and scopes (`common.proto`, `resource.proto`).

use super::field::{Field, Message};
use super::{Repeated, Text, View, views};

/// An `AnyValue`. An absent value and one without content both read as [`Value::Empty`].
#[derive(Debug, Clone, Copy, Default)]
pub enum Value<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// `string_value`.
    Text(Text<'a>),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// `array_value`.
    Array(Array<'a>),
    /// `kvlist_value`.
    Map(Attributes<'a>),
    /// `bytes_value`.
    Bytes(&'a [u8]),
    /// `string_value_strindex`: an index into the dictionary that only profiles have.
    TextIndex(i32),
}

impl<'a> Value<'a> {
    /// Reads the body of an `AnyValue`, which must be well-formed.
    #[inline]
    #[must_use]
    pub fn over(bytes: &'a [u8]) -> Self {
        let mut value = Self::Empty;
        for field in Message(bytes).fields() {
            value = match field {
                (1, Field::Len(text)) => Self::Text(Text(text)),
                (2, Field::Varint(bool)) => Self::Bool(bool != 0),
                (3, Field::Varint(int)) => Self::Int(int as i64),
                (4, Field::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (5, Field::Len(array)) => Self::Array(Array::over(array)),
                (6, Field::Len(list)) => Self::Map(Attributes { message: Message(list), number: 1 }),
                (7, Field::Len(bytes)) => Self::Bytes(bytes),
                (8, Field::Varint(index)) => Self::TextIndex(index as i32),
                _ => value,
            };
        }
        value
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_text(self) -> Option<Text<'a>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> View<'a> for Value<'a> {
    #[inline]
    fn over(bytes: &'a [u8]) -> Self {
        Self::over(bytes)
    }
}

/// The value of a number data point or an exemplar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// `as_int`.
    Int(i64),
    /// `as_double`.
    Double(f64),
}

impl Number {
    /// As a double, with the rounding of a conversion from 64-bit integers.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    /// The oneof of `as_double` (with its field number) and `as_int` (6 wherever it occurs).
    pub(super) fn read(message: Message<'_>, as_double: u32) -> Option<Self> {
        const AS_INT: u32 = 6;
        let mut value = None;
        for (number, field) in message.fields() {
            if let Field::Fixed64(bits) = field {
                if number == as_double {
                    value = Some(Self::Double(f64::from_bits(bits)));
                } else if number == AS_INT {
                    value = Some(Self::Int(bits as i64));
                }
            }
        }
        value
    }
}

/// The attributes of something, or the entries of a map value: keys with values, in the order of the wire.
///
/// Keys should be unique but nothing enforces it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// The message that has them as a repeated field.
    message: Message<'a>,
    number: u32,
}

impl<'a> Attributes<'a> {
    #[inline]
    pub(super) fn within(message: Message<'a>, number: u32) -> Self {
        Self { message, number }
    }

    /// All of them, in order.
    #[inline]
    #[must_use]
    pub fn iter(self) -> Repeated<'a, KeyValue<'a>> {
        self.message.repeated(self.number)
    }

    /// The value of the first one with that key, as the Go collector looks them up.
    #[inline]
    #[must_use]
    pub fn get(self, key: &[u8]) -> Option<Value<'a>> {
        self.iter().find(|entry| entry.key().0 == key).map(KeyValue::value)
    }

    /// The values of several keys in one pass, each as [`Attributes::get`] finds it.
    #[must_use]
    pub fn get_each<const N: usize>(self, keys: [&[u8]; N]) -> [Option<Value<'a>>; N] {
        let mut found = [None; N];
        let mut missing = N;
        for entry in self {
            if missing == 0 {
                break;
            }
            let key = entry.key().0;
            for (wanted, slot) in keys.iter().zip(&mut found) {
                if *wanted == key && slot.is_none() {
                    *slot = Some(entry.value());
                    missing -= 1;
                }
            }
        }
        found
    }

    /// How many there are, counted by walking them.
    #[must_use]
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'a> IntoIterator for Attributes<'a> {
    type Item = KeyValue<'a>;
    type IntoIter = Repeated<'a, KeyValue<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

views! {
    /// A `KeyValue`.
    KeyValue;
    /// An `ArrayValue`.
    Array;
    /// A `Resource`: what the telemetry is about.
    Resource;
    /// An `EntityRef`: which of a resource's attributes identify an entity.
    EntityRef;
    /// An `InstrumentationScope`: the library that made the telemetry.
    Scope;
}

impl<'a> KeyValue<'a> {
    /// `key`.
    #[inline]
    #[must_use]
    pub fn key(self) -> Text<'a> {
        self.message.text(1)
    }

    /// `value`.
    #[inline]
    #[must_use]
    pub fn value(self) -> Value<'a> {
        self.message.message(2)
    }

    /// `key_strindex`: an index into the dictionary that only profiles have.
    #[must_use]
    pub fn key_strindex(self) -> i32 {
        self.message.varint(3) as i32
    }
}

impl<'a> Array<'a> {
    /// The values, in order.
    #[must_use]
    pub fn iter(self) -> Repeated<'a, Value<'a>> {
        self.message.repeated(1)
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = Repeated<'a, Value<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> Resource<'a> {
    /// `attributes`.
    #[inline]
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 1)
    }

    /// `dropped_attributes_count`.
    #[must_use]
    pub fn dropped_attributes_count(self) -> u32 {
        self.message.varint(2) as u32
    }

    /// `entity_refs`.
    #[must_use]
    pub fn entity_refs(self) -> Repeated<'a, EntityRef<'a>> {
        self.message.repeated(3)
    }
}

impl<'a> EntityRef<'a> {
    /// `schema_url`.
    #[must_use]
    pub fn schema_url(self) -> Text<'a> {
        self.message.text(1)
    }

    /// `type`.
    #[must_use]
    pub fn entity_type(self) -> Text<'a> {
        self.message.text(2)
    }

    /// `id_keys`: the keys of the attributes that identify the entity.
    #[must_use]
    pub fn id_keys(self) -> Repeated<'a, Text<'a>> {
        self.message.repeated(3)
    }

    /// `description_keys`: the keys of the attributes that describe the entity.
    #[must_use]
    pub fn description_keys(self) -> Repeated<'a, Text<'a>> {
        self.message.repeated(4)
    }
}

impl<'a> Scope<'a> {
    /// `name`.
    #[must_use]
    pub fn name(self) -> Text<'a> {
        self.message.text(1)
    }

    /// `version`.
    #[must_use]
    pub fn version(self) -> Text<'a> {
        self.message.text(2)
    }

    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 3)
    }

    /// `dropped_attributes_count`.
    #[must_use]
    pub fn dropped_attributes_count(self) -> u32 {
        self.message.varint(4) as u32
    }
}
