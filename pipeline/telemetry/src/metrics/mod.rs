//! Metrics: definitions, instruments and the registry that holds them.
//!
//! A metric is defined once, as a [`Def`] in a `static`. An instrument is a cheap handle on one series of it, got from
//! the [`Registry`] when a component starts and kept by the component. The registry is locked only then and when it is
//! read; adding never locks.
//!
//! # Invariants
//! - A series is not exposed before its first add (`add(0)` counts), as in the Go collector.
//! - A metric above the registry's level costs nothing: its handles are inert.

mod def;
mod dynamic;
mod exponential;
mod instrument;
mod labels;
mod registry;
mod view;

pub use def::{DEFAULT_BOUNDS, Def, Kind, Level, Scope, Stability};
pub use dynamic::Dynamic;
pub use exponential::Side;
pub use instrument::{Counter, CounterF64, Gauge, Histogram, UpDown};
pub use labels::Labels;
pub use registry::{
    DEFAULT_SERIES_LIMIT, Exponential, FamilySnapshot, Registration, Registry, SeriesSnapshot, Value,
};
