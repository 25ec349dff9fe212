//! Sections that can be off.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};

use crate::decode::markers;
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
