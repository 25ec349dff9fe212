//! The measuring instruments of Millrace: a load generator, a sink, two yardstick relays, and the runner that
//! compares relays by turns.
//!
//! # Invariants
//! - Instruments share no code with what they measure, except the varint reader and writer.
//! - Everything is bounded: runs in time or count, bodies in bytes, backlogs in time, identity bitmaps in memory.
//! - Everything listens on and talks to the loopback interface unless told otherwise.

pub mod acked;
pub mod compare;
pub mod compression;
pub mod corpus;
pub mod histogram;
pub mod ids;
pub mod ledger;
pub mod loadgen;
pub mod run;
pub mod sink;
pub mod status;
pub mod tls;
pub mod walk;
pub mod yardstick;
