//! Sockets: listening, and the options every connection gets.

use crate::Endpoint;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections that the kernel queues while all workers are busy.
const BACKLOG: i32 = 1024;
/// How long a peer may be silent on TCP before it is probed; finds peers that vanished.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long a peer may leave what we sent unacknowledged. Without it a peer that vanished while we sent is believed in
/// for a quarter of an hour, because probes are for idle connections only.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// The limit for connecting to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on the first address behind a name that this machine has, as Go does.
///
/// # Errors
/// Why none of the addresses can be listened on.
pub async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = if host.is_empty() { "::" } else { host };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no addresses");
    // IPv4 first: it is what `localhost` means to most clients.
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    for address in addresses {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            // Taken by another program: the next address would hide from clients that somebody else answers there.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets what every connection of ours has.
pub fn prepare(stream: &TcpStream) {
    // None can fail on a connected TCP socket in a way that matters: the connection works without them.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// Connects to the first address that answers.
///
/// # Errors
/// Why the last address did not answer.
pub async fn connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    for address in endpoint.resolve().await? {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt"),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_connection_is_prompt_and_notices_a_peer_that_vanished() {
        let listener = listen("127.0.0.1", 0).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let endpoint = Endpoint::parse(&format!("127.0.0.1:{port}")).expect("an endpoint");
        let stream = connect(&endpoint).await.expect("it listens");
        assert!(stream.nodelay().expect("an option"));
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(UNACKNOWLEDGED));
    }
}
