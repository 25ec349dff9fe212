//! The server: one task per connection, one per request.

use super::conduct::Conduct;
use super::head::{Head, Refusal, unknown_method};
use super::keepalive::{Act, Keepalive, Life, Signs};
use super::message::{Message, receive};
use super::stream::{Answers, stream};
use super::watch::{FrameWatch, Misuse, PingPolicy, calm_down};
use super::{Code, Status, prefix};
use crate::admission::Admission;
use crate::coalesce::{Coalesced, Flusher, coalesce_watched};
use crate::connections::{Door, Lease, Refused, Stopping, WINDOW_MAX, WINDOW_MIN, Windows, accept};
use crate::stream::{Listener, Peer, Socket, Stream};
use crate::tls::server::HELLO;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::task::noop_waker;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use millrace_engine::extension::Denied;
use millrace_engine::{BoxFuture, Budget, Charge, Failure, Identity, Tasks};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout, timeout_at};

/// The limit for the HTTP/2 preface and settings of a new connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit for receiving one request; a sender slower than this holds memory for too long.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest frame we accept. Frames are also bounded by the window, so this costs memory only under a lease.
const FRAME_MAX: u32 = 1 << 20;
/// The headers of a request, in all.
const HEADER_LIST_MAX: u32 = 16 << 10;
/// Requests under way per connection unless configured: each holds its headers, which no budget is asked for.
const STREAMS_MAX: u32 = 1000;
/// Streams that a peer may reset before we have answered them; more is an attack.
const RESETS_MAX: usize = 100;

/// A connection's stream: what is written to it gathers, and what is read is watched.
type Watched = Coalesced<Stream, FrameWatch>;

/// What the server is given.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The largest message, compressed or not, in bytes.
    pub max_message: usize,
    /// Requests under way per connection; `None` means 1,000. Clients keep further ones to themselves meanwhile.
    pub max_streams: Option<u32>,
    /// What messages are charged to.
    pub budget: Budget,
    /// What windows are leased from.
    pub windows: Arc<Windows>,
    /// Counts of connections, what they are charged to, and their TLS.
    pub door: Door,
    /// Who may come in.
    pub admission: Admission,
    /// How long connections live.
    pub keepalive: Keepalive,
    /// How often clients may ping.
    pub pings: PingPolicy,
}

/// One call, received whole.
#[derive(Debug)]
pub struct Call {
    /// What [`Unary::route`] said.
    pub route: u8,
    /// The message, inflated.
    pub message: Bytes,
    /// What it holds of the budget.
    pub charge: Charge,
    /// Its size on the wire.
    pub wire_bytes: usize,
    /// Where it came from; Unix sockets have no addresses.
    pub peer: Option<SocketAddr>,
    /// Who sent it, where that is asked for.
    pub identity: Option<Arc<Identity>>,
    /// Its headers.
    pub headers: HeaderMap,
    /// When its headers arrived.
    pub received: Instant,
}

/// A service of unary methods.
pub trait Unary: Send + Sync + 'static {
    /// The method behind a path, as a number of the service's own.
    fn route(&self, path: &str) -> Option<u8>;

    /// Handles a call; the answer is the encoded response message.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Bytes, Status>>;

    /// The answers to a call, if it is of a method that has many; [`Unary::call`] is not asked then.
    fn answers(&self, _call: &Call) -> Option<Answers> {
        None
    }

    /// What a sender is told of a failure.
    fn status(&self, failure: &Failure) -> Status;

    /// A call was refused before it reached [`Unary::call`].
    fn refused(&self, status: &Status);

    /// A call of a known method has been answered, be it with a refusal.
    fn answered(&self, _path: &str, _code: Code, _received: Instant) {}
}

/// A gRPC server for one service.
pub struct Server<U> {
    service: Arc<U>,
    options: ServerOptions,
    tasks: Tasks,
}

