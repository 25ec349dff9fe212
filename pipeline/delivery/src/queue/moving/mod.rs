//! From a queue in memory to the one on disk that a reload has put in its place.
//!
//! What waits in memory, and what is handed back from retries, is gathered in a line of its own. From there it is put on
//! disk request by request, each under the usual admission of the queue there. A request is in one place as far as the
//! account goes: it is held in memory until it is stored, and kept on disk from then on.
//!
//! What finds no room there before the time for leaving is over has one last attempt, and then a place among the dead
//! letters, if there are any (`last.rs`).

mod last;

use super::disk::Line;
use super::heir::Giver;
use super::space::{Queued, Space, shutting_down};
use crate::courier::Courier;
use crate::says::say;
use millrace_engine::{Failure, Permit, Reason};
use std::collections::VecDeque;
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
    target: Arc<watch::Sender<Target>>,
    over: watch::Sender<bool>,
    /// None when it has ended.
    task: Mutex<Option<JoinHandle<Option<()>>>>,
}

/// Where to.
#[derive(Clone)]
enum Target {
    Disk(Arc<Line>),
    /// Back into memory: a further reload has taken the queue from the disk again.
    Memory(Arc<Giver>),
    /// Nothing is moved any more.
    None,
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
        let target = Arc::new(watch::Sender::new(Target::Disk(Arc::clone(line))));
        let mover = Mover {
            courier: Arc::clone(courier),
            target: target.subscribe(),
            over: over.subscribe(),
            turn: Arc::default(),
            has_said: Arc::default(),
        };
        let (space, end) = (Arc::clone(gathered), Arc::clone(&target));
        let moving = async move {
            mover.run(space, consumers).await;
            // What has made room here is gone; whoever has the queue now may have written down before what is.
            if let Target::Disk(line) = end.send_replace(Target::None) {
                line.tidy().await;
            }
        };
        let task = Mutex::new(Some(courier.tasks.spawn("handing over", moving)));
        Self { gathered: Arc::clone(gathered), target, over, task }
    }

    /// What has not been moved yet goes to that queue on disk: it has taken the place of the one before.
    pub(super) fn go_to_disk(&self, line: &Arc<Line>) {
        self.go_to(|| Target::Disk(Arc::clone(line)));
    }

    /// What has not been moved yet goes to that queue in memory.
    pub(super) fn go_to_memory(&self, space: &Arc<Space>) {
        self.go_to(|| Target::Memory(Arc::new(Giver::to(space))));
    }

    fn go_to(&self, target: impl FnOnce() -> Target) {
        self.target.send_if_modified(|present| {
            let is_at_work = !matches!(present, Target::None);
            if is_at_work {
                *present = target();
            }
            is_at_work
        });
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

    /// Leaves what there is no time for any more to its tickets. Something holds it up: a disk that does not answer.
    pub(super) async fn abandon(&self) {
        if let Some(running) = self.task.lock().await.take() {
            running.abort();
        }
    }
}

#[derive(Clone)]
struct Mover {
    courier: Arc<Courier>,
    target: watch::Receiver<Target>,
    over: watch::Receiver<bool>,
    /// Held by the one that makes room: others would have more dropped than need be, and could themselves not be put
    /// into a queue that is shorter than there are of them.
    turn: Arc<Mutex<()>>,
    /// Whether it has been said that not everything fits.
    has_said: Arc<AtomicBool>,
}

/// What became of a request.
enum Moved {
    ToDisk,
    /// It is to be offered to the destination once more.
    Not(Queued),
    Elsewhere,
}

/// Whether there is room for a request.
enum Room {
    Is(Permit),
    /// Not in time, and why not at first.
    No(Failure),
    /// It is to go elsewhere.
    Elsewhere,
}

