//! Servers and clients: gRPC over HTTP/2 and plain HTTP/1.1, with bodies charged to the budget as they arrive.
//!
//! gRPC is framed here, on `millrace-http2` as a server and on the `h2` crate as a client: OTLP needs unary calls only,
//! and doing it ourselves gives control over windows (which are memory), gathers bodies where they are kept, and answers
//! in the status codes that senders of telemetry act upon.
//!
//! # Invariants
//! - No body is kept, and none is inflated, beyond what has been charged to the intake budget.
//! - Every wait for a peer has a limit.
//! - `TCP_NODELAY` is set on every connection, in both directions.

pub mod admin;
pub mod admission;
mod coalesce;
pub mod compression;
mod confided;
pub mod config;
pub mod connect;
pub mod connections;
pub mod endpoint;
mod gathering;
pub mod grpc;
pub mod http;
pub mod listeners;
pub mod measures;
mod outgoing;
pub mod post;
mod read_ahead;
mod spare;
pub mod stream;
pub mod tcp;
pub mod tls;

pub use compression::Encoding;
pub use confided::{Confided, QUOTE_MAX};
pub use endpoint::Endpoint;
