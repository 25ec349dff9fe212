//! serde's view of a [`Node`].

use std::cell::RefCell;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{Error as _, Unexpected, Visitor};

use super::access::{Entries, Fields, Items, OptionalItems, PartItems, SpannedItems, Variant};
use super::{DecodeError, State, markers};
use crate::node::{Node, Value};
use crate::source::Span;

/// A path that is only spelt out when something is wrong.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    pub(super) fn spell(&self) -> String {
        match self {
            Self::Root(root) => (*root).to_owned(),
            Self::Key(parent, key) => match parent.spell() {
                above if above.is_empty() => (*key).to_owned(),
                above => format!("{above}::{key}"),
            },
            Self::Index(parent, index) => format!("{}[{index}]", parent.spell()),
        }
    }
}

/// The keys that the parts of one section accept between them.
#[derive(Default)]
pub(super) struct Accepted {
    pub(super) keys: Vec<&'static str>,
    /// One part accepts any key.
    pub(super) any: bool,
}

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    pub(super) node: &'a Node,
    pub(super) path: Path<'a>,
    pub(super) state: &'a State,
    /// Whether this is the value of a struct's field, so that a null can leave the field's default.
    pub(super) field: bool,
    /// Whether the key `enabled` belongs to the wrapper around this section.
    pub(super) switched: bool,
    /// Where this section is one of several parts: what all of them accept.
    pub(super) parts: Option<&'a RefCell<Accepted>>,
    pub(super) secret: bool,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn root(node: &'a Node, path: &'a str, state: &'a State) -> Self {
        let path = Path::Root(path);
        Self { node, path, state, field: false, switched: false, parts: None, secret: false }
    }

    /// The deserializer of a value inside this one.
    pub(super) fn below(self, node: &'a Node, path: Path<'a>, field: bool) -> Self {
        Self { node, path, field, switched: false, parts: None, ..self }
    }

    /// Gives an error its place, if it has none yet.
    pub(super) fn place<T>(self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|error| self.place_error(error))
    }

    pub(super) fn place_error(self, error: DecodeError) -> DecodeError {
        error.at(self.node, self.node.span, || self.path.spell(), self.secret)
    }

    /// What a null means where something else is expected: the field's default, if this is a field and the null was
    /// written. (Elsewhere, and for an empty or unset variable, it is the type's zero, as in Go.)
    fn null_is_default(self) -> bool {
        self.node.is_null() && self.field && !self.node.is_expanded()
    }

    fn mismatch<'de, T>(self, visitor: &impl Visitor<'de>) -> Result<T, DecodeError> {
        let unexpected = match &self.node.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Int(value) => match i64::try_from(*value) {
                Ok(value) => Unexpected::Signed(value),
                Err(_) => Unexpected::Unsigned(u64::try_from(*value).unwrap_or(u64::MAX)),
            },
            Value::Float(value) => Unexpected::Float(*value),
            Value::String(text) => Unexpected::Str(text),
            Value::Seq(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        };
        Err(self.place_error(DecodeError::invalid_type(unexpected, visitor)))
    }

    fn visit_scalar<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match i64::try_from(*value) {
                Ok(value) => visitor.visit_i64(value),
                Err(_) => visitor.visit_u64(u64::try_from(*value).unwrap_or(u64::MAX)),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Seq(_) | Value::Map(_) => return self.mismatch(&visitor),
        };
        self.place(result)
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null if self.null_is_default() => Err(DecodeError::null()),
            Value::Null => self.place(visitor.visit_i64(0)),
            Value::Int(_) => self.visit_scalar(visitor),
            // `1e3` is a float to YAML.
            #[expect(clippy::cast_possible_truncation, reason = "the value is whole and within the type")]
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                self.place(visitor.visit_i64(*value as i64))
            }
            _ => self.mismatch(&visitor),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null if self.null_is_default() => Err(DecodeError::null()),
            Value::Null => self.place(visitor.visit_f64(0.0)),
            Value::Int(_) | Value::Float(_) => self.visit_scalar(visitor),
            _ => self.mismatch(&visitor),
        }
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match (self.node.as_text(), &self.node.value) {
            (Some(text), _) => self.place(visitor.visit_str(text)),
            (None, Value::Null) if self.null_is_default() => Err(DecodeError::null()),
            (None, Value::Null) => self.place(visitor.visit_str("")),
            _ => self.mismatch(&visitor),
        }
    }

    /// A list; a text stands for its parts between commas, as in Go.
    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null if self.field => Err(DecodeError::null()),
            Value::Null => self.place(visitor.visit_seq(Items::new(self, &[]))),
            Value::Seq(items) => self.place(visitor.visit_seq(Items::new(self, items))),
            Value::String(text) => {
                let piece = |text: &str| Node { value: Value::String(text.to_owned()), ..self.node.clone() };
                let pieces: Vec<_> =
                    if text.is_empty() { Vec::new() } else { text.split(',').map(piece).collect() };
                self.place(visitor.visit_seq(Items::new(self, &pieces)))
            }
            _ => self.mismatch(&visitor),
        }
    }

    /// A section with known keys.
    fn section<'de, V: Visitor<'de>>(self, fields: Fields, visitor: V) -> Result<V::Value, DecodeError> {
        if let Some(parts) = self.parts {
            parts.borrow_mut().keys.extend(fields.keys);
        }
        match &self.node.value {
            Value::Null if self.field => Err(DecodeError::null()),
            Value::Null => self.place(visitor.visit_map(Entries::of_fields(self, fields, &[]))),
            Value::Map(map) => {
                if self.parts.is_none() {
                    self.report_unknown(fields.keys);
                }
                self.place(visitor.visit_map(Entries::of_fields(self, fields, map.entries())))
            }
            _ => self.mismatch(&visitor),
        }
    }

    /// Reports the keys of this section that are not among `accepted`.
    fn report_unknown(self, accepted: &[&'static str]) {
        let Some(map) = self.node.as_map() else { return };
        let mut keys = accepted.to_vec();
        if self.switched {
            keys.push("enabled");
        }
        if let Some(all) = &self.state.keys {
            all.borrow_mut().insert(self.path.spell(), keys.clone());
        }
        for entry in map.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            self.state.unknown_key(self.node, entry, &self.path.spell(), &keys);
        }
    }

    /// Several structs whose keys stand side by side.
    fn parts<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null if self.field => return Err(DecodeError::null()),
            Value::Null | Value::Map(_) => {}
            _ => return self.mismatch(&visitor),
        }
        if let Some(outer) = self.parts {
            return self.place(visitor.visit_seq(PartItems { section: self, accepted: outer }));
        }
        let accepted = RefCell::new(Accepted::default());
        let value = self.place(visitor.visit_seq(PartItems { section: self, accepted: &accepted }))?;
        let accepted = accepted.into_inner();
        if !accepted.any {
            self.report_unknown(&accepted.keys);
        }
        Ok(value)
    }

    /// A section that may be off.
    fn optional<'de, V: Visitor<'de>>(self, null_is_on: bool, visitor: V) -> Result<V::Value, DecodeError> {
        let given = null_is_on || !self.node.is_null();
        let switch = self.node.as_map().and_then(|map| map.get("enabled"));
        let on = match switch.filter(|switch| !self.state.is_dropped(switch)) {
            None => given,
            Some(Node { value: Value::Bool(on), .. }) => *on,
            Some(switch) => {
                let path = Path::Key(&self.path, "enabled");
                let mismatch = self.below(switch, path, false).mismatch(&BoolVisitor);
                return mismatch.map_err(|error| error.within(switch));
            }
        };
        // Its content is checked even when it is off.
        let content = given.then_some(Self { field: false, switched: true, ..self });
        self.place(visitor.visit_seq(OptionalItems { on: Some(on), content }))
    }

    fn spanned<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let Span { source, start, end } = self.node.span;
        let numbers = [source.number(), start.byte, start.line, start.column, end.byte, end.line, end.column];
        self.place(visitor.visit_seq(SpannedItems { numbers, next: 0, value: self }))
    }
}

