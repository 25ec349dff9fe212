//! Dead letters: what could not be delivered and never will be by itself, put aside on disk with its reason instead of
//! being dropped.
//!
//! A destination that refuses for good, retries that have run out, and records that are too large for it on their own
//! end here, in a log of their own beside the queue of the same exporter and signal: whatever the destination refuses
//! takes no room from what it may still take. They stay until somebody replays or drops them
//! (`millrace dead-letters`), until they are too old, or until newer ones need the room. With `millrace_on_full:
//! dead_letter` what does not fit into the queue is put here as well, and then nothing makes room for newer ones.
//!
//! # Invariants
//! - A request is counted as dead-lettered only when it is on disk. If it cannot be put there, it is lost by its reason,
//!   as it would be without dead letters.
//! - What has been given back and fails again finds room: what arrives meanwhile leaves it (`turnover.rs`).
//! - What the store holds is in an account of its own, as kept. It leaves it by name: replayed, dropped, too old, evicted.

mod access;
mod overflow;
mod record;
mod replay;
mod turnover;

pub(crate) use access::Access;
pub(crate) use overflow::Overflow;
pub use record::{Cause, DEAD_LETTER, Unreadable};
pub use replay::as_queued;

use crate::exporter::Exporter;
use crate::queue::{Queued, TAKE_DOWN};
use crate::says::say;
use crate::storage::{self, Texts, Watch, Watched};
use millrace_engine::component::Context;
use millrace_engine::ledger::Term;
use millrace_engine::storage::{NoPlace, Place};
use millrace_engine::{Account, Batch, Cost, Failure};
use millrace_log::{Caps, Consumer, ConsumerOptions, Log, Options, Refusal};
use millrace_wire::Signal;
use overflow::Passing;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;
use tokio::time::timeout;
use turnover::GivenBack;

const TEXTS: Texts = Texts {
    found: "there are dead letters; `millrace dead-letters list` shows them",
    lost: "dead letters are gone",
    fails: "what cannot be delivered is dropped until it does",
    displaced: "until then what cannot be delivered is dropped",
};

/// The dead letters of one component and signal.
pub(crate) struct DeadLetters {
    signal: Signal,
    log: Log,
    consumer: Consumer,
    watch: Arc<Watch>,
    /// Where they go when they are replayed: to the one of those that are there that has begun to work last.
    exporters: Mutex<Vec<Weak<Exporter>>>,
    /// Held while somebody goes through them.
    turn: tokio::sync::Mutex<()>,
    /// What has left them and may come back.
    given_back: Mutex<Option<GivenBack>>,
}

impl DeadLetters {
    fn opened(
        context: &Context,
        signal: Signal,
        place: &Place,
        account: &Arc<Account>,
        caps: Caps,
    ) -> Result<Self, NoPlace> {
        let watch = Watch::new(context, account, place, TEXTS);
        // Whoever looks for some of them has the others meanwhile, too, and those may be all that there are.
        let consumers = vec![ConsumerOptions { max_outstanding: usize::MAX, ..ConsumerOptions::default() }];
        let options = Options { max_size: caps.max_size, consumers, ..Options::default() };
        let (log, consumer) = storage::open(&context.shared.openings, place, &watch, options)?;
        Ok(Self {
            signal,
            log,
            consumer,
            watch,
            exporters: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            given_back: Mutex::default(),
        })
    }

    /// When everything ends: what of them is gone is lost.
    pub(crate) async fn drain(&self) {
        if !self.watch.is_at_end() {
            return;
        }
        let log = self.log.clone();
        // A panic in it has been reported.
        if timeout(TAKE_DOWN, tokio::task::spawn_blocking(move || log.take_stock())).await.is_err() {
            say!(
                warn,
                &self.watch.holder(),
                "looking for dead letters that are gone takes too long; the next start will count them"
            );
        }
    }

    /// What is replayed goes to this one, for as long as it is there and no other one begins to work.
    fn replay_to(&self, exporter: Weak<Exporter>) {
        let mut exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        exporters.retain(|exporter| exporter.strong_count() > 0);
        exporters.push(exporter);
    }

    fn exporter(&self) -> Option<Arc<Exporter>> {
        let exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        exporters.iter().rev().find_map(Weak::upgrade)
    }

    /// Puts a batch aside. When this returns `true`, it is on disk; otherwise nothing of it is kept.
    pub(crate) async fn keep(&self, batch: &Batch, failure: &Failure, destination: &str) -> bool {
        let watch = &self.watch;
        let arrived = |kept| {
            let watch = Arc::clone(watch);
            move || watch.keep(kept).record(Term::In, kept)
        };
        let appended = self.append(batch, failure, destination, arrived).await;
        appended.map_or_else(|refusal| self.refused(&refusal, batch.cost().items), |()| true)
    }

    /// The same with a request from a queue in memory, that nobody waits for. It is the caller's until it is on disk.
    async fn keep_moved(&self, queued: &Queued, failure: &Failure, destination: &str) -> Result<(), Refusal> {
        let passing = |kept| {
            let passing = Passing::moved(queued, &self.watch, failure.clone(), kept);
            move || passing.placed()
        };
        self.append(&queued.batch, failure, destination, passing).await
    }

    /// Writes it down. What `arriving` makes for its size is called only if it is taken, and before it can be handed out.
    async fn append<A: FnOnce() + Send + 'static>(
        &self,
        batch: &Batch,
        failure: &Failure,
        destination: &str,
        arriving: impl FnOnce(Cost) -> A,
    ) -> Result<(), Refusal> {
        let entry = Cause::new(batch, failure, destination, Instant::now()).entry(batch);
        let kept = Cost { items: batch.cost().items, bytes: entry.framed_len() };
        let room = self.reserve(kept.bytes)?;
        let placed = arriving(kept);
        self.log.append_with(room, entry, move |_| placed()).await?;
        self.watch.works();
        Ok(())
    }

    fn refused(&self, refusal: &Refusal, dropped_items: u64) -> bool {
        say!(
            error,
            &self.watch.holder(),
            error = %refusal,
            dropped_items,
            "a request that cannot be delivered could not be put aside either; dropping it"
        );
        if matches!(refusal, Refusal::DiskFull | Refusal::Disk(_)) {
            self.watch.fails(&refusal.to_string());
        }
        false
    }
}

impl Watched for DeadLetters {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}
