//! How slow a peer of HTTP/1.1 may be: waiting for its next request, over the head of one, and over taking the answer.
//!
//! hyper has one limit, for the head and the wait before it together. Here the stream is watched from below and the
//! service from above, and the connection is closed at the end of whichever time runs. A connection that is idle for a
//! while goes to rest before that: hyper's state is given up until something comes.

use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a connection is idle before it goes to rest. Long enough for those that are busy not to notice, and short
/// enough for thousands that come at once to use the same memory one after the other.
const REST_AFTER: Duration = Duration::from_millis(100);

/// How long a connection of HTTP may take over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The head of a request, from its first byte; of the first request from the beginning of the connection.
    pub header: Duration,
    /// The wait for the next request.
    pub idle: Duration,
    /// Everything from the end of a head until the answer has been written; `None` for no limit.
    pub write: Option<Duration>,
}

impl Timeouts {
    /// The same for the head and the wait before it; none for answers.
    #[must_use]
    pub fn same(header: Duration) -> Self {
        Self { header, idle: header, write: None }
    }
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Request,
    /// The answer is known, and not all of it written.
    Answer,
}

/// Which time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Idle long enough to go to rest.
    Rest,
    Idle,
    TooSlow,
}

/// The pace of one connection.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    timeouts: Timeouts,
    phase: Phase,
    until: Option<Instant>,
    /// Where a connection goes to rest at `until`, when it has been idle for too long.
    idle_until: Option<Instant>,
    /// It is asked to end without closing its stream.
    resting: bool,
}

impl Pace {
    /// The pace of a connection that begins now.
    pub(super) fn begin(timeouts: Timeouts) -> Self {
        let until = Instant::now().checked_add(timeouts.header);
        let inner = Inner { timeouts, phase: Phase::Head, until, idle_until: None, resting: false };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Whether the end of hyper's connection shall leave the stream open.
    pub(super) fn set_resting(&self, resting: bool) {
        self.lock().resting = resting;
    }

    /// A head has been read whole.
    pub(super) fn request(&self) {
        let inner = &mut *self.lock();
        inner.enter(Phase::Request, inner.timeouts.write);
    }

    /// Its answer is known.
    pub(super) fn answer(&self) {
        let inner = &mut *self.lock();
        inner.phase = Phase::Answer;
    }

    /// Something has been read.
    pub(super) fn read(&self) {
        let inner = &mut *self.lock();
        if inner.phase == Phase::Idle {
            inner.enter(Phase::Head, Some(inner.timeouts.header));
        }
    }

    fn flushed(&self) {
        let inner = &mut *self.lock();
        if inner.phase == Phase::Answer {
            inner.idle();
        }
    }

    /// Whether the time for what is going on is over. `timer` is set to no later than when it will be, and seldom:
    /// most times are long over, in favour of others, when they would have come.
    pub(super) fn poll_over(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Over> {
        let inner = &mut *self.lock();
        let Some(until) = inner.until else { return Poll::Pending };
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < until {
            timer.as_mut().reset(until);
            ready!(timer.poll(cx));
        }
        match (inner.phase, inner.idle_until.take()) {
            (Phase::Idle, None) => Poll::Ready(Over::Idle),
            (Phase::Idle, Some(until)) => {
                inner.until = Some(until);
                Poll::Ready(Over::Rest)
            }
            _ => Poll::Ready(Over::TooSlow),
        }
    }

    /// Used by one task, so never contended.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn enter(&mut self, phase: Phase, limit: Option<Duration>) {
        self.phase = phase;
        self.until = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.idle_until = None;
    }

    fn idle(&mut self) {
        self.phase = Phase::Idle;
        let now = Instant::now();
        self.until = now.checked_add(self.timeouts.idle);
        self.idle_until = None;
        if self.timeouts.idle > REST_AFTER {
            self.idle_until = self.until.replace(now + REST_AFTER);
        }
    }
}

/// A stream whose pace is kept.
#[derive(Debug)]
pub(super) struct Paced<S> {
    pub(super) stream: S,
    pub(super) pace: Pace,
    /// What was read while the connection was at rest, which comes first.
    pub(super) read: Bytes,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.has_remaining() {
            let len = self.read.len().min(buf.remaining());
            buf.put_slice(&self.read.split_to(len));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.read();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        if outcome.is_ready() {
            self.pace.flushed();
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pace.lock().resting {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
