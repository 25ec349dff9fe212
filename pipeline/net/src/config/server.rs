//! Servers: confighttp's and configgrpc's keys of the receiving side.

use super::{
    HttpServerAuthConfig, Ignored, ServerAuthConfig, ServerMiddlewareConfig, TlsServerConfig, check_headers,
};
use crate::grpc::{Keepalive, PingPolicy};
use crate::http::{Accepted, Encodings, Timeouts};
use millrace_config::{Checker, Duration, GivenOnly, Secret, Thing, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A server of gRPC (`protocols::grpc`).
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcServerConfig {
    /// `host:port` to listen on; a path if `transport` is `unix`.
    pub endpoint: String,
    /// `tcp`, `tcp4`, `tcp6`, or `unix`, for which `endpoint` is a path.
    pub transport: String,
    /// Accepted for compatibility: servers do not dial.
    pub dialer: Ignored,
    /// The largest message, in MiB, before and after inflating; 0 means the default of 20.
    ///
    /// Go: 0 means 4, which its own batches overrun.
    pub max_recv_msg_size_mib: usize,
    /// Requests under way per connection; 0 means 1,000.
    ///
    /// Go: 0 means no limit; each request under way holds memory before anything is known of it.
    pub max_concurrent_streams: u32,
    /// Accepted for compatibility: buffers follow the memory budget here.
    pub read_buffer_size: u64,
    /// Accepted for compatibility: buffers follow the memory budget here.
    pub write_buffer_size: u64,
    /// Whether the client's headers travel with its telemetry.
    pub include_metadata: bool,
    /// TLS instead of plain text.
    pub tls: GivenOnly<TlsServerConfig>,
    /// Who may send.
    pub auth: GivenOnly<ServerAuthConfig>,
    /// How long connections live, and how often clients may ping.
    ///
    /// Go: the same, though it is always there; there is nothing in it by default.
    pub keepalive: GivenOnly<KeepaliveServerConfig>,
    /// Extensions that may turn requests away, asked in that order.
    pub middlewares: Vec<ServerMiddlewareConfig>,
}

/// The largest message that a receiver takes unless told otherwise. The Go collector's gRPC default is 4 MiB, which
/// its own batches overrun, and its HTTP default is this.
pub const MAX_RECEIVE_MIB: usize = 20;

impl Default for GrpcServerConfig {
    fn default() -> Self {
        Self {
            endpoint: "localhost:4317".to_owned(),
            transport: "tcp".to_owned(),
            dialer: Ignored,
            max_recv_msg_size_mib: 0,
            max_concurrent_streams: 0,
            read_buffer_size: 512 << 10,
            write_buffer_size: 0,
            include_metadata: false,
            tls: GivenOnly::Off,
            auth: GivenOnly::Off,
            keepalive: GivenOnly::Off,
            middlewares: Vec::new(),
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

    /// How long connections live.
    #[must_use]
    pub fn lives(&self) -> Keepalive {
        let given = self.keepalive.as_option().and_then(|section| section.server_parameters.as_option());
        given.map_or_else(Keepalive::default, ServerParametersConfig::lives)
    }

    /// How often clients may ping.
    #[must_use]
    pub fn pings(&self) -> PingPolicy {
        let given = self.keepalive.as_option().and_then(|section| section.enforcement_policy.as_option());
        given.map_or_else(PingPolicy::default, EnforcementPolicyConfig::policy)
    }
}

impl Validate for GrpcServerConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_endpoint(at, &self.transport, &self.endpoint);
        at.nested("tls", &self.tls);
        at.nested("auth", &self.auth);
        at.nested("keepalive", &self.keepalive);
        at.each("middlewares", &self.middlewares);
        if self.max_recv_msg_size_mib > 2047 {
            at.error("max_recv_msg_size_mib", "must be at most 2047");
        }
    }
}

/// How long connections of gRPC live, and how often their clients may ping (`keepalive`).
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeepaliveServerConfig {
    /// How long connections live.
    ///
    /// Go: the same, though it is always there; there is nothing in it by default.
    pub server_parameters: GivenOnly<ServerParametersConfig>,
    /// How often clients may ping.
    ///
    /// Go: the same, though it is always there; there is nothing in it by default.
    pub enforcement_policy: GivenOnly<EnforcementPolicyConfig>,
}

impl Validate for KeepaliveServerConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("server_parameters", &self.server_parameters);
        at.nested("enforcement_policy", &self.enforcement_policy);
    }
}

