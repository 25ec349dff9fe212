//! Where the requests come from that a queue on disk hands out: memory, or the disk.

use super::record::{self, Now, Unreadable};
use super::{Lent, Line, Store};
use crate::queue::Queued;
use crate::storage::cost;
use crate::ticket::{Request, Ticket};
use millrace_engine::Until;
use millrace_log::{Delivery, Lease, Next};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep_until;

/// How many entries are read at a time.
const READ_AHEAD: usize = 32;
/// How long to wait after the disk has failed to read.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Takes out what waits, in order.
pub(crate) struct Source {
    line: Arc<Line>,
    /// Read, and not taken yet.
    read: VecDeque<Queued>,
    reading: Option<JoinHandle<Reading>>,
    paused_until: Option<Instant>,
    /// Whether it has said that there is no room.
    is_short: bool,
}

/// What there is to take.
pub(crate) enum Taken {
    Request(Queued),
    /// There is something, but no room in memory for it until something else is done with. Said once; asking again
    /// waits for room.
    NoRoom,
    /// There is nothing, and nothing comes.
    End,
}

/// What came of reading.
#[derive(Default)]
struct Reading {
    read: VecDeque<Queued>,
    failed: bool,
}

impl Source {
    pub(crate) fn new(line: &Arc<Line>) -> Self {
        Self {
            line: Arc::clone(line),
            read: VecDeque::new(),
            reading: None,
            paused_until: None,
            is_short: false,
        }
    }

    /// The next request. Giving up half-way loses nothing.
    pub(crate) async fn next(&mut self) -> Taken {
        let line = Arc::clone(&self.line);
        loop {
            let changed = line.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if line.keeps() {
                // What has been read goes back.
                self.read.clear();
                return Taken::End;
            }
            if !line.has_begun() {
                if line.is_closed() {
                    return Taken::End;
                }
                changed.await;
                continue;
            }
            if let Some(request) = self.read.pop_front() {
                self.read_on();
                return Taken::Request(request);
            }
            if let Some(reading) = &mut self.reading {
                tokio::select! {
                    read = reading => {
                        self.reading = None;
                        // A panic in it has been told by the runtime's hook; what it had taken goes back.
                        self.has_read(read.unwrap_or_default());
                    }
                    () = changed => {}
                }
                continue;
            }
            if let Some(until) = self.paused_until {
                tokio::select! {
                    () = sleep_until(until.into()) => self.paused_until = None,
                    () = changed => {}
                }
                continue;
            }
            if self.is_short {
                self.room().await;
                self.is_short = false;
                continue;
            }
            let store = &line.store;
            if store.watch.has_dropped() {
                store.memory.forget_below(store.consumer.untaken_from());
            }
            let ready = store.consumer.ready();
            match store.consumer.try_next(|sequence| store.memory.has(sequence)) {
                Next::Held(lease) => {
                    // Another one may have been given what is kept since this was asked; then it goes back.
                    if let Some(request) = line.from_memory(lease).filter(|_| !line.keeps()) {
                        return Taken::Request(request);
                    }
                }
                Next::OnDisk if !store.may_read() => {
                    self.is_short = true;
                    return Taken::NoRoom;
                }
                Next::OnDisk => self.begin_reading(),
                Next::Empty if line.is_closed() => return Taken::End,
                Next::Empty => tokio::select! {
                    () = ready => {}
                    () = changed => {}
                },
            }
        }
    }

    /// Reads what comes after what has been read, before all of that is taken, so that nobody waits for the disk.
    fn read_on(&mut self) {
        let store = &self.line.store;
        let is_due =
            self.reading.is_none() && self.paused_until.is_none() && self.read.len() <= READ_AHEAD / 2;
        if is_due && store.memory.is_behind() && store.may_read() {
            self.begin_reading();
        }
    }

    fn begin_reading(&mut self) {
        let line = Arc::clone(&self.line);
        self.reading = Some(spawn_blocking(move || line.read()));
    }

    /// Waits until there may be room in memory.
    async fn room(&self) {
        loop {
            let freed = self.line.store.memory.window.freed().notified();
            let changed = self.line.changed().notified();
            tokio::pin!(freed, changed);
            freed.as_mut().enable();
            changed.as_mut().enable();
            if self.line.keeps() || self.line.store.may_read() {
                return;
            }
            tokio::select! {
                () = freed => {}
                () = changed => {}
            }
        }
    }

