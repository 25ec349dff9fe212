//! The server's side of HTTP/2 (RFC 9113, RFC 7541), without I/O, without a runtime, and without a clock of its own.
//!
//! What has been read is handed in as slices ([`Connection::receive`]) and comes out as [`Event`]s, the bytes of bodies
//! where they lie: nothing of a body is ever kept here. What is to be sent gathers in one buffer
//! ([`Connection::take_out`]), which its owner writes as it sees fit. A connection at rest holds its windows, its
//! settings and HPACK's table, and no buffer.
//!
//! # Invariants
//! - Whatever a peer sends, in whatever pieces: no panic, and what is held for it is bounded (see the README's table).
//! - What is sent is well-formed, and within the peer's windows and settings.
//! - Credit for a body is given when it has been handed out, unless its stream is held ([`Connection::hold`]).

mod connection;
mod frame;
mod hpack;
mod patience;
mod request;
mod settings;
mod streams;

pub use connection::{Connection, Event, Options};
pub use frame::{Fatal, HEAD_LEN, Head, PREFACE, Reason, go_away};
pub use hpack::{Damaged, Decoder};
pub use patience::IdleFrames;
pub use request::Request;
