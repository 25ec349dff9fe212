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
#[cfg(feature = "health_check")]
pub mod health_check;
#[cfg(test)]
mod testing;
