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
//! - What the store holds is in an account of its own, as kept. It leaves it by name: replayed, dropped, too old, evicted.

mod overflow;
mod record;
mod replay;

pub(crate) use overflow::Overflow;
pub use record::{Cause, DEAD_LETTER, Unreadable};
pub use replay::as_queued;

use crate::config::{OnFull as WhenFull, QueueConfig};
use crate::exporter::Exporter;
use crate::queue::TAKE_DOWN;
use crate::says::say;
use crate::storage::{self, Texts, Watch};
use millrace_config::ComponentId;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::ledger::{DEAD_LETTERS, Term};
use millrace_engine::storage::{NoPlace, Place};
use millrace_engine::{Account, Batch, Cost, Failure};
use millrace_log::{Caps, Consumer, Log, OnFull, Options, Refusal};
use millrace_telemetry::Registration;
use millrace_telemetry::catalogue::millrace as ours;
use millrace_wire::Signal;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;
use tokio::time::timeout;

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
    account: Arc<Account>,
    watch: Arc<Watch>,
    /// Where they go when they are replayed: to the last one that is there. On a reload there are two for a while, and if
    /// it fails the first one stays.
    exporters: Mutex<Vec<Weak<Exporter>>>,
    /// Held while somebody goes through them.
    turn: tokio::sync::Mutex<()>,
}

impl DeadLetters {
    /// Opens the store of the component of `context`, or joins those who have it open.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub(crate) fn open(
        context: &Context,
        signal: Signal,
        storage: &ComponentId,
        config: &QueueConfig,
    ) -> Result<Arc<Self>, BuildError> {
        let place = storage::place(context, signal, storage, storage::DEAD_LETTERS)?;
        let open = |place: &Place| Self::opened(context, signal, place, config);
        let opened = place.open(open).map_err(|problem: NoPlace| context.error(problem))?;
        place.answer_with(&opened);
        Ok(opened)
    }

    fn opened(
        context: &Context,
        signal: Signal,
        place: &Place,
        config: &QueueConfig,
    ) -> Result<Self, NoPlace> {
        let account = context.account_of(DEAD_LETTERS, signal);
        let watch = Watch::new(context, &account, place, TEXTS);
        let Caps { max_size, max_age, on_full } = caps(config);
        let options = Options { max_size, max_age, on_full, ..Options::default() };
        let (log, consumer) = storage::open(place, &watch, options)?;
        Ok(Self {
            signal,
            log,
            consumer,
            account,
            watch,
            exporters: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// From now on keeps to the limits of this configuration.
    pub(crate) fn follow(&self, caps: Caps) {
        let max_size = self.log.limit(caps);
        if max_size > caps.max_size {
            say!(
                warn,
                self.watch.holder(),
                max_size,
                "the new `millrace_dead_letters::max_size` is less than two files of the size that they have now; this is \
                 the limit until the next start"
            );
        }
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
                self.watch.holder(),
                "looking for dead letters that are gone takes too long; the next start will count them"
            );
        }
    }

    /// What is replayed goes to this one, for as long as it is there.
    pub(crate) fn replay_to(&self, exporter: Weak<Exporter>) {
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
        let cause = Cause::new(batch, failure, destination, Instant::now());
        let entry = cause.entry(batch);
        let cost = Cost { items: batch.cost().items, bytes: entry.framed_len() };
        let room = match self.log.reserve(cost.bytes) {
            Ok(room) => room,
            Err(refusal) => return self.refused(&refusal, cost),
        };
        let account = Arc::clone(&self.account);
        // Called only if it is taken, and before it can be handed out.
        let placed = move |_| {
            account.record(Term::In, cost);
            account.keep(cost);
        };
        match self.log.append_with(room, entry, placed).await {
            Ok(_) => {
                self.watch.works();
                true
            }
            Err(refusal) => self.refused(&refusal, cost),
        }
    }

    fn refused(&self, refusal: &Refusal, cost: Cost) -> bool {
        say!(
            error,
            self.watch.holder(),
            error = %refusal,
            dropped_items = cost.items,
            "a request that cannot be delivered could not be put aside either; dropping it"
        );
        if matches!(refusal, Refusal::DiskFull | Refusal::Disk(_)) {
            self.watch.fails(&refusal.to_string());
        }
        false
    }
}

/// The limits that a configuration sets.
pub(crate) fn caps(config: &QueueConfig) -> Caps {
    let letters = &config.millrace_dead_letters;
    Caps {
        max_size: letters.max_size,
        max_age: (!letters.max_age.is_zero()).then(|| letters.max_age.get()),
        on_full: match config.millrace_on_full {
            WhenFull::Refuse | WhenFull::DropOldest => OnFull::DropOldest,
            // What was acknowledged and never tried does not give way to what comes later.
            WhenFull::DeadLetter => OnFull::Refuse,
        },
    }
}

/// Makes a store visible until the registrations are dropped.
pub(crate) fn watch(context: &Context, letters: &Arc<DeadLetters>) -> Vec<Registration> {
    let observe = |def, read| storage::observe(context, &letters.account, letters, def, read);
    vec![
        observe(&ours::DEAD_LETTERS, |letters| letters.log.stats().held.entries as f64),
        observe(&ours::DEAD_LETTER_ITEMS, |letters| letters.log.stats().held.items as f64),
        observe(&ours::STORAGE_DISPLACED, |letters| f64::from(u8::from(letters.log.stats().displaced))),
        observe(&ours::DEAD_LETTER_BYTES, |letters| letters.log.stats().disk_bytes as f64),
    ]
}
