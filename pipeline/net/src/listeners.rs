//! Addresses that this process listens on, across graphs: a reload finds them open and never closes one that it still
//! needs.
//!
//! A component reserves an address while its graph is being prepared, which is when it is told that somebody else has
//! it, and begins to listen when its graph takes over. From then on whoever listened there before gets no connection
//! any more.
//!
//! # Invariants
//! - An address that the old graph and the new one have in common is open at every moment.
//! - Within one graph an address belongs to one component.

use crate::config::listen_address;
use crate::stream::{Listener, SocketFile};
use crate::tcp::{self, Family};
use millrace_engine::Generation;
use millrace_engine::component::Shared;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// An address that is listened on, by whichever graph.
#[derive(Debug)]
pub struct Bound {
    socket: BoundSocket,
    /// The graph whose component gets the connections.
    turn: watch::Sender<u64>,
    /// The components that have reserved it, of different graphs.
    reserved: Mutex<Vec<Generation>>,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(TcpListener, SocketAddr, Family),
    Unix(UnixListener, SocketFile),
}

/// An address set aside for a component of one graph. Dropping it gives it up.
#[derive(Debug)]
pub struct Reserved {
    bound: Arc<Bound>,
    generation: Generation,
}

/// Whose turn it is to take the connections of an address.
#[derive(Debug)]
pub(crate) struct Turn {
    reserved: Arc<Reserved>,
    turn: watch::Receiver<u64>,
}

/// Sets an address aside for a component of the graph that `shared` is of: `transport` is `tcp`, `tcp4`, `tcp6` or
/// `unix`. Opens it, unless an earlier graph has done so. Blocks while a name is looked up.
///
/// # Errors
/// Why it cannot be listened on; that another component of the same graph has it is one reason.
pub fn reserve(shared: &Shared, transport: &str, endpoint: &str) -> io::Result<Arc<Reserved>> {
    let key = format!("{transport} {endpoint}");
    let bound = if transport == "unix" {
        unix(shared, &key, Path::new(endpoint))?
    } else {
        tcp(shared, &key, transport, endpoint)?
    };
    let generation = shared.generation.clone();
    let mut reserved = bound.reserved();
    if reserved.iter().any(|other| other.latest() == generation.first()) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another component listens there"));
    }
    reserved.push(generation.clone());
    drop(reserved);
    Ok(Arc::new(Reserved { bound, generation }))
}

fn unix(shared: &Shared, key: &str, path: &Path) -> io::Result<Arc<Bound>> {
    let ours = shared.lasting.all::<Bound>().into_iter().find(|bound| match &bound.socket {
        BoundSocket::Unix(_, file) => file.is_at(path),
        BoundSocket::Tcp(..) => false,
    });
    if let Some(bound) = ours {
        return Ok(bound);
    }
    let (listener, file) = crate::stream::bind_unix(path)?;
    Ok(known(shared, key, BoundSocket::Unix(listener, file)))
}

fn tcp(shared: &Shared, key: &str, transport: &str, endpoint: &str) -> io::Result<Arc<Bound>> {
    let (host, port) = listen_address(endpoint).map_err(io::Error::other)?;
    let family = match transport {
        "tcp4" => Family::V4,
        "tcp6" => Family::V6,
        _ => Family::Any,
    };
    // Any free port is not the one from before: nobody could tell two that want one apart.
    let earlier = if port == 0 { Vec::new() } else { shared.lasting.all::<Bound>() };
    let addresses = tcp::addresses(&host, port, family)?;
    let ours = |address: &SocketAddr| {
        earlier.iter().find(|bound| match &bound.socket {
            BoundSocket::Tcp(_, at, of) => at == address && *of == family,
            BoundSocket::Unix(..) => false,
        })
    };
    if let Some(bound) = addresses.iter().find_map(ours) {
        return Ok(Arc::clone(bound));
    }
    let overlapping: Vec<_> = earlier.iter().filter_map(|bound| bound.on_port(port)).collect();
    let listener = tcp::bind_first(&addresses, family, &overlapping)?;
    let at = listener.local_addr()?;
    Ok(known(shared, key, BoundSocket::Tcp(listener, at, family)))
}

fn known(shared: &Shared, key: &str, socket: BoundSocket) -> Arc<Bound> {
    let bound = Arc::new(Bound { socket, turn: watch::Sender::new(0), reserved: Mutex::default() });
    // With a number, so that any free port stands beside any other.
    let key = format!("{key} {:p}", Arc::as_ptr(&bound));
    shared.lasting.put(&key, &bound);
    bound
}

impl Bound {
    fn reserved(&self) -> MutexGuard<'_, Vec<Generation>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_port(&self, port: u16) -> Option<&TcpListener> {
        match &self.socket {
            BoundSocket::Tcp(listener, at, _) if at.port() == port => Some(listener),
            _ => None,
        }
    }
}