/// `keepalive::server_parameters`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerParametersConfig {
    /// Connections without a request for that long are closed; 0 means never.
    pub max_connection_idle: Duration,
    /// Connections of that age, give or take a tenth, take no further requests; 0 means never.
    pub max_connection_age: Duration,
    /// How long requests under way may then take; 0 means without end.
    pub max_connection_age_grace: Duration,
    /// Connections that have been silent for that long are pinged, at least a second; 0 means two hours.
    pub time: Duration,
    /// Connections that do not answer a ping for that long are closed; 0 means 20 seconds.
    pub timeout: Duration,
}

impl Validate for ServerParametersConfig {}

impl ServerParametersConfig {
    fn lives(&self) -> Keepalive {
        let default = Keepalive::default();
        Keepalive {
            max_idle: given(self.max_connection_idle),
            max_age: given(self.max_connection_age),
            max_age_grace: given(self.max_connection_age_grace),
            time: given(self.time).map_or(default.time, |time| time.max(std::time::Duration::from_secs(1))),
            timeout: given(self.timeout).unwrap_or(default.timeout),
        }
    }
}

/// `keepalive::enforcement_policy`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnforcementPolicyConfig {
    /// The least time between two pings of a client; 0 means five minutes.
    pub min_time: Duration,
    /// Whether clients may ping while they have no request under way.
    pub permit_without_stream: bool,
}

impl Validate for EnforcementPolicyConfig {}

impl EnforcementPolicyConfig {
    fn policy(&self) -> PingPolicy {
        PingPolicy {
            min_time: given(self.min_time).unwrap_or(PingPolicy::default().min_time),
            permit_without_stream: self.permit_without_stream,
        }
    }
}

/// A duration, unless it is zero.
fn given(duration: Duration) -> Option<std::time::Duration> {
    (!duration.is_zero()).then(|| duration.get())
}

/// Whether pages of other origins may send (`cors`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// The origins that may, each with at most one `*` for any characters; without one, none may.
    pub allowed_origins: Vec<String>,
    /// The headers that they may send beside the harmless ones; `*` for any.
    pub allowed_headers: Vec<String>,
    /// The headers of answers that they may read.
    pub exposed_headers: Vec<String>,
    /// How many seconds browsers may remember it; 0 leaves it to them.
    pub max_age: i64,
}

impl Validate for CorsConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.allowed_origins.is_empty() && !self.allowed_headers.is_empty() {
            at.warning(
                "allowed_headers",
                "the CORS configuration specifies allowed headers but no allowed origins, and is therefore ignored\nadd `allowed_origins`",
            );
        }
        for origin in &self.allowed_origins {
            if origin.matches('*').count() > 1 {
                at.warning(
                    "allowed_origins",
                    format!(
                        "`{origin}`: only the first `*` stands for anything\nlist the origins one by one"
                    ),
                );
            }
        }
    }
}

