//! The queue, in memory or on disk: room that is reserved before anything is kept, and one task that batches and sends.

mod disk;
mod dispatcher;
mod heir;
mod moving;
mod partitions;
mod space;

#[cfg(fuzzing)]
pub use disk::fuzzing;
pub(crate) use disk::{Lent, entry};
pub(crate) use heir::Heir;
pub(crate) use space::{Queued, now};

use crate::config::QueueConfig;
use crate::courier::{Courier, Phase};
use crate::measures::Gauges;
use crate::says::say;
use crate::ticket::{Request, Ticket};
use disk::{Declared, Line, Store, watch_store};
use dispatcher::{Dispatcher, Source};
use millrace_config::ComponentId;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::{Batch, Cost, Failure, Fault, Permit, Reason, Reservation, Until};
use millrace_log::Log;
use millrace_telemetry::Registration;
use millrace_wire::Signal;
use moving::Moving;
use space::{Space, full};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

/// How long it may take to take down what is cut off, and what is done once more before the end.
pub(crate) const TAKE_DOWN: Duration = Duration::from_secs(1);

/// A queue and the task that empties it.
pub(crate) struct Queue {
    place: Place,
    /// None when it has ended.
    dispatcher: Mutex<Option<JoinHandle<Option<()>>>>,
    wait_for_result: bool,
    consumers: usize,
    /// What was in memory and is on its way to the disk.
    moving: OnceLock<Moving>,
    /// Whether nobody goes on with what stays on disk.
    is_abandoned: AtomicBool,
    /// Among the metrics for as long as this is held.
    pub(crate) visible: Vec<Registration>,
}

/// Where requests wait.
enum Place {
    Memory(Arc<Space>),
    Disk(Arc<Line>),
}

impl Queue {
    /// Must be called within the runtime. `declared` is the client metadata that is needed behind the queue.
    ///
    /// # Errors
    /// When what was configured to be on disk cannot be there.
    pub(crate) fn start(
        context: &Context,
        signal: Signal,
        config: &QueueConfig,
        declared: &[String],
        courier: &Arc<Courier>,
    ) -> Result<Self, BuildError> {
        let mut visible = Vec::new();
        let (place, source) = match &config.storage {
            None => {
                let space = Space::new(config);
                (Place::Memory(Arc::clone(&space)), Source::Memory(space))
            }
            Some(storage) => {
                let line = line(context, signal, config, storage, declared, courier)?;
                visible = watch_store(context, line.store(), &courier.account);
                let source = disk::Source::new(&line);
                (Place::Disk(line), Source::Disk(Box::new(source)))
            }
        };
        let dispatcher = Dispatcher::new(courier, source, config, signal);
        Ok(Self {
            visible,
            dispatcher: Mutex::new(Some(courier.tasks.spawn("sending queue", dispatcher.run()))),
            place,
            wait_for_result: config.wait_for_result,
            consumers: config.num_consumers.max(1),
            moving: OnceLock::new(),
            is_abandoned: AtomicBool::new(false),
        })
    }

