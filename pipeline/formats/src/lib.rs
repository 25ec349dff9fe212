//! Foreign encodings that several components share.
//!
//! - [`prometheus`]: names, and the formats that Prometheus scrapes.
//! - [`go`]: numbers and attribute values as Go programs print them, which is how they look in labels.
//! - [`calendar`]: days as dates, which all of them write.
//!
//! # Invariants
//! - No I/O, no clock, no runtime: text and bytes in, text and bytes out.
//! - What the Go libraries write for the same input is the reference; it is recorded in the files beside the tests.

pub mod calendar;
pub mod go;
pub mod prometheus;
