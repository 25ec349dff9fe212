//! What waits to be written to a socket: small pieces side by side, and large ones as they lie where that is possible.
//!
//! A message is handed to the protocol as shared bytes and comes out below it as slices of the same memory, which are
//! only lent for the moment. Those that are recognised ([`Known`]) are kept by holding on to what they are part of;
//! everything else is copied.

use crate::spare;
use bytes::{Buf, Bytes};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Bytes that gather before they are written at the latest.
pub(crate) const OUT_MAX: usize = spare::LEN;
/// The first size of the buffer for copies: enough for a few answers, or the heads of a few frames.
const SMALL: usize = 2 << 10;
/// What is shorter is copied, which is as cheap.
const SHARED_MIN: usize = 4 << 10;
/// What is part of something longer is copied as well: a piece that waits keeps all of it from being freed.
const SHARED_MAX: usize = 1 << 20;
/// Pieces in one system call, at most.
const SLICES: usize = 64;

/// What waits, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Piece>,
    copied: Vec<u8>,
    /// How much of `copied` has been written.
    copied_sent: usize,
    len: usize,
}

#[derive(Debug)]
enum Piece {
    /// So many bytes of `copied`, after those of earlier pieces.
    Copied(usize),
    Shared(Bytes),
}

impl Outgoing {
    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a copy.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.make_room(bytes.len());
        self.copied.extend_from_slice(bytes);
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(Piece::Copied(len)) => *len += bytes.len(),
            _ => self.pieces.push_back(Piece::Copied(bytes.len())),
        }
    }

    /// Adds what `slices` lie on, or copies of them.
    pub(crate) fn add(&mut self, slices: &[IoSlice<'_>], known: Option<&Known>) {
        for slice in slices {
            let shared = known.filter(|_| slice.len() >= SHARED_MIN).and_then(|known| known.recognise(slice));
            match shared {
                Some(shared) => {
                    self.len += shared.len();
                    self.pieces.push_back(Piece::Shared(shared));
                }
                None => self.copy(slice),
            }
        }
    }

    /// Writes all of it; holds nothing then.
    pub(crate) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.len > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.fill(&mut slices);
            let written = match &slices[..filled] {
                [one] => ready!(Pin::new(&mut *stream).poll_write(cx, one)),
                slices => ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices)),
            }?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        spare::give_back(std::mem::take(&mut self.copied));
        self.copied_sent = 0;
        self.pieces = VecDeque::new();
        Poll::Ready(Ok(()))
    }

    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut copied = &self.copied[self.copied_sent..];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = match piece {
                Piece::Copied(len) => {
                    let (these, rest) = copied.split_at(*len);
                    copied = rest;
                    IoSlice::new(these)
                }
                Piece::Shared(bytes) => IoSlice::new(bytes),
            };
        }
        self.pieces.len().min(slices.len())
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        while let Some(piece) = self.pieces.front_mut() {
            let len = match piece {
                Piece::Copied(len) => *len,
                Piece::Shared(bytes) => bytes.len(),
            };
            let done = len.min(written);
            written -= done;
            match piece {
                Piece::Copied(len) => {
                    *len -= done;
                    self.copied_sent += done;
                }
                Piece::Shared(bytes) => bytes.advance(done),
            }
            if done < len {
                return;
            }
            self.pieces.pop_front();
        }
    }

    /// Grows the buffer in two steps, one for answers and one for requests, instead of by doubling.
    fn make_room(&mut self, len: usize) {
        let needed = self.copied.len() + len;
        if needed <= self.copied.capacity() {
            return;
        }
        if needed <= SMALL {
            self.copied.reserve_exact(SMALL);
        } else if self.copied.capacity() < spare::LEN {
            let small = std::mem::replace(&mut self.copied, spare::take());
            self.copied.extend_from_slice(&small);
        }
    }
}

/// Shared bytes that are recognised when slices of them come by. Clones know the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Mutex<BTreeMap<usize, Bytes>>>);

