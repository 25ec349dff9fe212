//! Sockets: listening, and the options every connection gets.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

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
/// How long an address may be silent before the next one is tried beside it.
const NEXT_AFTER: Duration = Duration::from_secs(1);

/// Which addresses of a name are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 before IPv6: it is what `localhost` means to most clients.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Listens on the first address behind a name that this machine has, as Go does.
///
/// # Errors
/// Why none of the addresses can be listened on.
pub async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let addresses = tokio::net::lookup_host((any(host, Family::Any), port)).await?;
    let addresses = of_family(addresses, Family::Any);
    TcpListener::from_std(bind_first(&addresses, Family::Any, &[])?)
}

/// The addresses behind a name, in the order in which they are tried; an empty name is every interface. Blocks while it
/// is looked up.
///
/// # Errors
/// When the name cannot be looked up.
pub(crate) fn addresses(host: &str, port: u16, family: Family) -> io::Result<Vec<SocketAddr>> {
    Ok(of_family((any(host, family), port).to_socket_addrs()?, family))
}

fn any(host: &str, family: Family) -> &str {
    match (host, family) {
        ("", Family::V4) => "0.0.0.0",
        ("", _) => "::",
        (host, _) => host,
    }
}

fn of_family(addresses: impl Iterator<Item = SocketAddr>, family: Family) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = addresses.collect();
    addresses.retain(|address| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    });
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses
}

/// Listens on the first of these addresses that this machine has. `ours` are on the same port, for other graphs: one
/// for every interface may stand beside one for a single address, which it would not let anybody else do.
///
/// # Errors
/// Why none of them can be listened on.
pub(crate) fn bind_first(
    addresses: &[SocketAddr],
    family: Family,
    ours: &[&std::net::TcpListener],
) -> io::Result<std::net::TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no such addresses");
    for &address in addresses {
        match bind(address, family, ours) {
            Ok(listener) => return Ok(listener),
            // Taken by another program: the next address would hide from clients that somebody else answers there.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind(
    address: SocketAddr,
    family: Family,
    ours: &[&std::net::TcpListener],
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if family == Family::V6 {
        // Or `::` would take IPv4 as well.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    let sharing = |shares: bool| {
        let ours = ours.iter().map(SockRef::from);
        ours.chain([SockRef::from(&socket)]).try_for_each(|socket| socket.set_reuse_port(shares))
    };
    // Only for that moment, so that no other program of this user can listen there beside us.
    sharing(!ours.is_empty())?;
    let bound = socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG));
    sharing(false)?;
    bound?;
    Ok(socket.into())
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

/// Connects to an address.
///
/// # Errors
/// Why it did not answer.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            prepare(&stream);
            Ok(stream)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt")),
    }
}

/// Connects to the first of the addresses that answers, and says which it is. They are tried in order, the next one
/// when one has failed or has been silent for a while.
///
/// # Errors
/// Why the last address did not answer.
pub(crate) async fn connect_any(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    let mut left = addresses.iter().copied();
    let mut under_way = FuturesUnordered::new();
    loop {
        match left.next() {
            Some(address) => under_way.push(async move { (address, connect(address).await) }),
            None if under_way.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some((address, outcome)) = under_way.next() => match outcome {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => last = error,
            },
            () = sleep(NEXT_AFTER), if left.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_connection_is_prompt_and_notices_a_peer_that_vanished() {
        let listener = listen("127.0.0.1", 0).await.expect("a free port");
        let here = listener.local_addr().expect("it is bound");
        let stream = connect(here).await.expect("it listens");
        assert!(stream.nodelay().expect("an option"));
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(UNACKNOWLEDGED));
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_no_time() {
        let (alive, dead) = (listen("127.0.0.1", 0).await, listen("127.0.0.1", 0).await);
        let (alive, dead) = (alive.expect("a free port"), dead.expect("a free port"));
        let (there, gone) = (alive.local_addr().expect("bound"), dead.local_addr().expect("bound"));
        drop(dead);
        let (_stream, reached) = connect_any(&[gone, there]).await.expect("the other one");
        assert_eq!(reached, there);
        assert!(connect_any(&[gone, gone]).await.is_err());
        assert!(connect_any(&[]).await.is_err());
    }
}
