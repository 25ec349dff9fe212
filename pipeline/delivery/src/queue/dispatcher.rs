//! The task that takes requests out of the line, batches them, and sends them.

use super::disk::{self, Taken};
use super::partitions::Partitions;
use super::space::{Queued, Space, now};
use crate::QueueConfig;
use crate::batcher::{Ready, Rules, Trigger};
use crate::courier::{Courier, Phase, panicked};
use crate::partition::Keys;
use crate::parts::{Parts, Report as _};
use crate::ticket::Ticket;
use millrace_engine::Batch;
use millrace_wire::Signal;
use std::collections::{BTreeSet, VecDeque};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep_until};

/// How many batches are handed on at once while draining, where what is refused is held: those that one branch refuses
/// are not to keep others from the branches that would take them.
const DRAIN_CONSUMERS: usize = 1024;

/// How long what holds a batch may take to notice that it is to hand it over.
const NOTICE: Duration = Duration::from_millis(500);

/// Takes requests out of the queue, batches them if the configuration says so, and sends up to `num_consumers`
/// batches at once. Ends when the queue has been closed and everything taken has been accounted for; cut off before
/// that, it takes every send with it.
pub(super) struct Dispatcher {
    courier: Arc<Courier>,
    source: Source,
    consumers: usize,
    batches: Option<Partitions>,
    /// Ready to be sent as soon as a consumer is free; while there is one, nothing is taken from the queue.
    ready: VecDeque<Ready<Arc<Ticket>>>,
    /// Each ends with its name among those being sent.
    sends: JoinSet<Sent>,
    sending: BTreeSet<Sent>,
    sent: u64,
}

/// Where requests come from.
pub(super) enum Source {
    Memory(Arc<Space>),
    Disk(Box<disk::Source>),
}

impl Source {
    /// The next request. Giving up half-way loses nothing.
    async fn next(&mut self) -> Taken {
        match self {
            Self::Memory(space) => space.next().await.map_or(Taken::End, Taken::Request),
            Self::Disk(source) => source.next().await,
        }
    }

    /// Completes when another one has what waits here, which is never so in memory: there it is handed over.
    fn passed_on(&self) -> impl Future<Output = ()> + use<> {
        let passed_on = match self {
            Self::Memory(_) => None,
            Self::Disk(source) => Some(source.passed_on()),
        };
        async move {
            match passed_on {
                Some(passed_on) => passed_on.await,
                None => std::future::pending().await,
            }
        }
    }

    fn is_passed_on(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Disk(source) => source.is_passed_on(),
        }
    }

    fn note_oldest_taken(&self, arrived: Option<Instant>) {
        match self {
            Self::Memory(space) => space.note_oldest_taken(arrived),
            Self::Disk(source) => source.note_oldest_taken(arrived),
        }
    }

    /// When the oldest request was put in line that is in memory here.
    fn oldest(&self) -> Option<Instant> {
        match self {
            Self::Memory(_) => None,
            Self::Disk(source) => source.oldest(),
        }
    }

    /// Lets go of what is still waiting, when there is no time left to send it: its tickets say what becomes of it.
    fn abandon(&mut self) {
        match self {
            Self::Memory(space) => space.abandon(),
            Self::Disk(source) => source.abandon(),
        }
    }
}

/// The age of what is being sent, and a number to tell it from others of that age.
type Sent = (Instant, u64);

