//! The tree a configuration is until it becomes typed: plain YAML values that know where they were written.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::source::Span;

/// A value and where it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written; for a value that came out of `${…}`, where the `${…}` stands.
    pub span: Span,
    /// How it came about.
    pub origin: Origin,
}

/// How a value came about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the file as it is.
    #[default]
    Written,
    /// It is, or is part of, what a `${…}` was replaced by. Its text is never shown: it may be a secret.
    Expanded {
        /// The text before it was read as YAML, when one `${…}` was the whole value: what a text field receives
        /// (`"010"` stays `"010"` there, and is the number 8 in a field for numbers).
        original: Option<Arc<str>>,
    },
}

/// A YAML value.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing at all.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; always within `i64::MIN..=u64::MAX`.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Seq(Vec<Node>),
    /// A map, in the order written.
    Map(Map),
}

impl Node {
    /// A value written at `span`.
    #[must_use]
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, span, origin: Origin::Written }
    }

    /// A value that nobody wrote.
    #[must_use]
    pub fn synthetic(value: Value) -> Self {
        Self::new(value, Span::NONE)
    }

    /// Whether the value came out of `${…}`.
    #[must_use]
    pub fn is_expanded(&self) -> bool {
        self.origin != Origin::Written
    }

    /// Whether this is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The map, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The text that a text field receives from this value: its own, or that of the `${…}` it came from.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match (&self.value, &self.origin) {
            (Value::String(text), _) => Some(text),
            (_, Origin::Expanded { original: Some(text) }) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, to change it.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Map(map) => map.get_mut(key),
            _ => None,
        }
    }

    /// The value under a path of keys.
    #[must_use]
    pub fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.as_map()?.get(key))
    }

    /// The same in JSON. What JSON has no numbers for, infinities and the like, becomes null.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => match i64::try_from(*value) {
                Ok(value) => value.into(),
                Err(_) => u64::try_from(*value).unwrap_or(u64::MAX).into(),
            },
            Value::Float(value) => (*value).into(),
            Value::String(text) => text.as_str().into(),
            Value::Seq(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(map) => map.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
        }
    }

    /// A number that stands for the value, wherever it was written: values that differ have different ones.
    #[must_use]
    pub fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_value(&mut hasher);
        hasher.finish()
    }

    fn hash_value(&self, hasher: &mut DefaultHasher) {
        std::mem::discriminant(&self.value).hash(hasher);
        self.as_text().hash(hasher);
        match &self.value {
            Value::Null | Value::String(_) => {}
            Value::Bool(value) => value.hash(hasher),
            Value::Int(value) => value.hash(hasher),
            Value::Float(value) => value.to_bits().hash(hasher),
            Value::Seq(items) => {
                items.len().hash(hasher);
                items.iter().for_each(|item| item.hash_value(hasher));
            }
            Value::Map(map) => {
                map.iter().count().hash(hasher);
                for entry in map.iter() {
                    entry.key.hash(hasher);
                    entry.value.hash_value(hasher);
                }
            }
        }
    }

    /// Puts `value` under a path of keys, unless something is there already or stands in the way.
    pub fn set_default(&mut self, path: &[&str], value: Self) {
        let Some((key, rest)) = path.split_first() else {
            if self.is_null() && !self.is_expanded() {
                self.value = value.value;
            }
            return;
        };
        if self.is_null() {
            self.value = Value::Map(Map::new());
        }
        let Value::Map(map) = &mut self.value else { return };
        match map.get_mut(key) {
            Some(node) if !rest.is_empty() => node.set_default(rest, value),
            Some(_) => {}
            None => {
                let mut node = Self::synthetic(Value::Null);
                node.set_default(rest, value);
                map.push(Entry { key: (*key).to_owned(), key_span: Span::NONE, value: node });
            }
        }
    }

    /// The same tree with the keys of every map in alphabetical order.
    #[must_use]
    pub fn sorted(self) -> Self {
        let value = match self.value {
            Value::Seq(items) => Value::Seq(items.into_iter().map(Self::sorted).collect()),
            Value::Map(mut map) => {
                map.entries.sort_by(|one, other| one.key.cmp(&other.key));
                let sorted = |entry: Entry| Entry { value: entry.value.sorted(), ..entry };
                Value::Map(Map { entries: map.entries.into_iter().map(sorted).collect() })
            }
            value => value,
        };
        Self { value, ..self }
    }

    /// The same tree as if nobody had written it: without places.
    #[must_use]
    pub fn unwritten(self) -> Self {
        let value = match self.value {
            Value::Seq(items) => Value::Seq(items.into_iter().map(Self::unwritten).collect()),
            Value::Map(map) => {
                let entries = map.entries.into_iter().map(|entry| Entry {
                    key_span: Span::NONE,
                    value: entry.value.unwritten(),
                    ..entry
                });
                Value::Map(Map { entries: entries.collect() })
            }
            value => value,
        };
        Self { value, span: Span::NONE, origin: self.origin }
    }
}

