//! The queue on disk: what is acknowledged lies in a log, and waits there for the destination however long it takes.
//!
//! A request is appended to the log, and its sender is told when an fdatasync that covers it has returned. Meanwhile
//! it is also kept in memory, if there is room for it and nothing that has its turn before it has to be read, and is sent
//! from there. What is not kept is read from the log again when its turn comes. So memory is bounded however long the
//! queue is and belongs to what leaves next, and a destination that keeps up costs no reading.
//!
//! A [`Store`] is what is kept for one exporter and signal, whoever takes it from there. A [`Line`] is one queue's view
//! of it, with the limits of its configuration. On a reload the new line has the same store, and takes over where the
//! old one stops: what is handed out is with one of them only.
//!
//! # Invariants
//! - What the log holds is in the account as kept, from before it can be handed out until it is done with or lost.
//! - An entry is acked when all of it is accounted for. Until then it is on disk, whatever happens to the process.

mod arriving;
mod evict;
mod free;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lent;
mod line;
mod memory;
mod open;
mod record;
mod source;
mod window;

pub(crate) use lent::Lent;
pub(crate) use line::{Excess, Line};
pub(crate) use open::watch_store;
pub(crate) use record::Declared;
pub(crate) use source::{Source, Taken};

use crate::storage::Watch;
use free::Free;
use memory::Memory;
use millrace_engine::storage::Rules;
use millrace_engine::{Account, Batch};
use millrace_log::{Consumer, Entry, Log};
use millrace_wire::Signal;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What is kept for one component and signal.
pub(crate) struct Store {
    signal: Signal,
    /// Those at work: some of the latest, and some that it was opened with.
    rules: Mutex<Rules>,
    log: Log,
    consumer: Consumer,
    account: Arc<Account>,
    memory: Arc<Memory>,
    /// How many entries are handed out.
    lent: AtomicU64,
    /// Something is done with, and there may be room.
    freed: Notify,
    free: Free,
    watch: Arc<Watch>,
}

/// A batch as it lies in a queue on disk, handed in now.
pub(crate) fn entry(batch: &Batch) -> Entry {
    record::entry(batch, None, record::Now::get())
}
