//! The section `extensions::zpages`.

use millrace_config::Validate;
use millrace_net::config::HttpServerConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What differs from a server's usual defaults.
pub(super) const DEFAULTS: &str = "{endpoint: 'localhost:55679', write_timeout: 30s}";

millrace_config::parts! {
    /// The pages' configuration: a server's keys and their own.
    pub struct Config {
        /// Where to listen.
        pub server: HttpServerConfig,
        /// Which of them there are.
        pub own: Own,
    }
}

/// Keys of the pages alone.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Own {
    /// A page of numbers about the process.
    pub expvar: Expvar,
}

impl Validate for Own {}

/// `expvar`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expvar {
    /// Whether there is `/debug/expvarz`.
    pub enabled: bool,
}

impl Validate for Expvar {}
