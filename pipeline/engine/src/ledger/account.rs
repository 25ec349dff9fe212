//! One component's account of one signal.

use super::{TERMS, Term};
use crate::{Cost, Reason};
use millrace_telemetry::Registration;
use millrace_telemetry::shard::Sharded;
use millrace_wire::Signal;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The kind of account that an exporter's dead letters are kept under, beside the exporter's own.
pub const DEAD_LETTERS: &str = "dead_letters";

/// Which component an account belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `receiver`, `processor`, `connector` or `exporter`; or [`DEAD_LETTERS`].
    pub kind: &'static str,
    /// The component's id as configured, e.g. `otlp/internal`.
    pub component: String,
    /// The pipeline, for what is built once per pipeline (processors).
    pub pipeline: Option<String>,
    /// The kind of telemetry.
    pub signal: Signal,
}

/// The cells of what is held come after those of the terms; each has two, items and bytes.
const HELD: usize = TERMS;
/// What is kept on disk, which nobody holds in memory.
const KEPT: usize = HELD + 1;

/// One component's account of one signal.
pub struct Account {
    holder: Holder,
    cells: Sharded,
    exposed: Mutex<Vec<Registration>>,
    /// Requests that were lost, and in no term, as nobody knows how many items they had.
    unknown: AtomicU64,
    /// Of what has been found on disk, the items that another account has left there.
    again: AtomicU64,
}

impl Account {
    /// An empty account. Components get theirs from [`crate::Ledger::open`].
    #[must_use]
    pub fn new(holder: Holder) -> Arc<Self> {
        Arc::new(Self {
            holder,
            cells: Sharded::new(2 * (TERMS + 2)),
            exposed: Mutex::default(),
            unknown: AtomicU64::new(0),
            again: AtomicU64::new(0),
        })
    }

    /// Whose it is.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Writes `cost` down under `term`.
    pub fn record(&self, term: Term, cost: Cost) {
        self.add(term.index(), cost);
    }

    /// What has been written down under `term`.
    #[must_use]
    pub fn total(&self, term: Term) -> Cost {
        self.sum(term.index())
    }

    /// Counts `cost` as held until the guard is dropped. Whoever keeps an item keeps the guard beside it.
    pub fn hold(&self, cost: Cost) -> Held<&Self> {
        self.add(HELD, cost);
        Held { account: self, cost }
    }

    /// The same, for what outlives the call that put it there.
    pub fn hold_shared(self: &Arc<Self>, cost: Cost) -> Held {
        self.add(HELD, cost);
        Held { account: Arc::clone(self), cost }
    }

    /// From now on `cost` is in the account `to`, unless that is this one.
    pub fn hand_over(&self, to: &Self, cost: Cost) {
        if !std::ptr::eq(self, to) {
            self.record(Term::Merged, cost);
            to.record(Term::Created, cost);
        }
    }

    /// Counts `cost` as kept on disk ([`super::Shelf`]).
    pub(super) fn keep(&self, cost: Cost) {
        self.add(KEPT, cost);
    }

    /// Of what was kept on disk, `cost` is there no longer.
    pub(super) fn release(&self, cost: Cost) {
        self.take(KEPT, cost);
    }

    /// So many items of what has been found on disk are in another account as kept there.
    pub(super) fn found_again(&self, items: u64) {
        self.again.fetch_add(items, Relaxed);
    }

    pub(super) fn is_found_again(&self) -> u64 {
        self.again.load(Relaxed)
    }

    /// So many requests are lost of which nobody knows how many items they had.
    pub fn lose_unknown(&self, requests: u64) {
        self.unknown.fetch_add(requests, Relaxed);
    }

    /// How many requests are lost beside what the terms say.
    #[must_use]
    pub fn lost_unknown(&self) -> u64 {
        self.unknown.load(Relaxed)
    }

    /// What is kept on disk now.
    #[must_use]
    pub fn kept(&self) -> Cost {
        self.sum(KEPT)
    }

    /// What is held now, in memory and on disk.
    #[must_use]
    pub fn held(&self) -> Cost {
        self.sum(HELD) + self.sum(KEPT)
    }

    /// What is held in memory now.
    pub(super) fn in_memory(&self) -> Cost {
        self.sum(HELD)
    }

    /// Items in minus items out and held: zero whenever nothing moves, anything else is a bug.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        self.difference(|cost| cost.items)
    }

    /// Bytes in minus bytes out and held: zero whenever nothing moves, for components that pass on what they were
    /// handed.
    #[must_use]
    pub fn imbalance_bytes(&self) -> i64 {
        self.difference(|cost| cost.bytes)
    }

    fn difference(&self, part: fn(Cost) -> u64) -> i64 {
        let sum = |adds: bool| {
            let terms = Term::all().filter(|term| term.adds() == adds);
            terms.fold(0, |sum: u64, term| sum.wrapping_add(part(self.total(term))))
        };
        sum(true).wrapping_sub(sum(false)).wrapping_sub(part(self.held())).cast_signed()
    }

    /// Keeps the account visible among the metrics for as long as it lives; made so once.
    pub(crate) fn expose_with(&self, registrations: impl FnOnce() -> Vec<Registration>) {
        let mut exposed = self.exposed.lock().unwrap_or_else(PoisonError::into_inner);
        if exposed.is_empty() {
            *exposed = registrations();
        }
    }

    fn add(&self, index: usize, cost: Cost) {
        self.cells.add(2 * index, cost.items);
        self.cells.add(2 * index + 1, cost.bytes);
    }

    /// Cells wrap, so taking away is adding the complement.
    fn take(&self, index: usize, Cost { items, bytes }: Cost) {
        self.add(index, Cost { items: items.wrapping_neg(), bytes: bytes.wrapping_neg() });
    }

    fn sum(&self, index: usize) -> Cost {
        Cost { items: self.cells.sum(2 * index), bytes: self.cells.sum(2 * index + 1) }
    }

    /// Everything lost, over all reasons.
    #[must_use]
    pub fn lost(&self) -> Cost {
        Reason::ALL.into_iter().fold(Cost::default(), |sum, reason| sum + self.total(Term::Lost(reason)))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Account");
        out.field("holder", &self.holder);
        for term in Term::all() {
            let total = self.total(term);
            if total.items > 0 {
                out.field(term.name(), &total.items);
            }
        }
        out.field("held", &self.held().items).finish()
    }
}

/// Items that a component holds; dropping it says that they are held no longer, not where they went.
#[derive(Debug)]
pub struct Held<A: Deref<Target = Account> = Arc<Account>> {
    account: A,
    cost: Cost,
}

impl<A: Deref<Target = Account>> Held<A> {
    /// Whose it is.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl<A: Deref<Target = Account>> Drop for Held<A> {
    fn drop(&mut self) {
        self.account.take(HELD, self.cost);
    }
}
