//! The stage that stands in the graph for an exporter.

use crate::Sender;
use crate::budget::RetryBudget;
use crate::concurrency::Slots;
use crate::config::{QueueConfig, RetryConfig};
use crate::courier::{Courier, Destination, Phase, Protocol, panicked};
use crate::dead_letters::{Access, DeadLetters};
use crate::direct::Direct;
use crate::measures::{Measures, watch_concurrency, watch_queue};
use crate::queue::{Heir, Queue, TAKE_DOWN, now};
use crate::says::{Rejections, say};
use crate::ticket::{Request, Ticket};
use millrace_config::Optional;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::ledger::Term;
use millrace_engine::{
    Account, Batch, BoxFuture, Cost, Entry, Failure, Fault, Permit, Reason, Reservation, Stage, Until,
};
use millrace_log::Log;
use millrace_telemetry::Labels;
use millrace_wire::Signal;
use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout_at;

/// The Go collector's advice where nothing is retried.
const NO_RETRIES: &str = " Try enabling retry_on_failure config option to retry on retryable errors.";

/// The configuration that all exporters share.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `sending_queue`.
    pub queue: Optional<QueueConfig>,
    /// `retry_on_failure`.
    pub retry: RetryConfig,
    /// The limit for one attempt; zero means none.
    pub timeout: Duration,
    /// Labels that say where to, for `sent` and `send_failed` (`server.address`, …).
    pub destination: Labels,
    /// The client metadata that is needed to send: what of it goes to disk where the queue is there.
    pub metadata: Vec<String>,
}

/// Under which names the batches of a component are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchNames {
    /// Those of the `batch` processor.
    Batch,
    /// Those of the `queuebatch` processor.
    QueueBatch,
    /// None.
    Unnamed,
}

/// An exporter of one signal: a [`Sender`] with a queue (or none) and retries in front.
pub struct Exporter {
    courier: Arc<Courier>,
    direct: Direct,
    queue: Option<Queue>,
    /// The client metadata that is needed to send, or further on.
    metadata: Vec<String>,
    /// What has been put aside.
    letters: Option<Access>,
    /// For what has been put aside and comes back.
    this: Weak<Self>,
}

impl Exporter {
    /// Puts `delivery` in front of `sender`. Must be called within the runtime.
    ///
    /// # Errors
    /// When the queue is to be on disk and cannot be there.
    pub fn start(
        context: &Context,
        signal: Signal,
        delivery: &Delivery,
        sender: Arc<dyn Sender>,
    ) -> Result<Arc<Self>, BuildError> {
        let is_on_disk = delivery.queue.as_option().is_some_and(|queue| queue.storage.is_some());
        let retry = delivery.retry.clone();
        let slots = delivery.queue.as_option().filter(|queue| queue.millrace_adaptive_concurrency);
        let slots = slots.map(|queue| Arc::new(Slots::new(queue.num_consumers)));
        let visible = slots.as_ref().map(|slots| watch_concurrency(context, signal, slots));
        let destination = Destination::Protocol(Box::new(Protocol {
            sender,
            timeout: delivery.timeout,
            retry: if is_on_disk { retry.on_disk() } else { retry },
            budget: RetryBudget::new(&context.shared.retries),
            slots,
        }));
        let measures = Measures::new(context, signal, &delivery.destination);
        let letters = match delivery.queue.as_option() {
            Some(queue) => open_letters(context, signal, queue)?,
            None => None,
        };
        let account = context.account(signal);
        let put_aside =
            letters.as_ref().map(|access| (Arc::clone(access.letters()), named(&delivery.destination)));
        let courier = courier(context, destination, account, measures, put_aside);
        let Some(config) = delivery.queue.as_option() else {
            let direct = Direct::default();
            let this = Weak::new();
            let metadata = delivery.metadata.clone();
            return Ok(Arc::new(Self { courier, direct, queue: None, metadata, letters: None, this }));
        };
        let metadata = needed(config, delivery.metadata.clone());
        let mut queue = Queue::start(context, signal, config, &metadata, &courier)?;
        queue.visible.extend(watch_queue(context, signal, &queue.gauges()));
        queue.visible.extend(visible);
        Ok(Self::replaying(context, courier, queue, metadata, letters))
    }