    /// Room for so many batches of that cost.
    pub(crate) fn reserve(&self, cost: Cost, copies: u32) -> Reservation<'_> {
        match &self.place {
            Place::Memory(space) => space.reserve(cost, copies),
            Place::Disk(line) => line.reserve(cost, copies),
        }
    }

    /// Room in the queue itself for a batch of that cost, and not among the dead letters, if there is some and nobody
    /// waits for it: who gives back what was put aside can come again.
    ///
    /// # Errors
    /// Why there is none now.
    pub(crate) fn reserve_in_line(&self, cost: Cost) -> Result<Permit, Failure> {
        let reservation = match &self.place {
            Place::Memory(space) => space.reserve(cost, 1),
            Place::Disk(line) => line.reserve_in_line(cost),
        };
        match reservation {
            Reservation::Now(decided) => decided,
            Reservation::Later(_) => Err(full()),
        }
    }

    /// What it is on disk, if it is there.
    pub(crate) fn log(&self) -> Option<&Log> {
        match &self.place {
            Place::Memory(_) => None,
            Place::Disk(line) => Some(&line.store().log),
        }
    }

    /// What can be seen of it.
    pub(crate) fn gauges(&self) -> Arc<dyn Gauges> {
        match &self.place {
            Place::Memory(space) => Arc::clone(space) as _,
            Place::Disk(line) => Arc::clone(line) as _,
        }
    }

    /// Puts a batch in line, and waits for its outcome if somebody asked for it.
    pub(crate) async fn put(
        &self,
        courier: &Courier,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        match &self.place {
            Place::Memory(space) => self.put_in_memory(space, courier, permit, batch, until).await,
            Place::Disk(line) => line.put(courier, permit, batch, until).await,
        }
    }

    async fn put_in_memory(
        &self,
        space: &Space,
        courier: &Courier,
        mut permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        let span = courier.measures.spans.enqueue();
        let request = Request { cost: batch.cost(), until, arrived: now(), span };
        let attended = self.wait_for_result || until == Until::Settled;
        permit.shrink_to(space.units(request.cost));
        let mut outcome = None;
        let put = space.put(|| {
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

    /// Takes nothing new, and waits until everything is accounted for or there is no time left. What is on disk stays
    /// there, from the moment on at which the destination does not take it.
    pub(crate) async fn drain(&self, courier: &Courier, deadline: Instant) {
        self.close();
        if let Some(moving) = self.moving.get() {
            moving.hurry();
        }
        if timeout_at(deadline.into(), self.ended()).await.is_err() {
            courier.advance(Phase::CutOff);
            if timeout(TAKE_DOWN, self.ended()).await.is_err() {
                say!(
                    error,
                    courier.account.holder(),
                    "a send does not let itself be cut off; leaving it behind"
                );
            }
        }
        if let Some(moving) = self.moving.get() {
            // It may have begun in the meantime.
            moving.hurry();
            if timeout_at(deadline.into(), moving.ended()).await.is_err() {
                courier.advance(Phase::CutOff);
                if timeout(TAKE_DOWN, moving.ended()).await.is_err() {
                    moving.abandon().await;
                }
            }
        }
        let Place::Disk(line) = &self.place else { return };
        if timeout(TAKE_DOWN, line.tidy()).await.is_err() {
            say!(
                warn,
                courier.account.holder(),
                "writing down what has been sent takes too long; some of it may be sent once more"
            );
        }
        if self.is_abandoned.load(Relaxed) && !line.is_passed_on() {
            line.tell_what_stays();
        }
    }

    /// Takes nothing new, and goes on with what is in memory until all of it is accounted for, or until then. What is on
    /// disk need not be sent by then.
    pub(crate) async fn linger(&self, courier: &Courier, until: Instant) {
        let space = match &self.place {
            Place::Memory(space) => space,
            Place::Disk(line) => return self.is_abandoned.store(!line.is_passed_on(), Relaxed),
        };
        if !self.is_moving() && (self.wait_for_result || courier.heir.is_known()) {
            return;
        }
        space.close();
        let left = space.size();
        if left > 0 && !self.is_moving() {
            let seconds = until.saturating_duration_since(now()).as_secs_f64();
            say!(
                info,
                courier.account.holder(),
                queue_size = left,
                seconds,
                "No longer part of the configuration. Still sending what waits in memory."
            );
        }
        let ended = async {
            self.ended().await;
            // It may have begun in the meantime.
            if let Some(moving) = self.moving.get() {
                moving.ended().await;
            }
        };
        // What is left then is drained.
        let _ = timeout_at(until.into(), ended).await;
    }

    /// Waits for the end of the task. Giving up half-way changes nothing.
    async fn ended(&self) {
        let mut dispatcher = self.dispatcher.lock().await;
        if let Some(running) = dispatcher.as_mut() {
            // It contains its panics.
            let _ = running.await;
            *dispatcher = None;
        }
    }

    /// Whether what was in memory is on its way to the disk.
    pub(crate) fn is_moving(&self) -> bool {
        self.moving.get().is_some()
    }

    /// Has the queue in its place go on with what waits here. One on disk finds there what is on disk, and what is in
    /// memory is put there. What is on disk is not taken into memory, and who waits for a result hears it from here.
    pub(crate) fn hand_over(&self, courier: &Arc<Courier>, heir: &Self) {
        match (&self.place, &heir.place, self.moving.get()) {
            (_, Place::Disk(heir), Some(moving)) => moving.go_to_disk(heir),
            (_, Place::Memory(heir), Some(moving)) => moving.go_to_memory(heir),
            (Place::Memory(own), Place::Memory(heir), None) => {
                if courier.heir.set(heir) {
                    own.hand_over(heir);
                    courier.advance(Phase::Draining);
                }
            }
            (Place::Memory(own), Place::Disk(heir), None) if !self.wait_for_result => {
                let gathered = own.like();
                if courier.heir.set(&gathered) {
                    own.hand_over(&gathered);
                    self.moving.get_or_init(|| Moving::start(courier, &gathered, heir, self.consumers));
                    courier.advance(Phase::Draining);
                }
            }
            // Where both are of the same store, the heir has had what is there since it began.
            (Place::Memory(_) | Place::Disk(_), ..) => {}
        }
    }

    /// Begins to work, perhaps in the place of another: what waits beyond the room that there is now gives way at once,
    /// where it is the oldest that do.
    pub(crate) fn begin(&self, courier: &Courier) {
        let Place::Disk(line) = &self.place else { return };
        line.begin();
        if line.is_to_give_way() {
            let line = Arc::clone(line);
            courier.tasks.spawn("making room in a queue", async move { line.give_way().await });
        }
    }

    fn close(&self) {
        match &self.place {
            Place::Memory(space) => space.close(),
            Place::Disk(line) => line.close(),
        }
    }
}

fn line(
    context: &Context,
    signal: Signal,
    config: &QueueConfig,
    storage: &ComponentId,
    declared: &[String],
    courier: &Courier,
) -> Result<Arc<Line>, BuildError> {
    let declared = Declared::new(declared.iter().map(String::as_str)).map_err(|name| {
        context.error(format!(
            "`{name}` of the clients is needed behind this queue (`from_context` or `metadata_keys`), but what they send \
             in confidence is not written to disk, and everything would be sent without it: remove `storage`, or send with \
             a credential of the collector's own"
        ))
    })?;
    let store = Store::open(context, signal, storage, &courier.account)?;
    Ok(Line::new(store, config, declared, courier))
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Without a drain, the task sends what it has and ends.
        self.close();
        if let Some(moving) = self.moving.get() {
            moving.hurry();
            moving.close();
        }
    }
}
