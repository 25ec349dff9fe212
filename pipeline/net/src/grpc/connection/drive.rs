//! Reading, writing, and looking after the time.

use super::super::keepalive::{Act, Life, Signs};
use super::{Driver, End, OUT_MAX, Stream, Unary, now};
use crate::read_ahead::IN_MAX;
use crate::spare;
use bytes::BufMut;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

/// How much is read of a request that may be large, to know whether it is. Enough for its headers, and for the most room
/// that a message gets at first.
const BEGINNING: usize = 8 << 10;

impl<U: Unary, S: Stream> Driver<U, S> {
    /// Does all that can be done now.
    pub(super) fn poll<F: Future>(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        stopped: Pin<&mut F>,
        is_stopping: &mut bool,
    ) -> Poll<End> {
        if !*is_stopping && stopped.poll(cx).is_ready() {
            *is_stopping = true;
            self.http2.shut_down();
        }
        while timer.as_mut().poll(cx).is_ready() {
            if let Some(end) = self.look(now()) {
                return Poll::Ready(end);
            }
            timer.as_mut().reset(self.next_look().into());
        }
        for (stream, word) in self.outbox.take(cx) {
            self.hear(stream, word);
        }
        let end = self.poll_read(cx);
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(End::Broken(error)),
            Poll::Ready(Ok(())) if self.http2.is_done() => return Poll::Ready(End::Done),
            Poll::Ready(Ok(())) if end.is_pending() && self.sending_len() == 0 => self.http2.settle(),
            // What is left of what is to be read waits for it.
            _ => {}
        }
        if end.is_pending() && self.next_look() < timer.deadline().into_std() {
            timer.as_mut().reset(self.next_look().into());
            // It has to be asked once to wake.
            if timer.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        end
    }

    /// Reads all there is, and does what it asks for.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut buffer = spare::take();
        let end = loop {
            // Whoever does not take its answers is not listened to.
            if self.sending_len() >= OUT_MAX {
                match self.poll_send(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => break Poll::Ready(End::Broken(error)),
                    Poll::Pending => break Poll::Pending,
                }
            }
            buffer.clear();
            let mut lent = self.lend();
            let (into, most) = match &mut lent {
                Some(lent) => lent.room(),
                None if self.are_large && self.http2.receiving().is_none() => (&mut buffer, BEGINNING),
                None => (&mut buffer, IN_MAX),
            };
            // Into room that nobody had to zero first.
            let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut into.limit(most));
            let Poll::Ready(Ok(1..)) = read else {
                if let Some(lent) = lent {
                    self.not_read(lent);
                }
                break read.map(|read| read.map_or_else(End::Broken, |_| End::Done));
            };
            self.reads += 1;
            self.first = self.first.or(buffer.first().copied());
            let happened = match lent {
                Some(lent) => self.read_lent(lent, now()),
                None => self.read(&buffer, now()),
            };
            if let Err(fatal) = happened {
                break Poll::Ready(End::Fatal(fatal));
            }
        };
        spare::give_back(buffer);
        end
    }

    /// Sends all there is.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.sending.len() {
                let rest = &self.sending[self.sent..];
                match ready!(Pin::new(&mut self.stream).poll_write(cx, rest)) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(sent) => self.sent += sent,
                    Err(error) => return Poll::Ready(Err(error)),
                }
                self.flushing = true;
            }
            self.sent = 0;
            self.sending = self.http2.take_out();
            if self.sending.is_empty() {
                break;
            }
        }
        if self.flushing {
            // TLS may still hold some of it.
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn sending_len(&self) -> usize {
        self.sending.len() - self.sent + self.http2.out().len()
    }

    /// When there is something to be looked at, at the latest.
    fn next_look(&self) -> Instant {
        let next = self.life.as_ref().map_or(self.patience, Life::next);
        self.late.map_or(next, |late| late.min(next))
    }

    /// Does what it is time for.
    fn look(&mut self, now: Instant) -> Option<End> {
        if self.late.is_some_and(|late| late <= now) {
            self.end_late(now);
        }
        let Some(life) = &mut self.life else {
            let peer = self.peer;
            return (self.patience <= now).then(|| {
                tracing::debug!(%peer, "the HTTP/2 handshake took too long");
                End::Done
            });
        };
        let signs =
            Signs { reads: self.reads, requests: self.http2.under_way(), last_request: self.last_answer };
        match life.act(now, signs) {
            Act::Nothing => {}
            Act::Ping => self.http2.ping(),
            Act::Drain => self.http2.shut_down(),
            Act::Cut => return Some(End::Done),
            Act::Unresponsive => return Some(End::Unresponsive),
        }
        None
    }
}
