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
use crate::read_ahead::Ahead;
use rustls::Connection;
use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The plaintext of a full record.
const RECORD: usize = 16 << 10;
/// Plaintext that waits to be sent, at most.
const OUT_MAX: usize = 8 * RECORD;
/// The first size of the buffer for a record that is not full: enough for a few answers.
const BEGUN_SMALL: usize = 2 << 10;

/// TLS over `S`, on either side.
pub struct TlsStream<S> {
    io: S,
    session: Connection,
    /// What has been read from `io` and not been opened.
    ahead: Ahead,
    /// What has been written and does not fill a record.
    begun: Vec<u8>,
    /// How much of what has been written is sealed and may not have been sent.
    sealed: usize,
    /// rustls has a large buffer for what arrives.
    opening: bool,
    /// Something is wrong with what has arrived; told when what was good has been read.
    failed: Option<io::Error>,
    /// Nothing is read any more.
    ended: bool,
    /// Nothing is written any more.
    closed: bool,
}

impl<S> TlsStream<S> {
    /// Continues after a handshake; `ahead` is what was read and is not in the session yet.
    pub(super) fn new(io: S, session: impl Into<Connection>, ahead: Ahead) -> Self {
        let mut session = session.into();
        // We say ourselves when the writer has to wait: where rustls does, it ends a record.
        session.set_buffer_limit(None);
        Self {
            io,
            session,
            ahead,
            begun: Vec::new(),
            sealed: 0,
            opening: true,
            failed: None,
            ended: false,
            closed: false,
        }
    }

    /// The session, for what was agreed on.
    #[must_use]
    pub fn session(&self) -> &Connection {
        &self.session
    }

    /// Whether both sides have agreed on HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.session.alpn_protocol() == Some(ALPN_H2)
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("session", &self.session).finish_non_exhaustive()
    }
}

/// What has been opened and not been read.
#[derive(PartialEq, Eq)]
enum Opened {
    /// All of it was handed over.
    NoMore,
    /// The peer has said that there will be nothing more.
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<Opened> {
        let mut reader = self.session.reader();
        while buf.remaining() > 0 {
            let opened = match reader.fill_buf() {
                Ok([]) => return Ok(Opened::End),
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let len = opened.len().min(buf.remaining());
            buf.put_slice(&opened[..len]);
            reader.consume(len);
        }
        Ok(Opened::NoMore)
    }

    /// Gives rustls what it takes of what was read, which is a record or less.
    fn open(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.opening = true;
        let mut rest = self.ahead.at_hand();
        let len = rest.len();
        self.session.read_tls(&mut rest)?;
        let taken = len - rest.len();
        self.ahead.take(taken);
        match self.session.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                // There may be an alert to be sent. If that fails as well, it is the lesser of the two.
                let _ = self.poll_send(cx);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Reads from the socket; an end of it is told to rustls, which knows whether it may be one.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let filled = self.ahead.poll_fill(&mut self.io, cx, |_| ());
        if filled.is_pending() && std::mem::take(&mut self.opening) {
            // Makes rustls give back its buffer if it is empty, for it only looks when it is about to read.
            let _ = self.session.read_tls(&mut Nothing);
        }
        ready!(filled)?;
        if self.ahead.at_hand().is_empty() {
            self.session.read_tls(&mut io::empty())?;
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
            seal(&mut self.session, &records, full)?;
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
        seal(&mut self.session, &[IoSlice::new(&rest)], rest.len())
    }

    /// Sends everything that is sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Socket { io: &mut self.io, cx };
        while self.session.wants_write() {
            match self.session.write_tls(&mut socket) {
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

/// Has rustls cut `bufs`, of `len` bytes in all, into records.
fn seal(session: &mut Connection, bufs: &[IoSlice<'_>], len: usize) -> io::Result<()> {
    if session.writer().write_vectored(bufs)? == len {
        return Ok(());
    }
    // It has no limit, and the handshake is over.
    Err(io::Error::other("TLS has taken only a part"))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        loop {
            match this.hand_over(buf) {
                Ok(Opened::NoMore) => {}
                Ok(Opened::End) => {
                    this.ended = buf.filled().len() == before;
                    return Poll::Ready(Ok(()));
                }
                Err(error) => {
                    this.ended = error.kind() == io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(Err(error));
                }
            }
            let has_some = buf.filled().len() > before || buf.remaining() == 0;
            if buf.remaining() == 0 || has_some && (this.failed.is_some() || this.ahead.at_hand().is_empty())
            {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            if this.ahead.at_hand().is_empty() {
                ready!(this.poll_fill(cx))?;
            }
            if !this.ahead.at_hand().is_empty() {
                this.failed = this.open(cx).err();
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
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
            this.session.send_close_notify();
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

/// Has nothing to be read for now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
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
