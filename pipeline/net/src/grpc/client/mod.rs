//! The client: a channel to a destination, which may be several servers behind one name.
//!
//! A channel keeps a connection to each address of the name and spreads calls over them. A server that is not there is
//! left out and tried again in the background; one that does not answer is shunned until it does; one that says that
//! it has not looked at a call (GOAWAY, REFUSED_STREAM) costs the caller nothing, because the call goes elsewhere at
//! once. Names are asked for again every 30 seconds, and when a connection breaks.
//!
//! # Invariants
//! - The lock around the pool is held for moments, and never while anything is awaited.
//! - A connection gets calls only after its server has answered a ping on it.
//! - A connection whose address is gone from the name gets no new calls, and is kept until those on it have ended.

mod keeper;
mod link;
mod message;
mod pool;

pub use pool::Balancing;

use super::{Code, PREFIX_LEN, Status};
use crate::compression::InflateError;
use crate::connect::{Address, Connector, advised};
use crate::{Confided, Encoding, Endpoint};
use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use link::Link;
use message::Message;
use millrace_engine::{Budget, Tasks};
use pool::{Pool, Pooled, Tried};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

/// The largest answer that is kept; an export response is a few bytes. What is longer is read to its end, where it says
/// how the call went, and dropped on the way: the server may have done what it was asked for.
const REPLY_MAX: usize = 64 << 10;
/// Beyond this it is not waited for its end: the window would let it go on for as long as the call may take.
const REPLY_DROPPED_MAX: usize = 16 << 20;
/// What inflating an answer may take, decoder and all.
const INFLATING: u64 = 16 << 20;
/// How often one call goes to another connection because a server has not looked at it.
const RESENDS_MAX: u32 = 5;
/// A call that was given up on earlier than this says nothing about the server.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a channel is given.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// Where to.
    pub endpoint: Endpoint,
    /// How to get there.
    pub connector: Connector,
    /// `:authority`, where it differs from the endpoint.
    pub authority: Option<String>,
    /// Headers sent with every call, `user-agent` among them.
    pub headers: HeaderMap,
    /// `grpc-encoding` of what is sent, if any.
    pub encoding: Option<&'static str>,
    /// How calls are spread.
    pub balancing: Balancing,
    /// Whether a call waits for a connection for as long as it may take, instead of failing when there is none.
    pub wait_for_ready: bool,
    /// How servers are asked whether they are still there.
    pub keepalive: Option<KeepAlive>,
}

impl ChannelOptions {
    /// Plain text to `endpoint`, calls in turn to each of its addresses, no headers.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connector: Connector::default(),
            authority: None,
            headers: HeaderMap::new(),
            encoding: None,
            balancing: Balancing::RoundRobin,
            wait_for_ready: false,
            keepalive: None,
        }
    }
}

/// Pings on connections on which nothing has been answered for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// For how long.
    pub time: Duration,
    /// How long the answer may take before the connection is taken for dead.
    pub timeout: Duration,
    /// Whether connections without calls are asked, too.
    pub permit_without_stream: bool,
}

/// A way to a destination, kept open. Connects on first use.
pub struct Channel {
    core: Arc<Core>,
    started: Once,
    /// Dropped with the channel, which ends its tasks.
    open: Mutex<Option<oneshot::Sender<()>>>,
}

/// What a channel shares with its tasks.
struct Core {
    options: ChannelOptions,
    headers: HeaderMap,
    tasks: Tasks,
    pool: Mutex<Pool<Arc<Link>>>,
    /// The pool has changed.
    changes: watch::Sender<u64>,
    /// A call needs a connection.
    calls: watch::Sender<u64>,
    /// The addresses may have changed.
    stale: Notify,
}

/// A successful answer.
#[derive(Debug)]
pub struct Reply {
    /// The response message; empty if it was larger than 64 KiB.
    pub message: Bytes,
}

/// A call did not succeed.
#[derive(Debug, Clone)]
pub enum CallError {
    /// There was no connection: nothing was sent.
    Unreachable(Status),
    /// The connection broke: the server may have got it or not.
    Broken(Status),
    /// The server's answer; its words as [`Confided::quote`] has them.
    Answered(Status),
}

impl CallError {
    /// What gRPC calls it.
    #[must_use]
    pub fn status(&self) -> &Status {
        let (Self::Unreachable(status) | Self::Broken(status) | Self::Answered(status)) = self;
        status
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}

impl Channel {
    /// A channel that connects on first use.
    #[must_use]
    pub fn new(options: ChannelOptions, tasks: Tasks) -> Self {
        let mut headers = options.headers.clone();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
        if let Some(encoding) = options.encoding {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        }
        let core = Core {
            pool: Mutex::new(Pool::new(options.balancing)),
            options,
            headers,
            tasks,
            changes: watch::Sender::new(0),
            calls: watch::Sender::new(0),
            stale: Notify::new(),
        };
        Self { core: Arc::new(core), started: Once::new(), open: Mutex::default() }
    }

