//! The life of one connection: parked until its first request, then driven until its end.

use super::conduct::Conduct;
use super::keepalive::{Act, Life, Signs};
use super::park::{Event, Parked};
use super::server::{Server, ServerOptions, Unary};
use super::watch::{FrameWatch, Misuse, calm_down};
use crate::coalesce::{Coalesced, Flusher, Gather};
use crate::connections::{Lease, Refused, Stopping, WINDOW_MAX, WINDOW_MIN};
use crate::stream::{Peer, Socket};
use crate::tls::server::HELLO;
use bytes::Bytes;
use futures_util::task::noop_waker;
use h2::server::Connection;
use h2::{Ping, PingPong};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex};
use tokio::time::{sleep_until, timeout, timeout_at};

/// The limit for the HTTP/2 preface of a new connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that has gone may take to be told the same.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest frame we accept. Frames are also bounded by the window, so this costs memory only under a lease.
const FRAME_MAX: u32 = 1 << 20;
/// The headers of a request, in all.
const HEADER_LIST_MAX: u32 = 16 << 10;
/// Requests under way per connection unless configured: each holds its headers, which no budget is asked for.
const STREAMS_MAX: u32 = 1000;
/// Streams that a peer may reset before we have answered them; more is an attack.
const RESETS_MAX: usize = 100;
/// More than our settings take.
const GREETING_MAX: usize = 256;

/// What a connection runs over.
trait Stream: AsyncRead + AsyncWrite + Gather + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Gather + Unpin + Send + 'static> Stream for S {}

/// What `h2` begins every connection with: our settings.
pub(super) fn greeting(options: &ServerOptions) -> Bytes {
    let (near, mut far) = duplex(GREETING_MAX);
    let waker = noop_waker();
    let cx = &mut Context::from_waker(&waker);
    // It writes them at once, and then waits for a client that will never come.
    let mut handshake = pin!(http2(options).handshake::<_, Bytes>(near));
    let _ = handshake.as_mut().poll(cx);
    let mut room = [0; GREETING_MAX];
    let mut read = ReadBuf::new(&mut room);
    let _ = Pin::new(&mut far).poll_read(cx, &mut read);
    Bytes::copy_from_slice(read.filled())
}

fn http2(options: &ServerOptions) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW_MIN)
        .initial_connection_window_size(WINDOW_MIN)
        .max_frame_size(FRAME_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_concurrent_streams(options.max_streams.unwrap_or(STREAMS_MAX))
        .max_pending_accept_reset_streams(RESETS_MAX);
    builder
}

/// What a parked connection waits for.
enum Next {
    Event(io::Result<Event>),
    /// To take nothing new.
    Drain,
    /// To see how it is doing.
    Look,
}

/// What happens to a connection, other than that it speaks.
struct Course {
    peer: Peer,
    conduct: Arc<Conduct>,
    /// Until when it must have said that it speaks HTTP/2.
    patience: Instant,
    /// Since it has.
    life: Option<Life>,
    stopping: Stopping,
    /// It takes nothing new.
    draining: bool,
}

impl Course {
    /// In a box, as it is handed from one future to the next, and has room in all of them.
    fn begin(options: &ServerOptions, peer: Peer, stopping: Stopping) -> Box<Self> {
        let conduct = Conduct::begin(options.keepalive.max_idle.is_some());
        let patience = now() + HANDSHAKE_TIMEOUT;
        Box::new(Self { peer, conduct, patience, life: None, stopping, draining: false })
    }
}

/// A connection that needs HTTP/2 state, and one that has it.
type Woken<S> = (Coalesced<S, FrameWatch>, Flusher<S, FrameWatch>, Box<Course>);
type Spoken<S> = (Box<Connection<Coalesced<S, FrameWatch>, Bytes>>, Flusher<S, FrameWatch>, Box<Course>);

