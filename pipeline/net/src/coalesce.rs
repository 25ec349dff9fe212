//! Fewer, larger reads and writes below HTTP/2.
//!
//! The `h2` crate reads and writes a frame at a time: 16 KiB a system call, and on a fast path the calls cost more than
//! the bytes. Here writes gather in a buffer that goes out when the connection has nothing more to say for now, and
//! reads take what the socket has and are handed on in pieces. That copies each byte once more, which is a fraction of
//! what the calls cost.
//!
//! # Invariants
//! - What was written is on its way as soon as the connection's task rests: whoever drives the connection does so
//!   through [`Flusher::drive`].
//! - Once [`OUT_MAX`] bytes wait to be written, the writer waits for the socket.
//! - A connection at rest holds no buffer.

use crate::read_ahead::Ahead;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// Bytes that gather before they are written at the latest.
const OUT_MAX: usize = 128 << 10;
/// The first size of the buffer: enough for a few answers.
const OUT_SMALL: usize = 2 << 10;
/// Writes of this size are worth a system call of their own.
const DIRECT_MIN: usize = 64 << 10;

/// How long the last bytes of a connection may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream whose writes gather; given to the protocol.
#[derive(Debug)]
pub(crate) struct Coalesced<S>(Arc<Mutex<Inner<S>>>);

/// Sends what has gathered; kept by whoever drives the protocol.
#[derive(Debug)]
pub(crate) struct Flusher<S>(Arc<Mutex<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    out: Vec<u8>,
    /// How much of `out` has been written.
    sent: usize,
    ahead: Ahead,
    /// Sending has failed; so does everything after.
    broken: Option<io::ErrorKind>,
}

/// Splits `stream` into the part for the protocol and the part for its driver.
pub(crate) fn coalesce<S>(stream: S) -> (Coalesced<S>, Flusher<S>) {
    let inner = Inner { stream, out: Vec::new(), sent: 0, ahead: Ahead::default(), broken: None };
    let inner = Arc::new(Mutex::new(inner));
    (Coalesced(Arc::clone(&inner)), Flusher(inner))
}

impl<S: AsyncWrite + Unpin> Flusher<S> {
    /// Drives a future of the protocol's, and sends what it has written whenever it rests.
    pub(crate) async fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let mut polled = future.as_mut().poll(cx);
            if polled.is_pending() && self.poll_flush(cx).is_broken() {
                // The protocol hears of it at its next read.
                polled = future.as_mut().poll(cx);
            }
            polled
        })
        .await
    }

    /// Sends what is left, if the peer takes it soon.
    pub(crate) async fn finish(&self) {
        // A peer that does not is gone, or not worth waiting for.
        let _ = timeout(FINISH_TIMEOUT, poll_fn(|cx| self.poll_flush(cx).into_poll())).await;
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Flush {
        let mut inner = lock(&self.0);
        match inner.poll_send(cx) {
            Poll::Pending => Flush::Waiting,
            Poll::Ready(Ok(())) => Flush::Done,
            Poll::Ready(Err(error)) => {
                inner.broken.get_or_insert(error.kind());
                Flush::Broken
            }
        }
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
fn lock<S>(inner: &Mutex<Inner<S>>) -> MutexGuard<'_, Inner<S>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        self.out = Vec::new();
        self.sent = 0;
        // TLS keeps records of its own back while the socket is full.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Grows the buffer in two steps, one for answers and one for requests, instead of by doubling.
    fn make_room(&mut self, len: usize) {
        let needed = self.out.len() + len;
        if needed > self.out.capacity() {
            let capacity = if needed <= OUT_SMALL { OUT_SMALL } else { OUT_MAX + DIRECT_MIN };
            self.out.reserve_exact(capacity - self.out.len());
        }
    }

    /// Room to gather, after writing if there is none.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        if self.out.len() < OUT_MAX { Poll::Ready(Ok(())) } else { self.poll_send(cx) }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        ready!(inner.poll_room(cx))?;
        inner.make_room(buf.len());
        inner.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *lock(&self.0);
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if len >= DIRECT_MIN {
            ready!(inner.poll_send(cx))?;
            return Pin::new(&mut inner.stream).poll_write_vectored(cx, bufs);
        }
        ready!(inner.poll_room(cx))?;
        inner.make_room(len);
        bufs.iter().for_each(|buf| inner.out.extend_from_slice(buf));
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

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *lock(&self.0);
        if let Some(kind) = inner.broken {
            return Poll::Ready(Err(kind.into()));
        }
        inner.ahead.poll_read(&mut inner.stream, cx, buf, |_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn nothing_is_written_before_the_driver_flushes_and_everything_after() {
        let (near, mut far) = duplex(1 << 20);
        let (mut stream, flusher) = coalesce(near);
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
        let (mut stream, flusher) = coalesce(near);
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
        let (mut stream, _flusher) = coalesce(near);
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
