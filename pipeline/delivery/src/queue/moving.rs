//! From a queue in memory to the one on disk that a reload has put in its place.
//!
//! What waits in memory, and what is handed back from retries, is gathered in a line of its own. From there it is put on
//! disk request by request, each under the usual admission of the queue there. A request is in one place as far as the
//! account goes: it is held in memory until it is stored, and kept on disk from then on.

use super::disk::{Excess, Line};
use super::dispatcher::deliver;
use super::space::{Queued, Space, shutting_down};
use crate::courier::{Courier, Phase};
use crate::parts::Parts;
use crate::says::say;
use millrace_engine::{Failure, Permit, Reason};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// How many requests are on their way to the disk at once: they share what it costs to have them there.
const AT_ONCE: usize = 32;

/// How long after the disk has failed it is tried again.
const COME_BACK: Duration = Duration::from_secs(1);

/// The task that puts things on disk.
pub(super) struct Moving {
    gathered: Arc<Space>,
    over: watch::Sender<bool>,
    /// None when it has ended.
    task: Mutex<Option<JoinHandle<Option<()>>>>,
}

impl Moving {
    /// Must be called within the runtime. What does not get there is sent once more by up to `consumers` at once.
    pub(super) fn start(
        courier: &Arc<Courier>,
        gathered: &Arc<Space>,
        line: &Arc<Line>,
        consumers: usize,
    ) -> Self {
        let over = watch::Sender::new(false);
        let mover = Mover {
            courier: Arc::clone(courier),
            line: Arc::clone(line),
            over: over.subscribe(),
            has_said: Arc::new(AtomicBool::new(false)),
        };
        let moving = mover.run(Arc::clone(gathered), consumers);
        let task = Mutex::new(Some(courier.tasks.spawn("handing over", moving)));
        Self { gathered: Arc::clone(gathered), over, task }
    }

    /// Nothing waits for room any more: what does not fit gets its last attempt.
    pub(super) fn hurry(&self) {
        self.over.send_replace(true);
    }

    /// Nothing more is gathered.
    pub(super) fn close(&self) {
        self.gathered.close();
    }

    /// Gathers nothing more, and waits until nothing is left. Giving up half-way changes nothing.
    pub(super) async fn ended(&self) {
        self.close();
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            // It contains its panics.
            let _ = running.await;
            *task = None;
        }
    }
}

#[derive(Clone)]
struct Mover {
    courier: Arc<Courier>,
    line: Arc<Line>,
    over: watch::Receiver<bool>,
    /// Whether it has been said that not everything fits.
    has_said: Arc<AtomicBool>,
}

impl Mover {
    async fn run(self, gathered: Arc<Space>, consumers: usize) {
        let mut moves = JoinSet::new();
        let (mut requests, mut rest) = (0_u64, Vec::new());
        loop {
            tokio::select! {
                biased;
                Some(moved) = moves.join_next() => rest.extend(moved.ok().flatten()),
                next = gathered.next(), if moves.len() < AT_ONCE => {
                    let Some(queued) = next else { break };
                    requests += u64::from(queued.ticket.has_nobody());
                    moves.spawn(self.clone().put_on_disk(queued));
                }
            }
        }
        while let Some(moved) = moves.join_next().await {
            rest.extend(moved.ok().flatten());
        }
        if !rest.is_empty() {
            self.is_over().await;
            return self.send(rest, consumers).await;
        }
        if requests > 0 {
            let holder = self.courier.account.holder();
            say!(info, holder, requests, "What waited in memory has been handed over to the queue on disk.");
        }
    }

    /// Moves a request, which may wait for room until there is no time left; it comes back if it cannot be moved.
    async fn put_on_disk(self, queued: Queued) -> Option<Queued> {
        let cost = queued.batch.cost();
        if !queued.ticket.has_nobody() {
            // Whoever waits for its outcome can send it again, to the queue on disk.
            let failure = shutting_down();
            self.courier.measures.failed(cost.items, &failure);
            queued.ticket.failed(cost.items, &failure);
            return None;
        }
        loop {
            let moved = match self.room(&queued).await {
                Ok(permit) => self.line.take_over(permit, &queued).await,
                Err(failure) => Err(failure),
            };
            let Err(failure) = moved else { return None };
            self.say_once(&failure);
            if !failure.is_transient() || self.line.is_closed() || *self.over.borrow() {
                return Some(queued);
            }
            tokio::select! {
                () = sleep(COME_BACK) => {}
                () = self.is_over() => {}
            }
        }
    }

    /// Room for a request. What refused it at first is the answer if there is none in time.
    async fn room(&self, queued: &Queued) -> Result<Permit, Failure> {
        let cost = queued.batch.cost();
        let refused = match self.line.try_reserve_in_line(cost, 1) {
            Err(failure) if failure.reason == Reason::QueueFull && failure.is_transient() => failure,
            decided => return decided,
        };
        self.say_once(&refused);
        tokio::select! {
            biased;
            () = self.is_over() => Err(refused),
            decided = Arc::clone(&self.line).wait_for(cost, 1, Excess::Waits) => decided,
        }
    }

    /// What could not be moved gets one last attempt. There is nowhere to hand it back to.
    async fn send(&self, rest: Vec<Queued>, consumers: usize) {
        let mut sends = JoinSet::new();
        for Queued { batch, ticket } in rest {
            if sends.len() >= consumers {
                sends.join_next().await;
            }
            let courier = Arc::clone(&self.courier);
            sends.spawn(async move {
                let parts = Parts::new(vec![(ticket, batch.cost())]).for_good();
                tokio::select! {
                    biased;
                    () = courier.reached(Phase::CutOff) => {}
                    () = deliver(&courier, batch, parts) => {}
                }
            });
        }
        while sends.join_next().await.is_some() {}
    }

    async fn is_over(&self) {
        // Without whoever would say so, it is.
        let _ = self.over.clone().wait_for(|over| *over).await;
    }

    fn say_once(&self, failure: &Failure) {
        if !self.has_said.swap(true, Relaxed) {
            say!(
                warn,
                self.courier.account.holder(),
                error = %failure,
                "Not all that waits in memory can be put into the queue on disk now. The rest waits for that until \
                 the time for leaving is over, and gets one last attempt then."
            );
        }
    }
}
