//! The collector's own telemetry: what it counts and what it logs.
//!
//! - [`catalogue`]: the definitions of all metrics, the Go collector's and ours.
//! - [`process`]: what the process uses.
//! - [`shard`]: counters that every worker adds to without sharing a cache line.
//! - [`config`]: the keys of `service::telemetry`.
//! - [`buffer`]: what waits to be sent.
//! - [`otlp`]: metrics, log records and spans as OTLP.
//! - [`trace`]: spans of its own work.
//! - [`expose`]: the metrics as text for Prometheus.
//! - [`logs`]: the lines that the collector writes about itself.
//! - [`metrics`]: the [`Registry`], its instruments and their definitions.
//!
//! # Invariants
//! - Adding to an instrument takes no lock and writes to no cache line that another worker writes to.
//! - The number of series of a metric is bounded; what is over the bound is still counted, in one series.

pub mod buffer;
pub mod catalogue;
pub mod config;
pub mod expose;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod process;
pub mod shard;
pub mod trace;

pub use metrics::{
    Counter, CounterF64, Def, Dynamic, Gauge, Histogram, Kind, Labels, Level, Registration, Registry,
    Stability, UpDown,
};

/// What [`warn_sparingly!`] refers to.
#[doc(hidden)]
pub use tracing;
