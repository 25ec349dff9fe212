//! The room of a queue, and the requests that wait in it.

use crate::QueueConfig;
use crate::config::Sizer;
use crate::measures::Gauges;
use crate::ticket::Ticket;
use millrace_engine::stage::Room;
use millrace_engine::{Batch, Cost, Failure, Fault, Permit, Reason, Reservation};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Room is taken before a request is kept, and given back when its ticket is dropped: when it is done with.
pub(crate) struct Space {
    sizer: Sizer,
    capacity: u64,
    block: bool,
    used: AtomicU64,
    line: Mutex<Line>,
    arrived: Notify,
    /// How many wait for room. While somebody does, nobody else is served first.
    waiting: AtomicUsize,
    /// Held by the one that has waited longest.
    turn: tokio::sync::Mutex<()>,
    freed: Notify,
    created: Instant,
    /// When the oldest request that has been taken out of the line was put in, in nanoseconds since `created`;
    /// [`NONE`] if all are done with.
    oldest_taken: AtomicU64,
}

const NONE: u64 = u64::MAX;

#[derive(Default)]
struct Line {
    requests: VecDeque<Queued>,
    closed: bool,
    /// Where requests go that still come here.
    heir: Option<Arc<Space>>,
    /// How many may still hand over what they have accepted.
    givers: usize,
    /// Nobody takes anything out any more.
    ended: bool,
}

/// A request in the queue.
pub(crate) struct Queued {
    pub(crate) batch: Batch,
    pub(crate) ticket: Arc<Ticket>,
}

impl Space {
    pub(crate) fn new(config: &QueueConfig) -> Arc<Self> {
        Self::of(config.sizer, config.queue_size, config.block_on_overflow)
    }

    fn of(sizer: Sizer, capacity: u64, block: bool) -> Arc<Self> {
        Arc::new(Self {
            sizer,
            capacity,
            block,
            used: AtomicU64::new(0),
            line: Mutex::default(),
            arrived: Notify::new(),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            freed: Notify::new(),
            created: now(),
            oldest_taken: AtomicU64::new(NONE),
        })
    }

    /// Another one, that counts as this one does.
    pub(crate) fn like(&self) -> Arc<Self> {
        Self::of(self.sizer, self.capacity, self.block)
    }

    /// The room that a request takes.
    pub(crate) fn units(&self, cost: Cost) -> u64 {
        self.sizer.of(cost)
    }

