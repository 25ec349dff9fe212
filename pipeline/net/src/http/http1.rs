//! A connection of HTTP/1.1: at rest until something comes, then hyper's until it has been idle for a while.
//!
//! Between two requests HTTP/1.1 has no state, while hyper's takes some ten kilobytes: nothing is lost by giving it up.

use super::pace::{Over, Pace, Paced};
use super::server::{Server, answer};
use crate::connections::{Refused, Stopping};
use crate::stream::{Peer, Stream};
use crate::tls::server::HELLO;
use axum::response::Response;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

/// The most that a connection reads ahead. Small, because every connection may.
const READ_BUFFER: usize = 16 << 10;
/// What it reads ahead under a lease: large bodies take fewer system calls.
pub(super) const READ_BUFFER_LEASED: u32 = 128 << 10;
/// What is read of what wakes a connection; room for it is on the stack.
const READ_AT_REST: usize = 1 << 10;
/// How long saying good-bye may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

impl Server {
    /// From the first byte of a connection to its end.
    pub(super) async fn http1(&self, mut stream: Stream, peer: Peer, mut stopping: Stopping) {
        let pace = Pace::begin(self.options.timeouts);
        let timer = sleep(self.options.timeouts.header);
        tokio::pin!(timer);
        let mut is_new = true;
        let mut read = Bytes::new();
        loop {
            if read.is_empty() {
                let woken = tokio::select! {
                    woken = poll_fn(|cx| rest(&mut stream, cx, &pace, timer.as_mut())) => woken,
                    _ = stopping.wait_for(|stopping| *stopping) => Ok(Bytes::new()),
                };
                read = match woken {
                    Ok(read) if !read.is_empty() => read,
                    Ok(_) => return part(stream).await,
                    Err(error) => return tracing::debug!(%peer, %error, "the connection broke"),
                };
            }
            if is_new && read[0] == HELLO && self.options.door.tls.is_none() {
                return self.options.door.refuse_tls(peer);
            }
            is_new = false;
            pace.read();
            let serving = self.serve_requests(stream, read, &pace, timer.as_mut(), peer, &mut stopping);
            // In a box, as a connection at rest shall not keep the room for it.
            match Box::pin(serving).await {
                Some(rested) => (stream, read) = rested,
                None => return,
            }
        }
    }

    /// Serves requests until the connection ends, or goes to rest: then its stream comes back, with what has come of
    /// the next request.
    async fn serve_requests(
        &self,
        stream: Stream,
        read: Bytes,
        pace: &Pace,
        mut timer: Pin<&mut Sleep>,
        peer: Peer,
        stopping: &mut Stopping,
    ) -> Option<(Stream, Bytes)> {
        let lease =
            self.options.windows.as_ref().and_then(|windows| windows.lease_buffer(READ_BUFFER_LEASED));
        let read_buffer = lease.as_ref().map_or(READ_BUFFER, |lease| lease.size() as usize);
        let tls = stream.over_tls();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(read_buffer).keep_alive(self.options.keep_alive);
        let service = service_fn(|request| paced(pace, answer(self.router.read(), peer, tls, request)));
        let stream = Paced { stream, pace: pace.clone(), read };
        let mut serving = builder.serve_connection(TokioIo::new(stream), service);
        let mut finishing = false;
        loop {
            let ended = poll_fn(|cx| {
                loop {
                    if let Poll::Ready(ended) = Pin::new(&mut serving).poll(cx) {
                        return Poll::Ready(End::Ended(ended));
                    }
                    match ready!(pace.poll_over(timer.as_mut(), cx)) {
                        // hyper ends at once if it is between two requests, and else after the one under way.
                        Over::Rest => {
                            pace.set_resting(true);
                            Pin::new(&mut serving).graceful_shutdown();
                            let rested = Pin::new(&mut serving).poll(cx);
                            pace.set_resting(false);
                            if let Poll::Ready(ended) = rested {
                                return Poll::Ready(
                                    ended.map_or_else(|error| End::Ended(Err(error)), |()| End::Rested),
                                );
                            }
                        }
                        over => return Poll::Ready(End::Over(over)),
                    }
                }
            });
            tokio::select! {
                ended = ended => {
                    match ended {
                        End::Rested => {
                            let parts = serving.into_parts();
                            // A copy, mostly of nothing: even when empty, hyper's own would keep all of its buffer.
                            let read = Bytes::copy_from_slice(&parts.read_buf);
                            return Some((parts.io.into_inner().stream, read));
                        }
                        End::Ended(Err(error)) => tracing::debug!(%peer, %error, "the connection broke"),
                        End::Over(Over::TooSlow) => self.options.door.refused.count(Refused::TooSlow),
                        End::Ended(Ok(())) | End::Over(_) => {}
                    }
                    return None;
                }
                _ = stopping.wait_for(|stopping| *stopping), if !finishing => {
                    Pin::new(&mut serving).graceful_shutdown();
                    finishing = true;
                }
            }
        }
    }
}

