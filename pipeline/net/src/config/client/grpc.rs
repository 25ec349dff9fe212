//! configgrpc's keys of the sending side.

use super::{authenticator, check_endpoint, connector, environment_proxy, handshake};
use crate::config::{ClientAuthConfig, ClientMiddlewareConfig, TlsClientConfig, check_headers, header_map};
use crate::connect::Credentials;
use crate::endpoint::{Place, Scheme};
use crate::grpc::{Balancing, Channel, ChannelOptions, KeepAlive};
use crate::tls::ALPN_H2;
use crate::{Encoding, Endpoint};
use http::HeaderValue;
use http::header::USER_AGENT;
use millrace_config::{Checker, Duration, GivenOnly, Secret, Validate};
use millrace_engine::component::{BuildError, Context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The least time between two pings, as in grpc-go: servers take more for abuse.
const PING_MIN: Duration = Duration::from_secs(10);
/// How long a ping's answer may take unless said, as in grpc-go.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A client of gRPC.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcClientConfig {
    /// `host:port`, also after `https://`, `http://`, `dns:///` or `passthrough:///`; or a Unix socket: `unix:path`,
    /// `unix:///path`, `unix-abstract:name`.
    pub endpoint: String,
    /// `gzip` (the default), `snappy`, `zstd` or `none`.
    pub compression: Encoding,
    /// TLS, which is on unless `insecure: true` and no authority is given; with `https://` always.
    pub tls: TlsClientConfig,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Secret<String>>,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Sent as `:authority`.
    pub authority: String,
    /// `round_robin`: a connection to each address of the name, requests in turn. `pick_first`, also if empty: one
    /// connection, to the first address that answers.
    pub balancer_name: String,
    /// Whether a request waits for a connection until its time is over, instead of failing (and being tried again)
    /// when no address can be connected to.
    pub wait_for_ready: bool,
    /// Accepted for compatibility.
    pub read_buffer_size: u64,
    /// Accepted for compatibility.
    pub write_buffer_size: u64,
    /// Pings on connections on which nothing has been answered for a while.
    pub keepalive: GivenOnly<KeepAliveConfig>,
    /// The extension that says to the destination who sends.
    pub auth: GivenOnly<ClientAuthConfig>,
    /// Extensions that stand between; none of those that are here can, in the Go collector neither.
    pub middlewares: Vec<ClientMiddlewareConfig>,
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
            keepalive: GivenOnly::Off,
            auth: GivenOnly::Off,
            middlewares: Vec::new(),
        }
    }
}

/// `keepalive` of a gRPC client.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeepAliveConfig {
    /// After how long without an answer a connection is pinged; at least 10 seconds.
    pub time: Duration,
    /// How long the answer may take before the connection is given up; 20 seconds if 0.
    pub timeout: Duration,
    /// Whether connections without requests are pinged, too.
    pub permit_without_stream: bool,
}

impl KeepAliveConfig {
    /// What it comes to.
    fn settings(&self) -> KeepAlive {
        let timeout = if self.timeout.is_zero() { PING_TIMEOUT } else { self.timeout };
        KeepAlive {
            time: self.time.max(PING_MIN).get(),
            timeout: timeout.get(),
            permit_without_stream: self.permit_without_stream,
        }
    }
}

impl Validate for KeepAliveConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if at.is_set("time") && self.time < PING_MIN {
            at.warning("time", "is raised to 10s, as in the Go collector: servers take more pings for abuse");
        }
    }
}

/// Where OTLP over HTTP is usually taken in.
const OTLP_HTTP_PORT: u16 = 4318;

impl Validate for GrpcClientConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if let Some(endpoint) = check_endpoint(at, "endpoint", &self.endpoint) {
            if !endpoint.path.is_empty() {
                at.error("endpoint", format!("gRPC has no path\nleave `{}` out", endpoint.path));
            }
            if endpoint.port() == Some(OTLP_HTTP_PORT) {
                at.warning(
                    "endpoint",
                    "port 4318 is where OTLP over HTTP is usually taken in; this exporter speaks gRPC\nuse port 4317, or the exporter `otlp_http`",
                );
            }
            if endpoint.scheme == Scheme::Http && !self.tls.is_plain() {
                at.warning(
                    "endpoint",
                    "`http://` does not switch TLS off, as in the Go collector\nset `tls: {insecure: true}` to send in plain text",
                );
            }
        }
        check_headers(at, "headers", &self.headers);
        if self.compression != Encoding::None && self.compression.over_grpc().is_none() {
            at.error("compression", "must be one of gzip, snappy, zstd, none");
        }
        if self.balancing().is_none() {
            let name = &self.balancer_name;
            at.error(
                "balancer_name",
                format!("invalid balancer_name: {name}\nuse round_robin or pick_first"),
            );
        }
        if !self.authority.is_empty() && self.authority.parse::<http::uri::Authority>().is_err() {
            at.error("authority", "must be `host` or `host:port`");
        }
        at.nested("tls", &self.tls);
        at.nested("keepalive", &self.keepalive);
        at.nested("auth", &self.auth);
        at.each("middlewares", &self.middlewares);
    }
}

impl GrpcClientConfig {
    fn balancing(&self) -> Option<Balancing> {
        match self.balancer_name.as_str() {
            "round_robin" => Some(Balancing::RoundRobin),
            "pick_first" | "" => Some(Balancing::PickFirst),
            _ => None,
        }
    }

    /// Whether what is sent is encrypted.
    fn is_encrypted(&self, endpoint: &Endpoint) -> bool {
        endpoint.scheme == Scheme::Https || !self.tls.is_plain()
    }

    /// A channel to `endpoint`, and what proves on it who sends. Reads certificates, and must be called within the
    /// runtime.
    ///
    /// # Errors
    /// Certificates that cannot be read, an extension that is not there, a proxy that is none.
    pub fn channel(
        &self,
        context: &Context,
        endpoint: Endpoint,
    ) -> Result<(Channel, Credentials), BuildError> {
        let tls = match self.is_encrypted(&endpoint) {
            true => Some(handshake(&self.tls, context, &[ALPN_H2], &endpoint)?),
            false => None,
        };
        // grpc-go asks for the proxy of TLS, whatever it sends.
        let proxy = environment_proxy(context, true, &endpoint)?;
        let given = [&self.authority, &self.tls.client.server_name_override];
        let authority = given.into_iter().find(|name| !name.is_empty()).cloned();
        let agent =
            if self.user_agent.is_empty() { &context.shared.user_agent[..] } else { &self.user_agent };
        let mut headers = header_map(&self.headers);
        headers.insert(USER_AGENT, HeaderValue::from_str(agent).map_err(|error| context.error(error))?);
        let passes_through =
            endpoint.scheme == Scheme::Passthrough || matches!(endpoint.place, Place::Socket(_));
        let options = ChannelOptions {
            connector: connector(context, tls, proxy)?,
            authority,
            headers,
            encoding: self.compression.over_grpc().map(|(_, name)| name),
            balancing: match self.balancing() {
                Some(Balancing::RoundRobin) if !passes_through => Balancing::RoundRobin,
                _ => Balancing::PickFirst,
            },
            wait_for_ready: self.wait_for_ready,
            keepalive: self.keepalive.as_option().map(KeepAliveConfig::settings),
            endpoint,
        };
        let credentials = Credentials::new(authenticator(&self.auth, context)?);
        Ok((Channel::new(options, context.shared.tasks.clone()), credentials))
    }
}
