//! One HTTP/2 connection of the generator: a task that reads and writes, and what calls hand to it.

mod exchange;
mod request;

use super::outcome::{Outcome, Refusal};
use crate::tls::ClientStream;
use bytes::{BufMut as _, Bytes};
use exchange::{Call, Exchange};
pub(super) use request::Request;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::io::poll_read_buf;

/// Calls that wait for the connection's task; more wait to be let in.
const CALLS: usize = 64;
/// What there is room to read for at first, which nearly every answer fits into.
const READ: usize = 4 << 10;
/// What one read takes at most, which is more than the longest frame.
const READ_MAX: usize = 32 << 10;
/// Pieces that one system call writes at most.
const PIECES: usize = 64;

/// Makes calls on a connection.
#[derive(Debug, Clone)]
pub(super) struct Calls(mpsc::Sender<Call>);

impl Calls {
    /// Begins to speak HTTP/2 on a stream. Data is cut into frames of `frame` bytes, and the server may send `window`
    /// bytes ahead.
    pub(super) fn open(stream: ClientStream, request: Request, frame: usize, window: u32) -> Self {
        let (calls, incoming) = mpsc::channel(CALLS);
        let exchange = Exchange::new(request, frame, window);
        let mut driver = Driver { stream, exchange, incoming, input: Vec::new(), flushing: false };
        tokio::spawn(async move {
            let error = poll_fn(|cx| driver.poll(cx)).await;
            driver.incoming.close();
            let why = error.map_or_else(|error| error.to_string(), |()| "it is over".to_owned());
            driver.exchange.fail(&why);
        });
        Self(calls)
    }

    /// Whether no more calls can be made.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_closed()
    }

    /// Makes a call with one message (with its gRPC prefix).
    pub(super) async fn call(&self, body: Bytes) -> Outcome {
        let over = || Outcome::Refused(Refusal::transport(&"the connection takes no more calls"));
        let (reply, answer) = oneshot::channel();
        match self.0.send(Call { body, reply }).await {
            Ok(()) => answer.await.unwrap_or_else(|_| over()),
            Err(_) => over(),
        }
    }
}

struct Driver {
    stream: ClientStream,
    exchange: Exchange,
    incoming: mpsc::Receiver<Call>,
    input: Vec<u8>,
    /// What TLS holds has not been sent.
    flushing: bool,
}

impl Driver {
    /// Does all that can be done now; ready when there will be nothing more to do.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut is_over = self.exchange.is_going();
            while self.exchange.takes_calls() {
                match self.incoming.poll_recv(cx) {
                    Poll::Ready(Some(call)) => self.exchange.begin(call),
                    Poll::Ready(None) => {
                        is_over = true;
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            if self.exchange.let_go(cx) {
                continue;
            }
            if self.exchange.is_going() {
                // Whoever comes from now on opens a connection anew.
                self.incoming.close();
            }
            if let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Err(error));
            }
            if is_over && self.exchange.is_idle() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read(cx))?;
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let used = self.exchange.slices(&mut slices);
            if used == 0 {
                break;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.exchange.written(written);
            self.flushing = true;
        }
        if self.flushing {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.reserve(READ);
        let room = READ_MAX - self.input.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut (&mut self.input).limit(room)))?;
        if read == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the server hung up")));
        }
        let taken = self.exchange.receive(&self.input).map_err(io::Error::other)?;
        self.input.drain(..taken);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