/// How hyper's connection has ended.
enum End {
    Ended(hyper::Result<()>),
    Over(Over),
    /// Between two requests.
    Rested,
}

/// What comes first on a connection at rest; nothing at its end, or when it has been at rest for too long.
fn rest(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    pace: &Pace,
    timer: Pin<&mut Sleep>,
) -> Poll<io::Result<Bytes>> {
    let mut room = [0; READ_AT_REST];
    let mut read = ReadBuf::new(&mut room);
    match Pin::new(stream).poll_read(cx, &mut read) {
        Poll::Pending => pace.poll_over(timer, cx).map(|_| Ok(Bytes::new())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(read.filled()))),
    }
}

/// Closes a connection at rest; whether its peer hears of it is the peer's affair.
async fn part(mut stream: Stream) {
    let _ = timeout(FAREWELL_TIMEOUT, stream.shutdown()).await;
}

/// Tells whoever keeps the pace when a request begins and when its answer is known.
async fn paced(
    pace: &Pace,
    answering: impl Future<Output = Result<Response, Infallible>>,
) -> Result<Response, Infallible> {
    pace.request();
    let answer = answering.await;
    pace.answer();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::Door;
    use crate::http::{ServerOptions, Timeouts};
    use crate::stream::Socket;
    use axum::Router;
    use millrace_engine::Tasks;
    use millrace_engine::health::Health;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;
    use tokio::sync::watch;

    fn server() -> Server {
        let timeouts = Timeouts::same(Duration::from_secs(60));
        let options = ServerOptions { timeouts, keep_alive: true, door: Door::default(), windows: None };
        Server::new(Router::new(), options, Tasks::new(Health::starting())).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_goes_to_rest_keeps_no_buffer() {
        let (socket, mut far) = UnixStream::pair().expect("a pair");
        let (_stop, mut stopping) = watch::channel(false);
        let server = server();
        let pace = Pace::begin(server.options.timeouts);
        let timer = sleep(server.options.timeouts.header);
        tokio::pin!(timer);
        far.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
        pace.read();
        let stream = Stream::Plain(Socket::Unix(socket));
        let serving =
            server.serve_requests(stream, Bytes::new(), &pace, timer.as_mut(), Peer(None), &mut stopping);
        let (_stream, read) = serving.await.expect("it goes to rest");
        let mut answer = [0; 12];
        far.read_exact(&mut answer).await.expect("reads");
        assert_eq!(&answer, b"HTTP/1.1 404");
        // Only what has a buffer of its own can be the only one to have it.
        assert!(read.is_empty() && !read.is_unique());
    }

    /// Ten thousand of them are to take less than 150 MiB with all that they have.
    #[tokio::test]
    async fn the_task_of_a_connection_at_rest_is_small() {
        let (socket, _far) = UnixStream::pair().expect("a pair");
        let (_stop, stopping) = watch::channel(false);
        let size = size_of_val(&Arc::new(server()).connection(Socket::Unix(socket), Peer(None), stopping));
        assert!(size <= 1024, "{size}");
    }
}
