//! What sends telemetry out. One folder and one cargo feature per exporter, named as in the configuration.

#[cfg(feature = "debug")]
pub mod debug;
#[cfg(feature = "otlp")]
pub mod otlp;
