//! The sections that servers and clients share: the Go collector's confighttp, configgrpc and configtls keys that are
//! built so far. A key of theirs that is not built yet is refused by name, never ignored.

use crate::{Encoding, Endpoint};
use http::{HeaderMap, HeaderName, HeaderValue};
use millrace_config::{Checker, Duration, Secret, Validate};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny};
use std::collections::BTreeMap;

/// A key of the Go collector that is not built yet: anything in it is an error that says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotYet;

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Taking the value makes the error point at it; a null section is as good as none.
        match Option::<IgnoredAny>::deserialize(deserializer)? {
            None => Ok(Self),
            Some(_) => Err(D::Error::custom("this key of the Go collector is not supported yet; remove it")),
        }
    }
}

impl Validate for NotYet {}

/// A server of gRPC (`protocols::grpc`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcServerConfig {
    /// `host:port` to listen on.
    pub endpoint: String,
    /// Only `tcp`.
    pub transport: String,
    /// The largest message, in MiB, before and after inflating; 0 means the default of 20.
    pub max_recv_msg_size_mib: usize,
    /// Requests under way per connection; 0 leaves it to the client.
    pub max_concurrent_streams: u32,
    /// Accepted for compatibility: buffers follow the memory budget here.
    pub read_buffer_size: u64,
    /// Accepted for compatibility: buffers follow the memory budget here.
    pub write_buffer_size: u64,
    /// Whether the client's headers travel with its telemetry.
    pub include_metadata: bool,
    /// Not built yet.
    pub tls: NotYet,
    /// Not built yet.
    pub auth: NotYet,
    /// Not built yet.
    pub keepalive: NotYet,
    /// Not built yet.
    pub middlewares: NotYet,
}

/// The largest message that a receiver takes unless told otherwise. The Go collector's gRPC default is 4 MiB, which
/// its own batches overrun, and its HTTP default is this.
pub const MAX_RECEIVE_MIB: usize = 20;

impl Default for GrpcServerConfig {
    fn default() -> Self {
        Self {
            endpoint: "localhost:4317".to_owned(),
            transport: "tcp".to_owned(),
            max_recv_msg_size_mib: 0,
            max_concurrent_streams: 0,
            read_buffer_size: 512 << 10,
            write_buffer_size: 0,
            include_metadata: false,
            tls: NotYet,
            auth: NotYet,
            keepalive: NotYet,
            middlewares: NotYet,
        }
    }
}

impl GrpcServerConfig {
    /// The largest message in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        let mib = if self.max_recv_msg_size_mib == 0 { MAX_RECEIVE_MIB } else { self.max_recv_msg_size_mib };
        mib << 20
    }
}

impl Validate for GrpcServerConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_listen(at, "endpoint", &self.endpoint);
        check_transport(at, &self.transport);
        if self.max_recv_msg_size_mib > 2047 {
            at.error("max_recv_msg_size_mib", "must be at most 2047");
        }
    }
}

/// A server of HTTP (`protocols::http`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerConfig {
    /// `host:port` to listen on.
    pub endpoint: String,
    /// Only `tcp`.
    pub transport: String,
    /// The largest body in bytes, before and after inflating; 0 means the default of 20 MiB.
    pub max_request_body_size: u64,
    /// Whether the client's headers travel with its telemetry.
    pub include_metadata: bool,
    /// The limit for the head of a request; 0 means one minute.
    pub read_header_timeout: Duration,
    /// Accepted for compatibility: bodies have one minute to arrive.
    pub read_timeout: Duration,
    /// Accepted for compatibility: answers are a few bytes.
    pub write_timeout: Duration,
    /// Accepted for compatibility: idle connections wait as long as a head may take.
    pub idle_timeout: Duration,
    /// Whether connections are used for more than one request.
    pub keep_alives_enabled: bool,
    /// Headers added to every answer.
    pub response_headers: BTreeMap<String, Secret<String>>,
    /// Not built yet.
    pub tls: NotYet,
    /// Not built yet.
    pub cors: NotYet,
    /// Not built yet.
    pub auth: NotYet,
    /// Not built yet.
    pub compression_algorithms: NotYet,
    /// Not built yet.
    pub middlewares: NotYet,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        Self {
            endpoint: "localhost:4318".to_owned(),
            transport: "tcp".to_owned(),
            max_request_body_size: 0,
            include_metadata: false,
            read_header_timeout: Duration::ZERO,
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            keep_alives_enabled: true,
            response_headers: BTreeMap::new(),
            tls: NotYet,
            cors: NotYet,
            auth: NotYet,
            compression_algorithms: NotYet,
            middlewares: NotYet,
        }
    }
}

impl HttpServerConfig {
    /// The largest body in bytes.
    #[must_use]
    pub fn max_body(&self) -> usize {
        match usize::try_from(self.max_request_body_size) {
            Ok(0) => MAX_RECEIVE_MIB << 20,
            Ok(size) => size,
            Err(_) => usize::MAX,
        }
    }

    /// The limit for the head of a request.
    #[must_use]
    pub fn header_timeout(&self) -> std::time::Duration {
        let configured = self.read_header_timeout.get();
        if configured.is_zero() { std::time::Duration::from_secs(60) } else { configured }
    }
}

impl Validate for HttpServerConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_listen(at, "endpoint", &self.endpoint);
        check_transport(at, &self.transport);
        check_headers(at, "response_headers", &self.response_headers);
    }
}

/// TLS of a client; only switching it off is built so far.
#[derive(Debug, Clone, Default, Deserialize)]
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

/// A client of gRPC.
#[derive(Debug, Clone, Deserialize)]
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
        let plain = self.tls.insecure || endpoint.is_some_and(|endpoint| endpoint.tls == Some(false));
        if !plain {
            at.error("tls", "TLS is not supported yet, and gRPC clients use it unless told otherwise\nset `insecure: true` here to send in plain text");
        }
    }
}

/// A client of HTTP.
#[derive(Debug, Clone, Deserialize)]
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

/// Checks an address to listen on: `host:port`, `:port` for every interface, or `[::1]:port`.
pub fn check_listen(at: &mut Checker<'_>, key: &str, text: &str) {
    if let Err(error) = listen_address(text) {
        at.error(key, error);
    }
}

/// Host and port to listen on; an empty host means every interface, port 0 any free one.
///
/// # Errors
/// What is wrong with it.
pub fn listen_address(text: &str) -> Result<(String, u16), String> {
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port; write it as `host:port`"))?;
    let port =
        port.parse().map_err(|_| format!("`{port}` is not a port; it must be a number up to 65535"))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

fn check_transport(at: &mut Checker<'_>, transport: &str) {
    if transport != "tcp" {
        at.error("transport", format!("`{transport}` is not supported yet; use tcp"));
    }
}

fn check_headers(at: &mut Checker<'_>, key: &str, headers: &BTreeMap<String, Secret<String>>) {
    for (name, value) in headers {
        if let Err(error) = header(name, value) {
            at.error(key, error);
        }
    }
}

fn header(name: &str, value: &Secret<String>) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a header name"))?;
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| format!("the value of header `{name}` has characters that a header cannot have"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// The configured headers; those that cannot be sent were refused when the configuration was checked.
#[must_use]
pub fn header_map(headers: &BTreeMap<String, Secret<String>>) -> HeaderMap {
    headers.iter().filter_map(|(name, value)| header(name, value).ok()).collect()
}
