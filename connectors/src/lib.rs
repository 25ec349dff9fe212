//! What ends one pipeline and begins another. One folder and one cargo feature per connector, named as in the
//! configuration.

#[cfg(feature = "failover")]
pub mod failover;
#[cfg(feature = "forward")]
pub mod forward;
