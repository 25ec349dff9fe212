//! The exporters: one folder per component, named as in the configuration.

pub mod debug;
