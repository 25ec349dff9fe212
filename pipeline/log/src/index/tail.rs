//! Where the newest entries are, so that they need not be looked for on disk.

use crate::entry::Lease;
use std::collections::VecDeque;

/// How many are remembered: about a megabyte at most.
const REMEMBERED: usize = 16_384;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) lease: Lease,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The newest entries, without gaps between their numbers.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<Located>);

impl Tail {
    pub(crate) fn push(&mut self, located: Located) {
        let follows = self.0.back().is_none_or(|last| last.lease.sequence + 1 == located.lease.sequence);
        if !follows {
            self.0.clear();
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(located);
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<Located> {
        let at = sequence.checked_sub(self.0.front()?.lease.sequence)?;
        self.0.get(usize::try_from(at).ok()?).copied()
    }
}
