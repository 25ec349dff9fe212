//! The session of a server's connection: rustls without buffers.
//!
//! A server has thousands of connections of which most say nothing, and rustls with buffers keeps 4 KiB for what may
//! come, 8 once something has. Here records are opened where they were read, in a buffer that goes to whoever reads next,
//! and a connection at rest has its keys and nothing else.
//!
//! # Invariants
//! - rustls is always shown what it has not discarded: it remembers how far into that it has looked.
//! - What is opened before somebody reads it comes from what is at hand, so there is never more of it than that.

use super::session::{Opened, Session};
use crate::read_ahead::Ahead;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, ServerConfig};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// A server's session.
pub struct Bare {
    session: UnbufferedServerConnection,
    /// What has been opened and not been read.
    opened: Queue,
    /// rustls has opened a record that nobody has taken yet.
    kept_inside: bool,
    /// What is sealed and not sent.
    sealed: Queue,
    /// What came was wrong.
    failed: Option<Error>,
    /// The peer has said that there will be nothing more.
    peer_closed: bool,
    /// Nothing comes from the socket any more.
    ended: bool,
}

impl fmt::Debug for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bare").field("peer_closed", &self.peer_closed).finish_non_exhaustive()
    }
}

/// Whoever reads now.
struct Reader<'a, 'b> {
    buf: &'a mut ReadBuf<'b>,
    /// What was in it before he began.
    before: usize,
}

impl Reader<'_, '_> {
    fn has_some(&self) -> bool {
        self.buf.filled().len() > self.before
    }
}

/// How rustls went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// As far as it can without the peer.
    AllTheWay,
    /// Until whoever takes the plaintext had enough.
    Enough,
}

impl Bare {
    /// Shakes hands over `stream`, of which `ahead` has been read already. In a future that is large.
    pub(super) async fn shake_hands<S>(
        config: Arc<ServerConfig>,
        stream: &mut S,
        ahead: &mut Ahead,
    ) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut bare = Self {
            session: UnbufferedServerConnection::new(config).map_err(invalid)?,
            opened: Queue::default(),
            kept_inside: false,
            sealed: Queue::default(),
            failed: None,
            peer_closed: false,
            ended: false,
        };
        loop {
            let went = bare.go_on(ahead, None, |_, _| Ok(()));
            // Also where it failed: the client is to hear why, if it listens.
            let told = bare.tell(stream).await;
            went?;
            told?;
            if !bare.session.is_handshaking() {
                return Ok(bare);
            }
            if poll_fn(|cx| ahead.poll_more(stream, cx)).await? == 0 {
                let message = "the client went away during the handshake";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
        }
    }

