//! The queue on disk: what is acknowledged lies in a log, and waits there for the destination however long it takes.
//!
//! A request is appended to the log, and its sender is told when an fdatasync that covers it has returned. Meanwhile
//! it is also kept in memory, if there is room for it and nothing that has its turn before it has to be read, and is sent
//! from there. What is not kept is read from the log again when its turn comes. So memory is bounded however long the
//! queue is and belongs to what leaves next, and a destination that keeps up costs no reading.
//!
//! A [`Store`] is what is kept for one exporter and signal, whoever takes it from there. A [`Line`] is one queue's view
//! of it, with the limits of its configuration. On a reload the new line has the same store. It is handed nothing before
//! it is known that its configuration is at work, and from then on everything: what the old line has been handed and is
//! not sending at that moment goes back, and what it sends and fails to follows.
//!
//! # Invariants
//! - What the log holds is in the account as kept, from before it can be handed out until it is done with or lost.
//! - An entry is acked when all of it is accounted for. Until then it is on disk, whatever happens to the process.
//! - Entries are handed out to the line that has begun last, and none are dropped by a line that has not begun.

mod admission;
mod arriving;
mod evict;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lent;
mod line;
mod memory;
mod moved;
mod open;
mod putting;
mod record;
mod reserved;
mod source;
mod window;

pub(crate) use lent::Lent;
pub(crate) use line::Line;
pub(crate) use open::watch_store;
pub(crate) use record::Declared;
pub(crate) use source::{Source, Taken};

use crate::storage::{Free, Watch};
use lent::HandedOut;
use memory::Memory;
use millrace_engine::Batch;
use millrace_engine::storage::Rules;
use millrace_log::{Consumer, Entry, Log};
use millrace_wire::Signal;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Notify;

/// What is kept for one component and signal.
pub(crate) struct Store {
    signal: Signal,
    /// Those at work: some of the latest, and some that it was opened with.
    rules: Mutex<Rules>,
    pub(crate) log: Log,
    consumer: Consumer,
    /// Whom entries are handed out to.
    taker: Mutex<Weak<Line>>,
    memory: Arc<Memory>,
    handed_out: HandedOut,
    /// Held by the one that drops the oldest: others would drop more than need be.
    making_room: tokio::sync::Mutex<()>,
    /// Something is done with, and there may be room.
    freed: Notify,
    free: Free,
    watch: Arc<Watch>,
}

impl Store {
    /// Has entries be handed out to that line. The one before it, if it is there still and another one.
    fn hand_out_to(&self, line: &Arc<Line>) -> Option<Arc<Line>> {
        let mut taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *taker, Arc::downgrade(line));
        before.upgrade().filter(|before| !Arc::ptr_eq(before, line))
    }

    /// Whether whoever entries are handed out to takes what comes back.
    fn is_gone_on_with(&self) -> bool {
        let taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        taker.is_some_and(|line| !line.is_closed() && !line.keeps())
    }
}

/// A batch as it lies in a queue on disk, handed in now.
pub(crate) fn entry(batch: &Batch) -> Entry {
    record::entry(batch, None, record::Now::get())
}
