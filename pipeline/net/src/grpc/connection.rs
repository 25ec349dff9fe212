//! The life of one connection: one task reads, gathers what arrives, has requests answered, and writes.
//!
//! # Invariants
//! - A connection at rest holds no buffer.
//! - A peer that does not take what is sent to it is not listened to, once [`OUT_MAX`] bytes wait.
//! - Every request that has begun ends by name, whatever becomes of its connection.

mod drive;
mod requests;

use super::keepalive::Life;
use super::outbox::Outbox;
use super::pings::{Pings, TOO_MANY};
use super::server::{Server, ServerOptions, Unary};
use crate::connections::{Lease, Refused, Stopping, WINDOW_MIN};
use crate::stream::{Peer, Socket};
use crate::tls::server::HELLO;
use millrace_http2::{Connection, Fatal, Options, Reason};
use requests::Exchange;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep_until, timeout};

/// The limit for the HTTP/2 preface of a new connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last bytes of a connection may take, and the client to hear that it is over.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest frame we accept. What is in it goes where its message is gathered, so that its length costs nothing.
const FRAME_MAX: u32 = 1 << 20;
/// The headers of a request, in all.
const HEADER_LIST_MAX: u32 = 16 << 10;
/// Requests under way per connection unless configured: each holds its headers, which no budget is asked for.
const STREAMS_MAX: u32 = 1000;
/// What waits to be sent before a peer is no longer listened to.
const OUT_MAX: usize = 8 << 10;

/// What a connection runs over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// Everything is done, the client has gone, or it is to go at once.
    Done,
    /// It broke.
    Broken(io::Error),
    /// The client breaks the rules.
    Fatal(Fatal),
    /// It does not answer.
    Unresponsive,
}

/// A connection with all that it has.
struct Driver<U: Unary, S> {
    server: Arc<Server<U>>,
    stream: S,
    peer: Peer,
    http2: Connection<Exchange<U>>,
    outbox: Arc<Outbox>,
    /// What of `sending` has been sent.
    sent: usize,
    sending: Vec<u8>,
    /// What TLS holds has not been sent.
    flushing: bool,
    /// Messages, each one of many, that wait for the window.
    untaken: usize,
    pings: Pings,
    /// Of the window beyond the protocol's own. It is not charged, as nothing of it is kept: what is read goes to the
    /// message that it is part of at once, which is charged before.
    lease: Option<Lease>,
    /// A request was large enough for a larger window to help.
    wants_window: bool,
    /// The last message was large, and the next one is read to where it is gathered as soon as that is known.
    are_large: bool,
    /// When the last answer was given; the beginning of the connection if there was none.
    last_answer: Instant,
    /// How many reads have brought something.
    reads: u64,
    /// Its very first byte.
    first: Option<u8>,
    /// Until when it must have said that it speaks HTTP/2.
    patience: Instant,
    /// Since it has.
    life: Option<Life>,
    /// When the first of its requests may be late.
    late: Option<Instant>,
}

impl<U: Unary> Server<U> {
    pub(super) async fn connection(self: Arc<Self>, socket: Socket, peer: Peer, mut stopping: Stopping) {
        let secured = tokio::select! {
            secured = self.options.door.secure(socket, peer) => secured,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        // Whoever does not speak TLS does not wait for an answer in plain text either.
        let Ok(stream) = secured else { return };
        self.converse(stream, peer, stopping).await;
    }

    /// From the first byte of a connection to its end.
    async fn converse<S: Stream>(self: Arc<Self>, stream: S, peer: Peer, mut stopping: Stopping) {
        // In a box: the task of a connection has room for everything twice that one future hands to the next.
        let mut driver = Box::new(Driver::new(self, stream, peer));
        let end = {
            let timer = sleep_until(driver.patience.into());
            let stopped = stopping.wait_for(|stopping| *stopping);
            tokio::pin!(timer, stopped);
            let mut is_stopping = false;
            poll_fn(|cx| driver.poll(cx, timer.as_mut(), stopped.as_mut(), &mut is_stopping)).await
        };
        driver.end(end).await;
    }
}

impl<U: Unary, S: Stream> Driver<U, S> {
    fn new(server: Arc<Server<U>>, stream: S, peer: Peer) -> Self {
        let options = &server.options;
        let http2 = Connection::new(&http2(options));
        let pings = Pings::new(options.pings);
        let now = now();
        Self {
            server,
            stream,
            peer,
            http2,
            outbox: Arc::default(),
            sent: 0,
            sending: Vec::new(),
            flushing: false,
            untaken: 0,
            pings,
            lease: None,
            wants_window: false,
            are_large: false,
            last_answer: now,
            reads: 0,
            first: None,
            patience: now + HANDSHAKE_TIMEOUT,
            life: None,
            late: None,
        }
    }

    /// Says the last words, if the client takes them soon.
    async fn end(mut self: Box<Self>, end: End) {
        let Self { server, peer, .. } = &*self;
        let door = &server.options.door;
        match end {
            End::Done => {}
            End::Broken(error) => {
                tracing::debug!(%peer, %error, "the connection broke");
                return;
            }
            End::Unresponsive => {
                tracing::info!(%peer, "a client does not answer pings; closing its connection");
                door.refused.count(Refused::Unresponsive);
                return;
            }
            End::Fatal(fatal) if !self.http2.is_greeted() => {
                if door.tls.is_none() && self.first == Some(HELLO) {
                    door.refuse_tls(self.peer);
                }
                tracing::debug!(%peer, error = %fatal, "the HTTP/2 handshake failed");
            }
            End::Fatal(fatal) => {
                self.count(fatal);
                self.http2.fail(fatal);
            }
        }
        self.cut_off();
        // A client that does not take them is gone, or not worth waiting for.
        let farewell = async {
            poll_fn(|cx| self.poll_send(cx)).await?;
            self.stream.shutdown().await
        };
        let _ = timeout(FINISH_TIMEOUT, farewell).await;
    }

    fn count(&self, fatal: Fatal) {
        let Self { server, peer, .. } = self;
        let (reason, what) = match fatal {
            Fatal { words: TOO_MANY, .. } => (
                Refused::TooManyPings,
                "a client pings more often than `keepalive::enforcement_policy` allows",
            ),
            Fatal { reason: Reason::ENHANCE_YOUR_CALM, .. } => {
                (Refused::Flood, "a client sends HTTP/2 frames in masses that nobody needs")
            }
            fatal => return tracing::debug!(%peer, error = %fatal, "the connection broke"),
        };
        let door = &server.options.door;
        tracing::warn!(otelcol.component.id = %door.component, %peer, reason = reason.name(), error = fatal.words, "{what}; closing its connection");
        door.refused.count(reason);
    }
}

fn http2(options: &ServerOptions) -> Options {
    Options {
        max_streams: options.max_streams.unwrap_or(STREAMS_MAX),
        window: WINDOW_MIN,
        max_frame: FRAME_MAX,
        max_header_list: HEADER_LIST_MAX,
    }
}

/// The time by the clock that timers go by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A task that is cut off is the end of its requests as well.
impl<U: Unary, S> Drop for Driver<U, S> {
    fn drop(&mut self) {
        self.cut_off();
    }
}

#[cfg(test)]
mod tests;
