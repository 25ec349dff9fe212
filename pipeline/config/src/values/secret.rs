//! Values that are never shown.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::decode::markers;
use crate::schema;
use crate::validate::Validate;

/// What is written in the place of a secret, as in the Go collector.
const REDACTED: &str = "[REDACTED]";

thread_local! {
    /// Whether secrets are written as they are, which only [`showing_secrets`] says. serde's traits leave no other way
    /// to tell a value of it.
    static SHOWN: Cell<bool> = const { Cell::new(false) };
}

/// Runs what writes a configuration for somebody who has asked for the secrets in it.
pub(crate) fn showing_secrets<R>(write: impl FnOnce() -> R) -> R {
    /// Hides them again, even if writing panics.
    struct Hide;

    impl Drop for Hide {
        fn drop(&mut self) {
            SHOWN.set(false);
        }
    }

    let _hide = Hide;
    SHOWN.set(true);
    write()
}

/// Whether a configuration is being written for somebody who has asked for the secrets in it.
pub(crate) fn secrets_are_shown() -> bool {
    SHOWN.get()
}

/// A value that no log, message, dump or diagnostic shows.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Keeps a value from being shown.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> Validate for Secret<T> {}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for SecretVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
                T::deserialize(inner)
            }
        }

        deserializer
            .deserialize_newtype_struct(markers::SECRET, SecretVisitor(std::marker::PhantomData))
            .map(Self)
    }
}

impl<T: Serialize> Serialize for Secret<T> {
    /// Hidden, except from [`encode`](crate::encode()) with [`Secrets::Shown`](crate::encode::Secrets::Shown).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if secrets_are_shown() { self.0.serialize(serializer) } else { serializer.serialize_str(REDACTED) }
    }
}

impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Secret_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert(schema::SECRET.to_owned(), true.into());
        schema
    }
}
