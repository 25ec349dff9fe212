//! Who gets room: in the queue and on the disk, or else among the dead letters.

use super::Line;
use super::record::META_USUAL;
use super::reserved::{Admission, Reserved, RoomIn};
use crate::queue::space::{Waiting, full, shutting_down, too_large};
use crate::storage::NEARLY_FULL;
use millrace_engine::{Cost, Failure, Fault, Permit, Reason, Reservation};
use millrace_log::{Refusal, Room, framed_len};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// When to come back while there is no room on disk.
const COME_BACK: Duration = Duration::from_secs(1);

impl Line {
    /// Room for so many requests of that cost, in the queue and on the disk, or else among the dead letters.
    pub(crate) fn reserve(self: &Arc<Self>, cost: Cost, copies: u32) -> Reservation<'static> {
        self.reserve_for(cost, copies, Admission::Arriving)
    }

    /// Room for one in the queue itself.
    pub(crate) fn reserve_in_line(self: &Arc<Self>, cost: Cost) -> Reservation<'static> {
        self.reserve_for(cost, 1, Admission::Replayed)
    }

    fn reserve_for(self: &Arc<Self>, cost: Cost, copies: u32, who: Admission) -> Reservation<'static> {
        let wait = || {
            let line = Arc::clone(self);
            Reservation::Later(Box::pin(async move { line.wait_for(cost, copies, who).await }))
        };
        if self.block && self.waiting.load(SeqCst) > 0 {
            return wait();
        }
        match self.try_reserve(cost, copies, who) {
            Err(failure) if self.block && is_for_room(&failure) => wait(),
            decided => Reservation::Now(decided),
        }
    }

    pub(super) async fn wait_for(
        self: Arc<Self>,
        cost: Cost,
        copies: u32,
        who: Admission,
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
            match self.try_reserve(cost, copies, who) {
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

    pub(super) fn try_reserve(
        self: &Arc<Self>,
        cost: Cost,
        copies: u32,
        who: Admission,
    ) -> Result<Permit, Failure> {
        if self.is_closed() && who != Admission::Moved {
            return Err(shutting_down());
        }
        match (self.try_reserve_in_line(cost, copies), self.overflow()) {
            (Err(failure), Some(overflow))
                if failure.reason == Reason::QueueFull && who == Admission::Arriving =>
            {
                self.look_for_space()?;
                let rooms = overflow.reserve(cost, copies)?.into_iter().map(RoomIn::DeadLetters);
                Ok(self.permit(0, rooms))
            }
            (in_line, _) => in_line,
        }
    }

    fn try_reserve_in_line(self: &Arc<Self>, cost: Cost, copies: u32) -> Result<Permit, Failure> {
        let units = self.sizer.of(cost);
        let all = units.saturating_mul(u64::from(copies));
        if all > self.capacity {
            return Err(too_large(all, self.capacity));
        }
        // What is set aside is counted before it is on disk and not after: what moves meanwhile counts twice at most.
        let fits = |reserved: u64| {
            let used = reserved.saturating_add(self.staying()).saturating_add(all);
            (used <= self.capacity).then(|| reserved.saturating_add(all))
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
        self.store.watch.fails(NEARLY_FULL);
        Err(Failure::transient(Fault::Us, Reason::Storage, NEARLY_FULL).after(COME_BACK))
    }

    pub(super) fn refused(&self, refusal: &Refusal) -> Failure {
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
}

/// Whether it is worth waiting for room.
fn is_for_room(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::QueueFull | Reason::Storage) && failure.is_transient()
}
