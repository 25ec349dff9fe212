//! Fewer, larger reads: a stream that takes what the socket has and hands it on in pieces.
//!
//! `h2` reads 16 KiB at a time and rustls 4, and on a fast path the system calls cost more than the bytes. Copying each
//! byte once more is a fraction of that.
//!
//! # Invariant
//! A stream at rest holds no buffer.

use crate::spare;
use bytes::BufMut;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// What one read takes at most, and below which a caller's own buffer is too small to read into directly.
pub(crate) const IN_MAX: usize = 64 << 10;

/// What has been read and not yet handed on.
#[derive(Debug, Default)]
pub struct Ahead {
    input: Vec<u8>,
    /// How much of `input` has been handed on.
    taken: usize,
}

impl Ahead {
    /// What is at hand without a read.
    pub(crate) fn at_hand(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// What is at hand, for whoever opens it where it lies.
    pub(crate) fn at_hand_mut(&mut self) -> &mut [u8] {
        &mut self.input[self.taken..]
    }

    /// The size of its buffer.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.input.capacity()
    }

    /// Whether it has no buffer.
    #[cfg(test)]
    pub(crate) fn holds_nothing(&self) -> bool {
        self.held() == 0
    }

    /// So much of what is at hand has been handed on.
    pub(crate) fn take(&mut self, len: usize) {
        self.taken = (self.taken + len).min(self.input.len());
    }

    /// Reads into `buf` from what is at hand, else from `stream`; `seen` is shown every byte once, as it is read.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        seen: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        if self.taken == self.input.len() {
            if buf.remaining() >= IN_MAX {
                self.rest();
                let before = buf.filled().len();
                let outcome = Pin::new(stream).poll_read(cx, buf);
                seen(&buf.filled()[before..]);
                return outcome;
            }
            let outcome = self.poll_fill(stream, cx, seen);
            if self.input.is_empty() {
                return outcome;
            }
        }
        let rest = &self.input[self.taken..];
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.take(len);
        Poll::Ready(Ok(()))
    }

    /// Holds no buffer if there is nothing in it.
    pub(crate) fn release(&mut self) {
        if self.taken == self.input.len() {
            self.rest();
        }
    }

    fn rest(&mut self) {
        spare::give_back(std::mem::take(&mut self.input));
        self.taken = 0;
    }

    /// Replaces what is at hand, of which nothing is left, by what the socket has. Stays empty if that is nothing.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        seen: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        self.taken = 0;
        self.input.clear();
        if self.input.capacity() < IN_MAX {
            self.input = spare::take();
        }
        // Into room that nobody had to zero first.
        let outcome = poll_read_buf(Pin::new(stream), cx, &mut (&mut self.input).limit(IN_MAX));
        if self.input.is_empty() {
            // Nothing there, the end, or an error: at rest, no buffer is held.
            self.rest();
        } else {
            seen(&self.input);
        }
        outcome.map_ok(|_| ())
    }

    /// Reads more behind what is at hand, for whoever cannot use it yet; how much that was. As long as nothing comes,
    /// what is at hand takes the room that it needs and no more.
    pub(crate) fn poll_more<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.input.capacity() < IN_MAX {
            let mut input = spare::take();
            input.extend_from_slice(self.at_hand());
            self.input = input;
        } else {
            self.input.drain(..self.taken);
        }
        self.taken = 0;
        let before = self.input.len();
        if before >= IN_MAX {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer's message is too long",
            )));
        }
        let outcome = poll_read_buf(Pin::new(stream), cx, &mut (&mut self.input).limit(IN_MAX - before));
        if self.input.len() == before {
            let kept = self.input.as_slice().to_vec();
            self.rest();
            self.input = kept;
        }
        outcome
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.rest();
    }
}

/// A stream that is read in large pieces. Writes go through.
#[derive(Debug)]
pub struct ReadAhead<S> {
    stream: S,
    ahead: Ahead,
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ahead: Ahead::default() }
    }

    /// The stream, and what has been read of it and not been handed on.
    pub(crate) fn into_parts(self) -> (S, Ahead) {
        (self.stream, self.ahead)
    }

    /// The first byte that has not been read, which stays unread; `None` at the end of the stream.
    pub(crate) async fn first(&mut self) -> io::Result<Option<u8>> {
        if self.ahead.at_hand().is_empty() {
            poll_fn(|cx| self.ahead.poll_fill(&mut self.stream, cx, |_| ())).await?;
        }
        Ok(self.ahead.at_hand().first().copied())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.ahead.poll_read(&mut this.stream, cx, buf, |_| ())
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
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
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn the_first_byte_can_be_looked_at_and_is_not_lost() {
        let (near, mut far) = duplex(1 << 20);
        let mut stream = ReadAhead::new(near);
        far.write_all(b"abc").await.expect("writes");
        assert_eq!(stream.first().await.expect("reads"), Some(b'a'));
        assert_eq!(stream.first().await.expect("reads"), Some(b'a'));
        drop(far);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("reads");
        assert_eq!(read, b"abc");
        assert_eq!(stream.first().await.expect("reads"), None);
    }

    #[tokio::test]
    async fn what_cannot_be_used_yet_waits_in_little_room() {
        let (mut near, mut far) = duplex(1 << 20);
        let mut ahead = Ahead::default();
        let more = |ahead: &mut Ahead, near: &mut _| {
            let waker = std::task::Waker::noop();
            ahead.poll_more(near, &mut Context::from_waker(waker))
        };
        far.write_all(b"abcdef").await.expect("writes");
        assert!(matches!(more(&mut ahead, &mut near), Poll::Ready(Ok(6))));
        ahead.take(2);
        assert!(more(&mut ahead, &mut near).is_pending());
        assert_eq!((ahead.at_hand(), ahead.input.capacity()), (&b"cdef"[..], 4));
        far.write_all(b"gh").await.expect("writes");
        assert!(matches!(more(&mut ahead, &mut near), Poll::Ready(Ok(2))));
        assert_eq!(ahead.at_hand(), b"cdefgh");
        ahead.take(6);
        assert!(more(&mut ahead, &mut near).is_pending() && ahead.holds_nothing());
        far.write_all(&vec![7; 2 * IN_MAX]).await.expect("writes");
        assert!(matches!(more(&mut ahead, &mut near), Poll::Ready(Ok(IN_MAX))));
        assert!(matches!(more(&mut ahead, &mut near), Poll::Ready(Err(_))), "there is an end to it");
    }

    #[tokio::test]
    async fn small_reads_and_large_ones_give_the_same_bytes() {
        let (near, mut far) = duplex(1 << 20);
        let mut stream = ReadAhead::new(near);
        let sent: Vec<u8> = (0..500_000u32).map(|index| (index / 3) as u8).collect();
        far.write_all(&sent).await.expect("writes");
        drop(far);
        let mut received = Vec::new();
        for size in [1, 5, 4096, 70_000, 3, 100_000].into_iter().cycle() {
            let mut buf = vec![0; size];
            match stream.read(&mut buf).await.expect("reads") {
                0 => break,
                len => received.extend_from_slice(&buf[..len]),
            }
        }
        assert!(received == sent);
    }
}