impl Known {
    /// Knows `parts` for as long as the result lives.
    pub(crate) fn remember(&self, parts: &[Bytes]) -> Remembered {
        let large = parts.iter().filter(|part| (SHARED_MIN..=SHARED_MAX).contains(&part.len()));
        let starts: Vec<usize> = large.clone().map(|part| part.as_ptr().addr()).collect();
        if !starts.is_empty() {
            self.lock().extend(starts.iter().copied().zip(large.cloned()));
        }
        Remembered { known: self.clone(), starts }
    }

    /// The part of something known that a slice is.
    fn recognise(&self, slice: &[u8]) -> Option<Bytes> {
        let known = self.lock();
        let start = slice.as_ptr().addr();
        let (first, bytes) = known.range(..=start).next_back()?;
        let at = start - first;
        // They are the same bytes because they are the same memory, which does not change while it is shared.
        (at + slice.len() <= bytes.len()).then(|| bytes.slice(at..at + slice.len()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one message. Where two messages have the same memory, it is forgotten with the first of them, and
/// the other is copied.
#[derive(Debug)]
pub(crate) struct Remembered {
    known: Known,
    starts: Vec<usize>,
}

impl Drop for Remembered {
    fn drop(&mut self) {
        if !self.starts.is_empty() {
            let mut known = self.known.lock();
            self.starts.iter().for_each(|start| drop(known.remove(start)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, duplex};

    async fn send(mut outgoing: Outgoing, socket: usize) -> Vec<u8> {
        let (mut near, mut far) = duplex(socket);
        let mut sent = Vec::new();
        let sending = async move {
            poll_fn(|cx| outgoing.poll_send(&mut near, cx)).await.expect("sends");
            assert_eq!((outgoing.len(), outgoing.copied.capacity(), outgoing.pieces.capacity()), (0, 0, 0));
        };
        let ((), read) = tokio::join!(sending, far.read_to_end(&mut sent));
        read.expect("reads");
        sent
    }

    #[tokio::test]
    async fn what_is_known_is_sent_as_it_lies_and_the_rest_as_copies() {
        let known = Known::default();
        let body = Bytes::from((0..50_000u32).map(|index| (index / 7) as u8).collect::<Vec<_>>());
        let other = vec![9; 10_000];
        for socket in [1 << 20, 7000, 10] {
            let remembered = known.remember(&[body.clone(), Bytes::from_static(b"short")]);
            drop(known.remember(&[Bytes::from(vec![0; SHARED_MAX + 1])]));
            let (mut outgoing, mut expected) = (Outgoing::default(), Vec::new());
            for at in (0..50_000).step_by(10_000) {
                let slices = [&b"head"[..], &body[at..at + 100], &body[at + 100..at + 10_000], &other];
                outgoing.add(&slices.map(IoSlice::new), Some(&known));
                slices.iter().for_each(|slice| expected.extend_from_slice(slice));
            }
            let shared = outgoing.pieces.iter().filter(|piece| matches!(piece, Piece::Shared(_))).count();
            assert_eq!((shared, outgoing.len()), (5, expected.len()));
            drop(remembered);
            assert!(known.lock().is_empty());
            assert!(send(outgoing, socket).await == expected, "{socket}");
        }
    }

    #[test]
    fn only_what_lies_wholly_within_is_recognised() {
        let known = Known::default();
        let memory = Bytes::from(vec![1; 100_000]);
        let middle = memory.slice(20_000..60_000);
        let remembered = known.remember(std::slice::from_ref(&middle));
        let recognised = |from: usize, to: usize| known.recognise(&memory[from..to]).is_some();
        assert!(recognised(20_000, 60_000) && recognised(30_000, 40_000));
        assert!(!recognised(19_999, 30_000) && !recognised(50_000, 60_001) && !recognised(70_000, 80_000));
        // Twice the same memory: forgotten with the first.
        drop(known.remember(std::slice::from_ref(&middle)));
        assert!(!recognised(20_000, 60_000));
        drop(remembered);
    }
}
