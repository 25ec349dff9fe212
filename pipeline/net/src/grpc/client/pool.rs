//! Which connections there are and which one a call gets: plain code, under the channel's one short lock.

use crate::connect::Address;
use std::fmt;
use tokio::sync::oneshot;

/// The most connections of one channel. Of a name with more addresses, a random part is used.
pub(super) const PEERS_MAX: usize = 64;

/// Names a peer as long as the channel lives.
pub(super) type PeerId = u64;

/// How calls are spread over the addresses of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancing {
    /// A connection to each, in turn (`round_robin`).
    RoundRobin,
    /// One connection, to whichever answers (`pick_first`).
    PickFirst,
}

/// What a pool has to know of a connection.
pub(super) trait Pooled: Clone {
    fn address(&self) -> &Address;
    /// Whether others are to be preferred at this moment.
    fn is_shunned(&self) -> bool;
    fn is(&self, other: &Self) -> bool;
}

/// The connections of a channel.
pub(super) struct Pool<L> {
    balancing: Balancing,
    peers: Vec<Peer<L>>,
    /// Where the next call looks first.
    turn: usize,
    last_id: PeerId,
    /// How often asking for addresses has failed, and why it did last.
    unresolved: Failures,
}

/// One address, or those of which the first that answers is taken; and the connection to it.
struct Peer<L> {
    id: PeerId,
    addresses: Vec<Address>,
    link: Option<L>,
    failures: Failures,
    /// Dropped with the peer, which tells its keeper.
    _wanted: oneshot::Sender<()>,
}

#[derive(Debug, Clone, Default)]
struct Failures {
    count: u64,
    last: String,
}

impl Failures {
    fn add(&mut self, problem: String) {
        self.count += 1;
        self.last = problem;
    }
}

/// A peer that needs a keeper. The receiver resolves when it is not wanted any more.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) id: PeerId,
    pub(super) until: oneshot::Receiver<()>,
}

/// How often each peer had failed at some moment, to tell whether all have been tried since.
#[derive(Debug)]
pub(super) struct Tried {
    peers: Vec<(PeerId, u64)>,
    unresolved: u64,
}

impl<L: Pooled> Pool<L> {
    pub(super) fn new(balancing: Balancing) -> Self {
        Self {
            balancing,
            peers: Vec::new(),
            turn: fastrand::usize(..PEERS_MAX),
            last_id: 0,
            unresolved: Failures::default(),
        }
    }

    /// The connection whose turn it is; one that is shunned only where there is no other.
    pub(super) fn pick(&mut self) -> Option<L> {
        let len = self.peers.len();
        if let [only] = &self.peers[..] {
            return only.link.clone();
        }
        let mut shunned = None;
        for step in 0..len {
            let at = (self.turn + step) % len;
            let Some(link) = &self.peers[at].link else { continue };
            if link.is_shunned() {
                shunned.get_or_insert(at);
                continue;
            }
            self.turn = (at + 1) % len;
            return Some(link.clone());
        }
        // All of them are; they get calls in turn as well.
        let at = shunned?;
        self.turn = (at + 1) % len;
        self.peers[at].link.clone()
    }

    /// Takes note of the addresses that the name has now. Connections to those that it has no more are let go of.
    pub(super) fn resolved(&mut self, addresses: Vec<Address>) -> Vec<Wanted> {
        match self.balancing {
            Balancing::RoundRobin => self.one_each(addresses),
            Balancing::PickFirst => self.one_for_all(addresses),
        }
    }

    fn one_each(&mut self, mut addresses: Vec<Address>) -> Vec<Wanted> {
        self.peers.retain(|peer| peer.addresses.iter().all(|address| addresses.contains(address)));
        addresses.retain(|address| !self.peers.iter().any(|peer| peer.addresses.contains(address)));
        while self.peers.len() + addresses.len() > PEERS_MAX && !addresses.is_empty() {
            addresses.swap_remove(fastrand::usize(..addresses.len()));
        }
        addresses.into_iter().map(|address| self.add(vec![address])).collect()
    }

