//! Fewer, larger reads and writes below HTTP/2.
//!
//! The `h2` crate reads and writes a frame at a time: 16 KiB a system call, and on a fast path the calls cost more than
//! the bytes. Here writes gather and go out when the connection has nothing more to say for now, and reads take what the
//! socket has and are handed on in pieces. That copies bytes once more where they are not recognised ([`Outgoing`]),
//! which is a fraction of what the calls cost.
//!
//! # Invariants
//! - What was written is on its way as soon as the connection's task rests: whoever drives the connection does so
//!   through [`Flusher::drive`].
//! - Once [`OUT_MAX`] bytes wait to be written, the writer waits for the socket.
//! - A connection at rest holds no buffer.

use crate::outgoing::{Known, OUT_MAX, Outgoing};
use crate::read_ahead::Ahead;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// Writes of this size are worth a system call of their own.
const DIRECT_MIN: usize = 64 << 10;

/// How long the last bytes of a connection may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// What a connection runs over.
pub(crate) trait Gather {
    /// Whether it takes what it is given as this module does, and reads ahead, so that doing the same here would only
    /// copy.
    fn gathers(&self) -> bool {
        false
    }
}

/// Sees everything that is read, before the protocol does.
pub(crate) trait Watch {
    /// Why the connection is to be ended.
    type Complaint;

    /// Looks at what has just been read; in the order of the stream, every byte once.
    fn see(&mut self, read: &[u8]);

    /// What there is to complain of so far.
    fn complaint(&self) -> Option<Self::Complaint>;
}

/// Nobody watches.
impl Watch for () {
    type Complaint = Infallible;

    fn see(&mut self, _: &[u8]) {}

    fn complaint(&self) -> Option<Infallible> {
        None
    }
}

/// A stream whose writes gather; given to the protocol.
#[derive(Debug)]
pub(crate) struct Coalesced<S, W = ()>(Arc<Mutex<Inner<S, W>>>);

/// Sends what has gathered; kept by whoever drives the protocol.
#[derive(Debug)]
pub(crate) struct Flusher<S, W = ()>(Arc<Mutex<Inner<S, W>>>);

#[derive(Debug)]
struct Inner<S, W> {
    stream: S,
    watch: W,
    /// The protocol was told to wait in the middle of a frame.
    midway: bool,
    out: Outgoing,
    /// What need not be copied.
    known: Option<Known>,
    ahead: Ahead,
    /// Sending has failed; so does everything after.
    broken: Option<io::ErrorKind>,
}

/// Splits `stream` into the part for the protocol and the part for its driver. What is `known` of what is written is
/// not copied.
pub(crate) fn coalesce<S>(stream: S, known: Known) -> (Coalesced<S>, Flusher<S>) {
    split(stream, (), Some(known))
}

/// The same for answers, which are short and known nowhere, with somebody who watches what is read.
pub(crate) fn coalesce_watched<S, W>(stream: S, watch: W) -> (Coalesced<S, W>, Flusher<S, W>) {
    split(stream, watch, None)
}

fn split<S, W>(stream: S, watch: W, known: Option<Known>) -> (Coalesced<S, W>, Flusher<S, W>) {
    let (out, ahead) = (Outgoing::default(), Ahead::default());
    let inner = Inner { stream, watch, midway: false, out, known, ahead, broken: None };
    let inner = Arc::new(Mutex::new(inner));
    (Coalesced(Arc::clone(&inner)), Flusher(inner))
}

impl<S: AsyncWrite + Unpin> Flusher<S, ()> {
    /// Drives a future of the protocol's, and sends what it has written whenever it rests.
    pub(crate) async fn drive<F: Future>(&self, future: F) -> F::Output {
        match self.drive_watched(future).await {
            Ok(output) => output,
            Err(never) => match never {},
        }
    }
}

impl<S: AsyncWrite + Unpin, W: Watch> Flusher<S, W> {
    /// Drives a future of the protocol's, and sends what it has written whenever it rests.
    ///
    /// # Errors
    /// What whoever watches complains of.
    pub(crate) async fn drive_watched<F: Future>(&self, future: F) -> Result<F::Output, W::Complaint> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let (flush, complaint) = self.poll_flush(cx);
            if let Some(complaint) = complaint {
                return Poll::Ready(Err(complaint));
            }
            if flush.is_broken() {
                // The protocol hears of it at its next read.
                return future.as_mut().poll(cx).map(Ok);
            }
            Poll::Pending
        })
        .await
    }

    /// Sends a last frame, if the protocol has left the stream between two frames, and the peer takes it soon.
    pub(crate) async fn finish_with(&self, frame: &[u8]) {
        {
            let mut inner = lock(&self.0);
            if !inner.midway {
                inner.out.copy(frame);
            }
        }
        self.finish().await;
    }

    /// What whoever watches knows.
    pub(crate) fn watched<T>(&self, ask: impl FnOnce(&W) -> T) -> T {
        ask(&lock(&self.0).watch)
    }

    /// Sends what is left, if the peer takes it soon.
    pub(crate) async fn finish(&self) {
        // A peer that does not is gone, or not worth waiting for.
        let _ = timeout(FINISH_TIMEOUT, poll_fn(|cx| self.poll_flush(cx).0.into_poll())).await;
    }

    /// Sends what has gathered; how far that has come, and what there is to complain of.
    fn poll_flush(&self, cx: &mut Context<'_>) -> (Flush, Option<W::Complaint>) {
        let mut inner = lock(&self.0);
        let flush = match inner.poll_send(cx) {
            Poll::Pending => Flush::Waiting,
            Poll::Ready(Ok(())) => Flush::Done,
            Poll::Ready(Err(error)) => {
                inner.broken.get_or_insert(error.kind());
                Flush::Broken
            }
        };
        (flush, inner.watch.complaint())
    }
}

