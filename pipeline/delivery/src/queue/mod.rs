//! The memory queue: room that is reserved before anything is kept, and one task that batches and sends.

mod dispatcher;
mod partitions;
mod space;

pub(crate) use space::now;

use crate::QueueConfig;
use crate::courier::{Courier, Phase};
use crate::ticket::{Request, Ticket};
use dispatcher::Dispatcher;
use millrace_engine::{Batch, Failure, Fault, Permit, Reason, Until};
use millrace_telemetry::Registration;
use millrace_wire::Signal;
use space::{Queued, Space};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

/// How long it may take to take down what is cut off.
const TAKE_DOWN: Duration = Duration::from_secs(1);

/// A queue and the task that empties it.
pub(crate) struct Queue {
    pub(crate) space: Arc<Space>,
    dispatcher: Mutex<Option<JoinHandle<Option<()>>>>,
    wait_for_result: bool,
    /// Among the metrics for as long as this is held.
    pub(crate) visible: Vec<Registration>,
}

impl Queue {
    /// Must be called within the runtime.
    pub(crate) fn start(signal: Signal, config: &QueueConfig, courier: &Arc<Courier>) -> Self {
        let space = Space::new(config);
        let dispatcher = Dispatcher::new(courier, &space, config, signal);
        Self {
            visible: Vec::new(),
            dispatcher: Mutex::new(Some(courier.tasks.spawn("sending queue", dispatcher.run()))),
            space,
            wait_for_result: config.wait_for_result,
        }
    }

    /// Puts a batch in line, and waits for its outcome if somebody asked for it.
    pub(crate) async fn put(
        &self,
        courier: &Courier,
        mut permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        let span = courier.measures.spans.enqueue();
        let request = Request { cost: batch.cost(), until, arrived: now(), span };
        let attended = self.wait_for_result || until == Until::Settled;
        permit.shrink_to(self.space.units(request.cost));
        let mut outcome = None;
        let put = self.space.put(|| {
            let ticket = if attended {
                let (ticket, waiting) = Ticket::attended(&courier.account, request, permit);
                outcome = Some(waiting);
                ticket
            } else {
                Ticket::unattended(&courier.account, request, permit)
            };
            Queued { batch, ticket }
        });
        if let Err(failure) = put {
            courier.measures.enqueue_failed.add(request.cost.items);
            return Err(failure);
        }
        courier.measures.enqueued(request.cost);
        match outcome {
            None => Ok(()),
            Some(outcome) => outcome.await.unwrap_or_else(|_| {
                Err(Failure::transient(Fault::Us, Reason::Internal, "the outcome of the request was lost"))
            }),
        }
    }

    /// Takes nothing new, and waits until everything is accounted for or there is no time left.
    pub(crate) async fn drain(&self, courier: &Courier, deadline: Instant) {
        self.space.close();
        let dispatcher = self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut dispatcher) = dispatcher else { return };
        if timeout_at(deadline.into(), &mut dispatcher).await.is_ok() {
            return;
        }
        courier.advance(Phase::CutOff);
        if timeout(TAKE_DOWN, dispatcher).await.is_err() {
            tracing::error!(
                exporter = courier.name,
                "a send does not let itself be cut off; leaving it behind"
            );
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Without a drain, the task sends what it has and ends.
        self.space.close();
    }
}
