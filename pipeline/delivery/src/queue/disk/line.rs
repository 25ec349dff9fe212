//! One queue's view of what is kept: how much may wait, and whether it is handed out here. Who gets room is in
//! `admission.rs`, and what becomes of what is handed in, in `putting.rs`.

use super::Store;
use super::record::Declared;
use crate::config::{OnFull, QueueConfig, Sizer};
use crate::courier::Courier;
use crate::dead_letters::Overflow;
use crate::measures::Gauges;
use crate::queue::now;
use millrace_engine::Account;
use millrace_engine::storage::Place;
use millrace_log::Totals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// Where nothing is handed out.
const NONE: i64 = i64::MAX;

/// The queue's room, in units of its sizer, and its place at the store.
pub(crate) struct Line {
    pub(super) store: Arc<Store>,
    /// That of the component, under the name that it has here.
    account: Arc<Account>,
    /// Nobody else's while this is there.
    place: Place,
    pub(super) sizer: Sizer,
    pub(super) capacity: u64,
    pub(super) block: bool,
    pub(super) on_full: OnFull,
    pub(super) declared: Declared,
    /// The way to the dead letters, if there are any.
    pub(super) letters: Option<Overflow>,
    /// Units that have been set aside and are not on disk yet.
    pub(super) reserved: AtomicU64,
    /// How many wait for room. While somebody does, nobody else is served first.
    pub(super) waiting: AtomicUsize,
    /// Held by the one that has waited longest.
    pub(super) turn: tokio::sync::Mutex<()>,
    closed: AtomicBool,
    /// Whether anything is to be handed out: it is known that the configuration is at work.
    begun: AtomicBool,
    /// Whether nothing more is to be handed out: there is no time, the destination does not take it now, or another one
    /// has what is kept.
    keeps: AtomicBool,
    /// Whether another one goes on with what is kept.
    passed_on: Arc<AtomicBool>,
    pub(super) changed: Notify,
    created: Instant,
    /// When the oldest request that is handed out was put in, in nanoseconds since `created`, which may be before it;
    /// [`NONE`] without one.
    oldest_taken: AtomicI64,
}

impl Line {
    pub(crate) fn new(
        (store, place): (Arc<Store>, Place),
        config: &QueueConfig,
        declared: Declared,
        courier: &Courier,
    ) -> Arc<Self> {
        let letters = courier.dead_letters.clone();
        Arc::new(Self {
            store,
            account: Arc::clone(&courier.account),
            place,
            sizer: config.sizer,
            capacity: config.queue_size,
            block: config.block_on_overflow,
            on_full: config.millrace_on_full,
            declared,
            letters: letters.map(|(letters, destination)| Overflow::new(letters, destination)),
            reserved: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
            passed_on: Arc::clone(&courier.passed_on),
            changed: Notify::new(),
            created: now(),
            oldest_taken: AtomicI64::new(NONE),
        })
    }

    /// That of the component, which has what is kept only once this has begun.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// What is kept.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Where what does not fit is put aside, if it is.
    pub(super) fn overflow(&self) -> Option<&Overflow> {
        self.letters.as_ref().filter(|_| self.on_full == OnFull::DeadLetter)
    }

    /// What is kept follows the rules of this queue from now on, is in the account of its component, and is handed out
    /// here, and no longer to the one before it.
    pub(crate) fn begin(self: &Arc<Self>) {
        self.store.watch.go_over_to(&self.account);
        self.store.follow(self.place.rules, self.on_full);
        let before = self.store.hand_out_to(self);
        self.begun.store(true, SeqCst);
        self.changed.notify_waiters();
        if let Some(before) = before {
            before.pass_on();
        }
    }

    /// Another one has what is kept from now on, and what this one gives back. This one is not closed: requests that are
    /// under way to it have room still.
    fn pass_on(&self) {
        self.passed_on.store(true, SeqCst);
        self.keeps.store(true, SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_passed_on(&self) -> bool {
        self.passed_on.load(SeqCst)
    }

    /// Completes when another one has what is kept.
    pub(crate) async fn passed_on(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_passed_on() {
                return;
            }
            changed.await;
        }
    }

    /// Says what nobody goes on with for now, unless one of another name has it open.
    pub(crate) fn tell_what_stays(&self) {
        if Arc::strong_count(&self.store) > 1 {
            return;
        }
        self.store.watch.stays(self.store.log.held());
    }

    /// Units of what is on disk, and of what has room there.
    fn used(&self) -> u64 {
        self.reserved.load(SeqCst).saturating_add(self.on_disk())
    }

    /// Units of what is on disk.
    pub(super) fn on_disk(&self) -> u64 {
        self.units(self.store.log.held())
    }

    pub(super) fn units(&self, Totals { entries, items, bytes }: Totals) -> u64 {
        match self.sizer {
            Sizer::Requests => entries,
            Sizer::Items => items,
            Sizer::Bytes => bytes,
        }
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.changed.notify_waiters();
    }

    /// Hands out nothing more: the rest stays on disk. Where another one has it, it goes there.
    pub(crate) fn keep_the_rest(&self) {
        if !self.is_passed_on() {
            self.keeps.store(true, SeqCst);
            self.close();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(SeqCst)
    }

    pub(super) fn keeps(&self) -> bool {
        self.keeps.load(SeqCst)
    }

    /// Tells when it begins, is closed, or keeps what it has.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Writes down what is done with, and in the end what is gone.
    pub(crate) async fn tidy(&self) {
        let log = self.store.log.clone();
        let is_at_end = self.store.watch.is_at_end();
        let tidy = move || {
            if is_at_end {
                log.take_stock();
            }
            log.tidy();
        };
        // A panic in it has been reported; what is not written down is handed out once more.
        let _ = spawn_blocking(tidy).await;
    }

    /// Notes how old the oldest request is that is handed out.
    pub(crate) fn note_oldest_taken(&self, arrived: Option<Instant>) {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(NONE - 1);
        self.oldest_taken.store(
            arrived.map_or(NONE, |arrived| match arrived.checked_duration_since(self.created) {
                Some(later) => nanos(later),
                None => -nanos(self.created.saturating_duration_since(arrived)),
            }),
            Relaxed,
        );
    }
}

impl Gauges for Line {
    /// What another one has is that one's, which may be called otherwise.
    fn size(&self) -> u64 {
        if self.is_passed_on() { self.reserved.load(SeqCst) } else { self.used() }
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn oldest_age(&self) -> f64 {
        let since_created = now().saturating_duration_since(self.created).as_secs_f64();
        match self.oldest_taken.load(Relaxed) {
            NONE => 0.0,
            nanos => (since_created - nanos as f64 / 1e9).max(0.0),
        }
    }
}
