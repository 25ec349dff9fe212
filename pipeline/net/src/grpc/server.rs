//! The server: one task per connection, one per request.

use super::message::{Message, receive};
use super::{Code, Status, prefix};
use crate::Encoding;
use crate::connections::{Door, Lease, Stopping, WINDOW_MIN, Windows, accept};
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
use tokio::time::timeout;

/// The limit for the HTTP/2 preface and settings of a new connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit for receiving one request; a sender slower than this holds memory for too long.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest frame we accept. Frames are also bounded by the window, so this costs memory only under a lease.
const FRAME_MAX: u32 = 1 << 20;
/// The headers of a request, in all.
const HEADER_LIST_MAX: u32 = 16 << 10;
/// Streams that a peer may reset before we have answered them; more is an attack.
const RESETS_MAX: usize = 100;

/// What the server is given.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The largest message, compressed or not, in bytes.
    pub max_message: usize,
    /// Requests under way per connection; `None` leaves it to the client.
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
    fn refused(&self, route: u8, status: &Status);
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
            .max_pending_accept_reset_streams(RESETS_MAX);
        if let Some(streams) = self.options.max_streams {
            builder.max_concurrent_streams(streams);
        }
        let mut connection = match timeout(HANDSHAKE_TIMEOUT, builder.handshake(stream)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "the HTTP/2 handshake failed"),
            Err(_) => return tracing::debug!(%peer, "the HTTP/2 handshake took too long"),
        };
        let window = Arc::new(Window::default());
        let mut lease = None;
        let mut finishing = false;
        loop {
            tokio::select! {
                request = connection.accept() => match request {
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
    }

    /// One request and its answer.
    async fn exchange(
        self: Arc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        peer: SocketAddr,
        window: Arc<Window>,
    ) {
        let (head, mut body) = request.into_parts();
        let content_type =
            head.headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if head.method != http::Method::POST || !content_type.starts_with(b"application/grpc") {
            let status = if head.method == http::Method::POST { 415 } else { 405 };
            let mut response = Response::new(());
            *response.status_mut() = http::StatusCode::from_u16(status).expect("a valid status");
            // An error means that the peer has gone; there is nobody left to tell.
            let _ = respond.send_response(response, true);
            return;
        }
        let Some(route) = self.service.route(head.uri.path()) else {
            let message = format!("unknown method {}", head.uri.path());
            return refuse(&mut respond, &Status::new(Code::Unimplemented, message));
        };
        let received = Instant::now();
        let encoding = head
            .headers
            .get("grpc-encoding")
            .map_or(Some(Encoding::None), |name| Encoding::from_grpc_encoding(name.as_bytes()));
        let receiving = receive(&mut body, encoding, self.options.max_message, &self.options.budget);
        let message = timeout(RECEIVE_TIMEOUT, receiving).await.unwrap_or_else(|_| {
            Err(Status::new(Code::DeadlineExceeded, "the request took too long to arrive"))
        });
        let Message { bytes: message, charge, wire_bytes } = match message {
            Ok(message) => message,
            Err(status) => {
                self.service.refused(route, &status);
                return refuse(&mut respond, &status);
            }
        };
        drop(body);
        window.saw(wire_bytes);
        let limit = head.headers.get("grpc-timeout").and_then(|value| parse_timeout(value.as_bytes()));
        let call = self.service.call(Call {
            route,
            message,
            charge,
            wire_bytes,
            peer,
            headers: head.headers,
            received,
        });
        let answer = match limit {
            None => call.await,
            Some(limit) => timeout(limit, call)
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        };
        match answer {
            Ok(message) => answer_with(&mut respond, &message),
            Err(status) => refuse(&mut respond, &status),
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
        connection: &mut Connection<TcpStream, Bytes>,
        windows: &Arc<Windows>,
        lease: &mut Option<Lease>,
    ) {
        if lease.is_some() || !self.wanted.swap(false, Relaxed) {
            return;
        }
        if let Some(granted) = windows.lease()
            // Fails only while an earlier change is still unanswered, and there has been none.
            && connection.set_initial_window_size(granted.size()).is_ok()
        {
            connection.set_target_window_size(granted.size());
            *lease = Some(granted);
        }
    }
}

/// Headers, one message, trailers. Errors mean that the peer has gone; it will send again.
fn answer_with(respond: &mut SendResponse<Bytes>, message: &[u8]) {
    let Ok(mut stream) = respond.send_response(head(), false) else { return };
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
fn refuse(respond: &mut SendResponse<Bytes>, status: &Status) {
    let mut response = head();
    response.headers_mut().extend(status.to_trailers());
    let _ = respond.send_response(response, true);
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        assert_eq!(parse_timeout(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in [&b""[..], b"S", b"5", b"5x", b"123456789S", b"-1S"] {
            assert_eq!(parse_timeout(bad), None);
        }
    }
}
