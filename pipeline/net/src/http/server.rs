//! Serving HTTP/1.1: an axum router behind limits on headers, time and memory.

use crate::connections::{Door, Stopping, Windows, accept};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_engine::Tasks;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

/// The most that a connection reads ahead. Small, because every connection may.
const READ_BUFFER: usize = 16 << 10;
/// What it reads ahead under a lease: large bodies take fewer system calls.
const READ_BUFFER_LEASED: u32 = 128 << 10;

/// What a server is given.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The limit for receiving the head of a request, idle time between requests included; zero means none.
    pub header_timeout: Duration,
    /// Whether connections are used for more than one request.
    pub keep_alive: bool,
    /// Counts of connections, and what they are charged to.
    pub door: Door,
    /// What read buffers are leased from; without it they stay small.
    pub windows: Option<Arc<Windows>>,
}

/// An HTTP/1.1 server for one router. Handlers find the peer's address in the extension `ConnectInfo<SocketAddr>`.
#[derive(Debug, Clone)]
pub struct Server {
    router: Router,
    options: ServerOptions,
    tasks: Tasks,
}

impl Server {
    /// A server of `router`.
    #[must_use]
    pub fn new(router: Router, options: ServerOptions, tasks: Tasks) -> Self {
        Self { router, options, tasks }
    }

    /// Serves until `stopping`, and then until every connection has ended.
    pub async fn serve(self, listener: TcpListener, stopping: Stopping) {
        let (tasks, door) = (self.tasks.clone(), self.options.door.clone());
        let serve = |stream, peer, stopping| self.clone().connection(stream, peer, stopping);
        accept(listener, tasks, door, stopping, serve).await;
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, mut stopping: Stopping) {
        let lease = self.options.windows.as_ref().and_then(|windows| windows.lease(READ_BUFFER_LEASED));
        let read_buffer = lease.as_ref().map_or(READ_BUFFER, |lease| lease.size() as usize);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).max_buf_size(read_buffer).keep_alive(self.options.keep_alive);
        if !self.options.header_timeout.is_zero() {
            builder.header_read_timeout(self.options.header_timeout);
        }
        let service = service_fn(|request| answer(self.router.clone(), peer, request));
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let mut finishing = false;
        loop {
            tokio::select! {
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "the connection broke");
                    }
                    return;
                }
                _ = stopping.wait_for(|stopping| *stopping), if !finishing => {
                    serving.as_mut().graceful_shutdown();
                    finishing = true;
                }
            }
        }
    }
}

/// Hands a request to the router. One without a host is answered here, as RFC 9112 (section 3.2) demands.
async fn answer(
    router: Router,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    if request.version() >= Version::HTTP_11 && !request.headers().contains_key(HOST) {
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CONNECTION, "close")];
        let text = "400 Bad Request: missing required Host header";
        return Ok((StatusCode::BAD_REQUEST, headers, text).into_response());
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request.map(Body::new)).await
}