impl Dispatcher {
    pub(super) fn new(courier: &Arc<Courier>, source: Source, config: &QueueConfig, signal: Signal) -> Self {
        // Profiles are neither joined nor cut: what they refer to lies elsewhere in the request.
        let batch = config.batch.as_option().filter(|_| signal != Signal::Profiles);
        let batches = batch.map(|batch| {
            let rules = Rules {
                sizer: batch.effective_sizer(config.sizer),
                min_size: batch.min_size,
                max_size: batch.max_size,
                timeout: batch.flush_timeout.get(),
            };
            Partitions::new(Keys::new(&batch.partition.metadata_keys), signal, rules)
        });
        Self {
            courier: Arc::clone(courier),
            source,
            consumers: config.num_consumers.max(1),
            batches,
            ready: VecDeque::new(),
            sends: JoinSet::new(),
            sending: BTreeSet::new(),
            sent: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let courier = Arc::clone(&self.courier);
        let mut cut_off = pin!(courier.reached(Phase::CutOff));
        let mut draining = pin!(courier.reached(Phase::Draining));
        let mut passed_on = pin!(self.source.passed_on());
        let in_order = self.courier.destination.holds();
        let mut is_draining = false;
        let mut timer = Timer::new();
        let mut open = true;
        while open || !self.ready.is_empty() || !self.sends.is_empty() {
            while self.sends.len() < self.consumers
                && let Some(ready) = self.ready.pop_front()
            {
                self.send(ready);
            }
            self.source.note_oldest_taken(self.oldest());
            let free = self.ready.is_empty() && self.sends.len() < self.consumers;
            let due = self.batches.as_ref().and_then(Partitions::due);
            tokio::select! {
                biased;
                () = &mut cut_off => return self.abandon().await,
                () = &mut passed_on, if open => {
                    open = false;
                    courier.advance(Phase::Draining);
                    self.give_back();
                }
                () = &mut draining, if !is_draining => {
                    is_draining = true;
                    if let Some(heir) = courier.heir.get() {
                        heir.take_over(self.what_is_left());
                    } else if in_order {
                        self.consumers = self.consumers.max(DRAIN_CONSUMERS);
                    }
                }
                Some(ended) = self.sends.join_next() => {
                    if let Ok(sent) = ended {
                        self.sending.remove(&sent);
                    }
                }
                () = timer.wait_until(due), if free && due.is_some() => self.flush_due(),
                taken = self.source.next(), if free && open => match taken {
                    Taken::Request(request) => self.take(request),
                    // What waits for company to be sent would wait for what there is no room for.
                    Taken::NoRoom => self.flush(),
                    // It goes back in a moment.
                    Taken::End if self.source.is_passed_on() => {}
                    Taken::End => {
                        open = false;
                        self.flush();
                    }
                },
            }
        }
        self.source.note_oldest_taken(None);
    }

    fn take(&mut self, request: Queued) {
        let Queued { batch, ticket } = request;
        match &mut self.batches {
            Some(batches) => self.ready.extend(batches.push(batch, &ticket, now())),
            None => {
                let parts = vec![(ticket, batch.cost())];
                self.ready.push_back(Ready { batch, parts, trigger: Trigger::Size });
            }
        }
    }

    fn flush_due(&mut self) {
        if let Some(batches) = &mut self.batches {
            self.ready.extend(batches.flush_due(now()));
        }
    }

    fn flush(&mut self) {
        if let Some(batches) = &mut self.batches {
            self.ready.extend(batches.flush());
        }
    }

    fn send(&mut self, ready: Ready<Arc<Ticket>>) {
        let Ready { batch, parts, trigger } = ready;
        if self.batches.is_some() {
            self.courier.measures.batched(batch.cost(), trigger);
        }
        self.sent += 1;
        let sent = (oldest(&parts).unwrap_or_else(now), self.sent);
        self.sending.insert(sent);
        let courier = Arc::clone(&self.courier);
        self.sends.spawn(async move {
            deliver(&courier, batch, &mut Parts::new(parts)).await;
            sent
        });
    }

    /// When the oldest of what has been taken out of the line was put in.
    fn oldest(&self) -> Option<Instant> {
        let sending = self.sending.first().map(|(arrived, _)| *arrived);
        let ready = self.ready.iter().filter_map(|ready| oldest(&ready.parts));
        let batching = self.batches.as_ref().and_then(Partitions::oldest);
        sending.into_iter().chain(ready).chain(batching).chain(self.source.oldest()).min()
    }

    /// What has been taken out of the line and is not being sent, request by request.
    fn what_is_left(&mut self) -> Vec<Queued> {
        let batching = self.batches.as_mut().map(Partitions::flush).unwrap_or_default();
        let ready = std::mem::take(&mut self.ready).into_iter().chain(batching);
        ready
            .flat_map(|Ready { batch, parts, .. }| Parts::new(parts).take_back(batch).unwrap_or_default())
            .collect()
    }

    /// Gives back what has been taken from the disk and is not being sent: its tickets say that it stays there.
    fn give_back(&mut self) {
        drop(self.what_is_left());
        if let Source::Disk(source) = &mut self.source {
            source.give_back();
        }
    }

    /// Takes down every send and drops what is left; the tickets say that it is lost.
    async fn abandon(mut self) {
        if self.courier.heir.is_known() {
            // They notice, and hand over what they have.
            let ended = async { while self.sends.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(NOTICE, ended).await;
        }
        self.sends.shutdown().await;
        self.source.abandon();
        self.source.note_oldest_taken(None);
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // What it had has been handed over by now, or is accounted for.
        self.courier.heir.end();
    }
}

fn oldest(parts: &[(Arc<Ticket>, millrace_engine::Cost)]) -> Option<Instant> {
    parts.iter().map(|(ticket, _)| ticket.arrived()).min()
}

pub(super) async fn deliver(courier: &Courier, batch: Batch, parts: &mut Parts) {
    if courier.tasks.watch("send", courier.deliver(batch, parts)).await.is_none() {
        let failure = panicked();
        courier.dropped(parts.unattended(u64::MAX), &failure);
        courier.measures.failed(parts.rest_failed(&failure), &failure);
    }
}

/// One timer for the whole life of the queue, so that a request costs none.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    set_for: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(tokio::time::Instant::now())), set_for: None }
    }

    /// Never, without a time.
    async fn wait_until(&mut self, due: Option<Instant>) {
        let Some(due) = due else { return std::future::pending().await };
        if self.set_for != Some(due) {
            self.sleep.as_mut().reset(due.into());
            self.set_for = Some(due);
        }
        self.sleep.as_mut().await;
        self.set_for = None;
    }
}
