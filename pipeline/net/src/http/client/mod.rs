//! Sending over HTTP: connections that are kept, in either version, straight or through a proxy; bodies in parts,
//! answers bounded.
//!
//! A client has one destination. Each new connection goes to the next address of its name; the name is asked for again
//! with every connection, and every 30 seconds while connections are kept. Over TLS the two sides agree on HTTP/2 or
//! HTTP/1.1, as the handshake offers.
//!
//! # Invariants
//! - The lock around the pool is held for moments, and never while anything is awaited.
//! - With a limit on connections there are never more, whatever they are doing.
//! - A request goes out a second time only if the server has not looked at it, or has closed an idle connection
//!   without a word.

mod connection;
mod cookies;
#[cfg(fuzzing)]
pub mod fuzzing;
mod once;
mod parts;
mod pool;
mod words;

pub use once::{OnceError, once};

use crate::Endpoint;
use crate::connect::{Address, Connector};
use crate::endpoint::Scheme;
use bytes::Bytes;
use connection::{Connection, Cut};
use cookies::Jar;
use http::header::{CONNECTION, COOKIE, HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use millrace_engine::Tasks;
use parts::Parts;
use pool::{Lent, Pool};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, sleep};

/// The largest answer that is read.
const REPLY_MAX: usize = 64 << 10;
/// How often a request is sent again because a server has not looked at it.
const RESENDS_MAX: u32 = 3;
/// A request that was given up on earlier than this says nothing about the server.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the name is asked for again while connections are kept, and idle ones are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a client is given.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where to.
    pub endpoint: Endpoint,
    /// How to get there. Whether there is HTTP/2 is said by what its TLS offers.
    pub connector: Connector,
    /// Idle connections that are kept.
    pub max_idle: usize,
    /// For how long; zero means for ever.
    pub idle_timeout: Duration,
    /// Connections in all, if that is limited. One of HTTP/2 serves any number of requests.
    pub max_connections: Option<usize>,
    /// Whether connections are used for more than one request.
    pub keep_alive: bool,
    /// Pings over HTTP/2, if any.
    pub ping: Option<Ping>,
    /// Whether cookies that the destination sets are sent back to it.
    pub cookies: bool,
}

/// Asking a server of HTTP/2 whether it is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// After so long without a word.
    pub after: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl ClientOptions {
    /// Plain HTTP/1.1 to `endpoint`, with the Go collector's defaults.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connector: Connector::default(),
            max_idle: 100,
            idle_timeout: Duration::from_secs(90),
            max_connections: None,
            keep_alive: true,
            ping: None,
            cookies: false,
        }
    }
}

/// An HTTP client with a pool of connections to one destination; clones share it.
#[derive(Clone)]
pub struct Client(Arc<Core>);

struct Core {
    options: ClientOptions,
    /// A proxy that is told the destination with each request.
    forward: bool,
    tasks: Tasks,
    pool: Mutex<Pool>,
    /// As many requests as there may be connections.
    slots: Option<Semaphore>,
    /// Held while it is not known yet whether one connection will do for all.
    first: tokio::sync::Mutex<()>,
    jar: Option<Mutex<Jar>>,
    started: Once,
    /// Dropped with the client, which ends its task.
    open: Mutex<Option<oneshot::Sender<()>>>,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, up to 64 KiB; empty when it was longer or was cut off.
    pub body: Bytes,
    /// What the client had added to the headers of the request in confidence: cookies, and its proxy's credentials.
    pub added: Vec<HeaderValue>,
}

