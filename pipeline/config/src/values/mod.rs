//! Types for the values of component configurations.

mod duration;
mod optional;
mod parts;
mod secret;
mod spanned;

pub use duration::{Duration, DurationError};
pub use optional::{GivenOnly, Optional};
pub use secret::Secret;
pub(crate) use secret::{secrets_are_shown, showing_secrets};
pub use spanned::Spanned;