    /// Room for so many requests of that cost.
    pub(crate) fn reserve(self: &Arc<Self>, cost: Cost, copies: u32) -> Reservation<'static> {
        let units = self.units(cost).saturating_mul(u64::from(copies));
        if units > self.capacity {
            return Reservation::Now(Err(too_large(units, self.capacity)));
        }
        if self.block && self.waiting.load(SeqCst) > 0 {
            return self.wait(units);
        }
        match self.try_reserve(units) {
            Some(permit) => Reservation::Now(Ok(permit)),
            None if self.block => self.wait(units),
            None => Reservation::Now(Err(full())),
        }
    }

    fn try_reserve(self: &Arc<Self>, units: u64) -> Option<Permit> {
        let fits = |used: u64| used.checked_add(units).filter(|used| *used <= self.capacity);
        self.used.fetch_update(SeqCst, SeqCst, fits).ok()?;
        Some(Permit::of(Arc::clone(self) as Arc<dyn Room>, units))
    }

    fn wait(self: &Arc<Self>, units: u64) -> Reservation<'static> {
        let space = Arc::clone(self);
        Reservation::Later(Box::pin(async move { space.wait_for(units).await }))
    }

    async fn wait_for(self: Arc<Self>, units: u64) -> Result<Permit, Failure> {
        let _waiting = Waiting::announce(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let is_over = {
                let line = self.line();
                line.closed && line.heir.is_none()
            };
            if is_over {
                return Err(shutting_down());
            }
            match self.try_reserve(units) {
                Some(permit) => return Ok(permit),
                None => freed.await,
            }
        }
    }

    /// Puts a request in line, unless the queue has been closed.
    pub(crate) fn put(&self, request: impl FnOnce() -> Queued) -> Result<(), Failure> {
        let mut line = self.line();
        if let Some(heir) = line.heir.clone() {
            drop(line);
            return heir.put_over(request());
        }
        if line.closed {
            return Err(shutting_down());
        }
        line.requests.push_back(request());
        drop(line);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next request, or `None` once the queue is closed and empty, and nobody hands over anything more. One task calls
    /// this; giving up half-way loses nothing.
    pub(crate) async fn next(&self) -> Option<Queued> {
        loop {
            {
                let mut line = self.line();
                if let Some(request) = line.requests.pop_front() {
                    return Some(request);
                }
                if line.closed && line.givers == 0 {
                    line.ended = true;
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        self.line().closed = true;
        self.freed.notify_waiters();
        self.arrived.notify_one();
    }

    /// Puts a request in line that has come to a queue before this one.
    fn put_over(self: &Arc<Self>, request: Queued) -> Result<(), Failure> {
        let request = self.housed(request);
        let mut line = self.line();
        if let Some(heir) = line.heir.clone() {
            drop(line);
            return heir.put_over(request);
        }
        if line.closed {
            return Err(shutting_down());
        }
        line.requests.push_back(request);
        drop(line);
        self.arrived.notify_one();
        Ok(())
    }

    /// Has another queue go on with everything that waits here, and with what still comes. Nothing waits here any more.
    pub(crate) fn hand_over(&self, heir: &Arc<Self>) {
        let waiting = {
            let mut line = self.line();
            line.heir = Some(Arc::clone(heir));
            line.closed = true;
            std::mem::take(&mut line.requests)
        };
        heir.take_over(waiting);
        self.freed.notify_waiters();
        self.arrived.notify_one();
    }

    /// Puts requests of another queue in front of all others. They have been accepted: they are taken even if there is
    /// no room for them, and nothing new is until there is. If it has ended, their tickets say what becomes of them.
    pub(crate) fn take_over(self: &Arc<Self>, requests: impl IntoIterator<Item = Queued>) {
        let requests: Vec<_> = requests.into_iter().map(|request| self.housed(request)).collect();
        let mut line = self.line();
        if let Some(heir) = line.heir.clone() {
            drop(line);
            return heir.take_over(requests);
        }
        if line.ended {
            drop(line);
            return drop(requests);
        }
        for request in requests.into_iter().rev() {
            line.requests.push_front(request);
        }
        drop(line);
        self.arrived.notify_one();
    }

    /// Gives a request room here instead of where it had it.
    fn housed(self: &Arc<Self>, request: Queued) -> Queued {
        let own: Arc<dyn Room> = Arc::clone(self) as _;
        request.ticket.move_to(&own, |cost| {
            let units = self.units(cost);
            self.used.fetch_add(units, SeqCst);
            Permit::of(Arc::clone(&own), units)
        });
        request
    }

    /// Takes out what is still waiting, when there is no time left to send it; its tickets say that it is lost.
    pub(crate) fn abandon(&self) {
        let abandoned = {
            let mut line = self.line();
            line.ended = true;
            std::mem::take(&mut line.requests)
        };
        drop(abandoned);
    }

    /// Somebody more may hand over what it has.
    pub(super) fn expect_more(&self) {
        self.line().givers += 1;
    }

    /// One of those has nothing more.
    pub(super) fn expect_no_more(&self) {
        self.line().givers -= 1;
        self.arrived.notify_one();
    }

    /// Notes how old the oldest request is that has been taken out of the line and is not done with.
    pub(crate) fn note_oldest_taken(&self, arrived: Option<Instant>) {
        let nanos = arrived.map_or(NONE, |arrived| {
            u64::try_from(arrived.saturating_duration_since(self.created).as_nanos()).unwrap_or(NONE - 1)
        });
        self.oldest_taken.store(nanos, Relaxed);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn shutting_down() -> Failure {
    Failure::transient(Fault::Us, Reason::ShuttingDown, "the collector is shutting down")
}

pub(super) fn full() -> Failure {
    Failure::transient(Fault::Us, Reason::QueueFull, "sending queue is full")
}

pub(super) fn too_large(units: u64, capacity: u64) -> Failure {
    let message = format!(
        "the request is larger than the whole sending queue ({units} > {capacity}); raise `queue_size`"
    );
    Failure::permanent(Fault::Us, Reason::TooLarge, message)
}

/// The clock of the runtime, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// One that waits for room.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn announce(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Room for Space {
    fn give_back(&self, units: u64) {
        let before = self.used.fetch_sub(units, SeqCst);
        debug_assert!(before >= units, "more room was given back than was taken");
        if self.block {
            self.freed.notify_waiters();
        }
    }
}

impl Gauges for Space {
    fn size(&self) -> u64 {
        self.used.load(SeqCst)
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn oldest_age(&self) -> f64 {
        let now = now();
        let in_line = self.line().requests.front().map(|request| request.ticket.arrived());
        let taken = match self.oldest_taken.load(Relaxed) {
            NONE => None,
            nanos => Some(self.created + Duration::from_nanos(nanos)),
        };
        let oldest = in_line.into_iter().chain(taken).min();
        oldest.map_or(0.0, |arrived| now.saturating_duration_since(arrived).as_secs_f64())
    }
}
