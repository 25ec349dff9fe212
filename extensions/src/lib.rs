//! What stands beside the pipelines. One folder and one cargo feature per extension, named as in the configuration.

#[cfg(feature = "health_check")]
pub mod health_check;
