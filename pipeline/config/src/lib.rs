//! The configuration: the Go collector's YAML, read so that every mistake is explained.
//!
//! Text becomes a [`Node`] tree that knows where everything was written ([`parse`]); `${env:X}` is replaced in it
//! ([`expand`]); [`load()`] turns the tree into a [`Config`] of components and pipelines and checks how they fit
//! together; each component's section becomes its own type by serde ([`decode()`]). `README.md` of this crate shows
//! how a component declares its configuration.
//!
//! # Invariants
//! - Mistakes are [`Diagnostic`]s with a place, never panics; one run reports all of them.
//! - Substitution happens after parsing and in values only, so what a variable holds cannot change the structure.
//! - What a variable or a [`Secret`] holds is never shown.
//! - Text, nesting, aliases and expansion are bounded.

pub mod catalog;
mod contrib;
pub mod decode;
pub mod diagnostic;
pub mod encode;
pub mod expand;
pub mod files;
pub mod gates;
pub mod id;
pub mod legacy;
pub mod load;
mod mask;
mod merge;
pub mod node;
pub mod parse;
pub mod provider;
mod resolve;
mod scalar;
pub mod schema;
mod set;
pub mod source;
mod suggest;
pub mod validate;
pub mod values;
pub mod write;

pub use catalog::{Catalog, Kind, Known, Role, Signals};
pub use decode::{decode, decode_over};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use encode::{Secrets, encode};
pub use id::{ComponentId, IdError, PipelineId};
pub use load::{
    Claim, Component, Components, Config, Gates, Loaded, Pipeline, Reference, Service, Thing, Wanted, load,
};
pub use mask::discreet;
pub use node::{Entry, Map, Node, Origin, Value};
pub use provider::{Outside, Providers};
pub use resolve::{Parsed, parse_file, parse_str, resolve};
pub use schema::Shape;
pub use source::{Position, SourceId, Sources, Span};
pub use validate::{Checker, Validate};
pub use values::{Duration, DurationError, GivenOnly, Optional, Secret, Spanned};

/// What the code written by [`parts!`] refers to.
#[doc(hidden)]
pub mod macros {
    pub use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

    pub use serde::ser::{Serialize, SerializeTupleStruct, Serializer};

    pub use crate::decode::markers::PARTS;
    pub use crate::schema::side_by_side;
}

/// Keeps the examples of the crate's page working.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
