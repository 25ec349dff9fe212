//! The connections that are kept between requests, and the addresses behind the name: plain code, under the client's
//! one short lock.

use super::connection::Connection;
use crate::connect::Address;
use hyper::client::conn::http2;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

use super::parts::Parts;

/// How long an address is tried last that has left a request without an answer.
const SHUN: Duration = Duration::from_secs(30);
/// The most addresses of a name that are used.
const ADDRESSES_MAX: usize = 64;

/// A connection on which a request is sent.
pub(super) struct Lent {
    pub(super) connection: Connection,
    pub(super) address: Address,
    /// Whether there have been requests on it before.
    pub(super) used: bool,
}

/// What is kept.
#[derive(Default)]
pub(super) struct Pool {
    /// Connections of HTTP/1.1, the one that has waited longest in front; it is used next, so that all addresses are.
    idle: VecDeque<Idle>,
    /// The one connection of HTTP/2.
    shared: Option<Shared>,
    /// Whether the destination speaks HTTP/2; unknown before the first connection.
    pub(super) speaks_http2: Option<bool>,
    addresses: Vec<Address>,
    shunned: Vec<(Address, Instant)>,
    turn: usize,
}

struct Idle {
    connection: Connection,
    address: Address,
    since: Instant,
}

struct Shared {
    requests: http2::SendRequest<Parts>,
    address: Address,
    used: bool,
}

impl Pool {
    /// A connection that is there already.
    pub(super) fn take(&mut self) -> Option<Lent> {
        if let Some(shared) = &mut self.shared {
            if !shared.requests.is_closed() {
                let used = std::mem::replace(&mut shared.used, true);
                let connection = Connection::Http2(shared.requests.clone());
                return Some(Lent { connection, address: shared.address.clone(), used });
            }
            self.shared = None;
        }
        while let Some(Idle { connection, address, .. }) = self.idle.pop_front() {
            if !connection.is_closed() {
                return Some(Lent { connection, address, used: true });
            }
        }
        None
    }

    /// Shares a connection of HTTP/2 with later requests.
    pub(super) fn share(&mut self, requests: &http2::SendRequest<Parts>, address: &Address) {
        self.shared = Some(Shared { requests: requests.clone(), address: address.clone(), used: true });
    }

    /// Keeps a connection that is done with its request, unless there are enough or the name has moved on.
    pub(super) fn give_back(&mut self, lent: Lent, idle_max: usize, now: Instant) {
        let Lent { connection, address, .. } = lent;
        let own = matches!(connection, Connection::Http1(_));
        if own && self.idle.len() < idle_max && self.is_known(&address) && !connection.is_closed() {
            self.idle.push_back(Idle { connection, address, since: now });
        }
    }

    /// An address has left a request without an answer: nothing is sent there while others will do.
    pub(super) fn shun(&mut self, address: &Address, now: Instant) {
        self.shunned.retain(|(shunned, until)| shunned != address && *until > now);
        self.shunned.push((address.clone(), now + SHUN));
        self.idle.retain(|idle| idle.address != *address);
        if self.shared.as_ref().is_some_and(|shared| shared.address == *address) {
            self.shared = None;
        }
    }

    /// An address has answered.
    pub(super) fn trust(&mut self, address: &Address) {
        if !self.shunned.is_empty() {
            self.shunned.retain(|(shunned, _)| shunned != address);
        }
    }

    /// Takes note of the addresses that the name has now; what is idle elsewhere is closed.
    pub(super) fn resolved(&mut self, mut addresses: Vec<Address>) {
        addresses.truncate(ADDRESSES_MAX);
        self.addresses = addresses;
        let known = std::mem::take(&mut self.addresses);
        self.idle.retain(|idle| known.contains(&idle.address));
        self.shared = self.shared.take().filter(|shared| known.contains(&shared.address));
        self.addresses = known;
    }

    /// The addresses in the order in which the next connection is to try them.
    pub(super) fn in_turn(&mut self, now: Instant) -> Vec<Address> {
        let mut addresses = self.addresses.clone();
        if addresses.is_empty() {
            return addresses;
        }
        let first = self.turn % addresses.len();
        self.turn = first + 1;
        addresses.rotate_left(first);
        let shunned =
            |address: &Address| self.shunned.iter().any(|(one, until)| one == address && *until > now);
        // Stable: among those alike the turn counts.
        addresses.sort_by_key(shunned);
        addresses
    }

    /// Closes what has been idle for so long; zero is for ever.
    pub(super) fn expire(&mut self, idle_timeout: Duration, now: Instant) {
        let over = |idle: &Idle| !idle_timeout.is_zero() && now.duration_since(idle.since) >= idle_timeout;
        self.idle.retain(|idle| !over(idle) && !idle.connection.is_closed());
    }

    fn is_known(&self, address: &Address) -> bool {
        self.addresses.is_empty() || self.addresses.contains(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn address(last: u8) -> Address {
        Address::Tcp(SocketAddr::from(([10, 0, 0, last], 4318)))
    }

    #[tokio::test]
    async fn each_connection_begins_with_another_address_and_the_silent_come_last() {
        let now = Instant::now();
        let mut pool = Pool::default();
        assert!(pool.in_turn(now).is_empty());
        pool.resolved(vec![address(1), address(2), address(3)]);
        assert_eq!(pool.in_turn(now), [address(1), address(2), address(3)]);
        assert_eq!(pool.in_turn(now), [address(2), address(3), address(1)]);
        pool.shun(&address(3), now);
        assert_eq!(pool.in_turn(now), [address(1), address(2), address(3)]);
        assert_eq!(pool.in_turn(now)[2], address(3));
        assert_eq!(pool.in_turn(now + SHUN)[2], address(1));
        pool.trust(&address(3));
        assert_eq!(pool.in_turn(now)[0], address(3));
    }
}
