//! Typed configuration → [`Node`]: what [`decode()`](crate::decode()) reads, written back with every default filled in.
//!
//! What is written decodes to the same configuration, which is how the schema's defaults and `print-config` are made.
//! A [`Secret`](crate::Secret) is written as `[REDACTED]`, unless the caller asks for it by [`Secrets::Shown`]; and so are
//! user, password and query of a URL, as `***`.

mod serializer;

use serde::Serialize;

pub use self::serializer::EncodeError;
use self::serializer::NodeSerializer;
pub use crate::decode::markers::ABSENT;
use crate::node::Node;
use crate::values::showing_secrets;

/// Whether secrets are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As `[REDACTED]`.
    Redacted,
    /// As they are, for the one command whose user asks for it.
    Shown,
}

/// Writes a configuration as the tree it could have been read from.
///
/// # Errors
/// When a type writes what no configuration can say, such as a map whose keys are not text. No type of ours does.
pub fn encode<T: Serialize + ?Sized>(value: &T, secrets: Secrets) -> Result<Node, EncodeError> {
    let write = || value.serialize(NodeSerializer);
    let node = match secrets {
        Secrets::Redacted => write(),
        Secrets::Shown => showing_secrets(write),
    }?;
    Ok(node.unwrap_or_default())
}