    /// The URI of a method, made once per method.
    ///
    /// # Errors
    /// When the authority is not one.
    pub fn uri(&self, path: &'static str) -> Result<Uri, http::Error> {
        let options = &self.core.options;
        let authority = options.authority.clone().unwrap_or_else(|| options.endpoint.authority());
        let scheme = if options.connector.tls.is_some() { "https" } else { "http" };
        Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()
    }

    /// What every call is sent with.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.core.headers
    }

    /// Calls a method with one message, given in parts that are laid end to end. `headers` are those of
    /// [`Channel::headers`], and what the caller adds.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn unary(&self, uri: &Uri, headers: &HeaderMap, parts: &[Bytes]) -> Result<Reply, CallError> {
        self.started.call_once(|| self.start());
        let mut resends = 0;
        loop {
            let link = match self.core.pick() {
                Some(link) => link,
                None => self.core.wait().await?,
            };
            let mut attempt = Attempt::new(&self.core, link);
            match attempt.make(uri, headers, parts).await {
                Err(Cut::Unseen(_)) if resends < RESENDS_MAX => resends += 1,
                Err(Cut::Unseen(error) | Cut::Broken(error)) => {
                    return Err(CallError::Broken(self.core.broken(&error)));
                }
                Ok(answer) => {
                    let confided = || Confided::of(headers, &[], uri);
                    return answer.map_err(|status| CallError::Answered(status.quoted(&confided())));
                }
            }
        }
    }

    fn start(&self) {
        let (open, closed) = oneshot::channel();
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        keeper::start(&self.core, closed);
    }
}

impl Core {
    fn pool(&self) -> MutexGuard<'_, Pool<Arc<Link>>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pick(&self) -> Option<Arc<Link>> {
        self.pool().pick()
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// A connection, as soon as there is one.
    async fn wait(&self) -> Result<Arc<Link>, CallError> {
        let mut changes = self.changes.subscribe();
        let before = self.pool().tried();
        // Whoever waits to try again does so now.
        self.calls.send_modify(|calls| *calls += 1);
        self.stale.notify_one();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.found(&before) {
                return found;
            }
            // The sender is ours.
            let _ = changes.changed().await;
        }
    }

    fn found(&self, before: &Tried) -> Option<Result<Arc<Link>, CallError>> {
        let mut pool = self.pool();
        if let Some(link) = pool.pick() {
            return Some(Ok(link));
        }
        let problem = pool.in_vain_since(before).filter(|_| !self.options.wait_for_ready)?;
        let text = format!("cannot connect to {}: {problem}", self.options.endpoint);
        Some(Err(CallError::Unreachable(Status::new(Code::Unavailable, text))))
    }

    /// Takes a connection out that takes no more calls.
    fn down(&self, link: &Arc<Link>) {
        self.pool().down(link);
        self.changed();
    }

    fn broken(&self, error: &h2::Error) -> Status {
        let text = advised(&error.to_string());
        Status::new(Code::Unavailable, format!("the connection to {} broke: {text}", self.options.endpoint))
    }
}

impl Pooled for Arc<Link> {
    fn address(&self) -> &Address {
        &self.address
    }

    fn is_shunned(&self) -> bool {
        Link::is_shunned(self)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }
}

/// One attempt at a call. Dropped without an answer, it is the server's silence that made the caller give up.
struct Attempt<'a> {
    core: &'a Core,
    link: Arc<Link>,
    begun: Instant,
    answered_before: u64,
    ended: bool,
}

/// There was no answer.
enum Cut {
    /// The server has not looked at the call.
    Unseen(h2::Error),
    /// It may have.
    Broken(h2::Error),
}

impl<'a> Attempt<'a> {
    fn new(core: &'a Core, link: Arc<Link>) -> Self {
        let answered_before = link.answered();
        Self { core, link, begun: Instant::now(), answered_before, ended: false }
    }

    async fn make(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
        parts: &[Bytes],
    ) -> Result<Result<Reply, Status>, Cut> {
        let result = self.exchange(uri, headers, parts).await;
        self.ended = true;
        match &result {
            Ok(_) => self.link.answers(),
            Err(Cut::Unseen(error)) if is_refusal(error) => {}
            Err(Cut::Unseen(_)) => self.core.down(&self.link),
            Err(Cut::Broken(error)) if error.is_reset() => self.link.answers(),
            Err(Cut::Broken(_)) => self.core.down(&self.link),
        }
        result
    }

