//! What the fuzz targets reach of this folder.

use super::cookies::Jar;
use http::{HeaderMap, HeaderValue};
use std::time::SystemTime;

/// The cookies of a destination.
#[derive(Debug, Default)]
pub struct Cookies(Jar);

impl Cookies {
    /// Takes in an answer.
    pub fn take_in(&mut self, headers: &HeaderMap, host: &str, path: &str) {
        self.0.take_in(headers, host, path, SystemTime::UNIX_EPOCH);
    }

    /// What is said of them in a request.
    #[must_use]
    pub fn header(&self, tls: bool, path: &str) -> Option<HeaderValue> {
        self.0.header(tls, path, SystemTime::UNIX_EPOCH)
    }
}
