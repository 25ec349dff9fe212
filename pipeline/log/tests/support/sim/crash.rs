//! What is left after a crash, of the process or of the power.

use super::{BLOCK, Change, Node, Renaming, Rng, Sim};
use std::collections::BTreeMap;

impl Sim {
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
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
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
