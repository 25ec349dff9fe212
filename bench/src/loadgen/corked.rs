//! The frames of one turn as one burst, as Go's clients send them: `h2` writes a frame at a time, and a socket that sends
//! each at once makes a load generator that costs as much as what it measures.

use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// What the protocol writes to: the kernel holds back what does not fill a segment.
#[derive(Debug)]
pub(super) struct Corked(Arc<Shared>);

/// Sends what is held back; kept by whoever drives the protocol.
#[derive(Debug)]
pub(super) struct Cork(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    /// Something may be held back.
    holds: AtomicBool,
}

/// The part for the protocol, and the part for its driver.
pub(super) fn split(stream: TcpStream) -> (Corked, Cork) {
    let shared = Arc::new(Shared { stream, holds: AtomicBool::new(false) });
    (Corked(Arc::clone(&shared)), Cork(shared))
}

impl Cork {
    /// Drives a future of the protocol's, and sends what it has written whenever it rests.
    pub(super) async fn drive<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let output = future.as_mut().poll(cx);
            // Turning Nagle's algorithm off once more is what sends it. That the socket is broken shows elsewhere.
            if self.0.holds.swap(false, Ordering::Relaxed) {
                let _ = self.0.stream.set_nodelay(true);
            }
            output
        })
        .await
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            let send = || {
                let mut nothing = SendAncillaryBuffer::default();
                Ok(rustix::net::sendmsg(
                    &self.0.stream,
                    bufs,
                    &mut nothing,
                    SendFlags::MORE | SendFlags::NOSIGNAL,
                )?)
            };
            match self.0.stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.0.holds.store(true, Ordering::Relaxed);
                    return Poll::Ready(outcome);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The protocol flushes after every frame; its driver knows when it has said everything.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Its end is sent when the last half is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Write).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    #[tokio::test]
    async fn all_that_one_turn_writes_arrives_when_it_rests() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (mut stream, cork) = split(near);
        let sent: Vec<u8> = (0..1_000_000u32).map(|index| (index / 3) as u8).collect();
        let whole = sent.clone();
        let writing = async move {
            for chunk in sent.chunks(7001) {
                stream.write_all(chunk).await.unwrap();
                stream.flush().await.unwrap();
            }
            // The answer comes only when all has arrived.
            assert_eq!(stream.read_u8().await.unwrap(), 7);
            stream.shutdown().await.unwrap();
        };
        let writer = tokio::spawn(cork.drive(writing));
        let mut received = vec![0; whole.len()];
        timeout(Duration::from_secs(10), far.read_exact(&mut received))
            .await
            .expect("nothing is kept")
            .unwrap();
        assert!(received == whole);
        far.write_u8(7).await.unwrap();
        writer.await.unwrap();
        assert_eq!(far.read(&mut received).await.unwrap(), 0);
    }
}
