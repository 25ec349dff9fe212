//! serde's way into a [`Node`].

use std::fmt;

use serde::Serialize;
use serde::ser::{
    Error, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::decode::markers;
use crate::mask::discreet;
use crate::node::{Entry, Map, Node, Value};
use crate::source::Span;
use crate::values::secrets_are_shown;

/// What no configuration can say.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(String);

impl Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Writes one value; `None` is a key that is better left out.
pub(super) struct NodeSerializer;

/// `None` for [`markers::ABSENT`].
type Written = Result<Option<Node>, EncodeError>;

fn written(value: Value) -> Written {
    Ok(Some(Node::synthetic(value)))
}

/// Integers of every width.
macro_rules! integers {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, value: $type) -> Written {
            written(Value::Int(value.into()))
        })+
    };
}

impl Serializer for NodeSerializer {
    type Ok = Option<Node>;
    type Error = EncodeError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = Fields;
    type SerializeTupleVariant = List;
    type SerializeMap = Section;
    type SerializeStruct = Section;
    type SerializeStructVariant = Section;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_bool(self, value: bool) -> Written {
        written(Value::Bool(value))
    }

    fn serialize_f32(self, value: f32) -> Written {
        written(Value::Float(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Written {
        written(Value::Float(value))
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Written {
        let value = if secrets_are_shown() { value.into() } else { discreet(value) };
        written(Value::String(value.into_owned()))
    }

    fn serialize_bytes(self, _: &[u8]) -> Written {
        Err(EncodeError::custom("a configuration cannot hold bytes"))
    }

    fn serialize_none(self) -> Written {
        written(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        written(Value::Null)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Written {
        if name == markers::ABSENT { Ok(None) } else { written(Value::Null) }
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        let mut section = Section::default();
        section.push(variant, value)?;
        SerializeStruct::end(section)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List, EncodeError> {
        Ok(List::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<List, EncodeError> {
        Ok(List::default())
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Fields, EncodeError> {
        Ok(if name == markers::PARTS {
            Fields::Parts(Section::default())
        } else {
            Fields::Plain(List::default())
        })
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List, EncodeError> {
        Ok(List { variant: Some(variant), ..List::default() })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Section, EncodeError> {
        Ok(Section::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Section, EncodeError> {
        Ok(Section::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Section, EncodeError> {
        Ok(Section { variant: Some(variant), ..Section::default() })
    }
}

/// Puts a value under the name of the variant that it is the content of.
fn in_variant(variant: Option<&'static str>, value: Value) -> Written {
    let Some(variant) = variant else { return written(value) };
    let mut map = Map::new();
    map.push(entry(variant, Node::synthetic(value)));
    written(Value::Map(map))
}

fn entry(key: &str, value: Node) -> Entry {
    Entry { key: key.to_owned(), key_span: Span::NONE, value }
}

/// A list being written.
#[derive(Default)]
pub(super) struct List {
    items: Vec<Node>,
    variant: Option<&'static str>,
}

impl List {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.items.push(value.serialize(NodeSerializer)?.unwrap_or_default());
        Ok(())
    }

    fn finish(self) -> Written {
        in_variant(self.variant, Value::Seq(self.items))
    }
}

impl SerializeSeq for List {
    type Ok = Option<Node>;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.push(value)
    }

    fn end(self) -> Written {
        self.finish()
    }
}

impl SerializeTuple for List {
    type Ok = Option<Node>;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.push(value)
    }

    fn end(self) -> Written {
        self.finish()
    }
}

impl SerializeTupleVariant for List {
    type Ok = Option<Node>;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.push(value)
    }

    fn end(self) -> Written {
        self.finish()
    }
}

/// A tuple struct: a list, or several structs whose keys stand side by side.
pub(super) enum Fields {
    Plain(List),
    Parts(Section),
}

impl SerializeTupleStruct for Fields {
    type Ok = Option<Node>;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        match self {
            Self::Plain(list) => list.push(value),
            Self::Parts(section) => section.add_part(value),
        }
    }

    fn end(self) -> Written {
        match self {
            Self::Plain(list) => list.finish(),
            Self::Parts(section) => SerializeStruct::end(section),
        }
    }
}

/// A map being written.
#[derive(Default)]
pub(super) struct Section {
    map: Map,
    key: Option<String>,
    variant: Option<&'static str>,
}

impl Section {
    fn push<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), EncodeError> {
        if let Some(value) = value.serialize(NodeSerializer)? {
            self.map.push(entry(key, value));
        }
        Ok(())
    }

    /// The keys of one of several structs. A key that two of them have is written once; both read it.
    fn add_part<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), EncodeError> {
        match part.serialize(NodeSerializer)?.map(|node| node.value) {
            Some(Value::Map(part)) => {
                for entry in part {
                    if self.map.get(&entry.key).is_none() {
                        self.map.push(entry);
                    }
                }
                Ok(())
            }
            _ => Err(EncodeError::custom("a part of a section must be a struct")),
        }
    }
}

impl SerializeMap for Section {
    type Ok = Option<Node>;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        let key = key.serialize(NodeSerializer)?.map(|node| node.value);
        self.key = match key {
            Some(Value::String(text)) => Some(text),
            Some(Value::Int(number)) => Some(number.to_string()),
            Some(Value::Bool(value)) => Some(value.to_string()),
            _ => return Err(EncodeError::custom("the key of a map must be text")),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let key = self.key.take().expect("serde writes a value only after its key");
        self.push(&key, value)
    }

    fn end(self) -> Written {
        SerializeStruct::end(self)
    }
}

impl SerializeStruct for Section {
    type Ok = Option<Node>;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.push(key, value)
    }

    fn end(self) -> Written {
        in_variant(self.variant, Value::Map(self.map))
    }
}

impl SerializeStructVariant for Section {
    type Ok = Option<Node>;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.push(key, value)
    }

    fn end(self) -> Written {
        SerializeStruct::end(self)
    }
}
