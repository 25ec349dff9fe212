//! How slow a peer of HTTP/1.1 may be: waiting for its next request, over the head of one, and over taking the answer.
//!
//! hyper has one limit, for the head and the wait before it together. Where more is asked for, the stream is watched
//! from below and the service from above, and the connection is closed at the end of whichever time runs.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

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

    /// Whether hyper's one limit is enough.
    fn are_simple(&self) -> bool {
        self.idle == self.header && self.write.is_none()
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
}

impl Pace {
    /// The pace of a connection that begins now; `None` where hyper can keep it.
    pub(super) fn begin(timeouts: Timeouts) -> Option<Self> {
        if timeouts.are_simple() {
            return None;
        }
        let inner =
            Inner { timeouts, phase: Phase::Head, until: Instant::now().checked_add(timeouts.header) };
        Some(Self(Arc::new(Mutex::new(inner))))
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

    fn read(&self) {
        let inner = &mut *self.lock();
        if inner.phase == Phase::Idle {
            inner.enter(Phase::Head, Some(inner.timeouts.header));
        }
    }

    fn flushed(&self) {
        let inner = &mut *self.lock();
        if inner.phase == Phase::Answer {
            inner.enter(Phase::Idle, Some(inner.timeouts.idle));
        }
    }

    /// Whether the time for what is going on is over; sets `timer` to when it will be.
    pub(super) fn poll_over(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Over> {
        let (until, phase) = {
            let inner = self.lock();
            (inner.until, inner.phase)
        };
        let Some(until) = until else { return Poll::Pending };
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        ready!(timer.poll(cx));
        Poll::Ready(if phase == Phase::Idle { Over::Idle } else { Over::TooSlow })
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
    }
}

/// A stream whose pace is kept, if any is.
#[derive(Debug)]
pub(super) struct Paced<S> {
    pub(super) stream: S,
    pub(super) pace: Option<Pace>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(pace) = &self.pace
            && buf.filled().len() > before
        {
            pace.read();
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
        if let Some(pace) = &self.pace
            && outcome.is_ready()
        {
            pace.flushed();
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