    /// The same queue with the rest of a pipeline as its destination, for processors and connectors. The account is
    /// shared by all queues of the component. Must be called within the runtime.
    ///
    /// What `next` refuses for a while is handed back where the queue waits for results. Where it does not there is
    /// nobody to hand it to: it is held, each branch on its own, and offered again until it is taken.
    ///
    /// # Errors
    /// When the queue is to be on disk and cannot be there.
    pub fn into_pipeline(
        context: &Context,
        signal: Signal,
        queue: &QueueConfig,
        next: &Arc<Entry>,
        account: &Arc<Account>,
        names: BatchNames,
    ) -> Result<Arc<Self>, BuildError> {
        let destination = Destination::Pipeline { next: Arc::clone(next), holds: !queue.wait_for_result };
        let measures = Measures::of_batches(context, signal, names);
        let letters = open_letters(context, signal, queue)?;
        let put_aside = letters.as_ref().map(|access| (Arc::clone(access.letters()), String::new()));
        let courier = courier(context, destination, Arc::clone(account), measures, put_aside);
        let metadata = needed(queue, next.metadata());
        let queue = Queue::start(context, signal, queue, &metadata, &courier)?;
        Ok(Self::replaying(context, courier, queue, metadata, letters))
    }

    /// With a queue that what has been put aside comes back to when it is replayed.
    fn replaying(
        context: &Context,
        courier: Arc<Courier>,
        mut queue: Queue,
        metadata: Vec<String>,
        letters: Option<Access>,
    ) -> Arc<Self> {
        if let Some(access) = &letters {
            queue.visible.extend(access.watch(context));
        }
        let (direct, queue) = (Direct::default(), Some(queue));
        Arc::new_cyclic(|this| Self { courier, direct, queue, metadata, letters, this: Weak::clone(this) })
    }

    /// On a reload: has the exporter in its place go on with what waits in its queue, what is batched, and what would
    /// be tried again.
    pub fn hand_over_to(&self, heir: &Self) {
        if let (Some(queue), Some(next)) = (&self.queue, &heir.queue) {
            queue.hand_over(&self.courier, next);
        }
    }

    /// Puts a request in line that was among the dead letters. It does not go back there because the queue is full,
    /// nor wait for room: others would wait behind it, and whoever asked for it may have gone.
    pub(crate) async fn put_back(&self, batch: Batch) -> Result<(), Failure> {
        let Some(queue) = &self.queue else {
            return Err(Failure::transient(Fault::Us, Reason::Internal, "there is no queue to put it in"));
        };
        let permit = queue.reserve_in_line(batch.cost())?;
        queue.put(&self.courier, permit, batch, Until::Stored).await
    }

    /// What those are put in line in that were among the dead letters, if that is on disk.
    pub(crate) fn line(&self) -> Option<&Log> {
        self.queue.as_ref().and_then(Queue::log)
    }

    /// Without a queue: on the request's own task, and the answer is the destination's.
    async fn deliver(&self, batch: Batch, until: Until) -> Result<(), Failure> {
        if self.courier.is_cut_off() {
            return Err(shutting_down());
        }
        let span = self.courier.measures.spans.current();
        let request = Request { cost: batch.cost(), until, arrived: now(), span };
        let _under_way = self.direct.begin();
        let ticket = Ticket::direct(&self.courier.account, request);
        let mut report = &ticket;
        let ended = {
            let delivery = self.courier.tasks.watch("send", self.courier.deliver(batch, &mut report));
            self.unless_cut_off(pin!(delivery)).await
        };
        if let Some(None) = ended {
            let failure = panicked();
            self.courier.measures.failed(ticket.rest_failed(&failure), &failure);
        }
        ticket.conclude()
    }

    /// Runs `work` until it is done, or until a drain has no time left for it. What is done at once costs nothing.
    async fn unless_cut_off<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            return Some(done);
        }
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.courier.reached(Phase::CutOff) => None,
        }
    }

    /// Waits for the requests that deliver themselves, and cuts them off when there is no time left.
    async fn drain_direct(&self, deadline: Instant) {
        if timeout_at(deadline.into(), self.direct.idle()).await.is_err() {
            self.courier.advance(Phase::CutOff);
            let _ = timeout_at((now() + TAKE_DOWN).into(), self.direct.idle()).await;
        }
    }
}

/// Where what cannot be delivered is put aside, if there is a place for it.
/// The client metadata that is needed from a queue on, where what is behind it needs so much.
fn needed(queue: &QueueConfig, mut behind: Vec<String>) -> Vec<String> {
    let batch = queue.batch.as_option();
    behind.extend(batch.into_iter().flat_map(|batch| batch.partition.metadata_keys.iter().cloned()));
    behind
}

fn open_letters(
    context: &Context,
    signal: Signal,
    queue: &QueueConfig,
) -> Result<Option<Access>, BuildError> {
    let storage = queue.storage.as_ref().filter(|_| queue.millrace_dead_letters.enabled);
    storage.map(|storage| Access::open(context, signal, storage, queue)).transpose()
}

