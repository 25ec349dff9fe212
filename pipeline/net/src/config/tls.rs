//! configtls's keys.

use super::NotYet;
use millrace_config::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS of a client; only switching it off is built so far.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsClientConfig {
    /// Plain text.
    pub insecure: bool,
    /// Accepted where `insecure` makes it meaningless.
    pub insecure_skip_verify: bool,
    /// Not built yet.
    pub ca_file: NotYet,
    /// Not built yet.
    pub ca_pem: NotYet,
    /// Not built yet.
    pub cert_file: NotYet,
    /// Not built yet.
    pub cert_pem: NotYet,
    /// Not built yet.
    pub key_file: NotYet,
    /// Not built yet.
    pub key_pem: NotYet,
    /// Not built yet.
    pub min_version: NotYet,
    /// Not built yet.
    pub max_version: NotYet,
    /// Not built yet.
    pub server_name_override: NotYet,
    /// Not built yet.
    pub reload_interval: NotYet,
    /// Not built yet.
    pub include_system_ca_certs_pool: NotYet,
    /// Not built yet.
    pub cipher_suites: NotYet,
}

impl Validate for TlsClientConfig {}
