//! What stands for one request while its parts are on their way: its room in the queue, its place in the account,
//! and whoever waits for the outcome.

use millrace_engine::ledger::{Account, Held, Term};
use millrace_engine::{Cost, Failure, Fault, Permit, Reason};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// One request that an exporter has taken in. Shared by the batches that carry a part of it.
///
/// When the last one is done with it the room is given back, nothing is held any more, and whoever waits hears the
/// outcome. What no batch has accounted for by then (its task was cut off, or panicked) is accounted for here, so a
/// request cannot vanish.
pub(crate) struct Ticket {
    account: Arc<Account>,
    cost: Cost,
    state: Mutex<State>,
    // Dropped after `Drop::drop` has settled the account and answered the caller.
    _held: Held,
    _room: Permit,
}

struct State {
    accounted: Cost,
    failure: Option<Failure>,
    caller: Caller,
}

/// Who is told when a request fails.
enum Caller {
    /// Nobody: what fails is lost.
    None,
    /// The task that handed it in waits in line.
    Waits(oneshot::Sender<Result<(), Failure>>),
    /// The task that handed it in is the one that delivers it.
    Same,
}

/// What a waiting caller hears.
pub(crate) type Outcome = oneshot::Receiver<Result<(), Failure>>;

impl Ticket {
    /// For a request that nobody waits for.
    pub(crate) fn unattended(account: &Arc<Account>, cost: Cost, room: Permit) -> Arc<Self> {
        Arc::new(Self::new(account, cost, room, Caller::None))
    }

    /// For a request whose caller waits in line.
    pub(crate) fn attended(account: &Arc<Account>, cost: Cost, room: Permit) -> (Arc<Self>, Outcome) {
        let (caller, outcome) = oneshot::channel();
        (Arc::new(Self::new(account, cost, room, Caller::Waits(caller))), outcome)
    }

    /// For a request that its caller delivers itself.
    pub(crate) fn direct(account: &Arc<Account>, cost: Cost) -> Self {
        Self::new(account, cost, Permit::free(), Caller::Same)
    }

    fn new(account: &Arc<Account>, cost: Cost, room: Permit, caller: Caller) -> Self {
        account.record(Term::In, cost);
        let state = State { accounted: Cost::default(), failure: None, caller };
        Self {
            account: Arc::clone(account),
            cost,
            state: Mutex::new(state),
            _held: account.hold(cost),
            _room: room,
        }
    }

    /// A part worth `cost` has been delivered (and was written down as such).
    pub(crate) fn settle(&self, cost: Cost) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).accounted += cost;
    }

    /// A part worth `cost` has failed for good: it is the caller's again, or it is lost.
    pub(crate) fn fail(&self, cost: Cost, failure: &Failure) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fail(&self.account, cost, failure);
    }

    /// A part worth `cost` is lost although there is a caller, because sending all of it again would be worse.
    pub(crate) fn lose(&self, cost: Cost, reason: Reason) {
        self.account.record(Term::Lost(reason), cost);
        self.settle(cost);
    }
}

impl State {
    fn fail(&mut self, account: &Account, cost: Cost, failure: &Failure) {
        self.accounted += cost;
        if matches!(self.caller, Caller::None) {
            account.record(Term::Lost(failure.reason), cost);
            return;
        }
        account.record(Term::Refused, cost);
        self.failure = Some(match self.failure.take() {
            Some(earlier) => earlier.worse(failure.clone()),
            None => failure.clone(),
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let rest = Cost {
            items: self.cost.items.saturating_sub(state.accounted.items),
            bytes: self.cost.bytes.saturating_sub(state.accounted.bytes),
        };
        if rest.items > 0 {
            let cut_off = Failure::transient(Fault::Us, Reason::ShuttingDown, "sending was cut off");
            state.fail(&self.account, rest, &cut_off);
        }
        if let Caller::Waits(caller) = std::mem::replace(&mut state.caller, Caller::None) {
            // A caller that no longer waits has been cut off itself, and its sender will send again.
            let _ = caller.send(state.failure.take().map_or(Ok(()), Err));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Ledger;
    use millrace_engine::ledger::Holder;
    use millrace_wire::Signal;

    const TEN: Cost = Cost { items: 10, bytes: 1000 };
    const FOUR: Cost = Cost { items: 4, bytes: 400 };

    fn account() -> Arc<Account> {
        let holder =
            Holder { kind: "exporter", component: "nop".into(), pipeline: None, signal: Signal::Logs };
        Ledger::default().open(holder)
    }

    #[test]
    fn a_request_cut_off_without_a_caller_is_lost_by_name() {
        let account = account();
        let ticket = Ticket::unattended(&account, TEN, Permit::free());
        account.record(Term::Out, FOUR);
        ticket.settle(FOUR);
        drop(ticket);
        assert_eq!(account.total(Term::Lost(Reason::ShuttingDown)).items, 6);
        assert_eq!(account.imbalance(), 0);
    }

    #[test]
    fn a_waiting_caller_hears_the_worst_of_its_parts() {
        let account = account();
        let (ticket, mut outcome) = Ticket::attended(&account, TEN, Permit::free());
        ticket.fail(FOUR, &Failure::permanent(Fault::Destination, Reason::Rejected, "no"));
        ticket.fail(
            Cost { items: 6, bytes: 600 },
            &Failure::transient(Fault::Destination, Reason::Throttled, "later"),
        );
        assert!(outcome.try_recv().is_err(), "not before every part is done");
        drop(ticket);
        let failure = outcome.try_recv().expect("answered").expect_err("a failure");
        assert_eq!(failure.reason, Reason::Throttled);
        assert_eq!((account.total(Term::Refused).items, account.imbalance()), (10, 0));
    }
}