impl<U: Unary> Server<U> {
    /// A server of `service`.
    pub fn new(service: Arc<U>, options: ServerOptions, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { service, options, tasks })
    }

    /// Serves until `stopping`, and then until every connection has ended.
    pub async fn serve(self: Arc<Self>, listener: impl Into<Listener>, stopping: Stopping) {
        let (tasks, door) = (self.tasks.clone(), self.options.door.clone());
        let serve = |socket, peer, stopping| Arc::clone(&self).connection(socket, peer, stopping);
        accept(listener.into(), tasks, door, stopping, serve).await;
    }

    async fn connection(self: Arc<Self>, socket: Socket, peer: Peer, mut stopping: Stopping) {
        let secured = tokio::select! {
            secured = self.options.door.secure(socket, peer) => secured,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        // Whoever does not speak TLS does not wait for an answer in plain text either.
        let Ok(stream) = secured else { return };
        let conduct = Conduct::begin(self.options.keepalive.max_idle.is_some());
        let watch = FrameWatch::new().with_pings(self.options.pings, &conduct);
        let (stream, flusher) = coalesce_watched(stream, watch);
        // In boxes, because the task of a connection keeps the room of its largest moment for as long as it lives, and
        // what is handed from one future to the next has room in both.
        let handshake = Box::pin(flusher.drive_watched(self.http2().handshake(stream)));
        let connection = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(Ok(connection))) => Box::new(connection),
            Ok(Ok(Err(error))) => {
                if self.options.door.tls.is_none() && flusher.first_at_hand() == Some(HELLO) {
                    self.options.door.refuse_tls(peer);
                }
                return tracing::debug!(%peer, %error, "the HTTP/2 handshake failed");
            }
            Ok(Err(misuse)) => return Box::pin(self.end_misuse(peer, misuse, &flusher)).await,
            Err(_) => return tracing::debug!(%peer, "the HTTP/2 handshake took too long"),
        };
        self.drive(connection, &flusher, conduct, peer, stopping).await;
    }

    fn http2(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(WINDOW_MIN)
            .initial_connection_window_size(WINDOW_MIN)
            .max_frame_size(FRAME_MAX)
            .max_header_list_size(HEADER_LIST_MAX)
            .max_concurrent_streams(self.options.max_streams.unwrap_or(STREAMS_MAX))
            .max_pending_accept_reset_streams(RESETS_MAX);
        builder
    }

    /// From the first request of a connection to its end.
    async fn drive(
        self: Arc<Self>,
        mut connection: Box<Connection<Watched, Bytes>>,
        flusher: &Flusher<Stream, FrameWatch>,
        conduct: Arc<Conduct>,
        peer: Peer,
        mut stopping: Stopping,
    ) {
        let mut pings = connection.ping_pong();
        let mut life = Life::begin(self.options.keepalive, now(), fastrand::f64());
        let timer = sleep_until(life.next().into());
        tokio::pin!(timer);
        let mut lease = None;
        let mut finishing = false;
        let misuse = loop {
            tokio::select! {
                request = flusher.drive_watched(connection.accept()) => match request {
                    Ok(Some(Ok((request, respond)))) => {
                        self.grow(&conduct, &mut connection, &mut lease);
                        let exchange = Arc::clone(&self).exchange(request, respond, peer, Arc::clone(&conduct));
                        self.tasks.spawn("request", exchange);
                    }
                    Ok(Some(Err(error))) => {
                        tracing::debug!(%peer, %error, "the connection broke");
                        break None;
                    }
                    Ok(None) => break None,
                    Err(misuse) => break Some(misuse),
                },
                _ = stopping.wait_for(|stopping| *stopping), if !finishing => {
                    connection.graceful_shutdown();
                    finishing = true;
                }
                () = timer.as_mut() => {
                    let signs = Signs {
                        reads: flusher.reads(),
                        requests: conduct.under_way(),
                        last_request: conduct.last_end().into_std(),
                    };
                    match life.act(now(), signs) {
                        Act::Nothing => {}
                        Act::Ping => ping(pings.as_mut()),
                        Act::Drain => connection.graceful_shutdown(),
                        Act::Cut => break None,
                        Act::Unresponsive => {
                            tracing::info!(%peer, "a client does not answer pings; closing its connection");
                            self.options.door.refused.count(Refused::Unresponsive);
                            break None;
                        }
                    }
                    timer.as_mut().reset(life.next().into());
                }
            }
        };
        drop(connection);
        match misuse {
            Some(misuse) => Box::pin(self.end_misuse(peer, misuse, flusher)).await,
            None => Box::pin(flusher.finish()).await,
        }
    }

    async fn end_misuse(&self, peer: Peer, misuse: Misuse, flusher: &Flusher<Stream, FrameWatch>) {
        let (reason, what) = match misuse {
            Misuse::Flood => (Refused::Flood, "a client sends HTTP/2 frames that carry nothing, in masses"),
            Misuse::TooManyPings => (
                Refused::TooManyPings,
                "a client pings more often than `keepalive::enforcement_policy` allows",
            ),
        };
        tracing::warn!(otelcol.component.id = %self.options.door.component, %peer, reason = reason.name(), "{what}; closing its connection");
        self.options.door.refused.count(reason);
        let last_stream = flusher.watched(FrameWatch::last_stream);
        flusher.finish_with(&calm_down(last_stream, misuse)).await;
    }

    /// Grows the windows of a connection once, if its requests ask for it and the budget grants a lease.
    fn grow(
        &self,
        conduct: &Conduct,
        connection: &mut Connection<Watched, Bytes>,
        lease: &mut Option<Lease>,
    ) {
        if lease.is_some() || !conduct.take_wants_window() {
            return;
        }
        if let Some(granted) = self.options.windows.lease(WINDOW_MAX)
            // Fails only while an earlier change is still unanswered, and there has been none.
            && connection.set_initial_window_size(granted.size()).is_ok()
        {
            connection.set_target_window_size(granted.size());
            *lease = Some(granted);
        }
    }

    /// Who sent a request, if it may come in.
    async fn admit(&self, headers: &HeaderMap, latest: Instant) -> Result<Option<Arc<Identity>>, Status> {
        let admission = &self.options.admission;
        let identity = match timeout_at(latest.into(), admission.authenticate(headers)).await {
            Ok(Ok(identity)) => identity,
            Ok(Err(Denied::Unauthenticated(denied))) => {
                return Err(Status::new(Code::Unauthenticated, denied.to_string()));
            }
            Ok(Err(Denied::NotNow(failure))) => return Err(self.service.status(&failure)),
            Err(_) => return Err(Status::new(Code::DeadlineExceeded, "authentication took too long")),
        };
        admission.pass().map_err(|failure| self.service.status(&failure))?;
        Ok(identity)
    }

    /// One request and its answer.
    async fn exchange(
        self: Arc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        peer: Peer,
        conduct: Arc<Conduct>,
    ) {
        self.answer(request, &mut respond, peer, &conduct).await;
        conduct.answered();
    }

    async fn answer(
        &self,
        request: Request<RecvStream>,
        respond: &mut SendResponse<Bytes>,
        peer: Peer,
        conduct: &Conduct,
    ) {
        let received = Instant::now();
        let (request, mut body) = request.into_parts();
        let Head { content_type, encoding, deadline } = match Head::read(&request, received) {
            Ok(head) => head,
            Err(refusal) => {
                self.service.refused(&refusal.status);
                let path = request.uri.path();
                if refusal.http == http::StatusCode::OK && self.service.route(path).is_some() {
                    self.service.answered(path, refusal.status.code, received);
                }
                return refuse(respond, HeaderValue::from_static("application/grpc"), &refusal);
            }
        };
        // Methods have no query; what has one is another name.
        let route = match request.uri.query() {
            None => self.service.route(request.uri.path()),
            Some(_) => None,
        };
        let Some(route) = route else {
            let status = unknown_method(request.uri.path());
            self.service.refused(&status);
            return refuse(respond, content_type, &status.into());
        };
        let latest = received + RECEIVE_TIMEOUT;
        let latest = deadline.map_or(latest, |deadline| deadline.min(latest));
        let identity = if self.options.admission.asks_nothing() {
            None
        } else {
            match self.admit(&request.headers, latest).await {
                Ok(identity) => identity,
                Err(status) => {
                    self.service.refused(&status);
                    self.service.answered(request.uri.path(), status.code, received);
                    return refuse(respond, content_type, &status.into());
                }
            }
        };
        let receiving = receive(&mut body, encoding, self.options.max_message, &self.options.budget);
        let message = timeout_at(latest.into(), receiving).await.unwrap_or_else(|_| {
            Err(Status::new(Code::DeadlineExceeded, "the request took too long to arrive"))
        });
        let Message { bytes: message, charge, wire_bytes } = match message {
            Ok(message) => message,
            Err(status) => {
                self.service.refused(&status);
                self.service.answered(request.uri.path(), status.code, received);
                return refuse(respond, content_type, &status.into());
            }
        };
        drop(body);
        if wire_bytes > WINDOW_MIN as usize / 2 {
            conduct.want_window();
        }
        let call = Call {
            route,
            message,
            charge,
            wire_bytes,
            peer: peer.0,
            identity,
            headers: request.headers,
            received,
        };
        if let Some(answers) = self.service.answers(&call) {
            let code = Box::pin(stream(respond, head(content_type), answers, deadline)).await;
            return self.service.answered(request.uri.path(), code, received);
        }
        let call = self.service.call(call);
        let answer = match deadline {
            None => call.await,
            Some(deadline) => timeout_at(deadline.into(), call)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        };
        let code = answer.as_ref().err().map_or(Code::Ok, |status| status.code);
        self.service.answered(request.uri.path(), code, received);
        match answer {
            Ok(message) => answer_with(respond, content_type, &message),
            Err(status) => refuse(respond, content_type, &status.into()),
        }
    }
}

