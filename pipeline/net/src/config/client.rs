//! Clients: confighttp's and configgrpc's keys of the sending side.

use super::{NotYet, TlsClientConfig, check_headers};
use crate::{Encoding, Endpoint};
use millrace_config::{Checker, Duration, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A client of gRPC.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcClientConfig {
    /// `host:port`, or with a scheme.
    pub endpoint: String,
    /// `gzip` (the default), `snappy`, `zstd` or `none`.
    pub compression: Encoding,
    /// Only `insecure: true` is built so far.
    pub tls: TlsClientConfig,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Secret<String>>,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Sent as `:authority`.
    pub authority: String,
    /// Accepted for compatibility: one connection serves one address.
    pub balancer_name: String,
    /// Accepted for compatibility: a request always waits for its connection.
    pub wait_for_ready: bool,
    /// Accepted for compatibility.
    pub read_buffer_size: u64,
    /// Accepted for compatibility.
    pub write_buffer_size: u64,
    /// Not built yet.
    pub keepalive: NotYet,
    /// Not built yet.
    pub auth: NotYet,
    /// Not built yet.
    pub middlewares: NotYet,
}

impl Default for GrpcClientConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            compression: Encoding::Gzip,
            tls: TlsClientConfig::default(),
            headers: BTreeMap::new(),
            user_agent: String::new(),
            authority: String::new(),
            balancer_name: "round_robin".to_owned(),
            wait_for_ready: false,
            read_buffer_size: 0,
            write_buffer_size: 512 << 10,
            keepalive: NotYet,
            auth: NotYet,
            middlewares: NotYet,
        }
    }
}

impl Validate for GrpcClientConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        let endpoint = check_endpoint(at, "endpoint", &self.endpoint);
        check_headers(at, "headers", &self.headers);
        if self.compression != Encoding::None && self.compression.over_grpc().is_none() {
            at.error("compression", "must be one of gzip, snappy, zstd, none");
        }
        let plain = self.tls.client.insecure || endpoint.is_some_and(|endpoint| endpoint.tls == Some(false));
        if !plain {
            at.error("tls", "TLS is not supported yet, and gRPC clients use it unless told otherwise\nset `insecure: true` here to send in plain text");
        }
    }
}

/// A client of HTTP.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpClientConfig {
    /// `http://host:port/path`; the path of the signal is appended.
    pub endpoint: String,
    /// `gzip` (the default), `zstd`, `zlib`, `deflate`, `snappy`, `x-snappy-framed`, `lz4` or `none`.
    pub compression: Encoding,
    /// Only plain text is built so far; the scheme decides.
    pub tls: TlsClientConfig,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Secret<String>>,
    /// The limit for one attempt; 0 means none.
    pub timeout: Duration,
    /// Idle connections that are kept; 0 means no limit.
    pub max_idle_conns: usize,
    /// Idle connections that are kept to one host; 0 means no limit of its own.
    pub max_idle_conns_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_conn_timeout: Duration,
    /// Accepted for compatibility.
    pub read_buffer_size: u64,
    /// Accepted for compatibility.
    pub write_buffer_size: u64,
    /// Accepted for compatibility: HTTP/1.1 is what plain text gets in Go, too.
    pub force_attempt_http2: bool,
    /// Not built yet.
    pub max_conns_per_host: NotYet,
    /// Not built yet.
    pub disable_keep_alives: NotYet,
    /// Not built yet.
    pub proxy_url: NotYet,
    /// Not built yet.
    pub auth: NotYet,
    /// Not built yet.
    pub compression_params: NotYet,
    /// Not built yet.
    pub http2_read_idle_timeout: NotYet,
    /// Not built yet.
    pub http2_ping_timeout: NotYet,
    /// Not built yet.
    pub cookies: NotYet,
    /// Not built yet.
    pub middlewares: NotYet,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            compression: Encoding::Gzip,
            tls: TlsClientConfig::default(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(30),
            max_idle_conns: 100,
            max_idle_conns_per_host: 0,
            idle_conn_timeout: Duration::from_secs(90),
            read_buffer_size: 0,
            write_buffer_size: 512 << 10,
            force_attempt_http2: true,
            max_conns_per_host: NotYet,
            disable_keep_alives: NotYet,
            proxy_url: NotYet,
            auth: NotYet,
            compression_params: NotYet,
            http2_read_idle_timeout: NotYet,
            http2_ping_timeout: NotYet,
            cookies: NotYet,
            middlewares: NotYet,
        }
    }
}

impl Validate for HttpClientConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_headers(at, "headers", &self.headers);
    }
}

/// Reads and checks the URL of an HTTP destination under `key`; plain text only so far.
pub fn check_url(at: &mut Checker<'_>, key: &str, url: &str) -> Option<Endpoint> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        at.error(key, format!("must begin with http://\nwrite it as \"http://{url}\""));
        return None;
    }
    let endpoint = check_endpoint(at, key, url)?;
    if endpoint.tls == Some(true) {
        at.error(key, "TLS is not supported yet; use http://");
    }
    Some(endpoint)
}

/// Reads and checks a destination under `key`.
pub fn check_endpoint(at: &mut Checker<'_>, key: &str, text: &str) -> Option<Endpoint> {
    match Endpoint::parse(text) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            at.error(key, error.to_string());
            None
        }
    }
}
