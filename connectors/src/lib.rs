//! What ends one pipeline and begins another. One folder and one cargo feature per connector, named as in the
//! configuration.

#[cfg(feature = "forward")]
pub mod forward;
