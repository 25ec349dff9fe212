//! What the requests of a connection tell its driver, without a lock or a message.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Shared by a connection's driver, whoever watches it, and its requests under way, each of which holds a clone.
#[derive(Debug)]
pub(crate) struct Conduct {
    begun: Instant,
    /// An answer has been sent since this was last looked at.
    answered: AtomicBool,
    /// A request was large enough for a larger window to help.
    wants_window: AtomicBool,
    /// When the last request ended, in milliseconds since `begun`; kept where somebody asks for it.
    ended: Option<AtomicU64>,
}

impl Conduct {
    /// Of a connection that begins now; `track_ends` if it matters when requests end.
    pub(crate) fn begin(track_ends: bool) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            answered: AtomicBool::new(false),
            wants_window: AtomicBool::new(false),
            ended: track_ends.then(AtomicU64::default),
        })
    }

    /// Requests under way, where the driver holds the only other strong reference.
    pub(crate) fn under_way(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }

    /// The same for whoever only watches.
    pub(crate) fn has_requests(conduct: &Weak<Self>) -> bool {
        conduct.strong_count() > 1
    }

    /// An answer is on its way, and its request at an end.
    pub(crate) fn answered(&self) {
        if !self.answered.load(Relaxed) {
            self.answered.store(true, Relaxed);
        }
        if let Some(ended) = &self.ended {
            ended.store(self.begun.elapsed().as_millis() as u64, Relaxed);
        }
    }

    /// Whether there has been an answer since this was last asked.
    pub(crate) fn take_answered(&self) -> bool {
        self.answered.swap(false, Relaxed)
    }

    /// When the last request ended; the beginning of the connection if there was none.
    pub(crate) fn last_end(&self) -> Instant {
        let ended = self.ended.as_ref().map_or(0, |ended| ended.load(Relaxed));
        self.begun + Duration::from_millis(ended)
    }

    /// A request was that large.
    pub(crate) fn want_window(&self) {
        if !self.wants_window.load(Relaxed) {
            self.wants_window.store(true, Relaxed);
        }
    }

    /// Whether a larger window would help; told once each time.
    pub(crate) fn take_wants_window(&self) -> bool {
        self.wants_window.swap(false, Relaxed)
    }
}
