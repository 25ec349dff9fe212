//! One queue's way to the dead letters, above all of what does not fit into it and is put aside instead of being refused
//! (`millrace_on_full: dead_letter`).
//!
//! Nothing of that has been tried, and all of it has been acknowledged. So it is not dropped to make room for
//! more: when the dead letters are full as well, what arrives is refused.

use super::{Cause, DeadLetters};
use crate::queue::Queued;
use crate::says::say;
use crate::storage::Watch;
use crate::ticket::Ticket;
use millrace_engine::ledger::{Held, Term};
use millrace_engine::{Account, Batch, Cost, Failure, Fault, Reason};
use millrace_log::{Refusal, Room, framed_len};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What is set aside for the reason and the destination of a request; an entry that needs more is admitted anew.
const META_USUAL: u64 = 256;
/// When to come back while there is no room anywhere.
const COME_BACK: Duration = Duration::from_secs(1);

/// The way of one queue to the dead letters.
pub(crate) struct Overflow {
    letters: Arc<DeadLetters>,
    destination: String,
    /// How many requests have been put aside since the queue has last taken one.
    aside: AtomicU64,
}

impl Overflow {
    pub(crate) fn new(letters: Arc<DeadLetters>, destination: String) -> Self {
        Self { letters, destination, aside: AtomicU64::new(0) }
    }

    /// Room for so many requests of that cost, all or nothing.
    pub(crate) fn reserve(&self, cost: Cost, copies: u32) -> Result<Vec<Room>, Failure> {
        let length = framed_len(META_USUAL, cost.bytes);
        let room = |_| self.letters.reserve_for_new(length).map_err(|refusal| self.refused(&refusal));
        (0..copies).map(room).collect()
    }

    /// Puts a request aside. When this returns `Ok`, it is on disk.
    pub(crate) async fn put(&self, account: &Arc<Account>, room: Room, batch: &Batch) -> Result<(), Failure> {
        self.append(room, batch, |kept| Passing::new(account, &self.letters.watch, batch.cost(), kept)).await
    }

    /// The same with one that has come in before, to a queue in memory, and that nobody waits for. It is the caller's
    /// until it is on disk.
    pub(crate) async fn put_moved(&self, room: Room, queued: &Queued) -> Result<(), Failure> {
        let moved = |kept| Passing::moved(queued, &self.letters.watch, was_full(), kept);
        self.append(room, &queued.batch, moved).await
    }

    /// Puts such a request aside that cannot be delivered. It is the caller's until it is on disk.
    pub(crate) async fn give_up(&self, queued: &Queued, failure: &Failure) -> Result<(), Refusal> {
        self.letters.keep_moved(queued, failure, &self.destination).await
    }

    async fn append(
        &self,
        room: Room,
        batch: &Batch,
        passing: impl FnOnce(Cost) -> Passing,
    ) -> Result<(), Failure> {
        let letters = &self.letters;
        let entry = Cause::new(batch, &was_full(), &self.destination, Instant::now()).entry(batch);
        let passing = passing(Cost { items: batch.cost().items, bytes: entry.framed_len() });
        match letters.log.append_with(room, entry, move |_| passing.placed()).await {
            Ok(_) => {
                letters.watch.works();
                self.tell();
                Ok(())
            }
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// The queue has taken something.
    pub(crate) fn ended(&self) {
        if self.aside.load(Relaxed) == 0 {
            return;
        }
        let requests = self.aside.swap(0, Relaxed);
        if requests > 0 {
            say!(
                info,
                &self.letters.watch.holder(),
                requests,
                "the queue has room again; what was put aside meanwhile waits for `millrace dead-letters replay --reason \
                 queue_full`"
            );
        }
    }

    /// Once for each time that the queue is full, not for each request.
    fn tell(&self) {
        if self.aside.fetch_add(1, Relaxed) == 0 {
            say!(
                warn,
                &self.letters.watch.holder(),
                "the queue is full; putting what arrives aside (`millrace dead-letters list` shows it)"
            );
        }
    }

    fn refused(&self, refusal: &Refusal) -> Failure {
        let failure = |reason, message| Failure::transient(Fault::Us, reason, message).after(COME_BACK);
        match refusal {
            Refusal::Full { max_size } => {
                let message = format!(
                    "sending queue is full, and so are its dead letters, with all of their {max_size} bytes on disk"
                );
                failure(Reason::QueueFull, message)
            }
            // It may still find room in the queue.
            Refusal::TooLarge { bytes, limit } => {
                let message = format!(
                    "sending queue is full, and its dead letters take no request of {bytes} bytes: at most {limit}"
                );
                failure(Reason::QueueFull, message)
            }
            Refusal::Closed => failure(Reason::ShuttingDown, "the collector is shutting down".to_owned()),
            Refusal::DiskFull | Refusal::Disk(_) => {
                self.letters.watch.fails(&refusal.to_string());
                failure(Reason::Storage, refusal.to_string())
            }
        }
    }
}

/// Why it is here.
fn was_full() -> Failure {
    Failure::transient(Fault::Us, Reason::QueueFull, "the queue on disk was full")
}

/// A request on its way from the exporter's account into that of the dead letters. The log has it, so that it is
/// accounted for whether or not whoever brought it waits for the answer.
pub(super) struct Passing {
    /// Gone when it is on disk.
    from: Option<From>,
    to: Arc<Watch>,
    cost: Cost,
    kept: Cost,
}

/// Where it comes from.
enum From {
    /// From outside.
    Outside(Held),
    /// From a queue in memory, which has it until it is on disk, and why it is here.
    Memory(Arc<Ticket>, Failure),
}

impl Passing {
    fn new(from: &Arc<Account>, to: &Arc<Watch>, cost: Cost, kept: Cost) -> Self {
        from.record(Term::In, cost);
        Self { from: Some(From::Outside(from.hold_shared(cost))), to: Arc::clone(to), cost, kept }
    }

    pub(super) fn moved(queued: &Queued, to: &Arc<Watch>, why: Failure, kept: Cost) -> Self {
        let from = From::Memory(Arc::clone(&queued.ticket), why);
        Self { from: Some(from), to: Arc::clone(to), cost: queued.batch.cost(), kept }
    }

    /// It is on disk, and nobody has it yet.
    pub(super) fn placed(mut self) {
        self.to.keep(self.kept).record(Term::In, self.kept);
        match self.from.take() {
            Some(From::Outside(held)) => held.account().record(Term::DeadLettered, self.cost),
            Some(From::Memory(ticket, why)) => ticket.dead_lettered(self.cost.items, &why),
            None => {}
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(From::Outside(held)) = &self.from {
            // Whoever brought it is told.
            held.account().record(Term::Refused, self.cost);
        }
    }
}
