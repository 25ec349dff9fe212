//! What is kept on disk in one place, in the account of whoever keeps it there.
//!
//! What lies on disk has no guard beside it, and outlives whoever has put it there: a reload may leave a place, and a
//! further one find what is there. It is in the books by then, and is to stay in them once. A reload may also call the
//! component otherwise that keeps it: then it goes over to the account of that name.

use super::{Account, Ledger, Term};
use crate::Cost;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a place is known by, whatever it is called: the numbers of its device and of its folder.
pub type PlaceId = (u64, u64);

/// The books of what is kept in one place. What is there when this is dropped is left there.
///
/// Whatever comes is written down in the account under which it is kept, and whatever leaves in the one under which it
/// was: each call gives that account. So all accounts balance although what is kept may go over to another one between
/// any two calls.
pub struct Shelf {
    ledger: Ledger,
    books: Mutex<Books>,
}

struct Books {
    account: Arc<Account>,
    place: Option<PlaceId>,
    /// What is in the account as kept here, and is not handed out.
    here: Cost,
}

/// Something from a shelf that is handed out. It stays in the account under which it was handed out until it is done
/// with, or comes back.
#[must_use = "it is handed out until it is done with or put back"]
pub struct Loan {
    account: Arc<Account>,
    cost: Cost,
}

/// What has been left in a place, and is in that account as kept.
#[derive(Debug)]
pub(super) struct Left {
    account: Weak<Account>,
    cost: Cost,
}

impl Shelf {
    /// Empty books.
    #[must_use]
    pub fn new(ledger: &Ledger, account: &Arc<Account>) -> Self {
        let books = Books { account: Arc::clone(account), place: None, here: Cost::default() };
        Self { ledger: ledger.clone(), books: Mutex::new(books) }
    }

    /// Whose they are now.
    #[must_use]
    pub fn account(&self) -> Arc<Account> {
        Arc::clone(&self.books().account)
    }

    /// From now on they are that account's, as the component is called otherwise: what is here goes over to it.
    pub fn go_over_to(&self, account: &Arc<Account>) {
        let mut books = self.books();
        if !Arc::ptr_eq(&books.account, account) {
            let before = std::mem::replace(&mut books.account, Arc::clone(account));
            move_kept(&before, account, books.here);
        }
    }

    /// So much is in the place, now that it is opened. What this process has left there was not there from the start.
    pub fn found(&self, place: Option<PlaceId>, there: Cost) {
        let mut books = self.books();
        books.here = plus(books.here, there);
        let mut new = there;
        if let Some(place) = place
            && books.place.is_none()
        {
            books.place = Some(place);
            if let Some(left) = self.ledger.take_left(place) {
                let known = least(left.cost, there);
                if Weak::as_ptr(&left.account) == Arc::as_ptr(&books.account) {
                    new = less(there, known);
                } else {
                    // It is in the other account as well, which may be closed.
                    books.account.found_again(known.items);
                }
            }
        }
        books.account.record(Term::Opening, new);
        books.account.keep(new);
    }

    /// Counts `cost` as kept on disk: held, and there again when the process has ended. Gives the account in which it is;
    /// where it came from is to be recorded there.
    pub fn keep(&self, cost: Cost) -> Arc<Account> {
        let mut books = self.books();
        books.here = plus(books.here, cost);
        books.account.keep(cost);
        Arc::clone(&books.account)
    }

    /// Of what was kept on disk, `cost` is there no longer. Gives the account in which it was; where it went is to be
    /// recorded there by its name.
    pub fn release(&self, cost: Cost) -> Arc<Account> {
        let mut books = self.books();
        books.here = less(books.here, cost);
        books.account.release(cost);
        Arc::clone(&books.account)
    }

    /// Hands out `cost` of what is here. It is kept still.
    pub fn lend(&self, cost: Cost) -> Loan {
        let mut books = self.books();
        books.here = less(books.here, cost);
        Loan { account: Arc::clone(&books.account), cost }
    }

