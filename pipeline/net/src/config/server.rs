//! Servers: confighttp's and configgrpc's keys of the receiving side.

use super::{NotYet, check_headers};
use millrace_config::{Checker, Duration, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A server of gRPC (`protocols::grpc`).
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
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