/// A server of HTTP (`protocols::http`).
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerConfig {
    /// `host:port` to listen on; a path if `transport` is `unix`.
    pub endpoint: String,
    /// `tcp`, `tcp4`, `tcp6`, or `unix`, for which `endpoint` is a path.
    pub transport: String,
    /// Accepted for compatibility: servers do not dial.
    pub dialer: Ignored,
    /// The largest body in bytes, before and after inflating; 0 means the default of 20 MiB.
    pub max_request_body_size: u64,
    /// Whether the client's headers travel with its telemetry.
    pub include_metadata: bool,
    /// The limit for the head of a request; 0 means `read_timeout`, or else one minute.
    ///
    /// Go: 0 means no limit; a connection that says nothing holds memory.
    pub read_header_timeout: Duration,
    /// The limit for the body of a request; 0 means one minute.
    ///
    /// Go: 0 means no limit; a request that never ends holds memory.
    pub read_timeout: Duration,
    /// The limit for handling a request and writing the answer; 0 means none.
    pub write_timeout: Duration,
    /// How long a connection may wait for its next request; 0 means as long as the head may take.
    ///
    /// Go: 0 means no limit, unless `read_timeout` is set; an idle connection holds memory.
    pub idle_timeout: Duration,
    /// Whether connections are used for more than one request.
    pub keep_alives_enabled: bool,
    /// Headers added to every answer.
    pub response_headers: BTreeMap<String, Secret<String>>,
    /// TLS instead of plain text.
    pub tls: GivenOnly<TlsServerConfig>,
    /// Whether pages of other origins may send.
    pub cors: GivenOnly<CorsConfig>,
    /// Who may send.
    pub auth: GivenOnly<HttpServerAuthConfig>,
    /// How bodies may be compressed, with `""` for not at all; an empty list leaves bodies as they are.
    pub compression_algorithms: Option<Vec<String>>,
    /// Extensions that may turn requests away, asked in that order.
    pub middlewares: Vec<ServerMiddlewareConfig>,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        Self {
            endpoint: "localhost:4318".to_owned(),
            transport: "tcp".to_owned(),
            dialer: Ignored,
            max_request_body_size: 0,
            include_metadata: false,
            read_header_timeout: Duration::ZERO,
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            keep_alives_enabled: true,
            response_headers: BTreeMap::new(),
            tls: GivenOnly::Off,
            cors: GivenOnly::Off,
            auth: GivenOnly::Off,
            compression_algorithms: None,
            middlewares: Vec::new(),
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

    /// How slow clients may be.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        let read = given(self.read_timeout);
        let header = given(self.read_header_timeout).or(read).unwrap_or(MINUTE);
        let idle = given(self.idle_timeout).or(read).unwrap_or(header);
        Timeouts { header, idle, write: given(self.write_timeout) }
    }

    /// Which bodies are taken; none beyond `limit` bytes.
    #[must_use]
    pub fn accepted(&self, limit: usize) -> Accepted {
        Accepted {
            limit,
            timeout: given(self.read_timeout).unwrap_or(MINUTE),
            encodings: match &self.compression_algorithms {
                None => Encodings::All,
                Some(names) if names.is_empty() => Encodings::Raw,
                Some(names) => Encodings::Named(names.clone()),
            },
        }
    }
}

/// What clients may take over a head, and over a body, unless it is configured.
const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

/// What `compression_algorithms` may name.
const COMPRESSIONS: [&str; 8] = ["", "gzip", "zstd", "zlib", "snappy", "deflate", "lz4", "x-snappy-framed"];

impl Validate for HttpServerConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_endpoint(at, &self.transport, &self.endpoint);
        at.nested("tls", &self.tls);
        at.nested("cors", &self.cors);
        at.nested("auth", &self.auth);
        at.each("middlewares", &self.middlewares);
        for name in self.compression_algorithms.iter().flatten() {
            if !COMPRESSIONS.contains(&name.as_str()) {
                at.error("compression_algorithms", format!("`{name}` is not one\nuse \"\" (for not at all), gzip, zstd, zlib, deflate, snappy, x-snappy-framed, lz4"));
            }
        }
        check_headers(at, "response_headers", &self.response_headers);
    }
}

/// Checks an address to listen on: `host:port`, `:port` for every interface, or `[::1]:port`.
pub fn check_listen(at: &mut Checker<'_>, key: &str, text: &str) {
    match listen_address(text) {
        Ok((host, port)) => at.claims(key, Thing::Address { host, port }),
        Err(error) => at.error(key, error),
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

/// Checks where a server is to listen.
fn check_endpoint(at: &mut Checker<'_>, transport: &str, endpoint: &str) {
    match transport {
        "tcp" | "tcp4" | "tcp6" if endpoint.is_empty() => {
            at.error("endpoint", "is required: where to listen, for example localhost:4318");
        }
        "tcp" | "tcp4" | "tcp6" => check_listen(at, "endpoint", endpoint),
        "unix" if endpoint.is_empty() => {
            at.error("endpoint", "the path of the socket is missing\nset it, for example to /run/otel.sock");
        }
        "unix" if endpoint.starts_with('@') => {
            at.error("endpoint", "sockets without a file (`@…`) are not supported; give a path");
        }
        "unix" => {}
        _ => at.error("transport", format!("`{transport}` is not supported; use tcp, tcp4, tcp6 or unix")),
    }
}
