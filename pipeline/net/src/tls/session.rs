//! What a [`super::TlsStream`] asks of rustls, and rustls as a client is asked.
//!
//! A client's session is the one with buffers: there are few of them, they write much, and this one seals records from
//! where the plaintext lies. A server's is [`super::bare`], which has none.

use crate::read_ahead::Ahead;
use rustls::{ClientConnection, CommonState};
use std::io::{self, BufRead, IoSlice, Read, Write};
use tokio::io::ReadBuf;

/// Why no more plaintext was handed over.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// There is no more room for it.
    Enough,
    /// More has to come from the peer first.
    NoMore,
    /// The peer has said that there will be nothing more.
    End,
}

/// The session of a connection after its handshake. Does no input or output by itself.
pub trait Session {
    /// What was agreed on.
    fn agreed(&self) -> &CommonState;

    /// Hands over plaintext, and opens what is at hand of `ahead` as far as there is room for what is in it.
    ///
    /// # Errors
    /// What is wrong with what has come, after all that was good. From then on there is nothing else to be had; the
    /// peer may have to be told ([`Session::wants_sending`]).
    fn open(&mut self, ahead: &mut Ahead, buf: &mut ReadBuf<'_>) -> io::Result<Opened>;

    /// Nothing comes from the socket any more. Whether that is all right is told when there is nothing left to read.
    fn ended(&mut self);

    /// Seals `bufs`, of `len` bytes in all, in full records and one for the rest. Opens what is at hand of `ahead` if it
    /// has to be seen first.
    ///
    /// # Errors
    /// What is wrong with what has come, or that nothing can be said any more.
    fn seal(&mut self, bufs: &[IoSlice<'_>], len: usize, ahead: &mut Ahead) -> io::Result<()>;

    /// Seals that nothing more will come.
    fn close(&mut self, ahead: &mut Ahead);

    /// Whether something is sealed and not sent.
    fn wants_sending(&self) -> bool;

    /// Sends of it what `socket` takes at once; how much that was.
    ///
    /// # Errors
    /// Those of the socket.
    fn send(&mut self, socket: &mut dyn Write) -> io::Result<usize>;

    /// Nothing can be read for now: gives back what only reading needs.
    fn rest(&mut self);
}

/// rustls with its own buffers.
#[derive(Debug)]
pub struct Buffered {
    session: ClientConnection,
    /// There is a large buffer for what arrives.
    opening: bool,
    /// What came was wrong.
    failed: Option<rustls::Error>,
}

impl Buffered {
    /// The session after a handshake.
    pub(super) fn new(mut session: ClientConnection) -> Self {
        // The stream says itself when the writer has to wait: where rustls does, it ends a record.
        session.set_buffer_limit(None);
        Self { session, opening: true, failed: None }
    }

    /// Gives rustls what it takes of what was read, which is a record or less.
    fn take(&mut self, ahead: &mut Ahead) -> io::Result<()> {
        self.opening = true;
        let mut rest = ahead.at_hand();
        let len = rest.len();
        self.session.read_tls(&mut rest)?;
        let taken = len - rest.len();
        ahead.take(taken);
        self.failed = self.session.process_new_packets().err();
        Ok(())
    }
}

impl Session for Buffered {
    fn agreed(&self) -> &CommonState {
        &self.session
    }

    fn open(&mut self, ahead: &mut Ahead, buf: &mut ReadBuf<'_>) -> io::Result<Opened> {
        loop {
            while buf.remaining() > 0 {
                let mut reader = self.session.reader();
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
            if buf.remaining() == 0 {
                return Ok(Opened::Enough);
            }
            if let Some(failed) = &self.failed {
                return Err(io::Error::new(io::ErrorKind::InvalidData, failed.clone()));
            }
            if ahead.at_hand().is_empty() {
                return Ok(Opened::NoMore);
            }
            self.take(ahead)?;
        }
    }

    fn ended(&mut self) {
        // It only takes note; there is nothing that could fail.
        let _ = self.session.read_tls(&mut io::empty());
    }

    fn seal(&mut self, bufs: &[IoSlice<'_>], len: usize, _: &mut Ahead) -> io::Result<()> {
        if self.session.writer().write_vectored(bufs)? == len {
            return Ok(());
        }
        // It has no limit, and the handshake is over.
        Err(io::Error::other("TLS has taken only a part"))
    }

    fn close(&mut self, _: &mut Ahead) {
        self.session.send_close_notify();
    }

    fn wants_sending(&self) -> bool {
        self.session.wants_write()
    }

    fn send(&mut self, mut socket: &mut dyn Write) -> io::Result<usize> {
        self.session.write_tls(&mut socket)
    }

    fn rest(&mut self) {
        if std::mem::take(&mut self.opening) {
            // Makes rustls give back its buffer if it is empty, for it only looks when it is about to read.
            let _ = self.session.read_tls(&mut Nothing);
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
