//! How a client gets a connection: names, addresses, proxies, sockets, TLS. Both protocols begin here.

mod credentials;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
mod proxy;
mod resolve;
mod stream;

pub use credentials::Credentials;
pub use handshake::Handshake;
pub use proxy::{Proxies, Proxy, ProxyError};
pub use resolve::{Resolve, SystemResolver};

pub(crate) use handshake::advised;
pub(crate) use resolve::{addresses, literal};
pub(crate) use stream::Stream;

use crate::endpoint::Place;
use crate::{Endpoint, tcp};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The limit for a proxy's answer.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);

/// What stands between a client and its destination.
#[derive(Debug, Clone)]
pub struct Connector {
    /// TLS with the destination, if any.
    pub tls: Option<Handshake>,
    /// The proxy before it, if any.
    pub proxy: Option<Proxy>,
    /// TLS with that proxy, if it wants any.
    pub proxy_tls: Option<Handshake>,
    /// Who is asked for addresses.
    pub resolver: Arc<dyn Resolve>,
}

impl Default for Connector {
    /// Plain text, straight to what the system knows under the name.
    fn default() -> Self {
        Self { tls: None, proxy: None, proxy_tls: None, resolver: Arc::new(SystemResolver) }
    }
}

/// Where one connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Socket(PathBuf),
    /// Through the proxy, which looks for the destination itself.
    Tunnel,
    /// To the proxy, which is told the destination with each request.
    Proxy,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Socket(_) => f.write_str("its socket"),
            Self::Tunnel | Self::Proxy => f.write_str("its proxy"),
        }
    }
}

impl Connector {
    /// The addresses that an endpoint has at this moment; never none.
    ///
    /// # Errors
    /// When its name cannot be resolved.
    pub(crate) async fn addresses(&self, endpoint: &Endpoint) -> io::Result<Vec<Address>> {
        match (&endpoint.place, &self.proxy) {
            (Place::Socket(path), _) => Ok(vec![Address::Socket(path.clone())]),
            (Place::Host { .. }, Some(_)) => Ok(vec![Address::Tunnel]),
            (Place::Host { name, port }, None) => {
                let addresses = addresses(self.resolver.as_ref(), name, *port).await?;
                Ok(addresses.into_iter().map(Address::Tcp).collect())
            }
        }
    }

    /// Whether the addresses of an endpoint can change.
    pub(crate) fn may_move(&self, endpoint: &Endpoint) -> bool {
        match &endpoint.place {
            Place::Socket(_) => false,
            Place::Host { name, .. } => self.proxy.is_none() && literal(name).is_none(),
        }
    }

    /// A connection to the first of some addresses of an endpoint that takes one, and which it is.
    ///
    /// # Errors
    /// Why the last that was tried took none, and what to do.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        addresses: &[Address],
    ) -> io::Result<(Stream, Address)> {
        let (stream, address) = self.dial(endpoint, addresses).await?;
        match &self.tls {
            Some(handshake) => Ok((handshake.shake(stream).await?, address)),
            None => Ok((stream, address)),
        }
    }

    async fn dial(&self, endpoint: &Endpoint, addresses: &[Address]) -> io::Result<(Stream, Address)> {
        match addresses {
            [Address::Socket(path)] => {
                let stream = UnixStream::connect(path).await?;
                Ok((Stream::Unix(stream), Address::Socket(path.clone())))
            }
            [address @ (Address::Tunnel | Address::Proxy)] => {
                let proxy = self.proxy.as_ref().ok_or_else(|| io::Error::other("there is no proxy"))?;
                let mut stream = self.dial_proxy(proxy).await?;
                if *address == Address::Tunnel {
                    let destination = endpoint.authority();
                    let asking = proxy::tunnel(&mut stream, proxy, &destination);
                    timeout(PROXY_TIMEOUT, asking).await.unwrap_or_else(|_| {
                        let text =
                            format!("no answer from {proxy} within {} seconds", PROXY_TIMEOUT.as_secs());
                        Err(io::Error::new(io::ErrorKind::TimedOut, text))
                    })?;
                }
                Ok((stream, address.clone()))
            }
            addresses => {
                let addresses: Vec<SocketAddr> = addresses.iter().filter_map(Address::tcp).collect();
                let (stream, address) = tcp::connect_any(&addresses).await?;
                Ok((Stream::Tcp(stream), Address::Tcp(address)))
            }
        }
    }

    async fn dial_proxy(&self, proxy: &Proxy) -> io::Result<Stream> {
        let unreachable =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot reach {proxy}: {error}"));
        let addresses =
            addresses(self.resolver.as_ref(), &proxy.host, proxy.port).await.map_err(unreachable)?;
        let (stream, _) = tcp::connect_any(&addresses).await.map_err(unreachable)?;
        match &self.proxy_tls {
            Some(handshake) => handshake.shake(Stream::Tcp(stream)).await.map_err(unreachable),
            None => Ok(Stream::Tcp(stream)),
        }
    }
}

impl Address {
    fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Socket(_) | Self::Tunnel | Self::Proxy => None,
        }
    }
}
