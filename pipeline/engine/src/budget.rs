//! The memory budget: bytes are charged before they are kept, and released when nothing pins them any more.
//!
//! One budget serves the whole process. Workers hold small slabs of it, so that charging a request touches a cache
//! line of the worker's own; only refilling a slab touches the shared one. When the shared part is used up, slabs
//! of other workers are taken back before anything is refused, so the limit is exact to the byte (a charge may be
//! refused that would have fitted only while another one is being released).
//!
//! # Invariant
//! `free + sum(slabs) + charged + aside = limit`, always.

mod aside;

pub use aside::Aside;

use crate::lanes::{Lane, Lanes};
use millrace_telemetry::shard::{shard_count, worker_slot};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a request that waits takes beside its bytes: its origin, its charge, its place in a queue, its ticket. Charged
/// by receivers on top of the bytes, or small requests would take many times the budget. Measured by
/// `processors/examples/hold_cost.rs`, and rounded up.
pub const REQUEST_BYTES: u64 = 640;

/// What part of a budget is left to others by those who take much of it: an eighth.
const SPARED: u64 = 8;

/// The most bytes a worker keeps for itself beyond what it has just released.
const SLAB_BYTES_MAX: i64 = 256 << 10;

/// A limit on bytes in memory. Clones share it.
#[derive(Clone)]
pub struct Budget {
    pool: Lanes<Pool>,
}

/// A cell on a cache line (pair) of its own.
#[repr(align(128))]
#[derive(Default)]
struct Padded<T>(T);

struct Pool {
    /// The limit that was set.
    whole: AtomicU64,
    /// What of it can be charged: the rest is set aside.
    limit: AtomicU64,
    slab: AtomicI64,
    free: Padded<AtomicI64>,
    slabs: Box<[Padded<AtomicI64>]>,
    /// Held while slabs are taken back, so that what is on its way is not missed by others who do the same; and while a
    /// limit changes. Holds how much is set aside.
    reclaiming: Padded<Mutex<u64>>,
    /// Charges that had to be refused, for the metric.
    refused: Padded<AtomicU64>,
    /// How many tasks wait in [`Budget::charge`]; while it is zero, releasing touches nothing shared.
    waiting: AtomicUsize,
    /// Held by the task that waited longest.
    turn: tokio::sync::Mutex<()>,
    released: Notify,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let shards = shard_count();
        let limit_signed = i64::try_from(limit).unwrap_or(i64::MAX);
        let pool = Lanes::new(Pool {
            whole: AtomicU64::new(limit_signed.cast_unsigned()),
            limit: AtomicU64::new(limit_signed.cast_unsigned()),
            slab: AtomicI64::new(slab_of(limit_signed)),
            free: Padded(AtomicI64::new(limit_signed)),
            slabs: (0..shards).map(|_| Padded::default()).collect(),
            reclaiming: Padded::default(),
            refused: Padded::default(),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            released: Notify::new(),
        });
        Self { pool }
    }

    /// Holds `bytes`, or refuses: never waits, never goes over.
    #[must_use]
    pub fn try_charge(&self, bytes: u64) -> Option<Charge> {
        if self.pool.take(bytes) {
            return Some(self.holding(bytes));
        }
        self.pool.refused.0.fetch_add(1, Relaxed);
        None
    }

    /// The same for what may be large: it leaves an eighth of the limit to what is small, so that a few who fill the rest
    /// turn only one another away. What is larger than the other seven can pass while nothing else is held, which is never
    /// so for what comes over a connection that is charged itself: for that, seven eighths is the most.
    #[must_use]
    pub fn try_charge_sparing(&self, bytes: u64) -> Option<Charge> {
        if self.pool.take_sparing(bytes) {
            return Some(self.holding(bytes));
        }
        self.pool.refused.0.fetch_add(1, Relaxed);
        None
    }

    /// Holds `wanted` bytes, waiting for others to release theirs; who waits longest goes first. More than the whole limit,
    /// less what is [set aside](Aside), counts as that, so that the largest single thing can pass, alone.
    ///
    /// Whoever holds a charge and waits for another of the same budget may wait for himself: charge once.
    pub async fn charge(&self, wanted: u64) -> Charge {
        let bytes = wanted.min(self.pool.limit.load(Relaxed));
        if self.pool.waiting.load(Relaxed) == 0 && self.pool.take(bytes) {
            return self.holding(bytes);
        }
        let _waiting = Waiting::announce(&self.pool.waiting);
        let _turn = self.pool.turn.lock().await;
        loop {
            let released = self.pool.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            // Anew each time: a limit that is lowered meanwhile would leave this, and all behind it, waiting for ever.
            let bytes = wanted.min(self.pool.limit.load(Relaxed));
            if self.pool.take(bytes) {
                return self.holding(bytes);
            }
            released.await;
        }
    }

    /// The most that [`Budget::try_charge_sparing`] grants beside anything else, be it ever so little.
    #[must_use]
    pub fn most_sparing(&self) -> u64 {
        let limit = self.pool.limit.load(Relaxed);
        limit - limit / SPARED
    }

    /// The limit, in bytes, with what is set aside.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.pool.whole.load(Relaxed)
    }

    /// Changes the limit. Where more is charged than the new one allows, nothing is granted until enough has been
    /// released.
    pub fn set_limit(&self, limit: u64) {
        let aside = self.pool.reclaiming();
        self.pool.whole.store(i64::try_from(limit).unwrap_or(i64::MAX).cast_unsigned(), Relaxed);
        self.pool.resize(*aside);
    }

    /// The bytes charged or set aside now. Exact when nothing moves.
    #[must_use]
    pub fn used(&self) -> u64 {
        let idle: i64 = self.pool.slabs.iter().map(|slab| slab.0.load(Relaxed)).sum();
        let unused = self.pool.free.0.load(Relaxed) + idle;
        (self.limit().cast_signed() - unused).max(0).cast_unsigned()
    }

    /// How many charges have been refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.pool.refused.0.load(Relaxed)
    }

    fn holding(&self, bytes: u64) -> Charge {
        Charge(Some(Arc::new(Hold { pool: self.pool.near(), bytes })))
    }
}

