//! One queue's view of what is kept: how much may wait, and what happens when more comes.

use super::Store;
use super::arriving::Arriving;
use super::record::{self, Declared, META_USUAL, Now};
use crate::config::{OnFull, QueueConfig, Sizer};
use crate::courier::Courier;
use crate::dead_letters::Overflow;
use crate::measures::Gauges;
use crate::queue::space::{Waiting, full, shutting_down, too_large};
use crate::queue::{Queued, now};
use crate::ticket::Outcome;
use millrace_engine::storage::Rules;
use millrace_engine::{Batch, Cost, Failure, Fault, Permit, Reason, Reservation, Until};
use millrace_log::{Entry, Refusal, Room, Totals, framed_len};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;

/// When to come back while there is no room on disk.
const COME_BACK: Duration = Duration::from_secs(1);
/// Said while there is little room left on the disk.
const IS_LOW: &str = "the disk is nearly full, and its last part is left to others; make room on it";
/// Where nothing is handed out.
const NONE: i64 = i64::MAX;

/// The queue's room, in units of its sizer, and its place at the store.
pub(crate) struct Line {
    pub(super) store: Arc<Store>,
    rules: Rules,
    sizer: Sizer,
    capacity: u64,
    block: bool,
    on_full: OnFull,
    declared: Declared,
    /// Where what does not fit is put aside, if it is.
    overflow: Option<Overflow>,
    /// Units that have been set aside and are not on disk yet.
    reserved: AtomicU64,
    /// How many wait for room. While somebody does, nobody else is served first.
    waiting: AtomicUsize,
    /// Held by the one that has waited longest.
    turn: tokio::sync::Mutex<()>,
    closed: AtomicBool,
    /// Whether nothing more is to be handed out: there is no time, or the destination does not take it now.
    keeps: AtomicBool,
    /// Whether another one goes on with what is kept.
    passed_on: AtomicBool,
    changed: Notify,
    created: Instant,
    /// When the oldest request that is handed out was put in, in nanoseconds since `created`, which may be before it;
    /// [`NONE`] without one.
    oldest_taken: AtomicI64,
}

/// What a permit stands for.
struct Reserved {
    line: Arc<Line>,
    /// Of the queue.
    units: u64,
    room: Option<RoomIn>,
}

/// Where there is room.
enum RoomIn {
    Queue(Room),
    DeadLetters(Room),
}

/// What becomes of what does not fit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It is put aside where that is configured.
    MayGoAside,
    Waits,
}

