//! One connection, of either version of HTTP.

use super::parts::Parts;
use super::{ClientOptions, chain};
use crate::connect::{Address, Stream, advised};
use http::Request;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use millrace_engine::Tasks;
use std::error::Error;
use std::io;

/// What a connection reads ahead of an answer; headers longer than this are refused.
const READ_BUFFER: usize = 64 << 10;

/// What requests are sent on.
#[derive(Debug)]
pub(super) enum Connection {
    /// One request at a time.
    Http1(http1::SendRequest<Parts>),
    /// Many at once.
    Http2(http2::SendRequest<Parts>),
}

/// An answer did not come.
#[derive(Debug)]
pub(super) enum Cut {
    /// The server has not looked at the request.
    Unseen(String),
    /// The connection ended without a word; if it had been idle, the server had most likely closed it already.
    Silent(String),
    /// The server may have got it.
    Broken(String),
}

impl Cut {
    pub(super) fn text(self) -> String {
        let (Self::Unseen(text) | Self::Silent(text) | Self::Broken(text)) = self;
        text
    }
}

impl Connection {
    /// Speaks HTTP over a stream, in the version that was agreed on.
    pub(super) async fn open(
        stream: Stream,
        address: &Address,
        options: &ClientOptions,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let address = address.clone();
        let ended = move |result: hyper::Result<()>| {
            if let Err(error) = result {
                tracing::debug!(%address, error = chain(&error), "a connection ended");
            }
        };
        if stream.is_http2() {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).keep_alive_while_idle(true);
            if let Some(ping) = options.ping {
                builder.keep_alive_interval(ping.after).keep_alive_timeout(ping.timeout);
            }
            let (requests, connection) =
                builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            tasks.spawn("http connection", async move { ended(connection.await) });
            return Ok(Self::Http2(requests));
        }
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_BUFFER);
        let (requests, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tasks.spawn("http connection", async move { ended(connection.await) });
        Ok(Self::Http1(requests))
    }

    /// Whether it can take a request; waits until an earlier one is done with.
    pub(super) async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(requests) => requests.ready().await.is_ok(),
            Self::Http2(requests) => requests.ready().await.is_ok(),
        }
    }

    /// Whether it takes no more.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(requests) => requests.is_closed(),
            Self::Http2(requests) => requests.is_closed(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Parts>) -> Result<http::Response<Incoming>, Cut> {
        match self {
            Self::Http1(requests) => requests.try_send_request(request).await.map_err(cut),
            Self::Http2(requests) => requests.try_send_request(request).await.map_err(cut),
        }
    }
}

fn cut(mut failed: hyper::client::conn::TrySendError<Request<Parts>>) -> Cut {
    let unsent = failed.take_message().is_some();
    let error = failed.into_error();
    let text = advised(&chain(&error));
    if unsent || is_refusal(&error) {
        return Cut::Unseen(text);
    }
    let closed = cause::<io::Error>(&error).is_some_and(|error| {
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    });
    if error.is_incomplete_message() || closed { Cut::Silent(text) } else { Cut::Broken(text) }
}

/// A server of HTTP/2 says that it has not looked at a request.
fn is_refusal(error: &hyper::Error) -> bool {
    cause::<h2::Error>(error).is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || refused)
    })
}

/// The cause of that kind, however deep.
fn cause<E: Error + 'static>(error: &dyn Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
