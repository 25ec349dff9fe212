//! The yardsticks: relays as a competent engineer would write them today with the usual libraries, decoding every
//! request into structs and encoding it again.
//!
//! They are tuned like the product, so that what is compared is the data plane and not the defaults: mimalloc,
//! `TCP_NODELAY` on both hops, windows of 1 MiB and more, a configurable frame size, zlib-rs, the same release profile
//! and as many worker threads. Like the relays that they are compared with they answer only when the destination has
//! answered, and pass its refusals on.

mod cli;
pub mod grpc;
pub mod http1;

pub use cli::Args;

/// Largest message accepted on either hop; the default of OTLP receivers in the field is 4 to 20 MiB.
pub const MAX_MESSAGE: usize = 64 << 20;
