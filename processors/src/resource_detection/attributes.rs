//! What has been detected.

use millrace_wire::edit::{Message, Resource};
use millrace_wire::write::Value;

/// Attributes of the resource that this process runs on, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(Vec<(String, Attribute)>);

/// The value of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Several texts.
    List(Vec<String>),
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Attributes {
    /// Sets an attribute, in the place of one of that name.
    pub fn set(&mut self, name: &str, value: impl Into<Attribute>) {
        let value = value.into();
        match self.0.iter_mut().find(|(taken, _)| taken == name) {
            Some((_, taken)) => *taken = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Adds what is not there yet: the detector that is named first wins.
    pub fn add(&mut self, others: Self) {
        for (name, value) in others.0 {
            if self.0.iter().all(|(taken, _)| *taken != name) {
                self.0.push((name, value));
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was detected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Puts them onto a resource; `override_existing` says whether those that it has are replaced.
    pub(super) fn put(&self, resource: &mut Message<'_, Resource>, override_existing: bool) {
        for (name, value) in &self.0 {
            let list;
            let value = match value {
                Attribute::Text(text) => Value::Str(text),
                Attribute::Int(number) => Value::Int(*number),
                Attribute::List(texts) => {
                    list = texts.iter().map(|text| Value::Str(text)).collect::<Vec<_>>();
                    Value::List(&list)
                }
            };
            if override_existing {
                resource.upsert(name.as_bytes(), value);
            } else {
                resource.insert(name.as_bytes(), value);
            }
        }
    }
}
