//! The `debug` exporter: shows what arrives, for people who are setting up a pipeline.

pub mod render;