/// How far sending has come.
#[derive(PartialEq, Eq)]
enum Flush {
    Done,
    Waiting,
    Broken,
}

impl Flush {
    fn is_broken(&self) -> bool {
        *self == Self::Broken
    }

    fn into_poll(self) -> Poll<()> {
        if self == Self::Waiting { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Both halves are used by one task, so the lock is never contended.
fn lock<S, W>(inner: &Mutex<Inner<S, W>>) -> MutexGuard<'_, Inner<S, W>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin, W> Inner<S, W> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.out.poll_send(&mut self.stream, cx))?;
        // TLS may still hold some of it.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Room to gather so much, after writing if there is none.
    fn poll_room(&mut self, len: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        let has_room = self.out.len() + len <= OUT_MAX;
        let room = if has_room { Poll::Ready(Ok(())) } else { self.poll_send(cx) };
        self.midway = room.is_pending();
        room
    }
}

impl<S: AsyncWrite + Gather + Unpin, W> AsyncWrite for Coalesced<S, W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *lock(&self.0);
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if len >= DIRECT_MIN || inner.stream.gathers() {
            inner.midway = true;
            if inner.out.len() > 0 {
                ready!(inner.poll_send(cx))?;
            }
            let written = ready!(Pin::new(&mut inner.stream).poll_write_vectored(cx, bufs))?;
            inner.midway = written < len;
            return Poll::Ready(Ok(written));
        }
        ready!(inner.poll_room(len, cx))?;
        inner.out.add(bufs, inner.known.as_ref());
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The protocol flushes after every frame; the driver knows when it has said everything.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Gather + Unpin, W: Watch> AsyncRead for Coalesced<S, W> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *lock(&self.0);
        if let Some(kind) = inner.broken {
            return Poll::Ready(Err(kind.into()));
        }
        let Inner { ahead, stream, watch, .. } = inner;
        let mut seen = |read: &[u8]| watch.see(read);
        if stream.gathers() && ahead.at_hand().is_empty() {
            let before = buf.filled().len();
            let outcome = Pin::new(stream).poll_read(cx, buf);
            seen(&buf.filled()[before..]);
            return outcome;
        }
        ahead.poll_read(stream, cx, buf, seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    impl Gather for DuplexStream {}

    #[tokio::test]
    async fn nothing_is_written_before_the_driver_flushes_and_everything_after() {
        let (near, mut far) = duplex(1 << 20);
        let (mut stream, flusher) = coalesce(near, Known::default());
        stream.write_all(b"one ").await.expect("gathers");
        stream.write_all(b"two").await.expect("gathers");
        stream.flush().await.expect("does nothing");
        let mut buf = [0; 16];
        let early = poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut far).poll_read(cx, &mut ReadBuf::new(&mut buf)).is_ready())
        });
        assert!(!early.await);
        flusher.finish().await;
        let len = far.read(&mut buf).await.expect("reads");
        assert_eq!(&buf[..len], b"one two");
    }

    #[tokio::test]
    async fn a_full_socket_holds_the_writer_back_and_loses_nothing() {
        let (near, mut far) = duplex(1000);
        let (mut stream, flusher) = coalesce(near, Known::default());
        let sent: Vec<u8> = (0..1_000_000u32).map(|index| index as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            for chunk in sent.chunks(7001) {
                stream.write_all(chunk).await.expect("writes");
            }
            flusher.finish().await;
            stream.shutdown().await.expect("shuts down");
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("reads");
        writer.await.expect("the writer ends");
        assert!(received == expected);
    }

    #[tokio::test]
    async fn one_read_of_the_socket_serves_many_small_ones() {
        let (near, mut far) = duplex(1 << 20);
        let (mut stream, _flusher) = coalesce(near, Known::default());
        let sent: Vec<u8> = (0..200_000u32).map(|index| (index / 3) as u8).collect();
        far.write_all(&sent).await.expect("writes");
        drop(far);
        let mut received = Vec::new();
        let mut buf = [0; 999];
        loop {
            match stream.read(&mut buf).await.expect("reads") {
                0 => break,
                len => received.extend_from_slice(&buf[..len]),
            }
        }
        assert!(received == sent);
    }
}