impl<U: Unary> Server<U> {
    pub(super) async fn connection(self: Arc<Self>, socket: Socket, peer: Peer, mut stopping: Stopping) {
        let secured = tokio::select! {
            secured = self.options.door.secure(socket, peer) => secured,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        // Whoever does not speak TLS does not wait for an answer in plain text either.
        let Ok(stream) = secured else { return };
        let course = Course::begin(&self.options, peer, stopping);
        self.converse(stream, course).await;
    }

    /// From the first byte of a connection to its end.
    async fn converse<S: Stream>(self: Arc<Self>, stream: S, course: Box<Course>) {
        if let Some(woken) = self.park(stream, course).await {
            self.awake(woken).await;
        }
    }

    /// From the first byte of a connection to when it needs HTTP/2 state, or to its end.
    async fn park<S: Stream>(&self, stream: S, mut course: Box<Course>) -> Option<Woken<S>> {
        let mut parked = Parked::new(stream, self.watch(&course), self.greeting.clone());
        let peer = course.peer;
        let timer = sleep_until(course.patience.into());
        tokio::pin!(timer);
        while !course.draining {
            // What is chosen from must be gone before anything else is waited for.
            let next = tokio::select! {
                event = poll_fn(|cx| parked.poll(cx)) => Next::Event(event),
                _ = course.stopping.wait_for(|stopping| *stopping) => Next::Drain,
                () = timer.as_mut() => Next::Look,
            };
            match next {
                Next::Event(Ok(Event::Greeted)) => {
                    let life = self.life();
                    timer.as_mut().reset(life.next().into());
                    course.life = Some(life);
                }
                Next::Event(Ok(Event::Wake)) => break,
                Next::Event(Ok(Event::Misuse(misuse))) => {
                    let (_, flusher) = parked.wake();
                    Box::pin(self.end_misuse(peer, misuse, &flusher)).await;
                    return None;
                }
                Next::Event(Ok(Event::Gone)) => {
                    Box::pin(part(parked.wake().0)).await;
                    return None;
                }
                Next::Event(Err(error)) => {
                    tracing::debug!(%peer, %error, "the connection broke");
                    return None;
                }
                Next::Drain => course.draining = true,
                Next::Look => {
                    let Some(life) = &mut course.life else {
                        tracing::debug!(%peer, "the HTTP/2 handshake took too long");
                        return None;
                    };
                    let last_request = course.conduct.last_end().into_std();
                    match life.act(now(), Signs { reads: parked.reads(), requests: 0, last_request }) {
                        Act::Nothing => {}
                        Act::Ping => parked.ping(),
                        Act::Drain => course.draining = true,
                        Act::Cut => return None,
                        Act::Unresponsive => {
                            self.end_unresponsive(peer);
                            return None;
                        }
                    }
                    timer.as_mut().reset(life.next().into());
                }
            }
        }
        let (stream, flusher) = parked.wake();
        Some((stream, flusher, course))
    }

    /// From when a connection needs HTTP/2 state to its end.
    async fn awake<S: Stream>(self: Arc<Self>, woken: Woken<S>) {
        // In boxes, because the task of a connection keeps the room of its largest moment for as long as it lives, and
        // what is handed from one future to the next has room in both.
        if let Some((connection, flusher, course)) = Box::pin(self.handshake(woken)).await {
            Box::pin(self.drive(connection, flusher, course)).await;
        }
    }

    async fn handshake<S: Stream>(&self, (stream, flusher, course): Woken<S>) -> Option<Spoken<S>> {
        let peer = course.peer;
        let handshake = flusher.drive_watched(http2(&self.options).handshake(stream));
        match timeout_at(course.patience.into(), handshake).await {
            Ok(Ok(Ok(connection))) => return Some((Box::new(connection), flusher, course)),
            Ok(Ok(Err(error))) => {
                if self.options.door.tls.is_none() && flusher.first_at_hand() == Some(HELLO) {
                    self.options.door.refuse_tls(peer);
                }
                tracing::debug!(%peer, %error, "the HTTP/2 handshake failed");
            }
            Ok(Err(misuse)) => self.end_misuse(peer, misuse, &flusher).await,
            Err(_) => tracing::debug!(%peer, "the HTTP/2 handshake took too long"),
        }
        None
    }

    fn watch(&self, course: &Course) -> FrameWatch {
        FrameWatch::new().with_pings(self.options.pings, &course.conduct)
    }

    fn life(&self) -> Life {
        Life::begin(self.options.keepalive, now(), fastrand::f64())
    }

    /// From the first request of a connection to its end.
    async fn drive<S: Stream>(
        self: Arc<Self>,
        mut connection: Box<Connection<Coalesced<S, FrameWatch>, Bytes>>,
        flusher: Flusher<S, FrameWatch>,
        course: Box<Course>,
    ) {
        let Course { peer, conduct, life, mut stopping, draining, .. } = *course;
        let mut life = life.unwrap_or_else(|| self.life());
        let mut pings = connection.ping_pong();
        let timer = sleep_until(life.next().into());
        tokio::pin!(timer);
        let mut lease = None;
        let mut finishing = false;
        // What was said while it was parked is heard before anything else happens: the answers to that are not sent
        // again, and so must be its first words.
        let mut first = Some(poll_fn(|cx| Poll::Ready(pin!(connection.accept()).poll(cx))).await);
        if draining {
            connection.graceful_shutdown();
        }
        let misuse = loop {
            let next = async {
                match first.take() {
                    Some(Poll::Ready(request)) => Ok(request),
                    _ => flusher.drive_watched(connection.accept()).await,
                }
            };
            tokio::select! {
                request = next => match request {
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
                            self.end_unresponsive(peer);
                            break None;
                        }
                    }
                    timer.as_mut().reset(life.next().into());
                }
            }
        };
        drop(connection);
        match misuse {
            Some(misuse) => self.end_misuse(peer, misuse, &flusher).await,
            None => flusher.finish().await,
        }
    }

    fn end_unresponsive(&self, peer: Peer) {
        tracing::info!(%peer, "a client does not answer pings; closing its connection");
        self.options.door.refused.count(Refused::Unresponsive);
    }

    async fn end_misuse<S: Stream>(&self, peer: Peer, misuse: Misuse, flusher: &Flusher<S, FrameWatch>) {
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
    fn grow<S: Stream>(
        &self,
        conduct: &Conduct,
        connection: &mut Connection<Coalesced<S, FrameWatch>, Bytes>,
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
}

/// Says good-bye to a client that has gone; it may still be listening.
async fn part<S: Stream>(mut stream: Coalesced<S, FrameWatch>) {
    let _ = timeout(FAREWELL_TIMEOUT, stream.shutdown()).await;
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

#[cfg(test)]
mod tests;
