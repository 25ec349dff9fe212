//! The stage that stands in the graph for an exporter.

use crate::Sender;
use crate::config::{QueueConfig, RetryConfig};
use crate::courier::{Courier, Undelivered};
use crate::measures::{Measures, watch_queue};
use crate::queue::{Dispatcher, Queued, Space};
use crate::ticket::Ticket;
use millrace_config::Optional;
use millrace_engine::Account;
use millrace_engine::component::Context;
use millrace_engine::{Batch, BoxFuture, Cost, Failure, Fault, Permit, Reason, Reservation, Stage, Until};
use millrace_telemetry::{Labels, Registration};
use millrace_wire::Signal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

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
}

/// An exporter of one signal: a [`Sender`] with a queue (or none) and retries in front.
pub struct Exporter {
    courier: Arc<Courier>,
    queue: Option<Queue>,
    draining: watch::Sender<bool>,
}

struct Queue {
    space: Arc<Space>,
    dispatcher: Mutex<Option<JoinHandle<Option<()>>>>,
    wait_for_result: bool,
    /// Among the metrics for as long as this is held.
    visible: Vec<Registration>,
}

impl Exporter {
    /// Puts `delivery` in front of `sender`. Must be called within the runtime.
    #[must_use]
    pub fn start(
        context: &Context,
        signal: Signal,
        delivery: &Delivery,
        sender: Arc<dyn Sender>,
    ) -> Arc<Self> {
        let measures = Measures::new(context, signal, &delivery.destination);
        let mut exporter =
            Self::assemble(context, signal, delivery, sender, context.account(signal), measures);
        if let Some(queue) = &mut exporter.queue {
            queue.visible = watch_queue(context, signal, &queue.space);
        }
        Arc::new(exporter)
    }

    /// The same machinery for the `batch` processor, whose destination is what comes after it in the pipeline. The
    /// account is shared by all its shards.
    #[must_use]
    pub fn start_batching(
        context: &Context,
        signal: Signal,
        delivery: &Delivery,
        sender: Arc<dyn Sender>,
        account: &Arc<Account>,
    ) -> Arc<Self> {
        let measures = Measures::of_batches(context);
        Arc::new(Self::assemble(context, signal, delivery, sender, Arc::clone(account), measures))
    }

    fn assemble(
        context: &Context,
        signal: Signal,
        delivery: &Delivery,
        sender: Arc<dyn Sender>,
        account: Arc<Account>,
        measures: Measures,
    ) -> Self {
        let (stop, draining) = watch::channel(false);
        let courier = Arc::new(Courier {
            sender,
            timeout: delivery.timeout,
            retry: delivery.retry.clone(),
            account,
            measures,
            draining,
            name: context.id.to_string(),
        });
        let queue = delivery.queue.as_option().map(|config| Queue::start(context, signal, config, &courier));
        Self { courier, queue, draining: stop }
    }

    /// Without a queue: on the request's own task, and the answer is the destination's.
    async fn deliver(&self, batch: Batch) -> Result<(), Failure> {
        let whole = batch.cost();
        let ticket = Ticket::direct(&self.courier.account, whole);
        let Err(undelivered) = self.courier.deliver(batch).await else {
            ticket.settle(whole);
            return Ok(());
        };
        let Undelivered { cost, failure } = undelivered;
        ticket
            .settle(Cost { items: whole.items - cost.items, bytes: whole.bytes.saturating_sub(cost.bytes) });
        if failure.lost.is_some() && !failure.is_transient() {
            // Most of it went through and the rest never will: sending all of it again would only make duplicates.
            tracing::error!(exporter = self.courier.name, error = %failure, dropped_items = cost.items, "part of a request was refused for good; dropping it");
            ticket.lose(cost, failure.reason);
            return Ok(());
        }
        ticket.fail(cost, &failure);
        Err(failure)
    }
}

impl Queue {
    fn start(context: &Context, signal: Signal, config: &QueueConfig, courier: &Arc<Courier>) -> Self {
        let space = Space::new(config);
        let tasks = &context.shared.tasks;
        let dispatcher = Dispatcher::new(courier, &space, config, signal, tasks);
        Self {
            visible: Vec::new(),
            space,
            dispatcher: Mutex::new(Some(tasks.spawn("sending queue", dispatcher.run()))),
            wait_for_result: config.wait_for_result,
        }
    }

    async fn put(
        &self,
        courier: &Courier,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        let cost = batch.cost();
        let mut outcome = None;
        self.space.put(|| {
            let ticket = if self.wait_for_result || until == Until::Settled {
                let (ticket, waiting) = Ticket::attended(&courier.account, cost, permit);
                outcome = Some(waiting);
                ticket
            } else {
                Ticket::unattended(&courier.account, cost, permit)
            };
            Queued { batch, ticket, arrived: Instant::now() }
        })?;
        courier.measures.enqueued(cost);
        match outcome {
            None => Ok(()),
            Some(outcome) => outcome.await.unwrap_or_else(|_| {
                Err(Failure::transient(Fault::Us, Reason::Internal, "the outcome of the request was lost"))
            }),
        }
    }

    /// Takes nothing new, and waits until everything is accounted for or there is no time left.
    async fn drain(&self, deadline: Instant) {
        self.space.close();
        let dispatcher = self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut dispatcher) = dispatcher else { return };
        if timeout_at(deadline.into(), &mut dispatcher).await.is_err() {
            dispatcher.abort();
            // Returns as soon as the task has been taken down, with every send it had under way.
            let _ = dispatcher.await;
            self.space.abandon();
        }
    }
}

impl Stage for Exporter {
    fn reserve(&self, cost: Cost) -> Reservation<'_> {
        let Some(queue) = &self.queue else { return Reservation::granted() };
        let reservation = queue.space.reserve(cost);
        if let Reservation::Now(Err(_)) = &reservation {
            self.courier.measures.enqueue_failed.add(cost.items);
        }
        reservation
    }

    fn commit<'a>(
        &'a self,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        match &self.queue {
            Some(queue) => Box::pin(queue.put(&self.courier, permit, batch, until)),
            None => Box::pin(self.deliver(batch)),
        }
    }

    fn drain(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.draining.send_replace(true);
            if let Some(queue) = &self.queue {
                queue.drain(deadline).await;
            }
            self.courier.sender.close().await;
        })
    }
}
