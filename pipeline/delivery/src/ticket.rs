//! What stands for one request while its parts are on their way: its room in the queue, its place in the account,
//! and whoever waits for the outcome.

use crate::queue::Lent;
use crate::says;
use millrace_engine::ledger::{Account, Held, Term};
use millrace_engine::stage::Room;
use millrace_engine::{Cost, Failure, Fault, Permit, Reason, Until};
use millrace_telemetry::trace::SpanContext;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// One request that an exporter has taken in. Shared by the batches that carry a part of it.
///
/// When the last one is done with it, its account is closed, the room is given back, and whoever waits hears the
/// outcome. What no batch has accounted for by then (its task was cut off) is accounted for here, so a request cannot
/// vanish.
///
/// A request from a queue on disk goes back there instead, whole: it is not done with before all of it is.
///
/// Everything is told in items. Bytes follow in proportion, so that those of the account balance as well although
/// cutting repeats headers.
pub(crate) struct Ticket<A: Deref<Target = Account> = Arc<Account>> {
    request: Request,
    state: Mutex<State>,
    // Dropped after `Drop::drop` has closed the account and answered the caller.
    hold: Hold<A>,
}

/// Where a request is while it is on its way.
enum Hold<A: Deref<Target = Account>> {
    /// In memory only, and in the room of its queue.
    Memory(Held<A>, Mutex<Permit>),
    /// On disk, too.
    Disk(Lent),
}

impl<A: Deref<Target = Account>> Hold<A> {
    fn account(&self) -> &Account {
        match self {
            Self::Memory(held, _) => held.account(),
            Self::Disk(lent) => lent.account(),
        }
    }
}

/// What was handed in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) cost: Cost,
    pub(crate) until: Until,
    /// When it was put in line.
    pub(crate) arrived: Instant,
    /// The span that it was handed in within.
    pub(crate) span: Option<SpanContext>,
}

struct State {
    accounted: Cost,
    /// What of that is in the account already.
    recorded: Cost,
    delivered: u64,
    /// What has failed while somebody waits for the outcome; one entry for each reason.
    failed: Vec<(Reason, Cost)>,
    failure: Option<Failure>,
    caller: Caller,
}

/// Who is told when a request fails.
enum Caller {
    /// Nobody: what fails is lost.
    None,
    /// The task that handed it in waits in line.
    Waits(Answer),
    /// The task that handed it in is the one that delivers it.
    Same,
    /// It has been told.
    Told,
}

/// What a waiting caller hears.
pub(crate) type Outcome = oneshot::Receiver<Result<(), Failure>>;
/// Where it is told.
pub(crate) type Answer = oneshot::Sender<Result<(), Failure>>;

impl Ticket {
    /// For a request that nobody waits for.
    pub(crate) fn unattended(account: &Arc<Account>, request: Request, room: Permit) -> Arc<Self> {
        let held = account.hold_shared(request.cost);
        Arc::new(Self::new(held, request, room, Caller::None))
    }

    /// For a request that is on disk, and is in the account since it was put there. `answer` is whoever waits for the
    /// outcome all the same.
    pub(crate) fn lent(lent: Lent, request: Request, answer: Option<Answer>) -> Arc<Self> {
        let caller = answer.map_or(Caller::None, Caller::Waits);
        Arc::new(Self { request, state: Mutex::new(State::new(caller)), hold: Hold::Disk(lent) })
    }

    /// For a request whose caller waits in line.
    pub(crate) fn attended(account: &Arc<Account>, request: Request, room: Permit) -> (Arc<Self>, Outcome) {
        let (caller, outcome) = oneshot::channel();
        let held = account.hold_shared(request.cost);
        (Arc::new(Self::new(held, request, room, Caller::Waits(caller))), outcome)
    }

    /// How far responsibility for it must have moved before its caller is answered.
    pub(crate) fn until(&self) -> Until {
        self.request.until
    }

    /// When it was put in line.
    pub(crate) fn arrived(&self) -> Instant {
        self.request.arrived
    }
}

impl<'a> Ticket<&'a Account> {
    /// For a request that its caller delivers itself.
    pub(crate) fn direct(account: &'a Account, request: Request) -> Self {
        Self::new(account.hold(request.cost), request, Permit::free(), Caller::Same)
    }

