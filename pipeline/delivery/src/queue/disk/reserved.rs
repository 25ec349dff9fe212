//! Room that has been set aside for a request.

use super::Line;
use millrace_engine::Permit;
use millrace_log::Room;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// What a permit stands for.
pub(super) struct Reserved {
    pub(super) line: Arc<Line>,
    /// Of the queue.
    pub(super) units: u64,
    pub(super) room: Option<RoomIn>,
}

/// Where there is room.
pub(super) enum RoomIn {
    Queue(Room),
    DeadLetters(Room),
}

/// Who wants room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// What arrives: if it does not fit, it is put aside where that is configured.
    Arriving,
    /// What has been put aside before.
    Replayed,
    /// What waits in memory, and nobody can be told to send it again: it is taken even at the end, and stays.
    Moved,
}

impl Line {
    /// What a permit stands for, if it is room in the queue itself.
    pub(super) fn room_in_line(permit: Permit) -> Option<(Reserved, Room)> {
        let mut reserved = permit.into_carried::<Reserved>()?;
        match reserved.room.take() {
            Some(RoomIn::Queue(room)) => Some((reserved, room)),
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
