//! The streams of a connection that are not over.

use bytes::Bytes;

/// For so many there is always room.
const FEW: usize = 4;

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    pub(crate) id: u32,
    /// What its owner keeps with it.
    pub(crate) state: Option<T>,
    /// The peer may send more.
    pub(crate) peer_open: bool,
    /// We may send more.
    pub(crate) open: bool,
    /// Somebody works on it, and is to be waited for even if the peer resets it.
    pub(crate) worked_on: bool,
    /// What the peer may still send.
    pub(crate) room: i64,
    /// What has been handed out since the peer was last given credit.
    pub(crate) credit: u32,
    /// What was handed out without giving credit, while that is so.
    pub(crate) held: Option<u32>,
    /// What we may still send.
    pub(crate) window: i64,
    /// How much of its body is to come, where that was said.
    pub(crate) to_come: Option<u64>,
    /// What waits for the window.
    pub(crate) data: Bytes,
    /// What follows it: an encoded header block.
    pub(crate) last: Option<Vec<u8>>,
}

/// Those that are not over, by number.
#[derive(Debug)]
pub(crate) struct Streams<T> {
    /// In ascending order. Boxed, as they come and go in any order.
    all: Vec<Box<Stream<T>>>,
}

impl<T> Streams<T> {
    pub(crate) const fn new() -> Self {
        Self { all: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds one whose number is higher than all others.
    pub(crate) fn add(&mut self, stream: Stream<T>) {
        self.all.push(Box::new(stream));
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Stream<T>> {
        // Nearly always there is one only, or it is the last.
        if self.all.last().is_some_and(|last| last.id == id) {
            return self.all.last_mut().map(|last| &mut **last);
        }
        let at = self.find(id)?;
        Some(&mut self.all[at])
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Box<Stream<T>>> {
        self.find(id).map(|at| self.all.remove(at))
    }

    pub(crate) fn iter(&mut self) -> impl Iterator<Item = &mut Stream<T>> {
        self.all.iter_mut().map(|stream| &mut **stream)
    }

    /// Gives back room that is not used, but for the few that there are most of the time.
    pub(crate) fn settle(&mut self) {
        if self.all.capacity() > FEW {
            self.all.shrink_to(FEW);
        }
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.all.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}
