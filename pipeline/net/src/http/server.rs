//! Serving HTTP/1.1: an axum router behind limits on headers, time and memory.

use crate::Encoding;
use crate::compression::{InflateError, OFFLOAD_ABOVE};
use crate::connections::{Door, Stopping, accept};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use millrace_engine::{Budget, Charge, Tasks};
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::ServiceExt;

/// The most that a connection reads ahead. Small, because every connection may.
const READ_BUFFER: usize = 16 << 10;
/// The limit for receiving one body; a sender slower than this holds memory for too long.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read and thrown away of a refused body, so that the connection can be used again.
const DISCARD_MAX: usize = 1 << 20;
/// Growth of the buffer of a body whose length was not announced.
const STEP: usize = 64 << 10;

/// What a server is given.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The limit for receiving the head of a request, idle time between requests included; zero means none.
    pub header_timeout: Duration,
    /// Whether connections are used for more than one request.
    pub keep_alive: bool,
    /// Counts of connections, and what they are charged to.
    pub door: Door,
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
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).max_buf_size(READ_BUFFER).keep_alive(self.options.keep_alive);
        if !self.options.header_timeout.is_zero() {
            builder.header_read_timeout(self.options.header_timeout);
        }
        let router = self.router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.map(Body::new)
        });
        let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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

/// A body, inflated, with what it holds of the budget.
#[derive(Debug)]
pub struct Received {
    /// The body.
    pub bytes: Bytes,
    /// What it holds.
    pub charge: Charge,
    /// Its size on the wire.
    pub wire_bytes: usize,
}

/// Why a body was not received.
#[derive(Debug, Error)]
pub enum BodyError {
    /// `Content-Encoding` names one that we do not have.
    #[error("unsupported Content-Encoding: {0}")]
    UnknownEncoding(String),
    /// Larger than the limit, compressed or not.
    #[error("request body too large: the limit is {0} bytes")]
    TooLarge(usize),
    /// The memory budget is used up.
    #[error("the collector is out of memory budget; try again later")]
    OverBudget,
    /// The compressed stream is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The sender went away or was too slow.
    #[error("the request body did not arrive: {0}")]
    CutOff(String),
}

/// Receives a body of at most `limit` bytes, before and after inflating, charged to `budget`.
///
/// # Errors
/// See [`BodyError`]. A refused body is read to its end and thrown away where that is cheap, so that the connection
/// can be used again.
pub async fn receive(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    budget: &Budget,
) -> Result<Received, BodyError> {
    let encoding = encoding(headers)?;
    let gathered = match timeout(RECEIVE_TIMEOUT, gather(&mut body, limit, budget)).await {
        Ok(gathered) => gathered,
        Err(_) => return Err(BodyError::CutOff("it took too long".to_owned())),
    };
    let (bytes, charge) = match gathered {
        Ok(gathered) => gathered,
        Err(error) => {
            // Whatever comes of it, the answer is the same.
            let _ = timeout(RECEIVE_TIMEOUT, discard(body)).await;
            return Err(error);
        }
    };
    let wire_bytes = bytes.len();
    if encoding == Encoding::None {
        return Ok(Received { bytes, charge, wire_bytes });
    }
    let (bytes, charge) = inflate(encoding, bytes, charge, limit, budget).await?;
    Ok(Received { bytes, charge, wire_bytes })
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let Some(name) = headers.get(http::header::CONTENT_ENCODING) else { return Ok(Encoding::None) };
    Encoding::from_content_encoding(name.as_bytes())
        .ok_or_else(|| BodyError::UnknownEncoding(String::from_utf8_lossy(name.as_bytes()).into_owned()))
}

/// The body in one buffer that is no larger than its charge.
async fn gather(body: &mut Body, limit: usize, budget: &Budget) -> Result<(Bytes, Charge), BodyError> {
    let announced = body.size_hint().exact().map(|len| usize::try_from(len).unwrap_or(usize::MAX));
    if announced.is_some_and(|len| len > limit) {
        return Err(BodyError::TooLarge(limit));
    }
    let mut capacity = announced.unwrap_or(STEP);
    let mut charge = budget.try_charge(capacity as u64).ok_or(BodyError::OverBudget)?;
    let mut whole = Vec::with_capacity(capacity);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::CutOff(error.to_string()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        let len = whole.len() + chunk.len();
        if len > limit {
            return Err(BodyError::TooLarge(limit));
        }
        if len > capacity {
            let step = (len - capacity).max(capacity / 2);
            if !charge.try_grow(step as u64) {
                return Err(BodyError::OverBudget);
            }
            capacity += step;
            whole.reserve_exact(capacity - whole.len());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok((Bytes::from(whole), charge))
}

async fn discard(mut body: Body) {
    let mut discarded = 0;
    while discarded < DISCARD_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

async fn inflate(
    encoding: Encoding,
    body: Bytes,
    charge: Charge,
    limit: usize,
    budget: &Budget,
) -> Result<(Bytes, Charge), BodyError> {
    let inflated = if body.len() > OFFLOAD_ABOVE / 4 {
        let budget = budget.clone();
        let task = tokio::task::spawn_blocking(move || {
            let inflated = encoding.inflate(&body, limit, &budget);
            drop((body, charge));
            inflated
        });
        task.await.map_err(|_| BodyError::Damaged("inflating the body failed".to_owned()))?
    } else {
        encoding.inflate(&body, limit, budget)
    };
    inflated.map_err(|error| match error {
        InflateError::OverBudget => BodyError::OverBudget,
        InflateError::TooLarge(limit) => BodyError::TooLarge(limit),
        InflateError::Damaged(..) => BodyError::Damaged(error.to_string()),
    })
}