/// There was no answer.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ClientError(String);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.0.options.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that connects when there is something to send.
    #[must_use]
    pub fn new(options: ClientOptions, tasks: Tasks) -> Self {
        let forward = options.connector.proxy.is_some() && options.endpoint.scheme != Scheme::Https;
        Self(Arc::new(Core {
            forward,
            tasks,
            pool: Mutex::default(),
            slots: options.max_connections.map(|max| Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            first: tokio::sync::Mutex::default(),
            jar: options.cookies.then(Mutex::default),
            started: Once::new(),
            open: Mutex::default(),
            options,
        }))
    }

    /// Posts `parts`, laid end to end.
    ///
    /// # Errors
    /// When there was no answer: no connection, or it broke.
    pub async fn post(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        parts: &[Bytes],
    ) -> Result<Response, ClientError> {
        self.send(&Method::POST, uri, headers, parts).await
    }

    /// Sends a request with `parts`, laid end to end, as its body. `uri` is of the client's destination. A header
    /// `host` is what the server is to take for its name.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn send(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        parts: &[Bytes],
    ) -> Result<Response, ClientError> {
        let core = &self.0;
        core.started.call_once(|| self.start());
        let mut resends = 0;
        loop {
            let (lent, slot) = core.connection().await?;
            let used = lent.used;
            let mut exchange = Exchange { core, lent: Some(lent), begun: Instant::now() };
            let cut = match exchange.make(method, uri, headers, parts).await {
                Ok(response) => return Ok(response),
                Err(cut) => cut,
            };
            drop(slot);
            let again = match &cut {
                Cut::Unseen(_) => true,
                Cut::Silent(_) => used,
                Cut::Broken(_) => false,
            };
            if !again || resends == RESENDS_MAX {
                return Err(ClientError(cut.text()));
            }
            resends += 1;
        }
    }

    /// Looks after the pool as long as there is a client.
    fn start(&self) {
        let (open, mut closed) = oneshot::channel();
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        let core = Arc::downgrade(&self.0);
        let idle = self.0.options.idle_timeout;
        let every =
            if idle.is_zero() { LOOK_EVERY } else { idle.clamp(Duration::from_millis(100), LOOK_EVERY) };
        self.0.tasks.spawn("http connections", async move {
            let mut asked = Instant::now();
            loop {
                tokio::select! {
                    () = sleep(every) => {}
                    _ = &mut closed => return,
                }
                let Some(core) = core.upgrade() else { return };
                core.pool().expire(idle, Instant::now());
                if asked.elapsed() >= LOOK_EVERY && core.options.connector.may_move(&core.options.endpoint) {
                    asked = Instant::now();
                    core.refresh().await;
                }
            }
        });
    }
}

impl Core {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that takes a request, and the right to use it.
    async fn connection(&self) -> Result<(Lent, Option<SemaphorePermit<'_>>), ClientError> {
        let shared = self.pool().speaks_http2 == Some(true);
        let slot = match &self.slots {
            Some(slots) if !shared => slots.acquire().await.ok(),
            _ => None,
        };
        if let Some(lent) = self.kept().await {
            return Ok((lent, slot));
        }
        let may_share = self.options.connector.tls.is_some() && self.pool().speaks_http2 != Some(false);
        let _first = if may_share { Some(self.first.lock().await) } else { None };
        if may_share && let Some(lent) = self.kept().await {
            return Ok((lent, slot));
        }
        let lent = self.connect().await.map_err(|error| {
            ClientError(format!("cannot connect to {}: {error}", self.options.endpoint.authority()))
        })?;
        let mut pool = self.pool();
        pool.speaks_http2 = Some(matches!(lent.connection, Connection::Http2(_)));
        if let Connection::Http2(requests) = &lent.connection {
            pool.share(requests, &lent.address);
        }
        drop(pool);
        Ok((lent, slot))
    }

    /// A connection that is there already, and still good.
    async fn kept(&self) -> Option<Lent> {
        loop {
            let mut lent = self.pool().take()?;
            if lent.connection.is_ready().await {
                return Some(lent);
            }
        }
    }

    async fn connect(&self) -> std::io::Result<Lent> {
        let options = &self.options;
        let addresses = if self.forward {
            vec![Address::Proxy]
        } else {
            let addresses = options.connector.addresses(&options.endpoint).await?;
            let mut pool = self.pool();
            pool.resolved(addresses);
            pool.in_turn(Instant::now())
        };
        let (stream, address) = options.connector.connect(&options.endpoint, &addresses).await?;
        let connection = Connection::open(stream, &address, options, &self.tasks).await?;
        Ok(Lent { connection, address, used: false })
    }

