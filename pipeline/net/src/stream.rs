//! What connections arrive on and run over: TCP or a Unix socket, with TLS or without.
//!
//! Enums, not trait objects: which one it is is decided once per connection, and costs a branch per system call.

use crate::coalesce::Gather;
use crate::listeners::Turn;
use crate::tcp;
use crate::tls::ServerStream;
use socket2::{Domain, SockAddr, Type};
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Who is at the other end; a Unix socket has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// Marks a request that has come over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverTls;

/// Where connections arrive, while it is somebody's turn to take them.
#[derive(Debug)]
pub struct Listener {
    socket: ListenerSocket,
    /// `None` where nobody else will ever listen.
    turn: Option<Turn>,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::tcp(listener, None)
    }
}

impl Listener {
    pub(crate) fn tcp(listener: TcpListener, turn: Option<Turn>) -> Self {
        Self { socket: ListenerSocket::Tcp(listener), turn }
    }

    pub(crate) fn unix(listener: UnixListener, turn: Turn) -> Self {
        Self { socket: ListenerSocket::Unix(listener), turn: Some(turn) }
    }

    /// Where it listens, if that is a port.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListenerSocket::Tcp(listener) => listener.local_addr().ok(),
            ListenerSocket::Unix(_) => None,
        }
    }

    /// The next connection, when it is this listener's turn.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        let Some(turn) = &self.turn else { return self.socket.accept().await };
        if !turn.is_now() {
            turn.come().await;
        }
        tokio::select! {
            biased;
            () = turn.over() => std::future::pending().await,
            accepted = self.socket.accept() => accepted,
        }
    }
}

impl ListenerSocket {
    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                tcp::prepare(&stream);
                Ok((Socket::Tcp(stream), Peer(Some(peer))))
            }
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept().await?.0), Peer(None))),
        }
    }
}

/// Listens on a Unix socket. A file left behind by a process that is gone is replaced, one that somebody listens on is
/// not. The file's mode is what the process's umask leaves of 0777, as in Go.
///
/// # Errors
/// Why that is not possible.
pub(crate) fn bind_unix(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    use std::os::unix::net::UnixListener;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    Ok((listener, file))
}

/// Whether a path is a socket that nobody listens on. Does not wait: one whose queue is full is listened on.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && refuses(path).unwrap_or(false)
}

fn refuses(path: &Path) -> io::Result<bool> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let refused = socket.connect(&SockAddr::unix(path)?);
    Ok(refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The file of a Unix socket. Dropping it removes it, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Whether a path leads to this very file.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        identity(path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Whoever removes it first has done the same.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A connection as it was accepted.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A connection as it is spoken over.
#[derive(Debug)]
pub enum Stream {
    /// In plain text.
    Plain(Socket),
    /// In TLS.
    Tls(Box<ServerStream<Socket>>),
}

impl Stream {
    /// The mark of its requests, if it is TLS.
    #[must_use]
    pub fn over_tls(&self) -> Option<OverTls> {
        matches!(self, Self::Tls(_)).then_some(OverTls)
    }

    /// The protocol that was agreed upon, if any was.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.agreed().alpn_protocol(),
        }
    }
}

impl Gather for Stream {
    fn gathers(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

macro_rules! over {
    ($enum:ident { $($variant:ident),+ }) => {
        impl AsyncRead for $enum {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_read(cx, buf),)+ }
            }
        }

        impl AsyncWrite for $enum {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_write(cx, buf),)+ }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),)+ }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $(Self::$variant(stream) => stream.is_write_vectored(),)+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_flush(cx),)+ }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_shutdown(cx),)+ }
            }
        }
    };
}

over!(Socket { Tcp, Unix });
over!(Stream { Plain, Tls });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_socket_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("otlp.sock");
        let listener = bind_unix(&path).expect("a new socket");
        let taken = bind_unix(&path).expect_err("somebody listens");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists(), "removed with its listener");

        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists(), "left behind");
        let listener = bind_unix(&path).expect("it is abandoned");

        drop(listener);
        let busy = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let fill = |_: &usize| refuses(&path).is_ok_and(|refused| !refused);
        let full = (0..10_000).take_while(fill).count();
        assert_eq!(full, 10_000, "none of them waits, though there is room for some only");
        bind_unix(&path).expect_err("somebody listens, if slowly");
        drop(busy);
        let listener = bind_unix(&path).expect("it is abandoned");

        fs::remove_file(&path).expect("it is there");
        fs::write(&path, "another's").expect("written");
        drop(listener);
        assert!(path.exists(), "not ours");
        bind_unix(&path).expect_err("an ordinary file is nobody's socket");
        assert!(path.exists());
    }
}
