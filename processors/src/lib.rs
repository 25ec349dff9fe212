//! What works on telemetry on its way. One folder and one cargo feature per processor, named as in the configuration.

#[cfg(feature = "batch")]
pub mod batch;
#[cfg(feature = "memory_limiter")]
pub mod memory_limiter;
#[cfg(feature = "queue_batch")]
pub mod queue_batch;
#[cfg(feature = "resource_detection")]
pub mod resource_detection;