    /// What was handed out is not done with, and is here as it was. Once for each.
    pub fn put_back(&self, loan: &Loan) {
        let mut books = self.books();
        books.here = plus(books.here, loan.cost);
        if !Arc::ptr_eq(&books.account, &loan.account) {
            move_kept(&loan.account, &books.account, loan.cost);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    /// The account in which it is.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// It is done with, and on disk no longer. Where it went is recorded by its name. Once for each.
    pub fn settle(&self) {
        self.account.release(self.cost);
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let books = self.books.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = books.place
            && books.here != Cost::default()
        {
            self.ledger.leave(place, Left { account: Arc::downgrade(&books.account), cost: books.here });
        }
    }
}

fn move_kept(from: &Account, to: &Account, cost: Cost) {
    from.release(cost);
    to.keep(cost);
    from.hand_over(to, cost);
}

fn least(one: Cost, other: Cost) -> Cost {
    Cost { items: one.items.min(other.items), bytes: one.bytes.min(other.bytes) }
}

fn plus(cost: Cost, by: Cost) -> Cost {
    Cost { items: cost.items.wrapping_add(by.items), bytes: cost.bytes.wrapping_add(by.bytes) }
}

/// As the cells of accounts, so that a wrong order of calls shows as nothing but that.
fn less(cost: Cost, by: Cost) -> Cost {
    Cost { items: cost.items.wrapping_sub(by.items), bytes: cost.bytes.wrapping_sub(by.bytes) }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.books();
        let (holder, items) = (books.account.holder(), books.here.items);
        f.debug_struct("Shelf").field("account", holder).field("items", &items).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Holder;
    use millrace_wire::Signal;

    const HERE: PlaceId = (1, 10);
    const THERE: PlaceId = (1, 11);

    fn cost(items: u64) -> Cost {
        Cost { items, bytes: items * 700 }
    }

    fn holder(component: &str) -> Holder {
        Holder { kind: "exporter", component: component.into(), pipeline: None, signal: Signal::Traces }
    }

    fn opened(ledger: &Ledger, component: &str, place: PlaceId, there: u64) -> Shelf {
        let shelf = Shelf::new(ledger, &ledger.open(holder(component)));
        shelf.found(Some(place), cost(there));
        shelf
    }

    fn arrives(shelf: &Shelf, items: u64) {
        shelf.keep(cost(items)).record(Term::In, cost(items));
    }

    fn is_sent(shelf: &Shelf, items: u64) {
        let loan = shelf.lend(cost(items));
        loan.account().record(Term::Out, cost(items));
        loan.settle();
    }

    /// What the closing says was found, and is kept; the accounts balance.
    fn closing(ledger: &Ledger) -> (u64, u64) {
        for account in ledger.accounts() {
            assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
        }
        let closing = ledger.closing();
        assert!(closing.imbalances.is_empty(), "{closing}");
        (closing.opening, closing.kept)
    }

    #[test]
    fn what_a_component_left_on_disk_is_counted_once_when_it_comes_back() {
        let ledger = Ledger::default();
        let first = opened(&ledger, "a", HERE, 0);
        arrives(&first, 10);
        drop(first);
        ledger.close_unused();
        assert_eq!(closing(&ledger), (0, 10), "it is there");
        let second = opened(&ledger, "a", HERE, 10);
        is_sent(&second, 4);
        assert_eq!(closing(&ledger), (0, 6));
        drop(second);
        ledger.close_unused();
        let third = opened(&ledger, "a", HERE, 6);
        is_sent(&third, 6);
        assert_eq!((closing(&ledger), ledger.closing().delivered), ((0, 0), 10));
    }

    #[test]
    fn what_waits_in_one_place_while_another_is_used_is_counted_once() {
        let ledger = Ledger::default();
        let account = ledger.open(holder("a"));
        let here = opened(&ledger, "a", HERE, 3);
        arrives(&here, 10);
        drop(here);
        let there = opened(&ledger, "a", THERE, 2);
        arrives(&there, 5);
        assert_eq!((closing(&ledger), account.held()), ((5, 20), cost(20)));
        drop(there);
        let here = opened(&ledger, "a", HERE, 13);
        assert_eq!((closing(&ledger), account.total(Term::Opening)), ((5, 20), cost(5)));
        is_sent(&here, 13);
        drop(here);
        let here = opened(&ledger, "a", HERE, 1);
        assert_eq!(closing(&ledger), (6, 8), "this was put there by somebody else");
        drop((here, account));
        ledger.close_unused();
        let there = opened(&ledger, "a", THERE, 7);
        is_sent(&there, 7);
        assert_eq!(closing(&ledger), (6, 1));
    }

    #[test]
    fn what_another_component_finds_is_counted_once() {
        for closes in [false, true] {
            let ledger = Ledger::default();
            let old = opened(&ledger, "old", HERE, 0);
            arrives(&old, 10);
            drop(old);
            if closes {
                ledger.close_unused();
            }
            let new = opened(&ledger, "new", HERE, 10);
            assert_eq!(closing(&ledger), (0, 10));
            is_sent(&new, 10);
            drop(new);
            ledger.close_unused();
            assert_eq!((closing(&ledger), ledger.closing().delivered), ((0, 0), 10));
        }
    }

    #[test]
    fn what_goes_over_to_another_name_is_there_once_whatever_is_handed_out() {
        let ledger = Ledger::default();
        let shelf = opened(&ledger, "old", HERE, 4);
        arrives(&shelf, 10);
        let (sent, back) = (shelf.lend(cost(1)), shelf.lend(cost(2)));
        let (old, new) = (shelf.account(), ledger.open(holder("new")));
        shelf.go_over_to(&new);
        assert_eq!((old.kept(), new.kept()), (cost(3), cost(11)));
        assert_eq!(closing(&ledger), (4, 14));
        arrives(&shelf, 5);
        sent.account().record(Term::Out, cost(1));
        sent.settle();
        shelf.put_back(&back);
        assert_eq!((old.kept(), new.kept()), (cost(0), cost(18)));
        assert_eq!((old.total(Term::Merged), new.total(Term::Created)), (cost(13), cost(13)));
        // And back under the first name, which is closed by then.
        drop((old, sent, back));
        ledger.close_unused();
        shelf.go_over_to(&ledger.open(holder("old")));
        shelf.release(cost(6)).record(Term::Lost(crate::Reason::Expired), cost(6));
        assert_eq!((closing(&ledger), new.kept()), ((4, 12), cost(0)));
        drop((shelf, new));
        let again = opened(&ledger, "old", HERE, 12);
        is_sent(&again, 12);
        assert_eq!((closing(&ledger), ledger.closing().delivered), ((4, 0), 13));
    }

    #[test]
    fn what_is_damaged_meanwhile_was_there() {
        let ledger = Ledger::default();
        let here = opened(&ledger, "a", HERE, 0);
        arrives(&here, 10);
        let account = here.account();
        drop(here);
        let here = opened(&ledger, "a", HERE, 10);
        account.record(Term::Lost(crate::Reason::Damaged), cost(4));
        here.release(cost(4));
        assert_eq!((closing(&ledger), ledger.closing().lost), ((0, 6), 4));
    }
}
