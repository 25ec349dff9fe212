//! The memory queue: room that is reserved before anything is kept, and one task that batches and sends.

use crate::QueueConfig;
use crate::batcher::{Batcher, Ready, Rules};
use crate::config::Sizer;
use crate::courier::Courier;
use crate::measures::Gauges;
use crate::ticket::Ticket;
use millrace_engine::stage::Room;
use millrace_engine::{Batch, Cost, Failure, Fault, Permit, Reason, Reservation, Tasks};
use millrace_wire::Signal;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// The room of one queue, and the requests that wait in it.
pub(crate) struct Space {
    sizer: Sizer,
    capacity: u64,
    block: bool,
    used: AtomicU64,
    line: Mutex<Line>,
    freed: Notify,
    arrived: Notify,
}

#[derive(Default)]
struct Line {
    requests: VecDeque<Queued>,
    closed: bool,
}

/// A request in the queue.
pub(crate) struct Queued {
    pub(crate) batch: Batch,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) arrived: Instant,
}

impl Space {
    pub(crate) fn new(config: &QueueConfig) -> Arc<Self> {
        Arc::new(Self {
            sizer: config.sizer,
            capacity: config.queue_size,
            block: config.block_on_overflow,
            used: AtomicU64::new(0),
            line: Mutex::default(),
            freed: Notify::new(),
            arrived: Notify::new(),
        })
    }