    async fn exchange(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        parts: &[Bytes],
    ) -> Result<Result<Reply, Status>, Cut> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        let answer = self.send(request, parts).await.map_err(Cut::Unseen)?;
        let answer = answer.await.map_err(|error| {
            // What the server says it has not seen, it has not seen.
            let unseen = error.is_go_away() && error.is_remote() || is_refusal(&error);
            if unseen { Cut::Unseen(error) } else { Cut::Broken(error) }
        })?;
        read(answer).await.map_err(Cut::Broken)
    }

    /// Queues the request and its message; frames are cut and sent as the peer's windows allow.
    async fn send(&self, request: Request<()>, parts: &[Bytes]) -> Result<ResponseFuture, h2::Error> {
        let mut requests = self.link.requests.clone().ready().await?;
        let (answer, mut stream) = requests.send_request(request, false)?;
        let compressed = self.core.options.encoding.is_some();
        stream.send_data(Message::new(parts, compressed, &self.link.known), true)?;
        Ok(answer)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let waited = || self.begun.elapsed() >= PATIENCE;
        if !self.ended && self.link.answered() == self.answered_before && waited() {
            self.link.is_silent();
        }
    }
}

/// The server says that it has not looked at the call.
fn is_refusal(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
}

/// What an answer says.
async fn read(answer: Response<h2::RecvStream>) -> Result<Result<Reply, Status>, h2::Error> {
    let (head, mut body) = answer.into_parts();
    if head.status != http::StatusCode::OK {
        let code = Code::from_http(head.status.as_u16());
        let text = format!("unexpected HTTP status code received from server: {}", head.status);
        return Ok(Err(Status::new(code, text)));
    }
    if let Some(status) = Status::from_trailers(&head.headers) {
        return Ok(finished(status, &Bytes::new(), None));
    }
    let encoding =
        head.headers.get("grpc-encoding").map(|name| Encoding::from_grpc_encoding(name.as_bytes()));
    // None once it is too large to be kept.
    let mut message = Some(BytesMut::new());
    let mut len = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        len += chunk.len();
        if len > REPLY_DROPPED_MAX {
            let text = format!("the answer is longer than {REPLY_DROPPED_MAX} bytes");
            return Ok(Err(Status::new(Code::ResourceExhausted, text)));
        }
        // The window is the connection's; a failure means that it has gone, and the next read says so.
        let _ = body.flow_control().release_capacity(chunk.len());
        message = message.filter(|message| message.len() + chunk.len() <= REPLY_MAX);
        if let Some(message) = &mut message {
            message.extend_from_slice(&chunk);
        }
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let status = Status::from_trailers(&trailers)
        .unwrap_or_else(|| Status::new(Code::Internal, "server closed the stream without sending trailers"));
    let message = message.map(BytesMut::freeze).unwrap_or_else(|| {
        is_dropped();
        Bytes::new()
    });
    Ok(finished(status, &message, encoding.flatten()))
}

/// Whatever such an answer said, nobody has read it.
fn is_dropped() {
    tracing::warn!(limit_bytes = REPLY_MAX, "an answer was too large to be read; only its status counts");
}

fn finished(status: Status, framed: &Bytes, encoding: Option<Encoding>) -> Result<Reply, Status> {
    if status.code != Code::Ok {
        return Err(status);
    }
    let message = unframed(framed, encoding).map_err(|problem| Status::new(Code::Internal, problem))?;
    Ok(Reply { message })
}

/// The message of an answer; an empty one where there is none. It may be compressed although nobody has asked for it:
/// grpc-go answers in the encoding in which it was asked.
fn unframed(framed: &Bytes, encoding: Option<Encoding>) -> Result<Bytes, String> {
    let Some((&[flag, a, b, c, d], rest)) = framed.split_first_chunk::<PREFIX_LEN>() else {
        return Ok(Bytes::new());
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if rest.len() < len {
        return Err("the answer ends within its message".to_owned());
    }
    let message = framed.slice(PREFIX_LEN..PREFIX_LEN + len);
    match (flag, encoding) {
        (0, _) => Ok(message),
        (1, Some(encoding)) => match encoding.inflate(&message, REPLY_MAX, &Budget::new(INFLATING)) {
            Ok((message, _)) => Ok(message),
            Err(InflateError::TooLarge(_) | InflateError::NeverFits(_) | InflateError::OverBudget) => {
                is_dropped();
                Ok(Bytes::new())
            }
            Err(error) => Err(format!("the answer cannot be inflated: {error}")),
        },
        _ => Err("the answer is compressed, and does not say how".to_owned()),
    }
}
