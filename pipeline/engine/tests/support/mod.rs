//! What the tests of the engine need: telemetry, stages that do as they are told, and a look at what they did.

#![allow(dead_code, reason = "each test uses its part")]

pub mod configured;

use millrace_engine::ledger::{Account, Holder, Term};
use millrace_engine::stage::Room;
use millrace_engine::{
    Batch, BoxFuture, Charge, Cost, Failure, Fault, Origin, Permit, Piece, Reason, Reservation, Stage,
    Transform, Until,
};
use millrace_wire::Signal;
use millrace_wire::write::{LogRecord, Logs};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::sync::Notify;

/// A request of so many log records.
pub fn logs(items: usize) -> Batch {
    let payload = Logs::build(|logs| {
        for _ in 0..items {
            logs.record(LogRecord::default(), |_| {});
        }
    });
    Batch::of(Piece { payload, origin: Origin::local(), charge: Charge::none() })
}

pub fn transient() -> Failure {
    Failure::transient(Fault::Destination, Reason::Throttled, "later")
}

pub fn permanent() -> Failure {
    Failure::permanent(Fault::Destination, Reason::Rejected, "never")
}

/// What happened, in order, over all stages that share it.
pub type Log = Arc<Mutex<Vec<String>>>;

/// A stage with room for so many batches, which answers commits as it is told and accepts when it is told nothing.
pub struct Probe {
    pub name: &'static str,
    pub log: Log,
    pub account: Arc<Account>,
    pub drained_at: Mutex<Option<tokio::time::Instant>>,
    capacity: u64,
    used: AtomicU64,
    freed: Notify,
    blocks: bool,
    /// How often reserving and committing give way before they answer.
    pub pauses: AtomicU32,
    answers: Mutex<VecDeque<Failure>>,
}

impl Probe {
    pub fn new(name: &'static str, log: &Log, capacity: u64) -> Arc<Self> {
        Self::with(name, log, capacity, false)
    }

    /// Waits for room instead of refusing.
    pub fn blocking(name: &'static str, log: &Log, capacity: u64) -> Arc<Self> {
        Self::with(name, log, capacity, true)
    }

    fn with(name: &'static str, log: &Log, capacity: u64, blocks: bool) -> Arc<Self> {
        let holder =
            Holder { kind: "exporter", component: name.into(), pipeline: None, signal: Signal::Logs };
        Arc::new(Self {
            name,
            log: Arc::clone(log),
            account: Account::new(holder),
            drained_at: Mutex::default(),
            capacity,
            used: AtomicU64::new(0),
            freed: Notify::new(),
            blocks,
            pauses: AtomicU32::new(0),
            answers: Mutex::default(),
        })
    }

    /// The next commits fail like this.
    pub fn fail(&self, failures: impl IntoIterator<Item = Failure>) {
        self.answers.lock().expect("no test panics here").extend(failures);
    }

    pub fn used(&self) -> u64 {
        self.used.load(SeqCst)
    }

    /// Items accepted.
    pub fn taken(&self) -> u64 {
        self.account.total(Term::Out).items
    }

    pub fn note(&self, what: &str) {
        self.log.lock().expect("no test panics here").push(format!("{what} {}", self.name));
    }

    fn try_take(self: &Arc<Self>, copies: u64) -> Option<Permit> {
        let fits = |used: u64| (used + copies <= self.capacity).then_some(used + copies);
        self.used.fetch_update(SeqCst, SeqCst, fits).ok()?;
        Some(Permit::of(Arc::clone(self) as Arc<dyn Room>, copies))
    }
}

/// The probe as a stage: a stage needs a handle on itself to give out permits.
pub struct Probed(pub Arc<Probe>);

pub fn stage(probe: &Arc<Probe>) -> Arc<dyn Stage> {
    Arc::new(Probed(Arc::clone(probe)))
}

impl Stage for Probed {
    fn reserve(&self, cost: Cost) -> Reservation<'_> {
        self.reserve_copies(cost, 1)
    }

    fn reserve_copies(&self, _: Cost, copies: u32) -> Reservation<'_> {
        let probe = &self.0;
        probe.note("reserve");
        let copies = u64::from(copies);
        Reservation::Later(Box::pin(async move {
            pause(probe.pauses.load(SeqCst)).await;
            loop {
                let freed = probe.freed.notified();
                let mut freed = std::pin::pin!(freed);
                freed.as_mut().enable();
                match probe.try_take(copies) {
                    Some(permit) => return Ok(permit),
                    None if probe.blocks => freed.await,
                    None => return Err(Failure::transient(Fault::Us, Reason::QueueFull, "full")),
                }
            }
        }))
    }

    fn commit<'a>(&'a self, permit: Permit, batch: Batch, _: Until) -> BoxFuture<'a, Result<(), Failure>> {
        let probe = &self.0;
        Box::pin(async move {
            probe.note("commit");
            let mut entry = Entering::new(&probe.account, batch.cost());
            pause(probe.pauses.load(SeqCst)).await;
            drop(permit);
            let answer = probe.answers.lock().expect("no test panics here").pop_front();
            match answer {
                Some(failure) => Err(failure),
                None => {
                    entry.accepted = true;
                    Ok(())
                }
            }
        })
    }

    fn drain(&self, _: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.note("drain");
            *self.0.drained_at.lock().expect("no test panics here") = Some(tokio::time::Instant::now());
        })
    }
}

impl Room for Probe {
    fn give_back(&self, units: u64) {
        self.used.fetch_sub(units, SeqCst);
        self.freed.notify_waiters();
    }
}

/// Keeps the account of one commit, however it ends.
struct Entering<'a> {
    account: &'a Account,
    cost: Cost,
    accepted: bool,
}

impl<'a> Entering<'a> {
    fn new(account: &'a Account, cost: Cost) -> Self {
        account.record(Term::In, cost);
        Self { account, cost, accepted: false }
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        self.account.record(if self.accepted { Term::Out } else { Term::Refused }, self.cost);
    }
}

/// A transform made of a function.
pub struct Apply<F>(pub F);

impl<F: Fn(Batch) -> Result<Option<Batch>, Failure> + Send + Sync> Transform for Apply<F> {
    fn apply(&self, batch: Batch) -> Result<Option<Batch>, Failure> {
        self.0(batch)
    }
}

/// Gives way so many times.
pub async fn pause(times: u32) {
    for _ in 0..times {
        let mut given_way = false;
        std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut given_way, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Polls a future so many times; its outcome, if it came to one.
pub fn poll_times<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>, times: usize) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    (0..times).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    })
}
