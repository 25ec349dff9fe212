//! The ledger: what every component was handed, and by which name it left.
//!
//! For each component and signal, over the life of the process, exact whenever nothing moves:
//!
//! `opening + in + created = out + merged + filtered + sampled_out + dead_lettered + refused + lost{reason} + held`
//!
//! No term is computed by subtracting the others: each is counted where it happens, and `held` by a guard that the
//! held thing itself carries ([`Held`]), so that an item dropped without a name shows as an imbalance.

mod account;
mod closing;
mod shelf;

pub use account::{Account, DEAD_LETTERS, Held, Holder};
pub use closing::Closing;
pub use shelf::{Loan, PlaceId, Shelf};

use crate::Reason;
use shelf::Left;
use std::collections::BTreeMap;
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

/// All accounts of the process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Accounts>>);

#[derive(Debug, Default)]
struct Accounts {
    open: Vec<Arc<Account>>,
    /// What became of everything in accounts that nobody writes to any more.
    closed: Closing,
    /// What has been left on disk: whoever opens the place finds it there.
    left_on_disk: BTreeMap<PlaceId, Left>,
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
        unused.iter().for_each(|account| accounts.closed.add(account));
        drop(accounts);
        // Without the lock: what exposes them goes with them.
        drop::<Vec<_>>(unused);
    }

    /// So much is left in a place.
    fn leave(&self, place: PlaceId, left: Left) {
        self.accounts_now().left_on_disk.insert(place, left);
    }

    /// What has been left there is found again.
    fn take_left(&self, place: PlaceId) -> Option<Left> {
        self.accounts_now().left_on_disk.remove(&place)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cost;
    use millrace_wire::Signal;

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
    fn the_closing_balances_over_what_was_put_aside_replayed_and_discarded() {
        let (ledger, exporter) = account();
        let letters = ledger.open(Holder { kind: DEAD_LETTERS, ..exporter.holder().clone() });
        let cost = |items| Cost { items, bytes: 0 };
        // Ten are put aside; four of them are replayed and delivered, and five dropped.
        for (account, term, items) in [
            (&exporter, Term::In, 14),
            (&exporter, Term::DeadLettered, 10),
            (&exporter, Term::Out, 4),
            (&letters, Term::In, 10),
            (&letters, Term::Out, 4),
            (&letters, Term::Lost(Reason::Discarded), 5),
        ] {
            account.record(term, cost(items));
        }
        letters.keep(cost(1));
        let closing = ledger.closing();
        assert!(closing.is_alarming() && closing.imbalances.is_empty());
        assert_eq!(
            closing.to_string(),
            "0 received, 0 refused, 4 delivered, 0 filtered, 10 put aside as dead letters, 4 dead letters replayed, \
             5 dead letters discarded, 0 lost; dead_letters otlp_grpc (traces): 5 discarded"
        );
    }

    #[test]
    fn dead_letters_that_nobody_gave_up_are_lost() {
        let (ledger, exporter) = account();
        let letters = ledger.open(Holder { kind: DEAD_LETTERS, ..exporter.holder().clone() });
        let cost = |items| Cost { items, bytes: 0 };
        // Ten were there, and ten more are put aside. Six go by a decision, and five with the disk.
        for (account, term, items) in [
            (&exporter, Term::In, 10),
            (&exporter, Term::DeadLettered, 10),
            (&letters, Term::Opening, 10),
            (&letters, Term::In, 10),
            (&letters, Term::Lost(Reason::Discarded), 1),
            (&letters, Term::Lost(Reason::Evicted), 2),
            (&letters, Term::Lost(Reason::Expired), 3),
            (&letters, Term::Lost(Reason::Damaged), 5),
        ] {
            account.record(term, cost(items));
        }
        letters.keep(cost(9));
        let closing = ledger.closing();
        assert!(closing.is_alarming() && closing.imbalances.is_empty());
        assert_eq!(
            closing.to_string(),
            "0 received, 0 refused, 0 delivered, 0 filtered, 10 put aside as dead letters, 5 dead letters spoiled, \
             6 dead letters discarded, 5 lost; dead_letters otlp_grpc (traces): 3 expired; \
             dead_letters otlp_grpc (traces): 2 evicted; dead_letters otlp_grpc (traces): 5 damaged; \
             dead_letters otlp_grpc (traces): 1 discarded"
        );
    }

    #[test]
    fn requests_of_which_nobody_knows_the_items_are_in_the_closing() {
        let (ledger, account) = account();
        let holder = account.holder().clone();
        account.lose_unknown(2);
        drop(account);
        ledger.close_unused();
        ledger.open(holder).lose_unknown(1);
        let closing = ledger.closing();
        assert!(closing.is_alarming() && closing.imbalances.is_empty());
        let end = "0 lost; exporter otlp_grpc (traces): and 3 requests whose items are not known";
        assert!(closing.to_string().ends_with(end), "{closing}");
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
    fn who_goes_and_comes_back_is_one_in_the_closing() {
        let (ledger, mut account) = account();
        let holder = account.holder().clone();
        for _ in 0..3 {
            account.record(Term::In, Cost { items: 2, bytes: 0 });
            account.record(Term::Lost(Reason::Throttled), Cost { items: 2, bytes: 0 });
            drop(account);
            ledger.close_unused();
            account = ledger.open(holder.clone());
        }
        let closing = ledger.closing();
        assert_eq!((closing.lost, closing.losses.as_slice()), (6, &[(holder, Reason::Throttled, 6)][..]));
        assert!(
            closing.to_string().ends_with("6 lost; exporter otlp_grpc (traces): 6 throttled"),
            "{closing}"
        );
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