/// The time by the clock that timers go by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Sends a ping, unless the last one is still unanswered. Its answer is a read like any other.
fn ping(pings: Option<&mut PingPong>) {
    let Some(pings) = pings else { return };
    // Takes note of the last answer, or another could not be sent.
    let _ = pings.poll_pong(&mut Context::from_waker(&noop_waker()));
    let _ = pings.send_ping(Ping::opaque());
}

/// Headers, one message, trailers. Errors mean that the peer has gone; it will send again.
fn answer_with(respond: &mut SendResponse<Bytes>, content_type: HeaderValue, message: &[u8]) {
    let Ok(mut stream) = respond.send_response(head(content_type), false) else { return };
    let mut framed = BytesMut::with_capacity(super::PREFIX_LEN + message.len());
    framed.put_slice(&prefix(message.len(), false));
    framed.put_slice(message);
    if stream.send_data(framed.freeze(), false).is_ok() {
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let _ = stream.send_trailers(trailers);
    }
}

/// Trailers only.
fn refuse(respond: &mut SendResponse<Bytes>, content_type: HeaderValue, refusal: &Refusal) {
    let mut response = head(content_type);
    *response.status_mut() = refusal.http;
    response.headers_mut().extend(refusal.status.to_trailers());
    let _ = respond.send_response(response, true);
}

fn head(content_type: HeaderValue) -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}