/// A destination in one word: address, port and path, as far as it has them.
fn named(destination: &Labels) -> String {
    destination.iter().fold(String::new(), |name, (_, part)| match part {
        part if name.is_empty() || part.starts_with('/') => name + part,
        part => name + ":" + part,
    })
}

fn shutting_down() -> Failure {
    Failure::transient(Fault::Us, Reason::ShuttingDown, "the collector is shutting down")
}

fn courier(
    context: &Context,
    destination: Destination,
    account: Arc<Account>,
    measures: Measures,
    dead_letters: Option<(Arc<DeadLetters>, String)>,
) -> Arc<Courier> {
    let retries = match &destination {
        Destination::Protocol(protocol) => protocol.retry.enabled,
        Destination::Pipeline { .. } => true,
    };
    let advice = if retries { "" } else { NO_RETRIES };
    Arc::new(Courier {
        destination,
        account,
        measures,
        phase: watch::Sender::new(Phase::Running),
        cut_off: AtomicBool::new(false),
        heir: Heir::default(),
        passed_on: Arc::default(),
        tasks: context.shared.tasks.clone(),
        rejections: Rejections::new(advice),
        dead_letters,
    })
}

impl Stage for Exporter {
    fn reserve(&self, cost: Cost) -> Reservation<'_> {
        self.reserve_copies(cost, 1)
    }

    fn reserve_copies(&self, cost: Cost, copies: u32) -> Reservation<'_> {
        let Some(queue) = &self.queue else { return Reservation::granted() };
        let reservation = queue.reserve(cost, copies);
        if let Reservation::Now(Err(failure)) = &reservation {
            let items = cost.items * u64::from(copies);
            self.courier.measures.enqueue_failed.add(items);
            self.courier.rejections.tell(&self.courier.account, failure, items);
        }
        reservation
    }

    fn commit<'a>(
        &'a self,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        if batch.cost().items == 0 {
            // There is nothing to deliver in it, and nothing to account for.
            return Box::pin(async { Ok(()) });
        }
        Box::pin(async move {
            let items = batch.cost().items;
            let done = match &self.queue {
                Some(queue) => queue.put(&self.courier, permit, batch, until).await,
                None => self.deliver(batch, until).await,
            };
            done.inspect_err(|failure| self.courier.rejections.tell(&self.courier.account, failure, items))
        })
    }

    fn metadata(&self) -> Vec<String> {
        self.metadata.clone()
    }

    fn hand_over(&self, successor: &Arc<dyn Stage>) {
        if let Some(heir) = successor.as_any().and_then(|any| any.downcast_ref::<Self>()) {
            self.hand_over_to(heir);
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn begin(&self) {
        if let Destination::Protocol(protocol) = &self.courier.destination {
            protocol.sender.begin();
        }
        if let Some(queue) = &self.queue {
            queue.begin(&self.courier);
        }
        if let Some(access) = &self.letters {
            access.begin(Weak::clone(&self.this));
        }
    }

    /// Only for what is in memory and has been answered for: whoever waits for the outcome can send again, to the new
    /// graph, and what is on disk stays there. A queue within a pipeline goes on offering while it is drained.
    fn linger(&self, until: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let is_last = matches!(self.courier.destination, Destination::Protocol(_));
            if let Some(queue) = &self.queue
                && (is_last || queue.is_moving())
            {
                queue.linger(&self.courier, until).await;
            }
        })
    }

    fn drain(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.courier.advance(Phase::Draining);
            let cut_off = || self.courier.account.total(Term::Lost(Reason::ShuttingDown)).items;
            let before = cut_off();
            match &self.queue {
                Some(queue) => queue.drain(&self.courier, deadline).await,
                None => self.drain_direct(deadline).await,
            }
            if let Destination::Protocol(_) = &self.courier.destination {
                // Whatever was under way or in line has not been spoken of one by one. Before anything that may hang.
                self.courier.dropped(cut_off() - before, &shutting_down());
            }
            if let Some(access) = &self.letters {
                access.letters().drain().await;
            }
            if let Destination::Protocol(protocol) = &self.courier.destination {
                let latest = deadline.max(now()) + TAKE_DOWN;
                if timeout_at(latest.into(), protocol.sender.close()).await.is_err() {
                    let holder = self.courier.account.holder();
                    say!(warn, holder, "closing took too long; leaving it behind");
                }
            }
        })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.courier.advance(Phase::Draining);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_named_in_one_word() {
        let address = || Labels::new().with("server.address", "collector.test").with("server.port", "4318");
        assert_eq!(named(&Labels::new()), "");
        assert_eq!(named(&address()), "collector.test:4318");
        assert_eq!(named(&address().with("url.path", "/v1/traces")), "collector.test:4318/v1/traces");
    }
}
