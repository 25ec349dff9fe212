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
    /// The newest entry that is on disk only and has not been handed out: what is put on disk after it has its turn
    /// after it. [`u64::MAX`] stands for all that were there before anything was put on disk.
    on_disk_only: Option<u64>,
}

/// An entry that has just been put on disk.
pub(super) struct Fresh {
    pub(super) batch: Batch,
    pub(super) span: Option<SpanContext>,
    pub(super) arrived: Instant,
    pub(super) memory: InMemory,
}

impl Memory {
    /// Whether something `was_there` already, which is on disk only.
    pub(super) fn new(window: Arc<Window>, was_there: bool) -> Arc<Self> {
        let held = Held { on_disk_only: was_there.then_some(u64::MAX), ..Held::default() };
        Arc::new(Self { window, held: Mutex::new(held) })
    }

    /// Keeps whoever waits for an entry, and the entry if its turn comes before that of anything that has to be read
    /// and there is room for it. Otherwise what has just come in would take the room from what has to leave before it.
    pub(super) fn put(
        &self,
        sequence: u64,
        batch: Batch,
        span: Option<SpanContext>,
        arrived: Instant,
        answer: Option<Answer>,
    ) {
        let mut held = self.held();
        let memory = match held.on_disk_only {
            None => self.window.try_enter(batch.cost().bytes),
            Some(_) => None,
        };
        if let Some(answer) = answer {
            held.waiting.insert(sequence, answer);
        }
        match memory {
            Some(memory) => {
                held.fresh.insert(sequence, Fresh { batch, span, arrived, memory });
            }
            None => {
                held.on_disk_only = Some(sequence);
                // Its memory is given back after the lock.
                drop(held);
                drop(batch);
            }
        }
    }

    /// Keeps whoever waits for an entry that has been handed out and goes back.
    pub(super) fn wait(&self, sequence: u64, answer: Answer) {
        self.held().waiting.insert(sequence, answer);
    }

    /// Nothing becomes of that entry any more: whoever waits for it hears that the answer is gone.
    pub(super) fn wait_no_more(&self, sequence: u64) {
        let gone = self.held().waiting.remove(&sequence);
        drop(gone);
    }

    /// Whether something has to be read that has not been handed out.
    pub(super) fn is_behind(&self) -> bool {
        self.held().on_disk_only.is_some()
    }

    /// Whether an entry is there.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.held().fresh.contains_key(&sequence)
    }

    /// Takes an entry out that is handed out, and whoever waits for it.
    pub(super) fn take(&self, sequence: u64) -> (Option<Fresh>, Option<Answer>) {
        let mut held = self.held();
        if held.on_disk_only.is_some_and(|newest| newest <= sequence) {
            held.on_disk_only = None;
        }
        (held.fresh.remove(&sequence), held.waiting.remove(&sequence))
    }

    /// Forgets what was put on disk before that, the first that has not been handed out, and is not there any more. What
    /// has been handed out is not here.
    pub(super) fn forget_below(&self, untaken: u64) {
        let mut held = self.held();
        let kept = held.fresh.split_off(&untaken);
        let forgotten = std::mem::replace(&mut held.fresh, kept);
        // They hear that their answers are gone, as they are.
        held.waiting.retain(|sequence, _| *sequence >= untaken);
        held.on_disk_only = held.on_disk_only.filter(|newest| *newest >= untaken);
        drop(held);
        drop(forgotten);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Budget;
    use millrace_wire::Signal;

    fn memory(was_there: bool) -> Arc<Memory> {
        Memory::new(Window::of(&Budget::new(16 << 20)), was_there)
    }

    fn put(memory: &Memory, sequence: u64) {
        memory.put(sequence, Batch::empty(Signal::Logs), None, Instant::now(), None);
    }

    #[test]
    fn what_has_its_turn_after_something_that_has_to_be_read_is_not_kept() {
        let memory = memory(false);
        let filled = memory.window.enter(16 << 20);
        put(&memory, 1);
        drop(filled);
        put(&memory, 2);
        assert!(!memory.has(1) && !memory.has(2) && memory.is_behind());

        memory.take(1);
        put(&memory, 3);
        assert!(!memory.has(3), "the second is still to be read");
        memory.take(2);
        memory.take(3);
        assert!(!memory.is_behind());
        put(&memory, 4);
        assert!(memory.has(4), "it is next");
    }

    #[test]
    fn what_was_there_in_the_beginning_has_to_be_read_first() {
        let memory = memory(true);
        memory.take(1);
        put(&memory, 3);
        assert!(!memory.has(3), "there may be another one before it");
        memory.take(3);
        put(&memory, 4);
        assert!(memory.has(4));
    }

    #[test]
    fn what_is_dropped_from_the_disk_is_not_waited_for() {
        let memory = memory(false);
        let _filled = memory.window.enter(16 << 20);
        put(&memory, 1);
        memory.forget_below(2);
        assert!(!memory.is_behind());
    }
}
