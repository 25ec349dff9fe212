//! Sending over HTTP/1.1: pooled connections, bodies in parts, answers bounded.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;

/// The largest answer that is read.
const REPLY_MAX: usize = 64 << 10;
/// The limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client with a pool of connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: hyper_util::client::legacy::Client<HttpConnector, Parts>,
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
}

/// There was no answer.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ClientError(String);

impl Client {
    /// A client that keeps up to `idle_per_host` idle connections for `idle_timeout`.
    #[must_use]
    pub fn new(idle_per_host: usize, idle_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle_per_host)
            .pool_idle_timeout(idle_timeout);
        Self { inner: builder.build(connector) }
    }

    /// Posts `parts`, laid end to end.
    ///
    /// # Errors
    /// When there was no answer: no connection, or it broke.
    pub async fn post(
        &self,
        uri: Uri,
        headers: HeaderMap,
        parts: Vec<Bytes>,
    ) -> Result<Response, ClientError> {
        let mut request = Request::new(Parts(parts.into()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let response = self.inner.request(request).await.map_err(|error| ClientError(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, REPLY_MAX)
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        Ok(Response { status: head.status, headers: head.headers, body })
    }
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

/// A body in parts, of known length.
#[derive(Debug, Default)]
struct Parts(VecDeque<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}
