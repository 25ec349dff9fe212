//! Random OTLP for tests: whole requests from a seed, and the odd encodings that a protobuf reader must understand.
//!
//! Everything is a function of a [`Rng`], which is a function of one `u64`: a test prints the seed, and the seed
//! replays the failure. With proptest, take `any::<u64>()` and build the [`Rng`] from it.
//!
//! - [`traces`], [`metrics`], [`logs`]: requests as prost structs (no NaN, so that `==` holds after a round trip).
//! - [`request_bytes`]: one of them, encoded by prost.
//! - [`shuffled`]: the same message in an encoding that a validated payload may have as it is.
//! - [`odd`]: the same message in an encoding that is legal and that the border must normalise.
//! - [`assert_in_form`]: whether a payload is what `millrace_wire::payload` promises.
//! - [`judge`]: the walk and prost on the same bytes.
//! - [`oracle`]: what prost makes of some bytes.
#![allow(dead_code, unused_imports)] // Each test binary uses a part of it.

mod encodings;
mod form;
mod judge;
mod oracle;
mod requests;
mod rng;

pub use encodings::{odd, shuffled};
pub use form::assert_in_form;
pub use judge::judge;
pub use oracle::{Decoded, oracle};
pub use requests::{logs, metrics, request_bytes, traces};
pub use rng::Rng;
