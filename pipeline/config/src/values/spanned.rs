//! Values that remember where they were written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::decode::markers;
use crate::source::{Position, SourceId, Span};
use crate::validate::{Checker, Validate};

/// A value and where it was written, for errors that only show later: a statement that does not compile, an address
/// that cannot be bound.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value that nobody wrote, for defaults.
    pub const fn unwritten(value: T) -> Self {
        Self { value, span: Span::NONE }
    }
}

impl<T: Default> Default for Spanned<T> {
    fn default() -> Self {
        Self::unwritten(T::default())
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    /// Where it was written does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Validate> Validate for Spanned<T> {
    fn validate(&self, at: &mut Checker<'_>) {
        self.value.validate(at);
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpannedVisitor<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for SpannedVisitor<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Spanned<T>, A::Error> {
                let mut next =
                    || items.next_element::<u32>()?.ok_or_else(|| A::Error::invalid_length(0, &"a span"));
                let source = SourceId::from_number(next()?);
                let start = Position { byte: next()?, line: next()?, column: next()? };
                let end = Position { byte: next()?, line: next()?, column: next()? };
                let value = items.next_element()?.ok_or_else(|| A::Error::invalid_length(7, &"a value"))?;
                Ok(Spanned { value, span: Span { source, start, end } })
            }
        }

        deserializer.deserialize_tuple_struct(markers::SPANNED, 8, SpannedVisitor(PhantomData))
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    /// Only the value.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
