//! A file system that tells what was written from what was synced.
//!
//! Each file remembers, beside what can be seen, what is on disk and everything that has been done since. When the
//! power fails, each block of 512 bytes keeps any one of the contents that it had since the last sync, each on its own;
//! the length is any of those since; and of the names created, renamed and unlinked since the directory was synced, any
//! are forgotten. A failed sync leaves nothing to be synced again, as on Linux: what was written can be seen, is not on
//! disk, and will never be.

mod calls;
mod crash;

pub use super::rng::Rng;

use millrace_log::Displacement;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const BLOCK: usize = 512;

/// What a call does instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Everything stops; this and every later call fail, and so does everything that is still to be done.
    Crash,
    Io,
    NoSpace,
    /// Of a write, half is done; other calls fail.
    Short,
}

#[derive(Debug, Clone)]
struct Node {
    seen: Vec<u8>,
    /// What is on disk.
    durable: Vec<u8>,
    /// What `seen` was after each change since the last sync.
    since: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

#[derive(Debug, Clone)]
enum Renaming {
    Create(String, usize),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    since: Vec<Renaming>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    crashed: bool,
    capacity: Option<u64>,
    /// Files that cannot be read.
    unreadable: BTreeSet<usize>,
    /// Why no file can be opened.
    refuses_to_open: Option<Errno>,
    displaced: Option<Displacement>,
    /// Which file is the lock, and whether somebody has it.
    lock: (u64, bool),
    limit: Option<u64>,
    read_only: bool,
    syncs: u64,
}

/// The file system. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Sim(Arc<Mutex<State>>);

impl Sim {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At the `nth` call from now on, counted from 0, that will happen.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.calls + nth;
        state.faults.insert(at, fault);
    }

    pub fn no_more_faults(&self) {
        self.state().faults.clear();
    }

    /// How many calls there have been.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many files have been made.
    pub fn created(&self) -> usize {
        self.state().nodes.len()
    }

    /// How many syncs of data.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// The device has that many bytes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// The files are never to be larger than that together.
    pub fn assert_below(&self, bytes: u64) {
        self.state().limit = Some(bytes);
    }

    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Reading that file fails from now on, until the next crash.
    pub fn make_unreadable(&self, name: &str) {
        let mut state = self.state();
        let id = state.names[name];
        state.unreadable.insert(id);
    }

    /// No file can be opened from now on, for that reason; or they can again.
    pub fn refuse_to_open(&self, why: Option<Errno>) {
        self.state().refuses_to_open = why;
    }

    /// Something has become of the directory, or it is back.
    pub fn displace(&self, displaced: Option<Displacement>) {
        let mut state = self.state();
        if displaced == Some(Displacement::Removed) {
            state.names.clear();
            state.durable_names.clear();
            state.since.clear();
        }
        state.displaced = displaced;
    }

    /// Somebody removes the lock, and perhaps another process makes another one.
    pub fn replace_lock(&self, locked: bool) {
        let mut state = self.state();
        state.lock = (state.lock.0 + 1, locked);
    }

    /// The sizes of all files together.
    pub fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// What a file contains.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.nodes[state.names[name]].seen.clone()
    }

    /// Puts a file there, on disk.
    pub fn put(&self, name: &str, content: &[u8]) {
        let mut state = self.state();
        let id = state.nodes.len();
        state.nodes.push(Node { seen: content.to_vec(), durable: content.to_vec(), since: Vec::new() });
        state.names.insert(name.into(), id);
        state.durable_names.insert(name.into(), id);
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.names.values().map(|id| self.nodes[*id].seen.len() as u64).sum()
    }

    /// What is to happen at this call.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(io::Error::other("crashed"));
        }
        let fault = self.faults.get(&self.calls).copied();
        self.calls += 1;
        match fault {
            Some(Fault::Crash) => {
                self.crashed = true;
                Ok(Some(Fault::Crash))
            }
            other => Ok(other),
        }
    }

    /// A call that either works or does nothing.
    fn whole_call(&mut self) -> io::Result<()> {
        match self.call()? {
            None => Ok(()),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Crash | Fault::Io | Fault::Short) => Err(io::Error::other("injected")),
        }
    }

    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    fn change(&mut self, id: usize, change: Change) {
        let before = self.bytes();
        change.apply(&mut self.nodes[id].seen);
        self.nodes[id].since.push(change);
        // When the power has failed, what had been cut off may be there again; then there may not be even more.
        if let Some(limit) = self.limit {
            let bytes = self.bytes();
            assert!(
                bytes <= limit.max(before),
                "{bytes} bytes of {limit}, {before} before: {:?}",
                self.sizes()
            );
        }
    }

    fn sizes(&self) -> Vec<(&String, usize)> {
        self.names.iter().map(|(name, id)| (name, self.nodes[*id].seen.len())).collect()
    }

    /// Whether a file may grow by that much.
    fn fits(&self, more: usize) -> bool {
        self.capacity.is_none_or(|capacity| self.bytes() + more as u64 <= capacity)
    }
}