/// Only says what was expected.
struct BoolVisitor;

impl Visitor<'_> for BoolVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("true or false")
    }
}

/// Deserializes one kind of value by a method that does not need to know more.
macro_rules! forward {
    ($($method:ident)+ => $to:ident) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.$to(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = DecodeError;

    forward!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 => integer);
    forward!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 => integer);
    forward!(deserialize_f32 deserialize_f64 => float);
    forward!(deserialize_char deserialize_str deserialize_string deserialize_identifier => text);
    forward!(deserialize_bytes deserialize_byte_buf => text);
    forward!(deserialize_seq => list);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Seq(_) => self.list(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            _ => self.visit_scalar(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null if self.null_is_default() => Err(DecodeError::null()),
            Value::Null => self.place(visitor.visit_bool(false)),
            Value::Bool(_) => self.visit_scalar(visitor),
            _ => self.mismatch(&visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() {
            return self.place(visitor.visit_none());
        }
        self.place(visitor.visit_some(self))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { self.place(visitor.visit_unit()) } else { self.mismatch(&visitor) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            markers::SCALAR if self.null_is_default() => Err(DecodeError::null()),
            markers::SCALAR => self.visit_scalar(visitor),
            markers::SECRET => {
                self.state.hide(self.node);
                let discreet = Self { secret: true, ..self };
                discreet.place(visitor.visit_newtype_struct(discreet))
            }
            _ => self.place(visitor.visit_newtype_struct(self)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            markers::OPTIONAL => self.optional(true, visitor),
            markers::GIVEN_ONLY => self.optional(false, visitor),
            markers::PARTS => self.parts(visitor),
            markers::SPANNED => self.spanned(visitor),
            _ => self.list(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if let Some(parts) = self.parts {
            parts.borrow_mut().any = true;
        }
        match &self.node.value {
            Value::Null if self.field => Err(DecodeError::null()),
            Value::Null => self.place(visitor.visit_map(Entries::all(self, &[]))),
            Value::Map(map) => self.place(visitor.visit_map(Entries::all(self, map.entries()))),
            _ => self.mismatch(&visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        of: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.section(Fields { of, keys }, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if let Some(text) = self.node.as_text() {
            let text: StrDeserializer<'_, DecodeError> = serde::de::IntoDeserializer::into_deserializer(text);
            return self.place(visitor.visit_enum(text));
        }
        match &self.node.value {
            Value::Null if self.field => Err(DecodeError::null()),
            Value::Map(map) => match map.entries() {
                [entry] => self.place(visitor.visit_enum(Variant { section: self, entry })),
                _ => {
                    let message =
                        format!("expected exactly one key that says which kind this is, found {}", map.len());
                    Err(self.place_error(DecodeError::custom(message)))
                }
            },
            _ => self.mismatch(&visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}
