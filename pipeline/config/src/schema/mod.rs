//! What a section looks like: its keys, what they mean, their types and their defaults, told by the typed
//! configuration itself, so that it cannot be told wrongly.
//!
//! Types and documentation come from [`JsonSchema`], which configurations derive: the comment at a
//! field is the documentation of its key. Defaults come from decoding nothing and writing down what that gives (see
//! [`Shape::schema`]), so a default that one component lays over those of a shared section is told as well.
//!
//! # What a comment can say besides
//! - A paragraph that begins with `Go:` says in what way the key differs from the Go collector's, and why; `Go: the
//!   same` that it does not, although it may look so.
//! - `Accepted` at the beginning says that the key changes nothing, `Not built yet` that it is refused.

mod combine;
mod defaults;
mod editor;

pub use schemars;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

pub(crate) use self::combine::optional;
#[doc(hidden)]
pub use self::combine::side_by_side;
pub use self::editor::as_written;
use crate::decode::{self, Overlaid};
use crate::encode::{Secrets, encode};
use crate::node::Node;

/// Marks what is not shown in a schema.
pub const SECRET: &str = "x-secret";

/// Marks how a key compares with the Go collector's, where its type says so: [`NOT_YET`].
pub const STATUS: &str = "x-status";

/// The [`STATUS`] of a key that is refused until it is built.
pub const NOT_YET: &str = "not yet";

/// The configuration of a component: what it needs in order to be read, written and described.
pub trait Section: DeserializeOwned + Serialize + JsonSchema {}

impl<T: DeserializeOwned + Serialize + JsonSchema> Section for T {}

/// What a section looks like, and how what a user wrote in it looks once it has been read.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    defaults: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    complete: fn(&Overlaid<'_>, Secrets) -> Option<Node>,
    keys: fn(&Overlaid<'_>) -> BTreeMap<String, Vec<&'static str>>,
}

impl Shape {
    /// That of a section which [`decode()`](crate::decode()) reads.
    #[must_use]
    pub const fn of<T: Section>() -> Self {
        Self::over::<T>("{}")
    }

    /// That of a section which [`decode_over`](crate::decode_over) reads over these defaults.
    #[must_use]
    pub const fn over<T: Section>(defaults: &'static str) -> Self {
        Self {
            defaults,
            schema: T::json_schema,
            complete: |node, secrets| encode(&decode::read::<T>(node)?, secrets).ok(),
            keys: decode::keys::<T>,
        }
    }

    /// The section as it is understood: what `node` says and, for the rest, the defaults. `None` if it says what
    /// cannot be decoded. It is not checked.
    #[must_use]
    pub fn complete(&self, node: &Node, secrets: Secrets) -> Option<Node> {
        (self.complete)(&Overlaid::new(self.defaults, node)?, secrets)
    }

    /// The keys that the decoder accepts in each section of `node`, by the section's path: what the schema is held
    /// against.
    #[must_use]
    pub fn keys(&self, node: &Node) -> BTreeMap<String, Vec<&'static str>> {
        Overlaid::new(self.defaults, node).map(|node| (self.keys)(&node)).unwrap_or_default()
    }

    /// Its JSON Schema (draft 2020-12), everything in place instead of by reference, with the defaults that hold here.
    #[must_use]
    pub fn schema(&self) -> Schema {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = (self.schema)(&mut settings.into_generator());
        defaults::fill_in(&mut schema, self);
        schema
    }
}
