//! What sends telemetry out. One folder and one cargo feature per exporter, named as in the configuration.

#[cfg(feature = "debug")]
pub mod debug;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "nop")]
pub mod nop;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "prometheus")]
pub mod prometheus;

#[cfg(any(feature = "debug", feature = "file", feature = "nop", feature = "prometheus"))]
mod local;
#[cfg(test)]
mod testing;