impl Line {
    pub(crate) fn new(
        (store, rules): (Arc<Store>, Rules),
        config: &QueueConfig,
        declared: Declared,
        overflow: Option<Overflow>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            rules,
            sizer: config.sizer,
            capacity: config.queue_size,
            block: config.block_on_overflow,
            on_full: config.millrace_on_full,
            declared,
            overflow,
            reserved: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
            passed_on: AtomicBool::new(false),
            changed: Notify::new(),
            created: now(),
            oldest_taken: AtomicI64::new(NONE),
        })
    }

    /// What is kept.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What is kept follows the rules of this queue from now on, and no longer those of the one before it.
    pub(crate) fn begin(&self) {
        self.store.follow(self.rules, self.on_full);
    }

    /// Another one takes the place of this one. If it is one of the same store, it finds there what this one leaves.
    pub(crate) fn pass_on_to(&self, heir: &Self) {
        if Arc::ptr_eq(&self.store, &heir.store) {
            self.passed_on.store(true, Relaxed);
        }
    }

    pub(crate) fn is_passed_on(&self) -> bool {
        self.passed_on.load(Relaxed)
    }

    /// Says what nobody goes on with for now.
    pub(crate) fn tell_what_stays(&self) {
        self.store.watch.stays(self.store.log.held());
    }

    /// Room for so many requests of that cost, in the queue and on the disk, or else among the dead letters.
    pub(crate) fn reserve(self: &Arc<Self>, cost: Cost, copies: u32) -> Reservation<'static> {
        self.reserve_or(cost, copies, Excess::MayGoAside)
    }

    /// Room for one in the queue itself.
    pub(crate) fn reserve_in_line(self: &Arc<Self>, cost: Cost) -> Reservation<'static> {
        self.reserve_or(cost, 1, Excess::Waits)
    }

    fn reserve_or(self: &Arc<Self>, cost: Cost, copies: u32, excess: Excess) -> Reservation<'static> {
        let wait = || {
            let line = Arc::clone(self);
            Reservation::Later(Box::pin(async move { line.wait_for(cost, copies, excess).await }))
        };
        if self.block && self.waiting.load(SeqCst) > 0 {
            return wait();
        }
        match self.try_reserve(cost, copies, excess) {
            Err(failure) if self.block && is_for_room(&failure) => wait(),
            decided => Reservation::Now(decided),
        }
    }

    pub(crate) async fn wait_for(
        self: Arc<Self>,
        cost: Cost,
        copies: u32,
        excess: Excess,
    ) -> Result<Permit, Failure> {
        let _waiting = Waiting::announce(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            let freed = self.store.freed.notified();
            let changed = self.changed.notified();
            tokio::pin!(freed, changed);
            freed.as_mut().enable();
            changed.as_mut().enable();
            let on_disk = self.store.log.freed();
            match self.try_reserve(cost, copies, excess) {
                Err(failure) if is_for_room(&failure) => tokio::select! {
                    () = freed => {}
                    () = changed => {}
                    () = on_disk => {}
                    // Room that others make on the disk is not told.
                    () = tokio::time::sleep(COME_BACK) => {}
                },
                decided => return decided,
            }
        }
    }

    fn try_reserve(self: &Arc<Self>, cost: Cost, copies: u32, excess: Excess) -> Result<Permit, Failure> {
        match (self.try_reserve_in_line(cost, copies), &self.overflow) {
            (Err(failure), Some(overflow))
                if failure.reason == Reason::QueueFull && excess == Excess::MayGoAside =>
            {
                self.look_for_space()?;
                let rooms = overflow.reserve(cost, copies)?.into_iter().map(RoomIn::DeadLetters);
                Ok(self.permit(0, rooms))
            }
            (in_line, _) => in_line,
        }
    }

    pub(crate) fn try_reserve_in_line(self: &Arc<Self>, cost: Cost, copies: u32) -> Result<Permit, Failure> {
        if self.closed.load(SeqCst) {
            return Err(shutting_down());
        }
        let units = self.sizer.of(cost);
        let all = units.saturating_mul(u64::from(copies));
        if all > self.capacity {
            return Err(too_large(all, self.capacity));
        }
        // What is set aside is counted before it is on disk and not after: what moves meanwhile counts twice at most.
        let fits = |reserved: u64| {
            let used = reserved.saturating_add(self.on_disk()).saturating_add(all);
            (used <= self.capacity || self.on_full == OnFull::DropOldest)
                .then(|| reserved.saturating_add(all))
        };
        self.reserved.fetch_update(SeqCst, SeqCst, fits).map_err(|_| full())?;
        let rooms = self.rooms(cost, copies).inspect_err(|_| {
            // Nobody is told: it was not to be had by anybody else meanwhile.
            self.reserved.fetch_sub(all, SeqCst);
        })?;
        Ok(self.permit(units, rooms.into_iter().map(RoomIn::Queue)))
    }

    fn permit(self: &Arc<Self>, units: u64, rooms: impl Iterator<Item = RoomIn>) -> Permit {
        Permit::carrying(rooms.map(|room| Reserved { line: Arc::clone(self), units, room: Some(room) }))
    }

    /// Room on the disk, all or nothing.
    fn rooms(&self, cost: Cost, copies: u32) -> Result<Vec<Room>, Failure> {
        self.look_for_space()?;
        let length = framed_len(META_USUAL, cost.bytes);
        let room = |_| self.store.log.reserve(length).map_err(|refusal| self.refused(&refusal));
        (0..copies).map(room).collect()
    }

    /// The last part of the disk is left to others.
    fn look_for_space(&self) -> Result<(), Failure> {
        if !self.store.free.is_low() {
            return Ok(());
        }
        self.store.watch.fails(IS_LOW);
        Err(Failure::transient(Fault::Us, Reason::Storage, IS_LOW).after(COME_BACK))
    }

    /// Puts a batch on disk, and waits for its outcome if somebody asked for it.
    pub(crate) async fn put(
        self: &Arc<Self>,
        courier: &Courier,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        let cost = batch.cost();
        let put = self.put_somewhere(courier, permit, batch, until).await;
        match put {
            Err(failure) => {
                courier.measures.enqueue_failed.add(cost.items);
                Err(failure)
            }
            Ok(Put::Aside) => Ok(()),
            Ok(Put::InLine(outcome)) => {
                courier.measures.enqueued(cost);
                match outcome {
                    None => Ok(()),
                    Some(outcome) => outcome.await.unwrap_or_else(|_| {
                        let message = "the request was dropped from the disk before it was delivered";
                        Err(Failure::transient(Fault::Us, Reason::Evicted, message))
                    }),
                }
            }
        }
    }

    /// Where there is room for it.
    async fn put_somewhere(
        self: &Arc<Self>,
        courier: &Courier,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<Put, Failure> {
        let Some(mut reserved) = permit.into_carried::<Reserved>() else {
            return Err(Failure::transient(Fault::Us, Reason::Internal, "no room was set aside on disk"));
        };
        match (reserved.room.take(), &self.overflow) {
            (Some(RoomIn::Queue(room)), overflow) => {
                let outcome = self.append(courier, reserved, room, batch, until).await?;
                if let Some(overflow) = overflow {
                    overflow.ended();
                }
                Ok(Put::InLine(outcome))
            }
            (Some(RoomIn::DeadLetters(room)), Some(overflow)) => {
                overflow.put(&courier.account, room, &batch).await.map(|()| Put::Aside)
            }
            _ => Err(full()),
        }
    }

    async fn append(
        self: &Arc<Self>,
        courier: &Courier,
        reserved: Reserved,
        room: Room,
        batch: Batch,
        until: Until,
    ) -> Result<Option<Outcome>, Failure> {
        self.make_room().await?;
        let span = courier.measures.spans.enqueue();
        let batch = self.declared.strip(batch);
        let entry = record::entry(&batch, span, Now::get());
        let cost = Cost { items: batch.cost().items, bytes: entry.framed_len() };
        let (answer, outcome) = match until {
            Until::Stored => (None, None),
            Until::Settled => {
                let (answer, outcome) = oneshot::channel();
                (Some(answer), Some(outcome))
            }
        };
        let arriving = Arriving::new(&self.store, cost, batch, span, answer);
        self.write(reserved, room, entry, arriving).await.map(|()| outcome)
    }

    async fn write(
        &self,
        reserved: Reserved,
        room: Room,
        entry: Entry,
        arriving: Arriving,
    ) -> Result<(), Failure> {
        let store = &self.store;
        let appended = store.log.append_with(room, entry, move |sequence| arriving.placed(sequence)).await;
        // Not before it is on disk, and in the room that is taken there.
        drop(reserved);
        match appended {
            Ok(_) => {
                store.watch.works();
                Ok(())
            }
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// Puts a request on disk, in room of the queue itself, that waits in memory and that nobody waits for. It is the
    /// caller's until it is there, or if it cannot be.
    pub(crate) async fn take_over(&self, permit: Permit, queued: &Queued) -> Result<(), Failure> {
        let reserved = permit.into_carried::<Reserved>();
        let Some((reserved, room)) = reserved.and_then(Reserved::split) else { return Err(full()) };
        self.make_room().await?;
        let batch = self.declared.strip(queued.batch.clone());
        let queued = Queued { batch, ticket: Arc::clone(&queued.ticket) };
        let entry = record::entry(&queued.batch, queued.ticket.span(), Now::get());
        let cost = Cost { items: queued.batch.cost().items, bytes: entry.framed_len() };
        let arriving = Arriving::moved(&self.store, cost, queued);
        self.write(reserved, room, entry, arriving).await
    }

    /// Drops the oldest requests that are not being sent until what has been set aside fits.
    async fn make_room(&self) -> Result<(), Failure> {
        if self.on_full != OnFull::DropOldest {
            return Ok(());
        }
        while self.size() > self.capacity {
            if !self.store.drop_oldest().await {
                return Err(full());
            }
        }
        Ok(())
    }

    fn refused(&self, refusal: &Refusal) -> Failure {
        let failure = |reason| Failure::transient(Fault::Us, reason, refusal.to_string()).after(COME_BACK);
        match refusal {
            Refusal::Full { max_size } => {
                let message = format!("sending queue is full: it takes all of its {max_size} bytes on disk");
                Failure::transient(Fault::Us, Reason::QueueFull, message).after(COME_BACK)
            }
            Refusal::TooLarge { bytes, limit } => {
                let message = format!(
                    "a request of {bytes} bytes does not fit into the sending queue on disk, which takes at most {limit}; \
                     raise `max_size` of its storage"
                );
                Failure::permanent(Fault::Us, Reason::TooLarge, message)
            }
            Refusal::Closed => shutting_down(),
            Refusal::DiskFull | Refusal::Disk(_) => {
                self.store.watch.fails(&refusal.to_string());
                failure(Reason::Storage)
            }
        }
    }

    /// Units of what is on disk.
    fn on_disk(&self) -> u64 {
        let Totals { entries, items, bytes } = self.store.log.held();
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

    /// Hands out nothing more: the rest stays on disk.
    pub(crate) fn keep_the_rest(&self) {
        self.keeps.store(true, SeqCst);
        self.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub(super) fn keeps(&self) -> bool {
        self.keeps.load(SeqCst)
    }

    /// Tells when it is closed, or keeps what it has.
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

/// What has become of a request that was handed in.
enum Put {
    /// It waits here, and perhaps somebody for its outcome.
    InLine(Option<Outcome>),
    Aside,
}

/// Whether it is worth waiting for room.
fn is_for_room(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::QueueFull | Reason::Storage) && failure.is_transient()
}

impl Reserved {
    /// In the queue itself.
    fn split(mut self) -> Option<(Self, Room)> {
        match self.room.take() {
            Some(RoomIn::Queue(room)) => Some((self, room)),
            _ => None,
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.line.reserved.fetch_sub(self.units, SeqCst);
        if self.line.block {
            self.line.changed.notify_waiters();
        }
    }
}

impl Gauges for Line {
    fn size(&self) -> u64 {
        self.reserved.load(SeqCst).saturating_add(self.on_disk())
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
