//! What stands beside the pipelines. One folder and one cargo feature per extension, named as in the configuration.

#[cfg(feature = "basicauth")]
pub mod basicauth;
#[cfg(feature = "bearertokenauth")]
pub mod bearertokenauth;
#[cfg(any(
    feature = "basicauth",
    feature = "bearertokenauth",
    feature = "headers_setter",
    feature = "oauth2client"
))]
mod credentials;
#[cfg(feature = "file_storage")]
pub mod file_storage;
#[cfg(feature = "headers_setter")]
pub mod headers_setter;
#[cfg(feature = "health_check")]
pub mod health_check;
#[cfg(feature = "memory_limiter")]
pub mod memory_limiter;
#[cfg(feature = "oauth2client")]
pub mod oauth2client;
#[cfg(any(feature = "health_check", feature = "pprof", feature = "zpages"))]
mod pages;
#[cfg(feature = "pprof")]
pub mod pprof;
#[cfg(test)]
mod testing;
#[cfg(feature = "zpages")]
pub mod zpages;
