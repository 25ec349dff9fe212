//! Serving HTTP: an axum router behind limits on headers, time and memory. HTTP/1.1 in plain text; over TLS also
//! HTTP/2, where the client asks for it.

use super::ambiguity::ambiguity;
use super::head;
use super::http1::READ_BUFFER_LEASED;
use super::pace::Timeouts;
use super::watch::{Flood, FrameWatch};
use crate::coalesce::coalesce_watched;
use crate::connections::{Door, Refused, Stopping, WINDOW_MIN, Windows, accept};
use crate::stream::{Listener, OverTls, Peer, Socket, Stream};
use crate::tls::ALPN_H2;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_engine::{Current, Gone, Reading, Tasks};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

/// Requests under way per HTTP/2 connection; what Go's server allows.
const STREAMS_MAX: u32 = 250;
/// The headers of an HTTP/2 request, in all.
const HEADER_LIST_MAX: u32 = 16 << 10;
/// Streams that a peer may reset before we have answered them; more is an attack.
const RESETS_MAX: usize = 100;
/// How long a client in plain text may take to be told that this is no place for it.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// What Go's server tells it.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// What a server is given.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// How slow peers may be.
    pub timeouts: Timeouts,
    /// Whether connections are used for more than one request.
    pub keep_alive: bool,
    /// Counts of connections, what they are charged to, and their TLS.
    pub door: Door,
    /// What read buffers and windows are leased from; without it they stay small.
    pub windows: Option<Arc<Windows>>,
}

/// An HTTP server for one router at a time. Handlers find out who is at the other end by the extension [`Peer`]. Clones
/// are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    pub(super) router: Arc<Current<Router>>,
    pub(super) options: ServerOptions,
    tasks: Tasks,
}

impl Server {
    /// A server of `router`, and what tells when the last of its requests is over.
    #[must_use]
    pub fn new(router: Router, options: ServerOptions, tasks: Tasks) -> (Self, Gone) {
        let (router, gone) = Current::new(router);
        (Self { router: Arc::new(router), options, tasks }, gone)
    }

    /// Serves `router` from the next request on, also on connections that are open, and shows new ones the certificates
    /// of `door`. Tells when the last request of `router` is over.
    pub fn replace(&self, router: Router, door: &Door) -> Gone {
        self.options.door.take_certificates_of(door);
        self.router.replace(router)
    }

    /// Serves until `stopping`, and then until every connection has ended.
    pub async fn serve(self, listener: impl Into<Listener>, stopping: Stopping) {
        let (tasks, door) = (self.tasks.clone(), self.options.door.clone());
        // Shared, because what every connection holds of it adds up.
        let server = Arc::new(self);
        let serve = |socket, peer, stopping| Arc::clone(&server).connection(socket, peer, stopping);
        accept(listener.into(), tasks, door, stopping, serve).await;
    }

    pub(super) async fn connection(self: Arc<Self>, socket: Socket, peer: Peer, mut stopping: Stopping) {
        let secured = tokio::select! {
            secured = self.secure(socket, peer) => secured,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match secured {
            Some(stream) if stream.alpn() == Some(ALPN_H2) => {
                Box::pin(self.http2(stream, peer, stopping)).await;
            }
            Some(stream) => self.http1(stream, peer, stopping).await,
            None => {}
        }
    }

    /// A connection that speaks what it must; whoever does not is told so.
    async fn secure(&self, socket: Socket, peer: Peer) -> Option<Stream> {
        match self.options.door.secure(socket, peer).await {
            Ok(stream) => Some(stream),
            Err(plain) => {
                if let Some(mut plain) = plain {
                    // It is gone, or has heard; either way that was all.
                    let _ = timeout(FAREWELL_TIMEOUT, farewell(&mut plain)).await;
                }
                None
            }
        }
    }

    async fn http2(&self, stream: Stream, peer: Peer, mut stopping: Stopping) {
        let lease =
            self.options.windows.as_ref().and_then(|windows| windows.lease_buffer(READ_BUFFER_LEASED));
        let window = lease.as_ref().map_or(WINDOW_MIN, |lease| lease.size());
        let tls = stream.over_tls();
        let (stream, flusher) = coalesce_watched(stream, FrameWatch::new());
        let mut builder = http2::Builder::new(Supervised(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window)
            .max_header_list_size(HEADER_LIST_MAX)
            .max_concurrent_streams(STREAMS_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX);
        // Requests that have come, and a clone for each that is under way.
        let requests = Arc::new(AtomicU64::new(0));
        let service = service_fn(|request| {
            let under_way = Arc::clone(&requests);
            under_way.fetch_add(1, Relaxed);
            let answering = answer(self.router.read(), peer, tls, request);
            async move {
                let answer = answering.await;
                drop(under_way);
                answer
            }
        });
        let mut serving = Box::pin(builder.serve_connection(TokioIo::new(stream), service));
        let idle = self.options.timeouts.idle;
        let timer = sleep(idle);
        tokio::pin!(timer);
        let (mut seen, mut finishing) = (0, false);
        let flood = loop {
            tokio::select! {
                ended = flusher.drive_watched(serving.as_mut()) => match ended {
                    Ok(Ok(())) => break None,
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "the connection broke");
                        break None;
                    }
                    Err(flood) => break Some(flood),
                },
                _ = stopping.wait_for(|stopping| *stopping), if !finishing => {
                    serving.as_mut().graceful_shutdown();
                    finishing = true;
                }
                () = timer.as_mut() => {
                    let come = requests.load(Relaxed);
                    if Arc::strong_count(&requests) == 1 && come == seen {
                        if finishing {
                            break None;
                        }
                        serving.as_mut().graceful_shutdown();
                        finishing = true;
                    }
                    seen = come;
                    timer.as_mut().reset(Instant::now() + idle);
                }
            }
        };
        drop(serving);
        let Some(Flood) = flood else { return flusher.finish().await };
        tracing::warn!(otelcol.component.id = %self.options.door.component, %peer, "a client sends HTTP/2 frames that carry nothing, in masses; closing its connection");
        self.options.door.refused.count(Refused::Flood);
        let last = flusher.watched(FrameWatch::calm_down);
        flusher.finish_with(&last).await;
    }
}

/// Tells a client that it should have spoken TLS.
async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> std::io::Result<()> {
    stream.write_all(NOT_TLS).await?;
    stream.shutdown().await
}

/// Hands a request to the router, if it can mean one thing only.
pub(super) async fn answer(
    router: Reading<Router>,
    peer: Peer,
    tls: Option<OverTls>,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    if let Some((status, text)) = ambiguity(request.version(), request.headers()) {
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CONNECTION, "close")];
        return Ok((status, headers, text).into_response());
    }
    if let Some(answer) = head::answer(&request) {
        return Ok(answer);
    }
    if request.version() == Version::HTTP_2
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // So that handlers find it in one place.
        request.headers_mut().entry(HOST).or_insert(host);
    }
    request.extensions_mut().insert(peer);
    if let Some(tls) = tls {
        request.extensions_mut().insert(tls);
    }
    // What was read is held until there is an answer.
    Router::clone(&router).oneshot(request.map(Body::new)).await
}

/// Runs what HTTP/2 does beside its connection under supervision.
#[derive(Clone)]
struct Supervised(Tasks);

impl<F> Executor<F> for Supervised
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("request", future);
    }
}