impl Reserved {
    /// What connections arrive on, once it is this component's turn ([`Reserved::take_turn`]). Must be called within
    /// the runtime that will accept them.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn listener(self: &Arc<Self>) -> io::Result<Listener> {
        let turn = Turn { reserved: Arc::clone(self), turn: self.bound.turn.subscribe() };
        match &self.bound.socket {
            BoundSocket::Tcp(listener, ..) => {
                let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
                Ok(Listener::tcp(listener, Some(turn)))
            }
            BoundSocket::Unix(listener, _) => {
                let listener = tokio::net::UnixListener::from_std(listener.try_clone()?)?;
                Ok(Listener::unix(listener, turn))
            }
        }
    }

    /// From now on connections go to this component and to nobody before it.
    pub fn take_turn(&self) {
        self.bound.turn.send_if_modified(|turn| {
            let later = *turn < self.generation.first();
            *turn = (*turn).max(self.generation.first());
            later
        });
    }

    /// The address, if it is one of TCP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.bound.socket {
            BoundSocket::Tcp(_, address, _) => Some(*address),
            BoundSocket::Unix(..) => None,
        }
    }

    /// Resolves when a component of a later graph has begun to listen there.
    pub async fn turn_over(&self) {
        let mine = self.generation.first();
        let _ = self.bound.turn.subscribe().wait_for(|turn| *turn > mine).await;
    }

    /// A number of the open address, as long as it is open.
    #[must_use]
    pub fn number(&self) -> usize {
        Arc::as_ptr(&self.bound).addr()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.bound.reserved().retain(|other| !other.is(&self.generation));
    }
}

impl Turn {
    /// Resolves when it is this component's turn; never once another's has come.
    pub(crate) async fn come(&self) {
        let mine = self.reserved.generation.first();
        let mut turn = self.turn.clone();
        // The sender lives as long as the reservation.
        let come = turn.wait_for(|turn| *turn >= mine).await.is_ok_and(|turn| *turn == mine);
        if !come {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it is this component's turn.
    pub(crate) fn is_now(&self) -> bool {
        *self.turn.borrow() == self.reserved.generation.first()
    }

    /// Resolves when another's turn has come after this one's.
    pub(crate) async fn over(&self) {
        let mine = self.reserved.generation.first();
        let _ = self.turn.clone().wait_for(|turn| *turn > mine).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Health;
    use millrace_telemetry::Registry;
    use millrace_telemetry::metrics::Level;
    use std::time::Duration;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    fn first() -> Shared {
        Shared::new(Registry::new(Level::None), &Health::starting(), 1 << 20, 1 << 20, "test")
    }

    /// The same graph, for another of its components.
    fn beside(shared: &Shared) -> Shared {
        Shared { generation: shared.generation.apart(), ..shared.clone() }
    }

    fn at(reserved: &Reserved) -> SocketAddr {
        reserved.address().expect("a port")
    }

    async fn accepts(listener: &Listener, address: SocketAddr) -> bool {
        let _client = TcpStream::connect(address).await.expect("it is open");
        timeout(Duration::from_secs(20), listener.accept()).await.is_ok()
    }

    #[tokio::test]
    async fn the_next_graph_finds_an_address_open_and_takes_its_turn() {
        let graph = first();
        let old = reserve(&graph, "tcp", "127.0.0.1:0").expect("a free port");
        let address = at(&old);
        let old_listener = old.listener().expect("a listener");
        old.take_turn();
        assert!(accepts(&old_listener, address).await);
        let taken = reserve(&beside(&graph), "tcp", &address.to_string()).expect_err("of the same graph");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);

        let next = graph.next();
        let new = reserve(&next, "tcp", &address.to_string()).expect("of the next");
        let new_listener = new.listener().expect("a listener");
        assert!(accepts(&old_listener, address).await, "it is not the new one's turn yet");
        new.take_turn();
        old.turn_over().await;
        assert!(accepts(&new_listener, address).await);

        drop((old, old_listener));
        assert!(accepts(&new_listener, address).await);
        drop((new, new_listener));
        assert!(TcpStream::connect(address).await.is_err(), "nobody holds it any more");
    }

    #[tokio::test]
    async fn one_that_is_kept_has_its_address_in_the_next_graph_as_well() {
        let graph = first();
        let kept = reserve(&graph, "tcp", "127.0.0.1:0").expect("a free port");
        let next = graph.next();
        kept.generation.renew(&next.generation);
        reserve(&beside(&next), "tcp", &at(&kept).to_string()).expect_err("it is taken");
    }

    #[tokio::test]
    async fn every_interface_stands_beside_a_single_one_of_ours_and_of_nobody_else() {
        let graph = first();
        let one = reserve(&graph, "tcp", "127.0.0.1:0").expect("a free port");
        let everywhere = format!("0.0.0.0:{}", at(&one).port());
        reserve(&first(), "tcp", &everywhere).expect_err("of another process, as it were");
        let next = graph.next();
        let all = reserve(&next, "tcp", &everywhere).expect("ours");
        reserve(&first(), "tcp", &everywhere).expect_err("of another process, as it were");
        let listener = all.listener().expect("a listener");
        all.take_turn();
        let address = at(&one);
        drop(one);
        assert!(accepts(&listener, address).await);
    }

    #[tokio::test]
    async fn sockets_are_found_by_their_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("otlp.sock");
        let (graph, name) = (first(), path.to_str().expect("a path").to_owned());
        let old = reserve(&graph, "unix", &name).expect("a new socket");
        reserve(&beside(&graph), "unix", &name).expect_err("of the same graph");
        let new = reserve(&graph.next(), "unix", &name).expect("of the next");
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }
}
