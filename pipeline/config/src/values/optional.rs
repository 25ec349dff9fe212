//! Sections that can be off.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::decode::markers;
use crate::schema;
use crate::validate::{Checker, Validate};

/// A section that can be on or off.
///
/// - `key:` or `key: {…}` is on, with `T`'s defaults for what is not given;
/// - `key: {enabled: false, …}` is off, though its other keys are still checked;
/// - without the key, the default of the struct that contains it decides.
///
/// `T` must have no key `enabled` of its own. With `NULL_IS_ON` false (see [`GivenOnly`]) a bare `key:` is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Optional<T, const NULL_IS_ON: bool = true> {
    /// It is off.
    #[default]
    Off,
    /// It is on.
    On(T),
}

/// A section that is on only when something is given in it: a bare `tls:` leaves it off.
pub type GivenOnly<T> = Optional<T, false>;

impl<T, const NULL_IS_ON: bool> Optional<T, NULL_IS_ON> {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        matches!(self, Self::On(_))
    }

    /// Its content if it is on.
    #[must_use]
    pub fn as_option(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }

    /// Its content if it is on.
    #[must_use]
    pub fn into_option(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T, const NULL_IS_ON: bool> From<Option<T>> for Optional<T, NULL_IS_ON> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Off, Self::On)
    }
}

impl<T: Validate, const NULL_IS_ON: bool> Validate for Optional<T, NULL_IS_ON> {
    /// A section that is off is not checked.
    fn validate(&self, at: &mut Checker<'_>) {
        if let Self::On(value) = self {
            value.validate(at);
        }
    }
}

impl<'de, T: DeserializeOwned, const NULL_IS_ON: bool> Deserialize<'de> for Optional<T, NULL_IS_ON> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SectionVisitor<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for SectionVisitor<T> {
            type Value = Option<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section (keys and values)")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
                let on = items.next_element::<bool>()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let content = items.next_element::<T>()?;
                Ok(content.filter(|_| on))
            }
        }

        let name = if NULL_IS_ON { markers::OPTIONAL } else { markers::GIVEN_ONLY };
        deserializer.deserialize_tuple_struct(name, 2, SectionVisitor(PhantomData)).map(Self::from)
    }
}

impl<T: Serialize, const NULL_IS_ON: bool> Serialize for Optional<T, NULL_IS_ON> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::On(value) => value.serialize(serializer),
            Self::Off if NULL_IS_ON => {
                let mut off = serializer.serialize_map(Some(1))?;
                off.serialize_entry("enabled", &false)?;
                off.end()
            }
            Self::Off => serializer.serialize_none(),
        }
    }
}

impl<T: JsonSchema, const NULL_IS_ON: bool> JsonSchema for Optional<T, NULL_IS_ON> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Optional_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema::optional(T::json_schema(generator), NULL_IS_ON)
    }
}