impl Value {
    /// What this kind of value is called in messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing (null)",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::String(_) => "text",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// A map in the order written. Keys are unique.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    entries: Vec<Entry>,
}

/// One key of a [`Map`].
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key was written.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys and values in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// The entry of a key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// The entries in order, to change them. Keys must stay unique.
    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &str) {
        self.retain(|entry| entry.key != key);
    }

    /// Keeps only some entries.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
    }

    /// The entry of a key, to change it.
    pub(crate) fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    /// The keys and values in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds an entry whose key the caller knows to be new.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }
}

impl FromIterator<Entry> for Map {
    /// Of entries with the same key the first counts.
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut map = Self::new();
        for entry in entries {
            if map.get(&entry.key).is_none() {
                map.push(entry);
            }
        }
        map
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl IntoIterator for Map {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The values of a tree alone: where they were written and how they came about does not matter.
    pub(crate) fn plain(node: &Node) -> Node {
        let value = match node.value.clone() {
            Value::Seq(items) => Value::Seq(items.iter().map(plain).collect()),
            Value::Map(map) => {
                let entries = map.into_iter().map(|entry| Entry {
                    key: entry.key,
                    key_span: Span::NONE,
                    value: plain(&entry.value),
                });
                let mut entries: Vec<_> = entries.collect();
                entries.sort_by(|one, other| one.key.cmp(&other.key));
                Value::Map(Map { entries })
            }
            value => value,
        };
        Node::synthetic(value)
    }

    #[test]
    fn a_default_fills_only_what_is_not_there() {
        let mut node = Node::default();
        let one = || Node::synthetic(Value::Int(1));
        node.set_default(&["a", "b"], one());
        assert_eq!(node.get(&["a", "b"]), Some(&one()));
        node.set_default(&["a", "b"], Node::synthetic(Value::Int(2)));
        node.set_default(&["a", "b", "c"], one());
        assert_eq!(node.get(&["a", "b"]), Some(&one()));
        node.set_default(&["c"], Node::synthetic(Value::Map(Map::new())));
        assert_eq!(node.get(&["c"]).and_then(Node::as_map).map(Map::len), Some(0));
    }

    #[test]
    fn values_are_found_by_their_path() {
        let mut inner = Map::new();
        inner.push(Entry {
            key: "b".to_owned(),
            key_span: Span::NONE,
            value: Node::synthetic(Value::Int(1)),
        });
        let mut outer = Map::new();
        let value = Node::synthetic(Value::Map(inner));
        outer.push(Entry { key: "a".to_owned(), key_span: Span::NONE, value });
        let node = Node::synthetic(Value::Map(outer));
        assert_eq!(node.get(&["a", "b"]).map(|node| &node.value), Some(&Value::Int(1)));
        assert_eq!(node.get(&["a", "c"]), None);
        assert_eq!(node.get(&[]), Some(&node));
    }
}