    /// Whether it has no buffer.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.opened.bytes.capacity() == 0 && self.sealed.bytes.capacity() == 0
    }

    /// Sends all that is sealed.
    async fn tell<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        while self.wants_sending() {
            let sent = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, self.sealed.left())).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sealed.take(sent);
        }
        stream.flush().await
    }

    /// Lets rustls go on with what is at hand. Plaintext goes to `reader`, and what it has no room for, or all of it
    /// without one, to what is opened and not read; `writing` is called when there is nothing left to be done and
    /// something may be said.
    fn go_on(
        &mut self,
        ahead: &mut Ahead,
        mut reader: Option<Reader<'_, '_>>,
        mut writing: impl FnMut(WriteTraffic<'_, ServerConnectionData>, &mut Queue) -> Result<(), EncryptError>,
    ) -> io::Result<Went> {
        if let Some(failed) = &self.failed {
            return Err(invalid(failed.clone()));
        }
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.session.process_tls_records(ahead.at_hand_mut());
            let went = match state {
                Ok(ConnectionState::ReadTraffic(mut records)) => {
                    let went = self.opened.receive(&mut records, reader.as_mut(), &mut discard);
                    self.kept_inside = records.peek_len().is_some();
                    went.map(Ok)
                }
                Ok(ConnectionState::EncodeTlsData(message)) => {
                    encode(message, &mut self.sealed).err().map(Err)
                }
                // It leaves in its turn, so to rustls it has left.
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    None
                }
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    Some(match writing(traffic, &mut self.sealed) {
                        Ok(()) => Ok(Went::AllTheWay),
                        Err(error) => Err(Error::General(error.to_string())),
                    })
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Some(Ok(Went::AllTheWay)),
                // Such as early data, which is never offered.
                Ok(_) => Some(Err(Error::General("TLS has come to what was not agreed on".to_owned()))),
                Err(error) => Some(Err(error)),
            };
            ahead.take(discard);
            match went {
                None => {}
                Some(Ok(went)) => return Ok(went),
                Some(Err(error)) => {
                    self.failed = Some(error.clone());
                    self.take_alerts(ahead);
                    return Err(invalid(error));
                }
            }
        }
    }

    /// What is still to be said after something was wrong, such as what. As long as there is some of that, rustls looks
    /// at nothing else.
    fn take_alerts(&mut self, ahead: &mut Ahead) {
        while self.session.wants_write() {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(ahead.at_hand_mut());
            let Ok(ConnectionState::EncodeTlsData(message)) = state else { return };
            if encode(message, &mut self.sealed).is_err() {
                return;
            }
            ahead.take(discard);
        }
    }

    /// Says something. What is at hand is looked at first.
    fn say(
        &mut self,
        ahead: &mut Ahead,
        mut what: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let mut said = false;
        self.go_on(ahead, None, |mut traffic, sealed| {
            said = true;
            // How much room it takes is known to rustls alone.
            let Err(EncryptError::InsufficientSize(size)) = what(&mut traffic, &mut []) else {
                return Ok(());
            };
            sealed.extend(size.required_size, |room| what(&mut traffic, room))
        })?;
        // Both sides have said that they are done.
        if said { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

impl Session for Bare {
    fn agreed(&self) -> &CommonState {
        &self.session
    }

    fn open(&mut self, ahead: &mut Ahead, buf: &mut ReadBuf<'_>) -> io::Result<Opened> {
        let before = buf.filled().len();
        let len = self.opened.left().len().min(buf.remaining());
        buf.put_slice(&self.opened.left()[..len]);
        self.opened.take(len);
        if buf.remaining() == 0 {
            return Ok(Opened::Enough);
        }
        if !self.peer_closed && (self.failed.is_some() || self.kept_inside || !ahead.at_hand().is_empty()) {
            let went = self.go_on(ahead, Some(Reader { buf, before }), |_, _| Ok(()))?;
            if went == Went::Enough {
                return Ok(Opened::Enough);
            }
        }
        match (self.peer_closed, self.ended) {
            (true, _) => Ok(Opened::End),
            (false, true) => {
                let message = "the peer has closed the connection without saying so in TLS";
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
            }
            (false, false) => Ok(Opened::NoMore),
        }
    }

    fn ended(&mut self) {
        self.ended = true;
    }

    fn seal(&mut self, bufs: &[IoSlice<'_>], len: usize, ahead: &mut Ahead) -> io::Result<()> {
        let mut pieces = bufs.iter().filter(|buf| !buf.is_empty());
        let joined;
        let plain: &[u8] = match (pieces.next(), pieces.next()) {
            (None, _) => return Ok(()),
            (Some(only), None) => only,
            _ => {
                let mut all = Vec::with_capacity(len);
                bufs.iter().for_each(|buf| all.extend_from_slice(buf));
                joined = all;
                &joined
            }
        };
        self.say(ahead, |traffic, room| traffic.encrypt(plain, room))
    }

    fn close(&mut self, ahead: &mut Ahead) {
        // Where nothing can be said any more, the end of the connection says it.
        let _ = self.say(ahead, |traffic, room| traffic.queue_close_notify(room));
    }

    fn wants_sending(&self) -> bool {
        !self.sealed.left().is_empty()
    }

    fn send(&mut self, socket: &mut dyn Write) -> io::Result<usize> {
        let sent = socket.write(self.sealed.left())?;
        self.sealed.take(sent);
        Ok(sent)
    }

    /// There is nothing that only reading needs.
    fn rest(&mut self) {}
}

fn encode(mut message: EncodeTlsData<'_, ServerConnectionData>, sealed: &mut Queue) -> Result<(), Error> {
    // How much room it takes is known to rustls alone.
    let Err(EncodeError::InsufficientSize(size)) = message.encode(&mut []) else { return Ok(()) };
    let encoded = sealed.extend(size.required_size, |room| message.encode(room));
    encoded.map_err(|error| Error::General(error.to_string()))
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Bytes that leave in the order in which they came. Empty, it has no buffer.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    taken: usize,
}

impl Queue {
    fn left(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
        if self.taken >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Takes what `records` has: to `reader` what fits, the rest here. A record that would have to be cut stays where it
    /// is if the reader has something already, as it is copied once less then.
    fn receive(
        &mut self,
        records: &mut ReadTraffic<'_, '_, ServerConnectionData>,
        mut reader: Option<&mut Reader<'_, '_>>,
        discard: &mut usize,
    ) -> Option<Went> {
        while let Some(len) = records.peek_len() {
            let room = reader.as_ref().map_or(0, |reader| reader.buf.remaining());
            if room < len.get() && reader.as_ref().is_some_and(|reader| reader.has_some()) {
                return Some(Went::Enough);
            }
            let Some(Ok(record)) = records.next_record() else { break };
            *discard += record.discard;
            let (fits, rest) = record.payload.split_at(room.min(record.payload.len()));
            self.bytes.extend_from_slice(rest);
            if let Some(reader) = &mut reader {
                reader.buf.put_slice(fits);
                if reader.buf.remaining() == 0 {
                    return Some(Went::Enough);
                }
            }
        }
        None
    }

    /// Lets `fill` write into so much room; what it did not use is not kept.
    fn extend<E>(&mut self, room: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        let start = self.bytes.len();
        self.bytes.resize(start + room, 0);
        let filled = fill(&mut self.bytes[start..]);
        self.bytes.truncate(start + filled.as_ref().map_or(0, |filled| *filled));
        filled.map(drop)
    }
}