    fn one_for_all(&mut self, addresses: Vec<Address>) -> Vec<Wanted> {
        if let [peer] = &mut self.peers[..]
            && peer.link.as_ref().is_none_or(|link| addresses.contains(link.address()))
        {
            peer.addresses = addresses;
            return Vec::new();
        }
        self.peers.clear();
        vec![self.add(addresses)]
    }

    fn add(&mut self, addresses: Vec<Address>) -> Wanted {
        self.last_id += 1;
        let (wanted, until) = oneshot::channel();
        let id = self.last_id;
        self.peers.push(Peer { id, addresses, link: None, failures: Failures::default(), _wanted: wanted });
        Wanted { id, until }
    }

    /// Asking for addresses has failed; those that are known are kept.
    pub(super) fn unresolved(&mut self, problem: String) {
        self.unresolved.add(problem);
    }

    /// Where a peer is to be connected to; nowhere when it has gone.
    pub(super) fn addresses(&self, id: PeerId) -> Vec<Address> {
        self.peers.iter().find(|peer| peer.id == id).map(|peer| peer.addresses.clone()).unwrap_or_default()
    }

    /// A peer has a connection. If the peer has gone meanwhile, nothing holds the connection any more.
    pub(super) fn up(&mut self, id: PeerId, link: L) {
        if let Some(peer) = self.peer(id) {
            peer.link = Some(link);
            peer.failures.last.clear();
        }
    }

    /// A connection has ended, or takes no more calls.
    pub(super) fn down(&mut self, link: &L) {
        for peer in &mut self.peers {
            if peer.link.as_ref().is_some_and(|own| own.is(link)) {
                peer.link = None;
            }
        }
    }

    /// Whether a peer has the connection that it was given.
    pub(super) fn is_up(&self, id: PeerId) -> bool {
        self.peers.iter().any(|peer| peer.id == id && peer.link.is_some())
    }

    /// A peer could not be connected to.
    pub(super) fn failed(&mut self, id: PeerId, problem: String) {
        if let Some(peer) = self.peer(id) {
            peer.failures.add(problem);
        }
    }

    /// Lets go of everything.
    pub(super) fn close(&mut self) {
        self.peers.clear();
    }

    fn peer(&mut self, id: PeerId) -> Option<&mut Peer<L>> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// What has been tried so far.
    pub(super) fn tried(&self) -> Tried {
        let peers = self.peers.iter().map(|peer| (peer.id, peer.failures.count)).collect();
        Tried { peers, unresolved: self.unresolved.count }
    }

    /// Why there is no connection, once everything has been tried in vain since `before`.
    pub(super) fn in_vain_since(&self, before: &Tried) -> Option<String> {
        if self.peers.is_empty() {
            return (self.unresolved.count > before.unresolved).then(|| self.unresolved.last.clone());
        }
        let earlier = |id| before.peers.iter().find(|(peer, _)| *peer == id).map_or(0, |(_, count)| *count);
        let all = self.peers.iter().all(|peer| peer.failures.count > earlier(peer.id));
        all.then(|| self.peers.last().map(|peer| peer.failures.last.clone()).unwrap_or_default())
    }
}