    /// Room for a request of that cost.
    pub(crate) fn reserve(self: &Arc<Self>, cost: Cost) -> Reservation<'static> {
        let units = self.sizer.of(cost);
        if units > self.capacity {
            let capacity = self.capacity;
            return Reservation::Now(Err(Failure::permanent(
                Fault::Us,
                Reason::TooLarge,
                format!(
                    "the request is larger than the whole sending queue ({units} > {capacity}); raise `queue_size`"
                ),
            )));
        }
        match self.try_reserve(units) {
            Err(failure) if failure.reason == Reason::QueueFull && self.block => {
                let space = Arc::clone(self);
                Reservation::Later(Box::pin(async move { space.wait_for(units).await }))
            }
            decision => Reservation::Now(decision),
        }
    }

    fn try_reserve(self: &Arc<Self>, units: u64) -> Result<Permit, Failure> {
        let fits = |used: u64| used.checked_add(units).filter(|used| *used <= self.capacity);
        match self.used.fetch_update(SeqCst, SeqCst, fits) {
            Ok(_) => Ok(Permit::of(Arc::clone(self) as Arc<dyn Room>, units)),
            Err(_) => Err(Failure::transient(Fault::Us, Reason::QueueFull, "sending queue is full")),
        }
    }

    async fn wait_for(self: Arc<Self>, units: u64) -> Result<Permit, Failure> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.line().closed {
                return Err(shutting_down());
            }
            match self.try_reserve(units) {
                Err(failure) if failure.reason == Reason::QueueFull => freed.await,
                decision => return decision,
            }
        }
    }

    /// Puts a request in line, unless the queue has been closed.
    pub(crate) fn put(&self, request: impl FnOnce() -> Queued) -> Result<(), Failure> {
        let mut line = self.line();
        if line.closed {
            return Err(shutting_down());
        }
        line.requests.push_back(request());
        drop(line);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next request, or `None` once the queue is closed and empty. One task calls this.
    async fn next(&self) -> Option<Queued> {
        loop {
            {
                let mut line = self.line();
                if let Some(request) = line.requests.pop_front() {
                    return Some(request);
                }
                if line.closed {
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

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what is still waiting, when there is no time left to send it; its tickets say that it is lost.
    pub(crate) fn abandon(&self) {
        let abandoned = std::mem::take(&mut self.line().requests);
        drop(abandoned);
    }
}

fn shutting_down() -> Failure {
    Failure::transient(Fault::Us, Reason::ShuttingDown, "the collector is shutting down")
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
        self.line().requests.front().map_or(0.0, |request| request.arrived.elapsed().as_secs_f64())
    }
}

/// Takes requests out of the queue, batches them if the configuration says so, and sends up to `num_consumers`
/// batches at once. Ends when the queue has been closed and everything taken has been accounted for; cut off before
/// that, it takes every send with it.
pub(crate) struct Dispatcher {
    courier: Arc<Courier>,
    space: Arc<Space>,
    consumers: usize,
    tasks: Tasks,
    batcher: Option<Batcher<Arc<Ticket>>>,
    /// Ready to be sent as soon as a consumer is free; while there is one, nothing is taken from the queue.
    ready: VecDeque<Ready<Arc<Ticket>>>,
    sends: JoinSet<()>,
}

impl Dispatcher {
    pub(crate) fn new(
        courier: &Arc<Courier>,
        space: &Arc<Space>,
        config: &QueueConfig,
        signal: Signal,
        tasks: &Tasks,
    ) -> Self {
        let batcher = config.batch.as_option().map(|batch| {
            let rules = Rules {
                sizer: batch.effective_sizer(config.sizer),
                min_size: batch.min_size,
                max_size: batch.max_size,
                timeout: batch.flush_timeout.get(),
            };
            Batcher::new(signal, rules)
        });
        Self {
            courier: Arc::clone(courier),
            space: Arc::clone(space),
            consumers: config.num_consumers,
            tasks: tasks.clone(),
            batcher,
            ready: VecDeque::new(),
            sends: JoinSet::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut open = true;
        while open || !self.ready.is_empty() || !self.sends.is_empty() {
            while self.sends.len() < self.consumers
                && let Some(ready) = self.ready.pop_front()
            {
                self.send(ready);
            }
            let free = self.ready.is_empty() && self.sends.len() < self.consumers;
            let due = self.batcher.as_ref().and_then(Batcher::due);
            tokio::select! {
                biased;
                Some(_) = self.sends.join_next() => {}
                () = wait_until(due), if free => self.flush_due(),
                request = self.space.next(), if free && open => match request {
                    Some(request) => self.take(request),
                    None => {
                        open = false;
                        self.flush();
                    }
                },
            }
        }
    }

    fn take(&mut self, request: Queued) {
        let Queued { batch, ticket, .. } = request;
        match &mut self.batcher {
            Some(batcher) => self.ready.extend(batcher.push(batch, &ticket, Instant::now())),
            None => {
                let parts = vec![(ticket, batch.cost())];
                self.ready.push_back(Ready { batch, parts, trigger: crate::batcher::Trigger::Size });
            }
        }
    }

    fn flush_due(&mut self) {
        if let Some(batcher) = &mut self.batcher {
            self.ready.extend(batcher.flush_due(Instant::now()));
        }
    }

    fn flush(&mut self) {
        if let Some(batcher) = &mut self.batcher {
            self.ready.extend(batcher.flush());
        }
    }

    fn send(&mut self, ready: Ready<Arc<Ticket>>) {
        if self.batcher.is_some() {
            self.courier.measures.batched(ready.batch.cost(), ready.trigger);
        }
        let (courier, tasks) = (Arc::clone(&self.courier), self.tasks.clone());
        self.sends.spawn(async move {
            let parts = ready.parts;
            tasks.watch("send", deliver(&courier, ready.batch, &parts)).await;
        });
    }
}

async fn deliver(courier: &Courier, batch: Batch, parts: &[(Arc<Ticket>, Cost)]) {
    let mut rest = Cost::default();
    let mut failure = None;
    if let Err(undelivered) = courier.deliver(batch).await {
        let error = &undelivered.failure;
        tracing::error!(exporter = courier.name, %error, dropped_items = undelivered.cost.items, "exporting failed; dropping data");
        rest = undelivered.cost;
        failure = Some(undelivered.failure);
    }
    // Each request behind the batch bears the failure, in order, until the undelivered amount is spent.
    for (ticket, cost) in parts {
        let share = Cost { items: cost.items.min(rest.items), bytes: cost.bytes.min(rest.bytes) };
        rest = Cost { items: rest.items - share.items, bytes: rest.bytes - share.bytes };
        if let Some(failure) = &failure {
            ticket.fail(share, failure);
        }
        ticket.settle(Cost { items: cost.items - share.items, bytes: cost.bytes - share.bytes });
    }
}

/// Never, without a time.
async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
