//! The calls, as the log makes them.

use super::{Change, Fault, Node, Renaming, Sim};
use millrace_log::{Access, Displacement, File, Files, Guard, Identity, Listed};
use std::io::{self, IoSlice};
use std::sync::{Mutex, PoisonError};

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
        if state.displaced == Some(Displacement::Removed) {
            return Err(io::ErrorKind::NotFound.into());
        }
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
        if let Some(why) = state.refuses_to_open {
            return Err(why.into());
        }
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

    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>> {
        let mut state = self.state();
        let (file, is_locked) = state.lock;
        state.lock = (file, true);
        Ok((!is_locked).then(|| Box::new(Locked { sim: self.clone(), file }) as _))
    }

    fn identity(&self, name: &str) -> io::Result<Option<Identity>> {
        let mut state = self.state();
        state.whole_call()?;
        Ok(state.names.get(name).map(|id| identity(*id)))
    }

    fn displacement(&self) -> io::Result<Option<Displacement>> {
        let mut state = self.state();
        state.whole_call()?;
        Ok(state.displaced.clone())
    }
}

fn identity(id: usize) -> Identity {
    Identity { device: 1, inode: id as u64 }
}

struct Locked {
    sim: Sim,
    file: u64,
}

impl Guard for Locked {
    fn holds(&self) -> io::Result<bool> {
        let mut state = self.sim.state();
        state.whole_call()?;
        Ok(state.lock.0 == self.file)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.sim.state();
        if state.lock.0 == self.file {
            state.lock.1 = false;
        }
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
    fn identity(&self) -> io::Result<Identity> {
        let mut state = self.sim.state();
        state.whole_call()?;
        Ok(identity(self.id))
    }

    fn size(&self) -> io::Result<u64> {
        let mut state = self.sim.state();
        state.whole_call()?;
        Ok(state.nodes[self.id].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.sim.state();
        state.whole_call()?;
        if state.unreadable.contains(&self.id) {
            return Err(io::Error::other("unreadable"));
        }
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
