//! Connections that have not asked for anything yet, which is what most idle ones are: no HTTP/2 state is made for them.
//!
//! The state of `h2` takes some fifteen kilobytes from the first moment. Until the first request there is little to do
//! with a client: send our settings, acknowledge its, answer its pings. That is done here; what the client has said is
//! kept, and as soon as it says anything else, `h2` is made and hears all of it from the beginning.
//!
//! # Invariants
//! - Only what every conversation begins with is answered here. Whatever else comes, well-formed or not, `h2` answers.
//! - A peer cannot tell the difference: the bytes it is sent are the same.
//! - What is kept is bounded by [`SAID_MAX`], what waits to be sent by [`OUT_MAX`] and the
//!   answers to one read.

use super::watch::{FrameWatch, Misuse};
use crate::coalesce::{Coalesced, Flusher, Spoken, Watch, resume_watched};
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What begins every connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_LEN: usize = 9;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const SETTINGS_ACK: [u8; HEAD_LEN] = [0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0];
/// The ping by which `h2` looks whether anybody is there.
const OUR_PING: [u8; HEAD_LEN + 8] =
    [0, 0, 8, PING, 0, 0, 0, 0, 0, 0x3B, 0x7C, 0xDB, 0x7A, 0x0B, 0x87, 0x16, 0xB4];

/// What a client may have said, without its pings, before `h2` is made after all. Clients say about a hundred bytes.
pub(super) const SAID_MAX: usize = 512;
/// What is read at once; room for it is on the stack.
const READ_MAX: usize = 512;
/// Answers that gather before they must be sent.
const OUT_MAX: usize = 512;
/// The window that every connection begins with, and the largest there may be.
const WINDOW_FIRST: u32 = 65_535;
const WINDOW_LAST: u32 = (1 << 31) - 1;

/// What has happened on a parked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The client has said that it speaks HTTP/2.
    Greeted,
    /// It has said something that `h2` must hear.
    Wake,
    /// It is to be turned away.
    Misuse(Misuse),
    /// It has gone.
    Gone,
}

/// A connection without HTTP/2 state.
#[derive(Debug)]
pub(super) struct Parked<S> {
    stream: S,
    watch: FrameWatch,
    said: Said,
    greeted: bool,
    reads: u64,
    /// Our own settings, as `h2` would send them.
    greeting: Bytes,
    out: Vec<u8>,
    sent: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Parked<S> {
    /// Parks a new connection; `greeting` is the settings that `h2` will have sent.
    pub(super) fn new(stream: S, watch: FrameWatch, greeting: Bytes) -> Self {
        let out = greeting.to_vec();
        Self { stream, watch, said: Said::default(), greeted: false, reads: 0, greeting, out, sent: 0 }
    }

    /// How many reads have brought something so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads
    }

    /// Asks the client whether it is there. Its answer is a read like any other.
    pub(super) fn ping(&mut self) {
        self.out.extend_from_slice(&OUR_PING);
    }

    /// Sends, listens and answers until something happens.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
        loop {
            if self.out.len() >= OUT_MAX {
                // Whoever does not take its answers is not listened to.
                ready!(self.poll_send(cx))?;
            }
            let mut room = [0; READ_MAX];
            let mut read = ReadBuf::new(&mut room);
            if Pin::new(&mut self.stream).poll_read(cx, &mut read)?.is_pending() {
                ready!(self.poll_send(cx))?;
                return Poll::Pending;
            }
            let read = read.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(if self.said.is_whole() { Event::Gone } else { Event::Wake }));
            }
            self.reads += 1;
            self.watch.see(read);
            let heard = self.said.hear(read, &mut self.out);
            if let Some(misuse) = self.watch.complaint() {
                return Poll::Ready(Ok(Event::Misuse(misuse)));
            }
            if heard == Heard::More {
                return Poll::Ready(Ok(Event::Wake));
            }
            if !self.greeted && self.said.is_greeting() {
                self.greeted = true;
                return Poll::Ready(Ok(Event::Greeted));
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.out.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        // TLS may still hold some of it.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.out = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// What `h2` is made on: it reads what was said here, and what it says to that again is not sent again.
    pub(super) fn wake(mut self) -> (Coalesced<S, FrameWatch>, Flusher<S, FrameWatch>) {
        self.out.drain(..self.sent);
        let spoken = Spoken {
            reads: self.reads,
            unsent: self.out,
            said: self.greeting.len() + self.said.settings * SETTINGS_ACK.len(),
            heard: self.said.bytes,
        };
        resume_watched(self.stream, self.watch, spoken)
    }
}

/// Whether a client has said what needs `h2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Not yet.
    Nothing,
    /// It has.
    More,
}