    /// Everything that has not been told yet has failed for good; how much that is.
    pub(crate) fn rest_failed(&self, failure: &Failure) -> u64 {
        let rest = self.request.cost.items - self.state().accounted.items;
        self.failed(rest, failure);
        rest
    }

    /// Closes its account; what the caller hears.
    pub(crate) fn conclude(self) -> Result<(), Failure> {
        self.state().conclude(&self.hold, self.request.cost)
    }
}

impl<A: Deref<Target = Account>> Ticket<A> {
    /// The span that it was handed in within.
    pub(crate) fn span(&self) -> Option<SpanContext> {
        self.request.span
    }

    fn new(held: Held<A>, request: Request, room: Permit, caller: Caller) -> Self {
        held.account().record(Term::In, request.cost);
        Self { request, state: Mutex::new(State::new(caller)), hold: Hold::Memory(held, Mutex::new(room)) }
    }

    /// The destination has `items` more of it, and refused `rejected` of these all the same.
    pub(crate) fn delivered(&self, items: u64, rejected: u64) {
        self.state().delivered(self.hold.account(), self.request.cost, items, rejected);
    }

    /// `items` more of it have failed for good: they are the caller's again, or lost.
    pub(crate) fn failed(&self, items: u64, failure: &Failure) {
        self.state().failed(self.hold.account(), self.request.cost, items, failure);
    }

    /// Whether nobody waits for its outcome.
    pub(crate) fn has_nobody(&self) -> bool {
        matches!(self.state().caller, Caller::None)
    }

    /// `items` more of it have failed for good, and are put aside. Whoever waits has them back all the same.
    pub(crate) fn dead_lettered(&self, items: u64, failure: &Failure) {
        self.state().dead_lettered(self.hold.account(), self.request.cost, items, failure);
    }

    /// So much more of it is on disk from now on, and is counted as kept there in the account `to`.
    pub(crate) fn moved_to_disk(&self, to: &Account, kept: Cost) {
        self.state().moved_to_disk((self.hold.account(), to), self.request.cost, kept);
    }

    /// `items` more of it could not be sent before the end. On disk they stay, and whether they do is the answer;
    /// otherwise they have failed for good.
    pub(crate) fn cut_short(&self, items: u64, failure: &Failure) -> bool {
        let stays = matches!(self.hold, Hold::Disk(_));
        if !stays {
            self.failed(items, failure);
        }
        stays
    }