    /// Asks for the name again. If that fails, what is known is kept.
    async fn refresh(&self) {
        match self.options.connector.addresses(&self.options.endpoint).await {
            Ok(addresses) => self.pool().resolved(addresses),
            Err(error) => {
                tracing::debug!(endpoint = %self.options.endpoint, %error, "cannot find the destination");
            }
        }
    }

    /// A request as the version of the connection wants it.
    fn request(
        &self,
        connection: &Connection,
        (method, uri, headers): (&Method, &Uri, &HeaderMap),
        parts: &[Bytes],
    ) -> Request<Parts> {
        let mut request = Request::new(Parts::of(parts));
        *request.method_mut() = method.clone();
        let mut headers = headers.clone();
        if let Some(jar) = &self.jar {
            let jar = jar.lock().unwrap_or_else(PoisonError::into_inner);
            let tls = self.options.connector.tls.is_some();
            if let Some(cookies) = jar.header(tls, uri.path(), SystemTime::now()) {
                headers.insert(COOKIE, cookies);
            }
        }
        match connection {
            Connection::Http2(_) => {
                *request.version_mut() = http::Version::HTTP_2;
                *request.uri_mut() = called(uri, headers.remove(HOST).as_ref());
            }
            Connection::Http1(_) => {
                if !headers.contains_key(HOST)
                    && let Some(host) =
                        uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
                {
                    headers.insert(HOST, host);
                }
                if !self.options.keep_alive {
                    headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if self.forward {
                    let proxy = self.options.connector.proxy.as_ref();
                    if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.clone()) {
                        headers.insert(PROXY_AUTHORIZATION, authorization);
                    }
                    *request.uri_mut() = uri.clone();
                } else {
                    *request.uri_mut() = path_of(uri);
                }
            }
        }
        *request.headers_mut() = headers;
        request
    }

    fn take_cookies(&self, uri: &Uri, headers: &HeaderMap) {
        if let Some(jar) = &self.jar {
            let mut jar = jar.lock().unwrap_or_else(PoisonError::into_inner);
            jar.take_in(headers, self.options.endpoint.host(), uri.path(), SystemTime::now());
        }
    }
}

/// One request on one connection. Dropped without an answer, it is the server's silence that made the caller give up.
struct Exchange<'a> {
    core: &'a Core,
    lent: Option<Lent>,
    begun: Instant,
}

impl Exchange<'_> {
    async fn make(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        parts: &[Bytes],
    ) -> Result<Response, Cut> {
        let Some(lent) = &mut self.lent else {
            return Err(Cut::Broken("the connection is in use".to_owned()));
        };
        let request = self.core.request(&lent.connection, (method, uri, headers), parts);
        let added = crate::confided::added(request.headers());
        let sent = lent.connection.send(request).await;
        let read = match sent {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok((head, Limited::new(body, REPLY_MAX).collect().await))
            }
            Err(cut) => Err(cut),
        };
        let Some(mut lent) = self.lent.take() else {
            return Err(Cut::Broken("the connection is in use".to_owned()));
        };
        let (head, body) = read?;
        self.core.take_cookies(uri, &head.headers);
        let whole = body.is_ok();
        let mut pool = self.core.pool();
        pool.trust(&lent.address);
        if whole && self.core.options.keep_alive {
            lent.used = true;
            pool.give_back(lent, self.core.options.max_idle, Instant::now());
        }
        drop(pool);
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(Response { status: head.status, headers: head.headers, body, added })
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if let Some(lent) = &self.lent
            && self.begun.elapsed() >= PATIENCE
        {
            self.core.pool().shun(&lent.address, Instant::now());
        }
    }
}

/// A URI with what the server is to take for its name.
fn called(uri: &Uri, host: Option<&HeaderValue>) -> Uri {
    let renamed = host.and_then(|host| {
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(host.to_str().ok()?.parse().ok()?);
        Uri::from_parts(parts).ok()
    });
    renamed.unwrap_or_else(|| uri.clone())
}

/// Path and query alone, as HTTP/1.1 wants them.
fn path_of(uri: &Uri) -> Uri {
    uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()))
}

/// An error with its causes, the last of which is usually what helps.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
