//! confighttp's keys of the sending side.

use super::{authenticator, connector, environment_proxy, handshake};
use crate::compression::Level;
use crate::config::{ClientAuthConfig, ClientMiddlewareConfig, TlsClientConfig, check_headers};
use crate::connect::{Credentials, Proxy};
use crate::endpoint::Scheme;
use crate::http::{Client, ClientOptions, Ping};
use crate::tls::{ALPN_H2, ALPN_HTTP1};
use crate::{Encoding, Endpoint};
use millrace_config::{Checker, Duration, GivenOnly, Secret, Validate};
use millrace_engine::component::{BuildError, Context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long the answer to an HTTP/2 ping may take unless said, as in Go.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// A client of HTTP.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpClientConfig {
    /// `http[s]://host:port/path`; the path of the signal is appended.
    pub endpoint: String,
    /// The proxy to send through: `http[s]://[user:password@]host:port`. Without it the environment's `HTTP_PROXY`,
    /// `HTTPS_PROXY` and `NO_PROXY` decide.
    pub proxy_url: Secret<String>,
    /// TLS with `https://` destinations; whether there is any, the scheme decides.
    pub tls: TlsClientConfig,
    /// Accepted for compatibility.
    pub read_buffer_size: u64,
    /// Accepted for compatibility.
    pub write_buffer_size: u64,
    /// The limit for one attempt; 0 means none.
    pub timeout: Duration,
    /// Headers sent with every request. `Host` is what the server is to take for its name.
    pub headers: BTreeMap<String, Secret<String>>,
    /// The extension that says to the destination who sends.
    pub auth: GivenOnly<ClientAuthConfig>,
    /// `gzip` (the default), `zstd`, `zlib`, `deflate`, `snappy`, `x-snappy-framed`, `lz4` or `none`.
    pub compression: Encoding,
    /// How hard it compresses.
    pub compression_params: CompressionParams,
    /// Idle connections that are kept; 0 means no limit.
    pub max_idle_conns: usize,
    /// Idle connections that are kept to one host; 0 means no limit of its own.
    ///
    /// Go: 0 means 2, which makes ten senders connect again and again.
    pub max_idle_conns_per_host: usize,
    /// Connections in all, whatever they are doing; 0 means no limit. Over HTTP/2 one serves all requests.
    pub max_conns_per_host: usize,
    /// How long an idle connection is kept; 0 means for ever.
    pub idle_conn_timeout: Duration,
    /// Whether each request has a connection of its own.
    pub disable_keep_alives: bool,
    /// Over HTTP/2: after how long without a word the server is pinged; 0 means never.
    pub http2_read_idle_timeout: Duration,
    /// Over HTTP/2: how long the answer to a ping may take; 15 seconds if 0.
    pub http2_ping_timeout: Duration,
    /// Whether cookies that the destination sets are sent back to it.
    pub cookies: GivenOnly<CookiesConfig>,
    /// Whether HTTP/2 is offered to `https://` destinations.
    pub force_attempt_http2: bool,
    /// Extensions that stand between; none of those that are here can, in the Go collector neither.
    pub middlewares: Vec<ClientMiddlewareConfig>,
}

/// `cookies`: nothing beside `enabled`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CookiesConfig {}

impl Validate for CookiesConfig {}

/// `compression_params`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// gzip, zlib and deflate: 1 (fast) to 9 (small); zstd: 1 to 11, and what is beyond is the nearest of them. 0 and
    /// -1 are our own choice, 2 for gzip and 1 for zstd.
    ///
    /// Go: its own choice is 6 for gzip; -2 (Huffman codes only) is 1 here.
    pub level: i32,
}

impl CompressionParams {
    fn check(&self, at: &mut Checker<'_>, encoding: Encoding) {
        let fits = match encoding {
            Encoding::Gzip | Encoding::Zlib => (-2..=9).contains(&self.level),
            Encoding::Zstd | Encoding::None => true,
            Encoding::Snappy | Encoding::SnappyFramed | Encoding::Lz4 => self.level == 0,
        };
        if !fits {
            let text = format!("unsupported parameters {{Level:{}}} for this compression type", self.level);
            at.error(
                "level",
                format!("{text}\ngzip, zlib and deflate have -2 to 9, zstd any, others only 0"),
            );
        }
    }

    /// The level; `None` for our own choice.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::configured(self.level)
    }
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            proxy_url: Secret::default(),
            tls: TlsClientConfig::default(),
            read_buffer_size: 0,
            write_buffer_size: 512 << 10,
            timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            auth: GivenOnly::Off,
            compression: Encoding::Gzip,
            compression_params: CompressionParams::default(),
            max_idle_conns: 100,
            max_idle_conns_per_host: 0,
            max_conns_per_host: 0,
            idle_conn_timeout: Duration::from_secs(90),
            disable_keep_alives: false,
            http2_read_idle_timeout: Duration::default(),
            http2_ping_timeout: Duration::default(),
            cookies: GivenOnly::Off,
            force_attempt_http2: true,
            middlewares: Vec::new(),
        }
    }
}

impl Validate for HttpClientConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        check_headers(at, "headers", &self.headers);
        if let Err(error) = self.proxy() {
            at.error("proxy_url", error);
        }
        at.within("compression_params", |at| self.compression_params.check(at, self.compression));
        at.nested("tls", &self.tls);
        at.nested("auth", &self.auth);
        at.each("middlewares", &self.middlewares);
    }
}

impl HttpClientConfig {
    fn proxy(&self) -> Result<Option<Proxy>, String> {
        let url = self.proxy_url.expose();
        if url.is_empty() {
            return Ok(None);
        }
        Proxy::parse(url).map(Some).map_err(|error| error.to_string())
    }

    /// A client of `endpoint`, and what proves who sends. Reads certificates, and must be called within the runtime.
    ///
    /// # Errors
    /// Certificates that cannot be read, an extension that is not there, a proxy that is none.
    pub fn client(&self, context: &Context, endpoint: Endpoint) -> Result<(Client, Credentials), BuildError> {
        let encrypted = endpoint.scheme == Scheme::Https;
        let alpn: &[&[u8]] = match self.force_attempt_http2 && !self.disable_keep_alives {
            true => &[ALPN_H2, ALPN_HTTP1],
            false => &[ALPN_HTTP1],
        };
        let tls = if encrypted { Some(handshake(&self.tls, context, alpn, &endpoint)?) } else { None };
        let proxy = match self.proxy().map_err(|error| context.error(format!("proxy_url {error}")))? {
            Some(proxy) => Some(proxy),
            None => environment_proxy(context, encrypted, &endpoint)?,
        };
        let limit = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let options = ClientOptions {
            connector: connector(context, tls, proxy)?,
            max_idle: limit(self.max_idle_conns).min(limit(self.max_idle_conns_per_host)),
            idle_timeout: self.idle_conn_timeout.get(),
            max_connections: (self.max_conns_per_host > 0).then_some(self.max_conns_per_host),
            keep_alive: !self.disable_keep_alives,
            ping: (!self.http2_read_idle_timeout.is_zero()).then(|| Ping {
                after: self.http2_read_idle_timeout.get(),
                timeout: if self.http2_ping_timeout.is_zero() {
                    PING_TIMEOUT
                } else {
                    self.http2_ping_timeout
                }
                .get(),
            }),
            cookies: self.cookies.is_on(),
            endpoint,
        };
        let credentials = Credentials::new(authenticator(&self.auth, context)?);
        Ok((Client::new(options, context.shared.tasks.clone()), credentials))
    }
}