    /// When the oldest request was put in that has been read and not taken.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.read.front().map(|request| request.ticket.arrived())
    }

    pub(crate) fn note_oldest_taken(&self, arrived: Option<Instant>) {
        self.line.note_oldest_taken(arrived);
    }

    /// Completes when somebody else has what is kept.
    pub(crate) fn passed_on(&self) -> impl Future<Output = ()> + use<> {
        let line = Arc::clone(&self.line);
        async move { line.passed_on().await }
    }

    /// Whether somebody else has what is kept.
    pub(crate) fn is_passed_on(&self) -> bool {
        self.line.is_passed_on()
    }

    /// Gives back what has been read and not taken. What is being read goes back as soon as it has been.
    pub(crate) fn give_back(&mut self) {
        self.reading = None;
        self.read.clear();
    }

    /// Takes nothing more, when there is no time left.
    pub(crate) fn abandon(&mut self) {
        self.line.keep_the_rest();
        self.read.clear();
    }

    fn has_read(&mut self, reading: Reading) {
        self.read.extend(reading.read);
        // The log has told what failed.
        if reading.failed {
            self.paused_until = Some(crate::queue::now() + AFTER_FAILURE);
        }
    }
}

impl Store {
    /// Whether there is room in memory for more from the disk. One at a time may pass, however large.
    fn may_read(&self) -> bool {
        self.memory.window.has_room() || self.handed_out.is_nothing()
    }
}

impl Line {
    /// An entry that has been handed out and is in memory.
    fn from_memory(self: &Arc<Self>, lease: Lease) -> Option<Queued> {
        let (fresh, answer) = self.store.memory.take(lease.sequence);
        let Some(fresh) = fresh else {
            // Nobody else takes things out; if it is not there after all, it is on disk.
            let _ = self.store.consumer.defer(lease.sequence);
            return None;
        };
        let until = if answer.is_some() { Until::Settled } else { Until::Stored };
        let request = Request { cost: cost(&lease), until, arrived: fresh.arrived, span: fresh.span };
        let lent = Lent::new(self, lease, fresh.memory);
        Some(Queued { batch: fresh.batch, ticket: Ticket::lent(lent, request, answer) })
    }

    /// Reads what comes next, as far as there is room. Blocks.
    fn read(self: &Arc<Self>) -> Reading {
        let mut reading = Reading::default();
        while reading.read.len() < READ_AHEAD && !self.keeps() && self.store.may_read() {
            match self.store.consumer.read_next() {
                Ok(Some(delivery)) => reading.read.extend(self.from_disk(delivery)),
                Ok(None) => break,
                Err(_) => {
                    reading.failed = true;
                    break;
                }
            }
        }
        reading
    }

    /// An entry that has been handed out and read; checked like anything that comes from outside.
    fn from_disk(self: &Arc<Self>, delivery: Delivery) -> Option<Queued> {
        let Delivery { lease, meta, payload } = delivery;
        let memory = self.store.memory.window.enter(payload.len() as u64);
        let now = Now::get();
        let read = match lease.kind {
            record::BATCH => record::batch(self.store.signal, meta, payload, now),
            _ => Err(Unreadable::Newer),
        };
        match read {
            Ok((batch, span)) if batch.cost().items == u64::from(lease.items) => {
                let (_, answer) = self.store.memory.take(lease.sequence);
                let until = if answer.is_some() { Until::Settled } else { Until::Stored };
                let arrived = now.instant_of(lease.time_ns);
                let request = Request { cost: cost(&lease), until, arrived, span };
                let lent = Lent::new(self, lease, memory);
                Some(Queued { batch, ticket: Ticket::lent(lent, request, answer) })
            }
            Err(Unreadable::Newer) => {
                // Neither acked nor given back: it stays where it is for the version that knows it.
                self.store.watch.unknown(lease.sequence);
                None
            }
            Err(problem) => {
                self.store.lost(&lease, &problem.to_string());
                None
            }
            Ok(_) => {
                self.store.lost(&lease, "its items are not as many as they were");
                None
            }
        }
    }
}

impl Store {
    /// What has been read is not what was written, although its checksum says so.
    fn lost(&self, lease: &Lease, problem: &str) {
        if self.consumer.ack(lease.sequence) {
            self.watch.unusable(cost(lease), problem);
        }
        self.freed.notify_waiters();
    }
}
