//! The server: one task per connection, one per request.

use super::head::{Head, Refusal, unknown_method};
use super::message::{Message, receive};
use super::{Code, Status, prefix};
use crate::coalesce::{Coalesced, coalesce};
use crate::connections::{Door, Lease, Stopping, WINDOW_MAX, WINDOW_MIN, Windows, accept};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use millrace_engine::{BoxFuture, Budget, Charge, Tasks};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{timeout, timeout_at};

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
    /// Counts of connections, and what they are charged to.
    pub door: Door,
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
    /// Who sent it.
    pub peer: SocketAddr,
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
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stopping: Stopping) {
        let (tasks, door) = (self.tasks.clone(), self.options.door.clone());
        let serve = |stream, peer, stopping| Arc::clone(&self).connection(stream, peer, stopping);
        accept(listener, tasks, door, stopping, serve).await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, mut stopping: Stopping) {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(WINDOW_MIN)
            .initial_connection_window_size(WINDOW_MIN)
            .max_frame_size(FRAME_MAX)
            .max_header_list_size(HEADER_LIST_MAX)
            .max_concurrent_streams(self.options.max_streams.unwrap_or(STREAMS_MAX))
            .max_pending_accept_reset_streams(RESETS_MAX);
        let (stream, flusher) = coalesce(stream);
        let handshake = flusher.drive(builder.handshake(stream));
        let mut connection = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "the HTTP/2 handshake failed"),
            Err(_) => return tracing::debug!(%peer, "the HTTP/2 handshake took too long"),
        };
        let window = Arc::new(Window::default());
        let mut lease = None;
        let mut finishing = false;
        loop {
            tokio::select! {
                request = flusher.drive(connection.accept()) => match request {
                    Some(Ok((request, respond))) => {
                        window.grow(&mut connection, &self.options.windows, &mut lease);
                        let exchange = Arc::clone(&self).exchange(request, respond, peer, Arc::clone(&window));
                        self.tasks.spawn("request", exchange);
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%peer, %error, "the connection broke");
                        break;
                    }
                    None => break,
                },
                _ = stopping.wait_for(|stopping| *stopping), if !finishing => {
                    connection.graceful_shutdown();
                    finishing = true;
                }
            }
        }
        flusher.finish().await;
    }

    /// One request and its answer.
    async fn exchange(
        self: Arc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        peer: SocketAddr,
        window: Arc<Window>,
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
                return refuse(&mut respond, HeaderValue::from_static("application/grpc"), &refusal);
            }
        };
        let Some(route) = self.service.route(request.uri.path()) else {
            let status = unknown_method(request.uri.path());
            self.service.refused(&status);
            return refuse(&mut respond, content_type, &status.into());
        };
        let latest = received + RECEIVE_TIMEOUT;
        let latest = deadline.map_or(latest, |deadline| deadline.min(latest));
        let receiving = receive(&mut body, encoding, self.options.max_message, &self.options.budget);
        let message = timeout_at(latest.into(), receiving).await.unwrap_or_else(|_| {
            Err(Status::new(Code::DeadlineExceeded, "the request took too long to arrive"))
        });
        let Message { bytes: message, charge, wire_bytes } = match message {
            Ok(message) => message,
            Err(status) => {
                self.service.refused(&status);
                self.service.answered(request.uri.path(), status.code, received);
                return refuse(&mut respond, content_type, &status.into());
            }
        };
        drop(body);
        window.saw(wire_bytes);
        let call = self.service.call(Call {
            route,
            message,
            charge,
            wire_bytes,
            peer,
            headers: request.headers,
            received,
        });
        let answer = match deadline {
            None => call.await,
            Some(deadline) => timeout_at(deadline.into(), call)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        };
        let code = answer.as_ref().err().map_or(Code::Ok, |status| status.code);
        self.service.answered(request.uri.path(), code, received);
        match answer {
            Ok(message) => answer_with(&mut respond, content_type, &message),
            Err(status) => refuse(&mut respond, content_type, &status.into()),
        }
    }
}

/// Whether a connection's requests are large enough for a larger window to help.
#[derive(Default)]
struct Window {
    wanted: AtomicBool,
}

impl Window {
    fn saw(&self, bytes: usize) {
        if bytes > WINDOW_MIN as usize / 2 && !self.wanted.load(Relaxed) {
            self.wanted.store(true, Relaxed);
        }
    }

    /// Grows the windows of a connection once, if its requests ask for it and the budget grants a lease.
    fn grow(
        &self,
        connection: &mut Connection<Coalesced<TcpStream>, Bytes>,
        windows: &Arc<Windows>,
        lease: &mut Option<Lease>,
    ) {
        if lease.is_some() || !self.wanted.swap(false, Relaxed) {
            return;
        }
        if let Some(granted) = windows.lease(WINDOW_MAX)
            // Fails only while an earlier change is still unanswered, and there has been none.
            && connection.set_initial_window_size(granted.size()).is_ok()
        {
            connection.set_target_window_size(granted.size());
            *lease = Some(granted);
        }
    }
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
