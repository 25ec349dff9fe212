//! A file system that tells what was written from what was synced.
//!
//! Each file remembers, beside what can be seen, what is on disk and everything that has been done since. When the
//! power fails, each block of 512 bytes keeps any one of the contents that it had since the last sync, each on its own;
//! the length is any of those since; and of the names created, renamed and unlinked since the directory was synced, any
//! are forgotten. A failed sync leaves nothing to be synced again, as on Linux: what was written can be seen, is not on
//! disk, and will never be.

use millrace_log::{Access, File, Files, Listed};
use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const BLOCK: usize = 512;

/// A generator of numbers that the tests can repeat: xorshift.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }

    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

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
    /// Whoever holds the lock.
    locked: bool,
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

    /// The process has died, and the machine has not: what could be seen is there.
    pub fn after_kill(&self) -> Self {
        let state = self.state();
        let fresh = Self::default();
        for (name, id) in &state.names {
            let node = state.nodes[*id].clone();
            let mut state = fresh.state();
            let id = state.nodes.len();
            state.nodes.push(node);
            state.names.insert(name.clone(), id);
        }
        // What was not on disk before is still not.
        let mut next = fresh.state();
        let ids: BTreeMap<usize, usize> =
            state.names.iter().map(|(name, old)| (*old, next.names[name])).collect();
        for (name, old) in &state.durable_names {
            if let Some(new) = ids.get(old) {
                next.durable_names.insert(name.clone(), *new);
            } else {
                let id = next.nodes.len();
                next.nodes.push(state.nodes[*old].clone());
                next.durable_names.insert(name.clone(), id);
            }
        }
        next.since = state
            .since
            .iter()
            .filter_map(|renaming| match renaming {
                Renaming::Create(name, old) => ids.get(old).map(|new| Renaming::Create(name.clone(), *new)),
                other => Some(other.clone()),
            })
            .collect();
        (next.capacity, next.limit) = (state.capacity, state.limit);
        drop(next);
        fresh
    }

    /// The power has failed: what was synced is there, and some of the rest.
    pub fn after_power_loss(&self, rng: &mut Rng) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for renaming in &state.since {
            if rng.chance(2) {
                continue;
            }
            match renaming {
                Renaming::Create(name, id) => {
                    names.insert(name.clone(), *id);
                }
                Renaming::Unlink(name) => {
                    names.remove(name);
                }
                Renaming::Rename(from, to) => {
                    if let Some(id) = names.remove(from) {
                        names.insert(to.clone(), id);
                    }
                }
            }
        }
        let fresh = Self::default();
        for (name, id) in names {
            fresh.put(&name, &state.nodes[id].surviving(rng));
        }
        let mut next = fresh.state();
        (next.capacity, next.limit) = (state.capacity, state.limit);
        drop(next);
        fresh
    }
}

impl Node {
    /// What is there after the power has failed.
    fn surviving(&self, rng: &mut Rng) -> Vec<u8> {
        let mut versions = vec![self.durable.clone()];
        for change in &self.since {
            let mut next = versions.last().expect("there is one").clone();
            change.apply(&mut next);
            versions.push(next);
        }
        let len = versions[rng.below(versions.len() as u64) as usize].len();
        let mut content = vec![0; len];
        for begin in (0..len).step_by(BLOCK) {
            let version = &versions[rng.below(versions.len() as u64) as usize];
            let end = len.min(begin + BLOCK).min(version.len());
            if begin < end {
                content[begin..end].copy_from_slice(&version[begin..end]);
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Resize(len) => content.resize(*len, 0),
        }
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

impl Files for Sim {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut state = self.state();
        state.whole_call()?;
        let listed =
            |(name, len): (&String, usize)| Listed { name: name.clone(), len: len as u64, regular: true };
        Ok(state.sizes().into_iter().map(listed).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.whole_call()?;
        state.writable()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.nodes.len();
        state.nodes.push(Node { seen: Vec::new(), durable: Vec::new(), since: Vec::new() });
        state.names.insert(name.into(), id);
        state.since.push(Renaming::Create(name.into(), id));
        Ok(Box::new(SimFile { sim: self.clone(), id, failed: Mutex::new(false) }))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.whole_call()?;
        if access == Access::Write {
            state.writable()?;
        }
        let id = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { sim: self.clone(), id, failed: Mutex::new(false) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole_call()?;
        state.writable()?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.into(), id);
        state.since.push(Renaming::Rename(from.into(), to.into()));
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole_call()?;
        state.writable()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.since.push(Renaming::Unlink(name.into()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.whole_call()?;
        state.durable_names = state.names.clone();
        state.since.clear();
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut state = self.state();
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(Locked(self.clone()))))
    }
}

struct Locked(Sim);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

struct SimFile {
    sim: Sim,
    id: usize,
    /// A sync of this descriptor has failed.
    failed: Mutex<bool>,
}

impl SimFile {
    /// What has to hold of the user: after a failed sync, the file is neither synced nor written to through the same
    /// descriptor. Cutting it is allowed.
    fn assert_usable(&self) {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!failed, "a descriptor whose sync had failed was used again");
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.sim.state();
        state.whole_call()?;
        Ok(state.nodes[self.id].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.sim.state();
        state.whole_call()?;
        let seen = &state.nodes[self.id].seen;
        let from = (at as usize).min(seen.len());
        let len = buffer.len().min(seen.len() - from);
        buffer[..len].copy_from_slice(&seen[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.assert_usable();
        let mut state = self.sim.state();
        let fault = state.call()?;
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        match fault {
            Some(Fault::Io) => return Err(io::Error::other("injected")),
            Some(Fault::NoSpace) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Short | Fault::Crash) => bytes.truncate(bytes.len().div_ceil(2)),
            None => {}
        }
        let end = at as usize + bytes.len();
        let more = end.saturating_sub(state.nodes[self.id].seen.len());
        if more > 0 && !state.fits(more) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = bytes.len();
        state.change(self.id, Change::Write { at: at as usize, bytes });
        if fault == Some(Fault::Crash) { Err(io::Error::other("crashed")) } else { Ok(len) }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.sim.state();
        state.whole_call()?;
        let more = (length as usize).saturating_sub(state.nodes[self.id].seen.len());
        if !state.fits(more) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if more > 0 {
            state.change(self.id, Change::Resize(length as usize));
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.sim.state();
        state.whole_call()?;
        state.change(self.id, Change::Resize(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.assert_usable();
        let mut state = self.sim.state();
        state.syncs += 1;
        match state.whole_call() {
            Ok(()) => {
                let node = &mut state.nodes[self.id];
                for change in std::mem::take(&mut node.since) {
                    change.apply(&mut node.durable);
                }
                Ok(())
            }
            Err(error) => {
                if !state.crashed {
                    state.nodes[self.id].since.clear();
                }
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = true;
                Err(error)
            }
        }
    }
}