/// What a client has said, without its pings. No I/O.
#[derive(Debug, Default)]
pub(super) struct Said {
    bytes: Vec<u8>,
    /// Up to here it has been understood.
    whole: usize,
    /// How many settings have been acknowledged.
    settings: usize,
    /// The client has acknowledged ours.
    acknowledged: bool,
    /// By how much it has widened the connection's window.
    widened: u32,
}

/// What to do with a frame.
enum Verdict {
    /// Remember it.
    Keep,
    /// Forget it: it has been answered, or needs no answer.
    Forget,
    /// Wait for the rest of it.
    Wait,
    /// `h2` must see it.
    More,
}

impl Said {
    /// Takes what has been read, and puts the answers to it into `out`.
    pub(super) fn hear(&mut self, read: &[u8], out: &mut Vec<u8>) -> Heard {
        self.bytes.extend_from_slice(read);
        if self.whole == 0 {
            let len = self.bytes.len().min(PREFACE.len());
            if self.bytes[..len] != PREFACE[..len] {
                return Heard::More;
            }
            if len < PREFACE.len() {
                return Heard::Nothing;
            }
            self.whole = len;
        }
        while let Some((&[a, b, c], rest)) = self.bytes[self.whole..].split_first_chunk() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > SAID_MAX {
                // Too long for here; perhaps too long for us altogether, which is not for here to say.
                return Heard::More;
            }
            let Some((&[kind, flags, stream @ ..], rest)) = rest.split_first_chunk::<{ HEAD_LEN - 3 }>()
            else {
                break;
            };
            let is_ours = u32::from_be_bytes(stream) << 1 == 0;
            let verdict = match kind {
                _ if !is_ours => Verdict::More,
                SETTINGS if flags & ACK != 0 => {
                    let is_first = !std::mem::replace(&mut self.acknowledged, true);
                    if len == 0 && is_first && self.settings > 0 { Verdict::Keep } else { Verdict::More }
                }
                SETTINGS => match rest.get(..len) {
                    None => Verdict::Wait,
                    Some(settings) if are_allowed(settings) => {
                        self.settings += 1;
                        out.extend_from_slice(&SETTINGS_ACK);
                        Verdict::Keep
                    }
                    Some(_) => Verdict::More,
                },
                // The first frame must be its settings.
                _ if self.settings == 0 => Verdict::More,
                PING if len == 8 => match rest.get(..len) {
                    None => Verdict::Wait,
                    Some(_) if flags & ACK != 0 => Verdict::Forget,
                    Some(payload) => {
                        out.extend_from_slice(&[0, 0, 8, PING, ACK, 0, 0, 0, 0]);
                        out.extend_from_slice(payload);
                        Verdict::Forget
                    }
                },
                WINDOW_UPDATE if len == 4 => match rest.first_chunk() {
                    None => Verdict::Wait,
                    Some(increment) => self.widen(u32::from_be_bytes(*increment) & WINDOW_LAST),
                },
                _ => Verdict::More,
            };
            match verdict {
                Verdict::Keep => self.whole += HEAD_LEN + len,
                Verdict::Forget => drop(self.bytes.drain(self.whole..self.whole + HEAD_LEN + len)),
                Verdict::Wait => break,
                Verdict::More => return Heard::More,
            }
        }
        if self.bytes.len() > SAID_MAX { Heard::More } else { Heard::Nothing }
    }

    fn widen(&mut self, increment: u32) -> Verdict {
        let widened = self.widened.saturating_add(increment);
        if increment == 0 || widened > WINDOW_LAST - WINDOW_FIRST {
            return Verdict::More;
        }
        self.widened = widened;
        Verdict::Keep
    }

    /// How much of it is kept.
    #[cfg(fuzzing)]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the preface has been heard.
    fn is_greeting(&self) -> bool {
        self.whole >= PREFACE.len()
    }

    /// Whether nothing is half said.
    fn is_whole(&self) -> bool {
        self.is_greeting() && self.whole == self.bytes.len()
    }
}

/// Whether settings are such that `h2` will acknowledge them (RFC 9113, section 6.5.2).
fn are_allowed(settings: &[u8]) -> bool {
    const ENABLE_PUSH: u16 = 2;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const MAX_FRAME_SIZE: u16 = 5;
    const ENABLE_CONNECT_PROTOCOL: u16 = 8;
    let (settings, rest) = settings.as_chunks::<6>();
    rest.is_empty()
        && settings.iter().all(|[a, b, value @ ..]| {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                ENABLE_PUSH | ENABLE_CONNECT_PROTOCOL => value <= 1,
                INITIAL_WINDOW_SIZE => value <= WINDOW_LAST,
                MAX_FRAME_SIZE => (1 << 14..1 << 24).contains(&value),
                _ => true,
            }
        })
}