impl Pool {
    fn take(&self, bytes: u64) -> bool {
        if bytes > self.limit.load(Relaxed) {
            return false;
        }
        let wanted = bytes.cast_signed();
        let own = &self.slabs[worker_slot()].0;
        if take_from(own, wanted) {
            return true;
        }
        let slab = self.slab.load(Relaxed);
        if take_from(&self.free.0, wanted.saturating_add(slab)) {
            own.fetch_add(slab, Relaxed);
            return true;
        }
        take_from(&self.free.0, wanted) || self.reclaim(wanted, 0)
    }

    fn take_sparing(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Relaxed);
        let Some(rest) = limit.checked_sub(bytes) else { return false };
        let (wanted, spared) = (bytes.cast_signed(), (limit / SPARED).min(rest).cast_signed());
        take_sparing_from(&self.free.0, wanted, spared) || self.reclaim(wanted, spared)
    }

    fn reclaiming(&self) -> MutexGuard<'_, u64> {
        self.reclaiming.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `wanted` after all slabs have been taken back.
    fn reclaim(&self, wanted: i64, spared: i64) -> bool {
        let _reclaiming = self.reclaiming();
        for slab in &self.slabs {
            let idle = slab.0.swap(0, Relaxed);
            self.free.0.fetch_add(idle, Relaxed);
        }
        take_sparing_from(&self.free.0, wanted, spared)
    }

    fn release(&self, bytes: u64) {
        let own = &self.slabs[worker_slot()].0;
        let idle = own.fetch_add(bytes.cast_signed(), Relaxed) + bytes.cast_signed();
        if idle > 2 * self.slab.load(Relaxed) {
            let taken = own.swap(0, Relaxed);
            self.free.0.fetch_add(taken, Relaxed);
        }
        // Pairs with the fence in `Waiting::announce`: either this sees the waiter, or the waiter sees the bytes.
        fence(SeqCst);
        if self.waiting.load(Relaxed) > 0 {
            self.released.notify_waiters();
        }
    }
}

/// One task that waits for bytes to be released.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn announce(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        fence(SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The most that a worker keeps of a budget.
fn slab_of(limit: i64) -> i64 {
    (limit / (8 * shard_count() as i64)).min(SLAB_BYTES_MAX)
}

/// Takes `wanted` if there is that much.
fn take_from(cell: &AtomicI64, wanted: i64) -> bool {
    take_sparing_from(cell, wanted, 0)
}

/// Takes `wanted` if that leaves `spared`.
fn take_sparing_from(cell: &AtomicI64, wanted: i64, spared: i64) -> bool {
    cell.fetch_update(Relaxed, Relaxed, |idle| (idle >= wanted + spared).then(|| idle - wanted)).is_ok()
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit()).field("used", &self.used()).finish()
    }
}

/// A hold on the budget. Clones share it; the last one to be dropped releases it.
#[derive(Clone, Default)]
pub struct Charge(Option<Arc<Hold>>);

struct Hold {
    pool: Arc<Lane<Pool>>,
    bytes: u64,
}

impl Charge {
    /// Holds nothing: for what this process makes itself, within bounds of its own.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Holds `bytes` more, or says no. Only while the charge is not shared, which is while a body is being read.
    #[must_use]
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        self.try_grow_by(bytes, |pool| pool.take(bytes))
    }

    /// The same for what may be large, as [`Budget::try_charge_sparing`].
    #[must_use]
    pub fn try_grow_sparing(&mut self, bytes: u64) -> bool {
        self.try_grow_by(bytes, |pool| pool.take_sparing(bytes))
    }

    fn try_grow_by(&mut self, bytes: u64, take: impl FnOnce(&Pool) -> bool) -> bool {
        let Some(hold) = self.0.as_mut().and_then(Arc::get_mut) else { return false };
        let granted = take(&hold.pool);
        if granted {
            hold.bytes += bytes;
        } else {
            hold.pool.refused.0.fetch_add(1, Relaxed);
        }
        granted
    }

    /// Gives back all but `bytes`. Only while the charge is not shared; a shared one stays as it is.
    pub fn shrink_to(&mut self, bytes: u64) {
        if let Some(hold) = self.0.as_mut().and_then(Arc::get_mut)
            && hold.bytes > bytes
        {
            hold.pool.release(hold.bytes - bytes);
            hold.bytes = bytes;
        }
    }

    /// Whether it could never hold so many bytes more, as they are beyond the limit even when nothing else is held.
    #[must_use]
    pub fn can_never_grow(&self, bytes: u64) -> bool {
        self.0.as_ref().is_some_and(|hold| hold.bytes.saturating_add(bytes) > hold.pool.limit.load(Relaxed))
    }

    /// The bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |hold| hold.bytes)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pool.release(self.bytes);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Charge").field(&self.bytes()).finish()
    }
}

#[cfg(test)]
mod tests;
