//! What is in memory of what is on disk, and those who wait for what becomes of it.

use super::window::{InMemory, Window};
use crate::ticket::Answer;
use millrace_engine::Batch;
use millrace_telemetry::trace::SpanContext;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Apart from the log, whose own thread puts things in here.
pub(super) struct Memory {
    pub(super) window: Arc<Window>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// By their numbers, what has not been handed out yet.
    fresh: BTreeMap<u64, Fresh>,
    /// Those that wait for the outcome of an entry.
    waiting: HashMap<u64, Answer>,
}

/// An entry that has just been put on disk.
pub(super) struct Fresh {
    pub(super) batch: Batch,
    pub(super) span: Option<SpanContext>,
    pub(super) arrived: Instant,
    pub(super) memory: InMemory,
}

impl Memory {
    pub(super) fn new(window: Arc<Window>) -> Arc<Self> {
        Arc::new(Self { window, held: Mutex::default() })
    }

    /// Keeps an entry, if there is room for it, and whoever waits for it.
    pub(super) fn put(
        &self,
        sequence: u64,
        batch: Batch,
        span: Option<SpanContext>,
        arrived: Instant,
        answer: Option<Answer>,
    ) {
        let memory = self.window.try_enter(batch.cost().bytes);
        let mut held = self.held();
        if let Some(memory) = memory {
            held.fresh.insert(sequence, Fresh { batch, span, arrived, memory });
        }
        if let Some(answer) = answer {
            held.waiting.insert(sequence, answer);
        }
    }

    /// Whether an entry is there.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.held().fresh.contains_key(&sequence)
    }

    /// Takes an entry out, and whoever waits for it.
    pub(super) fn take(&self, sequence: u64) -> (Option<Fresh>, Option<Answer>) {
        let mut held = self.held();
        (held.fresh.remove(&sequence), held.waiting.remove(&sequence))
    }

    /// Forgets what was put on disk before that, and is not there any more.
    pub(super) fn forget_below(&self, oldest: u64) {
        let mut held = self.held();
        let kept = held.fresh.split_off(&oldest);
        let forgotten = std::mem::replace(&mut held.fresh, kept);
        // They hear that their answers are gone, as they are.
        held.waiting.retain(|sequence, _| *sequence >= oldest);
        drop(held);
        drop(forgotten);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