impl<L> fmt::Debug for Pool<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::net::SocketAddr;
    use std::rc::Rc;

    #[derive(Clone, Debug)]
    struct Fake(Rc<(Address, Cell<bool>)>);

    impl Pooled for Fake {
        fn address(&self) -> &Address {
            &self.0.0
        }

        fn is_shunned(&self) -> bool {
            self.0.1.get()
        }

        fn is(&self, other: &Self) -> bool {
            Rc::ptr_eq(&self.0, &other.0)
        }
    }

    fn address(last: u8) -> Address {
        Address::Tcp(SocketAddr::from(([10, 0, 0, last], 4317)))
    }

    fn link(last: u8) -> Fake {
        Fake(Rc::new((address(last), Cell::new(false))))
    }

    /// A pool with a connection to each of three addresses.
    fn three() -> (Pool<Fake>, Vec<Fake>, Vec<Wanted>) {
        let mut pool = Pool::new(Balancing::RoundRobin);
        let wanted = pool.resolved(vec![address(1), address(2), address(3)]);
        let links: Vec<_> = (1..=3).map(link).collect();
        for (wanted, link) in wanted.iter().zip(&links) {
            pool.up(wanted.id, link.clone());
        }
        (pool, links, wanted)
    }

    fn picks(pool: &mut Pool<Fake>, count: usize) -> Vec<u8> {
        let mut picks: Vec<u8> = (0..count)
            .filter_map(|_| pool.pick())
            .map(|link| match link.address() {
                Address::Tcp(SocketAddr::V4(address)) => address.ip().octets()[3],
                other => panic!("{other}"),
            })
            .collect();
        picks.sort_unstable();
        picks
    }

    #[test]
    fn calls_go_round_and_what_is_down_is_left_out() {
        let (mut pool, links, _) = three();
        assert_eq!(picks(&mut pool, 6), [1, 1, 2, 2, 3, 3]);
        pool.down(&links[1]);
        assert_eq!(picks(&mut pool, 4), [1, 1, 3, 3]);
        pool.down(&links[0]);
        pool.down(&links[2]);
        assert!(pool.pick().is_none());
    }

    #[test]
    fn what_is_shunned_gets_calls_only_when_all_are() {
        let (mut pool, links, _) = three();
        links[0].0.1.set(true);
        assert_eq!(picks(&mut pool, 4), [2, 2, 3, 3]);
        links.iter().for_each(|link| link.0.1.set(true));
        assert_eq!(picks(&mut pool, 6), [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn addresses_that_vanish_are_let_go_of_and_new_ones_wanted() {
        let (mut pool, _, mut wanted) = three();
        let new = pool.resolved(vec![address(3), address(4), address(2)]);
        assert_eq!(new.len(), 1);
        assert_eq!(pool.addresses(new[0].id), [address(4)]);
        assert!(wanted[0].until.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(wanted[1].until.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        assert_eq!(picks(&mut pool, 4), [2, 2, 3, 3]);
    }

    #[test]
    fn pick_first_stays_where_it_is_as_long_as_the_name_has_the_address() {
        let mut pool = Pool::new(Balancing::PickFirst);
        let wanted = pool.resolved(vec![address(1), address(2)]);
        assert_eq!((wanted.len(), pool.addresses(wanted[0].id).len()), (1, 2));
        pool.up(wanted[0].id, link(2));
        assert!(pool.resolved(vec![address(3), address(2)]).is_empty());
        assert_eq!(picks(&mut pool, 2), [2, 2]);
        let anew = pool.resolved(vec![address(3)]);
        assert_eq!(anew.len(), 1);
        assert!(pool.pick().is_none());
    }

    #[test]
    fn a_name_with_very_many_addresses_gets_so_many_connections_and_keeps_them() {
        let mut pool: Pool<Fake> = Pool::new(Balancing::RoundRobin);
        let all: Vec<_> = (0..200).map(address).collect();
        assert_eq!(pool.resolved(all.clone()).len(), PEERS_MAX);
        assert!(pool.resolved(all).is_empty());
    }

    #[test]
    fn it_was_in_vain_only_when_everything_has_been_tried_since() {
        let mut pool: Pool<Fake> = Pool::new(Balancing::RoundRobin);
        let before = pool.tried();
        assert_eq!(pool.in_vain_since(&before), None);
        pool.unresolved("no such name".into());
        assert_eq!(pool.in_vain_since(&before).as_deref(), Some("no such name"));
        let wanted = pool.resolved(vec![address(1), address(2)]);
        pool.failed(wanted[0].id, "refused".into());
        assert_eq!(pool.in_vain_since(&before), None);
        pool.failed(wanted[1].id, "silent".into());
        assert_eq!(pool.in_vain_since(&before).as_deref(), Some("silent"));
        let later = pool.tried();
        pool.failed(wanted[1].id, "silent".into());
        assert_eq!(pool.in_vain_since(&later), None);
    }
}
