//! What brings telemetry in. One folder and one cargo feature per receiver, named as in the configuration.

#[cfg(feature = "otlp")]
pub mod otlp;