    /// Gives up its room for that of another queue in memory, unless it is there already. `room` sets it aside.
    pub(crate) fn move_to(&self, queue: &Arc<dyn Room>, room: impl FnOnce(Cost) -> Permit) {
        if let Hold::Memory(_, present) = &self.hold {
            let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
            if !present.is_of(queue) {
                *present = room(self.request.cost);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(caller: Caller) -> Self {
        Self {
            accounted: Cost::default(),
            recorded: Cost::default(),
            delivered: 0,
            failed: Vec::new(),
            failure: None,
            caller,
        }
    }

    /// Accounts for `items` more; what they are worth of the whole.
    fn advance(&mut self, whole: Cost, items: u64) -> Cost {
        let before = self.accounted;
        self.accounted.items = (before.items + items).min(whole.items);
        self.accounted.bytes = proportion(whole.bytes, self.accounted.items, whole.items);
        Cost { items: self.accounted.items - before.items, bytes: self.accounted.bytes - before.bytes }
    }

    fn delivered(&mut self, account: &Account, whole: Cost, items: u64, rejected: u64) {
        let cost = self.advance(whole, items);
        let rejected = rejected.min(cost.items);
        let lost = Cost { items: rejected, bytes: proportion(cost.bytes, rejected, cost.items) };
        self.delivered += cost.items;
        self.recorded += cost;
        account.record(Term::Out, Cost { items: cost.items - lost.items, bytes: cost.bytes - lost.bytes });
        if lost.items > 0 {
            account.record(Term::Lost(Reason::Rejected), lost);
        }
    }

    fn dead_lettered(&mut self, account: &Account, whole: Cost, items: u64, failure: &Failure) {
        if !matches!(self.caller, Caller::None) {
            return self.failed(account, whole, items, failure);
        }
        let cost = self.advance(whole, items);
        if cost.items > 0 {
            account.record(Term::DeadLettered, cost);
            self.recorded += cost;
        }
    }

    /// They have come in already. Only their size is another one on disk, and perhaps the name of the component that keeps
    /// them there: one that has another name since.
    fn moved_to_disk(&mut self, (account, to): (&Account, &Account), whole: Cost, kept: Cost) {
        let cost = self.advance(whole, kept.items);
        self.recorded += cost;
        if !std::ptr::eq(account, to) {
            account.record(Term::Merged, cost);
            to.record(Term::Created, kept);
            return;
        }
        let bytes = |bytes| Cost { items: 0, bytes };
        if kept.bytes > cost.bytes {
            account.record(Term::In, bytes(kept.bytes - cost.bytes));
        } else {
            account.record(Term::Merged, bytes(cost.bytes - kept.bytes));
        }
    }

    fn failed(&mut self, account: &Account, whole: Cost, items: u64, failure: &Failure) {
        let cost = self.advance(whole, items);
        if cost.items == 0 {
            return;
        }
        if matches!(self.caller, Caller::None) {
            account.record(Term::Lost(failure.reason), cost);
            self.recorded += cost;
            return;
        }
        match self.failed.iter_mut().find(|(reason, _)| *reason == failure.reason) {
            Some((_, sum)) => *sum += cost,
            None => self.failed.push((failure.reason, cost)),
        }
        self.failure = Some(match self.failure.take() {
            Some(earlier) => earlier.worse(failure.clone()),
            None => failure.clone(),
        });
    }

    fn conclude<A: Deref<Target = Account>>(&mut self, hold: &Hold<A>, whole: Cost) -> Result<(), Failure> {
        let rest = whole.items - self.accounted.items;
        let outcome = match hold {
            Hold::Disk(lent) if rest > 0 => {
                let waiting = match std::mem::replace(&mut self.caller, Caller::Told) {
                    Caller::Waits(answer) => Some(answer),
                    Caller::None | Caller::Same | Caller::Told => None,
                };
                if let Some(to_be_told) = lent.stays(self.recorded, waiting) {
                    self.caller = Caller::Waits(to_be_told);
                }
                Err(cut_off())
            }
            Hold::Disk(lent) => {
                let outcome = self.outcome(lent.account());
                lent.done();
                outcome
            }
            Hold::Memory(held, _) => {
                if rest > 0 {
                    self.failed(held.account(), whole, rest, &cut_off());
                }
                self.outcome(held.account())
            }
        };
        if let Caller::Waits(caller) = std::mem::replace(&mut self.caller, Caller::Told) {
            // A caller that no longer waits has been cut off itself, and its sender will send again.
            let _ = caller.send(outcome.clone());
        }
        outcome
    }

    /// Hands back what has failed, unless only that part would be worth sending again and never will get through.
    fn outcome(&mut self, account: &Account) -> Result<(), Failure> {
        let Some(mut failure) = self.failure.take() else { return Ok(()) };
        let failed = std::mem::take(&mut self.failed);
        let sum = failed.iter().fold(Cost::default(), |sum, (_, cost)| sum + *cost);
        if self.delivered > 0 && !failure.is_transient() {
            says::dropping(account, &failure, sum.items);
            for (reason, cost) in failed {
                account.record(Term::Lost(reason), cost);
            }
            return Ok(());
        }
        account.record(Term::Refused, sum);
        failure.lost = (self.delivered > 0).then_some(sum);
        Err(failure)
    }
}

impl<A: Deref<Target = Account>> Drop for Ticket<A> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Nothing is left to do for a ticket that has been concluded.
        let _ = state.conclude(&self.hold, self.request.cost);
    }
}

fn cut_off() -> Failure {
    Failure::transient(Fault::Us, Reason::ShuttingDown, "sending was cut off")
}

/// `part / whole` of `bytes`; all of them where there are no items to share them.
fn proportion(bytes: u64, part: u64, whole: u64) -> u64 {
    if part == whole {
        return bytes;
    }
    let share = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Ledger;
    use millrace_engine::ledger::{Holder, Shelf};
    use millrace_wire::Signal;

    fn account() -> Arc<Account> {
        account_in(&Ledger::default())
    }

    fn account_in(ledger: &Ledger) -> Arc<Account> {
        let holder =
            Holder { kind: "exporter", component: "nop".into(), pipeline: None, signal: Signal::Logs };
        ledger.open(holder)
    }

    fn ten() -> Request {
        let cost = Cost { items: 10, bytes: 1003 };
        Request { cost, until: Until::Stored, arrived: Instant::now(), span: None }
    }

    fn rejected() -> Failure {
        Failure::permanent(Fault::Destination, Reason::Rejected, "no")
    }

    fn assert_balanced(account: &Account) {
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
        assert_eq!(account.held(), Cost::default());
    }

    #[test]
    fn a_request_cut_off_without_a_caller_is_lost_by_name() {
        let account = account();
        let ticket = Ticket::unattended(&account, ten(), Permit::free());
        ticket.delivered(4, 0);
        drop(ticket);
        assert_eq!(account.total(Term::Out).items, 4);
        assert_eq!(account.total(Term::Lost(Reason::ShuttingDown)).items, 6);
        assert_balanced(&account);
    }

    #[test]
    fn a_waiting_caller_hears_the_worst_of_its_parts() {
        let account = account();
        let (ticket, mut outcome) = Ticket::attended(&account, ten(), Permit::free());
        ticket.failed(4, &rejected());
        ticket.failed(6, &Failure::transient(Fault::Destination, Reason::Throttled, "later"));
        assert!(outcome.try_recv().is_err(), "not before every part is done");
        drop(ticket);
        let failure = outcome.try_recv().expect("answered").expect_err("a failure");
        assert_eq!(failure.reason, Reason::Throttled);
        assert_eq!(account.total(Term::Refused).items, 10);
        assert_balanced(&account);
    }

    #[test]
    fn a_part_that_never_gets_through_is_lost_rather_than_everything_sent_again() {
        let account = account();
        let (ticket, mut outcome) = Ticket::attended(&account, ten(), Permit::free());
        ticket.delivered(9, 0);
        ticket.failed(1, &rejected());
        drop(ticket);
        assert!(outcome.try_recv().expect("answered").is_ok());
        assert_eq!((account.total(Term::Out).items, account.lost().items), (9, 1));
        assert_balanced(&account);
    }

    #[test]
    fn a_part_that_may_get_through_later_is_handed_back() {
        let account = account();
        let ticket = Ticket::direct(&account, ten());
        ticket.delivered(9, 2);
        ticket.failed(1, &Failure::transient(Fault::Destination, Reason::Timeout, "slow"));
        let failure = ticket.conclude().expect_err("a failure");
        assert_eq!(failure.lost.map(|cost| cost.items), Some(1));
        assert_eq!((account.total(Term::Out).items, account.total(Term::Refused).items), (7, 1));
        assert_eq!(account.total(Term::Lost(Reason::Rejected)).items, 2);
        assert_balanced(&account);
    }

    #[test]
    fn what_is_moved_to_disk_has_come_in_once_whatever_its_size_there() {
        let ledger = Ledger::default();
        let account = account_in(&ledger);
        let disk = Shelf::new(&ledger, &account);
        let ticket = Ticket::unattended(&account, ten(), Permit::free());
        ticket.delivered(4, 0);
        let (small, large) = (Cost { items: 3, bytes: 7 }, Cost { items: 3, bytes: 4000 });
        for kept in [small, large] {
            disk.keep(kept);
            ticket.moved_to_disk(&account, kept);
        }
        drop(ticket);
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
        assert_eq!((account.held(), account.kept()), (small + large, small + large));
        assert_eq!((account.total(Term::In).items, account.total(Term::Out).items), (10, 4));
        assert_eq!(account.lost(), Cost::default());
    }

    #[test]
    fn what_is_moved_to_disk_under_another_name_balances_in_both_accounts() {
        let ledger = Ledger::default();
        let (account, other) = (account_in(&ledger), Ledger::default().open(account().holder().clone()));
        let ticket = Ticket::unattended(&account, ten(), Permit::free());
        let disk = Shelf::new(&ledger, &other);
        let kept = Cost { items: 10, bytes: 4000 };
        disk.keep(kept);
        ticket.moved_to_disk(&other, kept);
        drop(ticket);
        assert_balanced(&account);
        assert_eq!((other.imbalance(), other.imbalance_bytes(), other.kept()), (0, 0, kept), "{other:?}");
    }

    #[test]
    fn a_caller_cut_off_while_it_delivers_has_the_request_back() {
        let account = account();
        drop(Ticket::direct(&account, ten()));
        assert_eq!(account.total(Term::Refused), ten().cost);
        assert_balanced(&account);
    }
}
