//! The ledger: what every component was handed, and by which name it left.
//!
//! For each component and signal, over the life of the process, exact whenever nothing moves:
//!
//! `opening + in + created = out + merged + filtered + sampled_out + dead_lettered + refused + lost{reason} + held`
//!
//! No term is computed by subtracting the others: each is counted where it happens, and `held` by a guard that the
//! held thing itself carries ([`Held`]), so that an item dropped without a name shows as an imbalance.

use crate::{Cost, Reason};
use millrace_telemetry::Registration;
use millrace_telemetry::shard::Sharded;
use millrace_wire::Signal;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How an item left a component, or why there is one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Held when the process started (on disk).
    Opening,
    /// Handed in.
    In,
    /// Made here.
    Created,
    /// Passed on, or delivered.
    Out,
    /// Folded into another item.
    Merged,
    /// Removed because the configuration says so.
    Filtered,
    /// Not sampled.
    SampledOut,
    /// Put aside with its reason, to be replayed.
    DeadLettered,
    /// Handed back: whoever handed it in was told, and still has it.
    Refused,
    /// Gone, nobody upstream was told, for this reason.
    Lost(Reason),
}

impl Term {
    /// Every term, in the order of the equation.
    pub fn all() -> impl Iterator<Item = Self> {
        const FIXED: [Term; 9] = [
            Term::Opening,
            Term::In,
            Term::Created,
            Term::Out,
            Term::Merged,
            Term::Filtered,
            Term::SampledOut,
            Term::DeadLettered,
            Term::Refused,
        ];
        FIXED.into_iter().chain(Reason::ALL.into_iter().map(Term::Lost))
    }

    /// The label value of the term; losses carry their reason in a label of its own.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::In => "in",
            Self::Created => "created",
            Self::Out => "out",
            Self::Merged => "merged",
            Self::Filtered => "filtered",
            Self::SampledOut => "sampled_out",
            Self::DeadLettered => "dead_lettered",
            Self::Refused => "refused",
            Self::Lost(_) => "lost",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Opening => 0,
            Self::In => 1,
            Self::Created => 2,
            Self::Out => 3,
            Self::Merged => 4,
            Self::Filtered => 5,
            Self::SampledOut => 6,
            Self::DeadLettered => 7,
            Self::Refused => 8,
            Self::Lost(reason) => 9 + reason as usize,
        }
    }

    const fn adds(self) -> bool {
        matches!(self, Self::Opening | Self::In | Self::Created)
    }
}

const TERMS: usize = 9 + Reason::ALL.len();

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
}