impl Mover {
    async fn run(mut self, gathered: Arc<Space>, consumers: usize) {
        let (mut requests, mut again) = (0, VecDeque::new());
        loop {
            self.target.mark_unchanged();
            let rest = self.move_all(&gathered, again, &mut requests).await;
            if rest.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = is_over(&mut self.over) => return self.send(rest, consumers).await,
                _ = self.target.changed() => again = rest.into(),
            }
        }
        if requests > 0 {
            let holder = self.courier.account.holder();
            say!(info, holder, requests, "What waited in memory has been handed over to the queue on disk.");
        }
    }

    /// Moves everything that comes until nothing more does; what cannot be moved. Counts the requests that are.
    async fn move_all(
        &self,
        gathered: &Space,
        mut again: VecDeque<Queued>,
        requests: &mut u64,
    ) -> Vec<Queued> {
        let (mut moves, mut rest, mut open) = (JoinSet::new(), Vec::new(), true);
        while open || !moves.is_empty() {
            tokio::select! {
                biased;
                Some(moved) = moves.join_next() => match moved {
                    Ok(Moved::ToDisk) => *requests += 1,
                    Ok(Moved::Not(queued)) => rest.push(queued),
                    // One that panicked is lost by its ticket.
                    Ok(Moved::Elsewhere) | Err(_) => {}
                },
                next = next(&mut again, gathered), if open && moves.len() < AT_ONCE => match next {
                    Some(queued) => drop(moves.spawn(self.clone().put(queued))),
                    None => open = false,
                },
            }
        }
        rest
    }

    /// Moves a request, which may wait for room until there is no time left.
    async fn put(mut self, queued: Queued) -> Moved {
        if !queued.ticket.has_nobody() {
            // Whoever waits for its outcome can send it again, to the queue on disk.
            let (items, failure) = (queued.batch.cost().items, shutting_down());
            self.courier.measures.failed(items, &failure);
            queued.ticket.failed(items, &failure);
            return Moved::Elsewhere;
        }
        loop {
            let target = self.target.borrow_and_update().clone();
            let line = match target {
                Target::Disk(line) => line,
                Target::Memory(giver) => {
                    giver.space().take_over([queued]);
                    return Moved::Elsewhere;
                }
                Target::None => return Moved::Not(queued),
            };
            let turn = Arc::clone(&self.turn);
            let alone = if line.evicts() { Some(turn.lock().await) } else { None };
            let moved = match self.room(&line, &queued).await {
                Room::Is(permit) => line.take_over(permit, &queued).await,
                Room::No(failure) => Err(failure),
                Room::Elsewhere => continue,
            };
            let Err(failure) = moved else { return Moved::ToDisk };
            self.say_once(&failure);
            drop(alone);
            if *self.over.borrow() && line.put_aside(&failure, &queued).await {
                return Moved::Elsewhere;
            }
            if !failure.is_transient() || *self.over.borrow() {
                return Moved::Not(queued);
            }
            tokio::select! {
                () = sleep(COME_BACK) => {}
                () = is_over(&mut self.over) => {}
                _ = self.target.changed() => {}
            }
        }
    }

    /// Room for a request. What refused it at first is the answer if there is none in time.
    async fn room(&mut self, line: &Arc<Line>, queued: &Queued) -> Room {
        let cost = queued.batch.cost();
        let refused = match line.try_reserve_for_moved(cost) {
            Err(failure) if failure.reason == Reason::QueueFull && failure.is_transient() => failure,
            Err(failure) => return Room::No(failure),
            Ok(permit) => return Room::Is(permit),
        };
        self.say_once(&refused);
        tokio::select! {
            biased;
            () = is_over(&mut self.over) => Room::No(refused),
            _ = self.target.changed() => Room::Elsewhere,
            decided = line.wait_for_moved(cost) => decided.map_or_else(Room::No, Room::Is),
        }
    }

    fn say_once(&self, failure: &Failure) {
        if !self.has_said.swap(true, Relaxed) {
            say!(
                warn,
                self.courier.account.holder(),
                error = %failure,
                "Not all that waits in memory can be put into the queue on disk now. The rest waits for that until \
                 the time for leaving is over, gets one last attempt then, and is put aside where there are dead letters."
            );
        }
    }
}

/// The next request, of those that are to be moved again first.
async fn next(again: &mut VecDeque<Queued>, gathered: &Space) -> Option<Queued> {
    match again.pop_front() {
        Some(queued) => Some(queued),
        None => gathered.next().await,
    }
}

async fn is_over(over: &mut watch::Receiver<bool>) {
    // Without whoever would say so, it is.
    let _ = over.wait_for(|over| *over).await;
}
