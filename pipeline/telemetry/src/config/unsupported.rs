//! Keys that the Go collector knows and this one does not do anything with.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Remembers whether anything was given; null, an empty list and an empty map are nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsupported {
    given: bool,
}

impl Unsupported {
    /// Whether anything was given.
    #[must_use]
    pub const fn is_given(self) -> bool {
        self.given
    }
}

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor).map(|given| Self { given })
    }
}

struct GivenVisitor;

/// Scalars, which all mean that something was given.
macro_rules! scalars {
    ($($method:ident: $type:ty),+) => {
        $(fn $method<E>(self, _: $type) -> Result<bool, E> {
            Ok(true)
        })+
    };
}

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut given = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            given = true;
        }
        Ok(given)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        let mut given = false;
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            given = true;
        }
        Ok(given)
    }
}
