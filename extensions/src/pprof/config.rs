//! The section `extensions::pprof`.

use millrace_config::{Checker, Duration, Validate};
use millrace_net::config::check_listen;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where to answer.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub endpoint: String,
    /// Accepted for compatibility: nothing is dialled.
    pub dialer: Dialer,
    /// Accepted for compatibility: it is about Go's runtime.
    pub block_profile_fraction: i64,
    /// Accepted for compatibility: it is about Go's runtime.
    pub mutex_profile_fraction: i64,
    /// Not built yet.
    pub save_to_file: String,
}

/// `dialer`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dialer {
    /// Accepted for compatibility.
    pub timeout: Duration,
}

impl Validate for Dialer {}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: "localhost:1777".to_owned(),
            dialer: Dialer::default(),
            block_profile_fraction: 0,
            mutex_profile_fraction: 0,
            save_to_file: String::new(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        check_listen(at, "endpoint", &self.endpoint);
        for (key, fraction) in [
            ("block_profile_fraction", self.block_profile_fraction),
            ("mutex_profile_fraction", self.mutex_profile_fraction),
        ] {
            if fraction > 0 {
                at.warning(key, "has no effect: it is about the runtime of Go\nremove it");
            }
        }
        if !self.save_to_file.is_empty() {
            at.error(
                "save_to_file",
                "there is no profiler in this collector\nremove it, and use `perf record -p PID`",
            );
        }
    }
}
