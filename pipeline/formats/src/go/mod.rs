//! Numbers and attribute values as the Go collector prints them.

mod number;
mod value;

pub use number::{Json, Shortest, not_finite};
pub use value::{Base64, Plain};
