//! Keys that the Go collector knows and this one does not do anything with.

use std::borrow::Cow;

use millrace_config::encode::ABSENT;
use millrace_config::schema::{NOT_YET, STATUS};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

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

impl Serialize for Unsupported {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit_struct(ABSENT)
    }
}

impl JsonSchema for Unsupported {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Unsupported".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ STATUS: NOT_YET })
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
