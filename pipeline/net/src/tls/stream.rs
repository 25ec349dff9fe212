//! A connection after its handshake: rustls keeps the session, and this moves the bytes.
//!
//! A stream of tokio-rustls seals every write by itself and hands it to the socket at once. HTTP/2 writes a frame at a
//! time, of nine bytes more than fit into a record: that is two records and a system call for each. Here records are
//! full, sealed from where the plaintext lies, and leave many at a time.
//!
//! # Invariants
//! - What was written leaves when it is flushed, at the latest; until then it may wait here.
//! - Once [`OUT_MAX`] bytes wait, the writer waits for the socket.
//! - A connection at rest holds no buffer of ours, and the smallest that rustls knows.

use super::ALPN_H2;
use super::bare::Bare;
use super::session::{Buffered, Opened, Session};
use crate::read_ahead::Ahead;
use rustls::CommonState;
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The plaintext of a full record.
const RECORD: usize = 16 << 10;
/// Plaintext that waits to be sent, at most.
const OUT_MAX: usize = 8 * RECORD;
/// The first size of the buffer for a record that is not full: enough for a few answers.
const BEGUN_SMALL: usize = 2 << 10;

/// TLS over `S` as the side that accepted it sees it.
pub type ServerStream<S> = TlsStream<S, Bare>;
/// TLS over `S` as the side that opened it sees it.
pub type ClientStream<S> = TlsStream<S, Buffered>;

/// TLS over `S`, with a session of either side.
pub struct TlsStream<S, T> {
    io: S,
    session: T,
    /// What has been read from `io` and not been opened.
    ahead: Ahead,
    /// What has been written and does not fill a record.
    begun: Vec<u8>,
    /// How much of what has been written is sealed and may not have been sent.
    sealed: usize,
    /// Something is wrong with what has arrived; told when what was good has been read.
    failed: Option<io::Error>,
    /// Nothing is read any more.
    ended: bool,
    /// Nothing is written any more.
    closed: bool,
}

impl<S, T: Session> TlsStream<S, T> {
    /// Continues after a handshake; `ahead` is what was read and is not in the session yet.
    pub(super) fn new(io: S, session: T, ahead: Ahead) -> Self {
        Self { io, session, ahead, begun: Vec::new(), sealed: 0, failed: None, ended: false, closed: false }
    }

    /// What both sides have agreed on.
    #[must_use]
    pub fn agreed(&self) -> &CommonState {
        self.session.agreed()
    }

    /// Whether both sides have agreed on HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.agreed().alpn_protocol() == Some(ALPN_H2)
    }
}

impl<S, T: fmt::Debug> fmt::Debug for TlsStream<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: Session> TlsStream<S, T> {
    /// Reads from the socket; an end of it is told to the session, which knows whether it may be one.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let filled = self.ahead.poll_more(&mut self.io, cx);
        if filled.is_pending() {
            self.session.rest();
        }
        if ready!(filled)? == 0 {
            self.session.ended();
        }
        Poll::Ready(Ok(()))
    }

    /// Seals the records that `bufs` fill, as far as there is room, and keeps what fills none. How much that was.
    fn take(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: usize = bufs.iter().map(|buf| buf.len()).sum();
        let taken = all.min(OUT_MAX - self.sealed);
        let full = (self.begun.len() + taken) / RECORD * RECORD;
        let mut sealing = full.saturating_sub(self.begun.len());
        let mut keeping = taken - sealing;
        let mut records = Vec::with_capacity(if full > 0 { bufs.len() + 1 } else { 0 });
        if full > 0 {
            records.push(IoSlice::new(&self.begun));
        }
        let mut kept = bufs.len();
        let mut kept_from = 0;
        for (at, buf) in bufs.iter().enumerate() {
            let len = buf.len().min(sealing);
            if len > 0 {
                records.push(IoSlice::new(&buf[..len]));
                sealing -= len;
            }
            if len < buf.len() {
                (kept, kept_from) = (at, len);
                break;
            }
        }
        if full > 0 {
            self.session.seal(&records, full, &mut self.ahead)?;
            self.sealed += full;
            drop(records);
            self.begun.clear();
        }
        for buf in &bufs[kept..] {
            let len = (buf.len() - kept_from).min(keeping);
            self.keep(kept_from, len, buf);
            keeping -= len;
            kept_from = 0;
        }
        Ok(taken)
    }

    fn keep(&mut self, from: usize, len: usize, buf: &[u8]) {
        let needed = self.begun.len() + len;
        if needed > self.begun.capacity() {
            let capacity = if needed <= BEGUN_SMALL { BEGUN_SMALL } else { RECORD };
            self.begun.reserve_exact(capacity - self.begun.len());
        }
        self.begun.extend_from_slice(&buf[from..from + len]);
    }

    /// Seals what fills no record.
    fn seal_rest(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.begun);
        if rest.is_empty() {
            return Ok(());
        }
        self.sealed += rest.len();
        self.session.seal(&[IoSlice::new(&rest)], rest.len(), &mut self.ahead)
    }

    /// Sends everything that is sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Socket { io: &mut self.io, cx };
        while self.session.wants_sending() {
            match self.session.send(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.sealed = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: Session + Unpin> AsyncRead for TlsStream<S, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let opened = match this.failed.take() {
                Some(error) => Err(error),
                None => this.session.open(&mut this.ahead, buf),
            };
            this.ahead.release();
            if opened.is_err() {
                // There may be an alert to be sent. If that fails as well, it is the lesser of the two.
                let _ = this.poll_send(cx);
            }
            if buf.filled().len() > before {
                this.failed = opened.err();
                return Poll::Ready(Ok(()));
            }
            match opened {
                Ok(Opened::Enough) => return Poll::Ready(Ok(())),
                Ok(Opened::NoMore) => ready!(this.poll_fill(cx))?,
                Ok(Opened::End) => {
                    this.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Err(error) => {
                    this.ended = error.kind() == io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: Session + Unpin> AsyncWrite for TlsStream<S, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if this.sealed >= OUT_MAX {
            ready!(this.poll_send(cx))?;
        }
        Poll::Ready(this.take(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.seal_rest()?;
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// Says that nothing more will come. What the peer sends can still be read.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed {
            this.seal_rest()?;
            this.session.close(&mut this.ahead);
            this.closed = true;
        }
        ready!(this.poll_send(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            // It is gone already, which is as good.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// A socket as rustls writes to it.
struct Socket<'a, 'b, S> {
    io: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Write for Socket<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.io).poll_write_vectored(self.cx, bufs) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