impl Account {
    /// An empty account. Components get theirs from [`Ledger::open`].
    #[must_use]
    pub fn new(holder: Holder) -> Arc<Self> {
        Arc::new(Self { holder, cells: Sharded::new(2 * (TERMS + 2)), exposed: Mutex::default() })
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

    /// Counts `cost` as kept on disk: held, and there again when the process has ended.
    ///
    /// What lies on disk has no guard beside it. Whoever keeps the disk's books says when it comes and goes.
    pub fn keep(&self, cost: Cost) {
        self.add(KEPT, cost);
    }

    /// Of what was kept on disk, `cost` is there no longer. Where it went is recorded by its name.
    pub fn release(&self, cost: Cost) {
        self.take(KEPT, cost);
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

/// All accounts of the process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Accounts>>);

#[derive(Debug, Default)]
struct Accounts {
    open: Vec<Arc<Account>>,
    /// What became of everything in accounts that nobody writes to any more.
    closed: Closing,
}

impl Ledger {
    /// The account of a holder: the one that there is, or a new one. Whoever takes a component's place goes on with its
    /// account.
    #[must_use]
    pub fn open(&self, holder: Holder) -> Arc<Account> {
        let mut accounts = self.accounts_now();
        if let Some(account) = accounts.open.iter().find(|account| *account.holder() == holder) {
            return Arc::clone(account);
        }
        let account = Account::new(holder);
        accounts.open.push(Arc::clone(&account));
        account
    }

    /// Closes the accounts that nobody but the ledger holds any more, whose components are gone. They are no longer
    /// among the metrics; what stands in them is remembered for the closing.
    pub fn close_unused(&self) {
        let mut accounts = self.accounts_now();
        let (unused, open) = std::mem::take(&mut accounts.open)
            .into_iter()
            .partition(|account| Arc::strong_count(account) == 1);
        accounts.open = open;
        for account in &unused {
            accounts.closed.add(account);
        }
        drop(accounts);
        // Without the lock: what exposes them goes with them.
        drop::<Vec<_>>(unused);
    }

    fn accounts_now(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every account that is open, in the order in which they were opened.
    #[must_use]
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts_now().open.clone()
    }

    /// What became of everything: delivered by exporters, lost anywhere, still held anywhere.
    #[must_use]
    pub fn closing(&self) -> Closing {
        let accounts = self.accounts_now();
        let mut closing = accounts.closed.clone();
        for account in &accounts.open {
            closing.add(account);
        }
        closing
    }
}

/// The closing account of the process, after the drain.
#[derive(Debug, Clone, Default)]
pub struct Closing {
    /// Items that were handed to receivers.
    pub received: u64,
    /// Of them, those that were handed back: their senders were told so and still have them.
    pub refused: u64,
    /// Items that exporters delivered; more than received when there are several exporters.
    pub delivered: u64,
    /// Items removed because the configuration says so.
    pub filtered: u64,
    /// Items that were found on disk when the process started.
    pub opening: u64,
    /// Items that are on disk when the process ends; more than received when there are several exporters.
    pub kept: u64,
    /// Items that were put aside because they cannot be delivered.
    pub dead_lettered: u64,
    /// Items lost; what is still held in memory when the process ends is lost too.
    pub lost: u64,
    /// The losses, by component and reason.
    pub losses: Vec<(Holder, Reason, u64)>,
    /// What is still held in memory, by component.
    pub left: Vec<(Holder, u64)>,
    /// Accounts that do not balance: bugs.
    pub imbalances: Vec<(Holder, i64)>,
}

impl Closing {
    /// Adds what stands in an account.
    fn add(&mut self, account: &Account) {
        let holder = account.holder();
        match holder.kind {
            "receiver" => {
                self.received += account.total(Term::In).items;
                self.refused += account.total(Term::Refused).items;
            }
            "exporter" => self.delivered += account.total(Term::Out).items,
            _ => {}
        }
        self.filtered += account.total(Term::Filtered).items + account.total(Term::SampledOut).items;
        self.lost += account.lost().items;
        self.dead_lettered += account.total(Term::DeadLettered).items;
        // What was put aside has left its exporter, and waits for nothing.
        if holder.kind != DEAD_LETTERS {
            self.opening += account.total(Term::Opening).items;
            self.kept += account.kept().items;
        }
        // What a receiver still holds has not been acknowledged: its sender has it.
        let left = account.sum(HELD).items;
        if holder.kind != "receiver" && left > 0 {
            self.lost += left;
            self.left.push((holder.clone(), left));
        }
        for reason in Reason::ALL {
            let lost = account.total(Term::Lost(reason)).items;
            if lost > 0 {
                self.losses.push((holder.clone(), reason, lost));
            }
        }
        if account.imbalance() != 0 {
            self.imbalances.push((holder.clone(), account.imbalance()));
        }
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.opening > 0 {
            write!(f, "{} found on disk, ", self.opening)?;
        }
        write!(
            f,
            "{} received, {} refused, {} delivered, {} filtered, ",
            self.received, self.refused, self.delivered, self.filtered
        )?;
        if self.opening + self.kept > 0 {
            write!(f, "{} kept on disk, ", self.kept)?;
        }
        if self.dead_lettered > 0 {
            write!(f, "{} put aside as dead letters, ", self.dead_lettered)?;
        }
        write!(f, "{} lost", self.lost)?;
        for (holder, reason, items) in &self.losses {
            write!(
                f,
                "; {} {} ({}): {items} {}",
                holder.kind,
                holder.component,
                holder.signal,
                reason.name()
            )?;
        }
        for (holder, items) in &self.left {
            write!(f, "; {} {} ({}): {items} left in memory", holder.kind, holder.component, holder.signal)?;
        }
        for (holder, items) in &self.imbalances {
            write!(
                f,
                "; {} {} ({}) does not balance: {items}",
                holder.kind, holder.component, holder.signal
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> (Ledger, Arc<Account>) {
        let ledger = Ledger::default();
        let holder = Holder {
            kind: "exporter",
            component: "otlp_grpc".into(),
            pipeline: None,
            signal: Signal::Traces,
        };
        let account = ledger.open(holder);
        (ledger, account)
    }

    #[test]
    fn an_account_balances_while_items_are_held_and_after_they_leave() {
        let (ledger, account) = account();
        let cost = Cost { items: 10, bytes: 7000 };
        account.record(Term::In, cost);
        let held = account.hold(cost);
        assert_eq!((account.imbalance(), account.held().items), (0, 10));
        drop(held);
        account.record(Term::Out, Cost { items: 7, bytes: 4900 });
        account.record(Term::Lost(Reason::Rejected), Cost { items: 3, bytes: 2100 });
        assert_eq!(account.imbalance(), 0);
        let closing = ledger.closing();
        assert_eq!((closing.delivered, closing.lost), (7, 3));
        assert_eq!(
            closing.to_string(),
            "0 received, 0 refused, 7 delivered, 0 filtered, 3 lost; exporter otlp_grpc (traces): 3 rejected"
        );
    }

    #[test]
    fn what_is_kept_on_disk_is_held_and_not_lost() {
        let (ledger, account) = account();
        let cost = |items| Cost { items, bytes: items * 700 };
        account.record(Term::Opening, cost(5));
        account.keep(cost(5));
        account.record(Term::In, cost(10));
        account.keep(cost(10));
        account.record(Term::Out, cost(9));
        account.release(cost(9));
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0));
        assert_eq!((account.held(), account.kept()), (cost(6), cost(6)));
        let closing = ledger.closing();
        assert_eq!((closing.opening, closing.kept, closing.lost), (5, 6, 0));
        assert_eq!(
            closing.to_string(),
            "5 found on disk, 0 received, 0 refused, 9 delivered, 0 filtered, 6 kept on disk, 0 lost"
        );
    }

    #[test]
    fn an_item_dropped_without_a_name_shows_as_an_imbalance() {
        let (ledger, account) = account();
        account.record(Term::In, Cost { items: 2, bytes: 0 });
        drop(account.hold(Cost { items: 2, bytes: 0 }));
        assert_eq!(account.imbalance(), 2);
        assert_eq!(ledger.closing().imbalances.len(), 1);
    }

    #[test]
    fn whoever_takes_a_place_goes_on_with_its_account_and_the_closing_remembers_who_is_gone() {
        let (ledger, first) = account();
        first.record(Term::In, Cost { items: 3, bytes: 0 });
        first.record(Term::Out, Cost { items: 3, bytes: 0 });
        let second = ledger.open(first.holder().clone());
        assert!(Arc::ptr_eq(&first, &second));
        drop(first);
        ledger.close_unused();
        assert_eq!(ledger.accounts().len(), 1, "it is in use");
        let holder = second.holder().clone();
        drop(second);
        ledger.close_unused();
        assert_eq!((ledger.accounts().len(), ledger.closing().delivered), (0, 3));
        let third = ledger.open(holder);
        third.record(Term::Out, Cost { items: 1, bytes: 0 });
        assert_eq!((ledger.closing().delivered, ledger.closing().imbalances.len()), (4, 1));
    }

    #[test]
    fn every_term_has_a_place_of_its_own() {
        let mut indices: Vec<_> = Term::all().map(Term::index).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..TERMS).collect::<Vec<_>>());
    }
}
