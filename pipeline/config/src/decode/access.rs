//! The pieces of lists, maps and this crate's own shapes, handed to serde one by one.

use std::cell::RefCell;

use serde::Deserializer;
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::DecodeError;
use super::deserializer::{Accepted, NodeDeserializer, Path};
use crate::node::{Entry, Node};

/// The items of a list that have not been left out.
pub(super) struct Items<'a> {
    list: NodeDeserializer<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> Items<'a> {
    pub(super) fn new(list: NodeDeserializer<'a>, items: &'a [Node]) -> Self {
        Self { list, items: items.iter().enumerate() }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let state = self.list.state;
        let Some((index, item)) = self.items.find(|(_, item)| !state.is_dropped(item)) else {
            return Ok(None);
        };
        let path = self.list.path;
        let item = self.list.below(item, Path::Index(&path, index), false);
        let element = item.place(seed.deserialize(item));
        element.map(Some).map_err(|error| error.within(item.node))
    }
}

/// A struct: its name and the keys that it has fields for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fields {
    pub(super) of: &'static str,
    pub(super) keys: &'static [&'static str],
}

/// The entries of a map that have not been left out.
pub(super) struct Entries<'a> {
    section: NodeDeserializer<'a>,
    /// The struct to fill; `None` to hand out all keys.
    fields: Option<Fields>,
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'a> Entries<'a> {
    /// The entries that a struct has fields for.
    pub(super) fn of_fields(section: NodeDeserializer<'a>, fields: Fields, entries: &'a [Entry]) -> Self {
        Self { section, fields: Some(fields), entries: entries.iter(), current: None }
    }

    /// All entries.
    pub(super) fn all(section: NodeDeserializer<'a>, entries: &'a [Entry]) -> Self {
        Self { section, fields: None, entries: entries.iter(), current: None }
    }

    /// Whether an entry is handed out.
    fn wants(&self, entry: &Entry) -> bool {
        let Self { section, fields, .. } = self;
        let is_switch = section.switched && entry.key == "enabled";
        !is_switch
            && !section.state.is_dropped(&entry.value)
            && fields.is_none_or(|fields| {
                fields.keys.contains(&entry.key.as_str()) && !section.state.ignores_null(fields, entry)
            })
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        let section = self.section;
        self.current = loop {
            match self.entries.next() {
                Some(entry) if !self.wants(entry) => {}
                next => break next,
            }
        };
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, DecodeError> = entry.key.as_str().into_deserializer();
        let result = seed.deserialize(key).map_err(|error| {
            let path = Path::Key(&section.path, &entry.key);
            error.at(&entry.value, entry.key_span, || path.spell(), false).within(&entry.value)
        });
        result.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let entry = self.current.take().expect("serde asks for a value only after its key");
        let path = self.section.path;
        let value = self.section.below(&entry.value, Path::Key(&path, &entry.key), self.fields.is_some());
        value.place(seed.deserialize(value)).map_err(|error| {
            if let Some(fields) = self.fields.filter(|_| error.is_silent()) {
                self.section.state.ignore_nulls(fields, entry);
            }
            error.within(&entry.value)
        })
    }
}

/// The one key of a map that says which variant of an enum it is, and its content.
pub(super) struct Variant<'a> {
    pub(super) section: NodeDeserializer<'a>,
    pub(super) entry: &'a Entry,
}

impl Variant<'_> {
    fn content<T>(
        &self,
        read: impl FnOnce(NodeDeserializer<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let path = self.section.path;
        let content = self.section.below(&self.entry.value, Path::Key(&path, &self.entry.key), false);
        content.place(read(content))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), DecodeError> {
        let name: StrDeserializer<'_, DecodeError> = self.entry.key.as_str().into_deserializer();
        let variant = seed.deserialize(name).map_err(|error| {
            let path = Path::Key(&self.section.path, &self.entry.key);
            error.at(self.section.node, self.entry.key_span, || path.spell(), false)
        })?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        self.content(|content| serde::Deserialize::deserialize(content))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        self.content(|content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.content(|content| content.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.content(|content| content.deserialize_struct("", fields, visitor))
    }
}

/// What an optional section is made from: whether it is on, then its content if there is any.
pub(super) struct OptionalItems<'a> {
    pub(super) on: Option<bool>,
    pub(super) content: Option<NodeDeserializer<'a>>,
}

impl<'de> SeqAccess<'de> for OptionalItems<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        if let Some(on) = self.on.take() {
            return seed.deserialize(on.into_deserializer()).map(Some);
        }
        self.content.take().map(|content| content.place(seed.deserialize(content))).transpose()
    }
}

/// The same section again and again, once for each of the structs that share it.
pub(super) struct PartItems<'a> {
    pub(super) section: NodeDeserializer<'a>,
    pub(super) accepted: &'a RefCell<Accepted>,
}

impl<'de> SeqAccess<'de> for PartItems<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let part = NodeDeserializer { parts: Some(self.accepted), field: false, ..self.section };
        part.place(seed.deserialize(part)).map(Some)
    }
}

/// The numbers of a span, then the value.
pub(super) struct SpannedItems<'a> {
    pub(super) numbers: [u32; 7],
    pub(super) next: usize,
    pub(super) value: NodeDeserializer<'a>,
}

impl<'de> SeqAccess<'de> for SpannedItems<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let index = self.next;
        self.next += 1;
        match self.numbers.get(index) {
            Some(&number) => {
                let number: U32Deserializer<DecodeError> = number.into_deserializer();
                seed.deserialize(number).map(Some)
            }
            None => self.value.place(seed.deserialize(self.value)).map(Some),
        }
    }
}
