//! Changing dead letters while no collector runs. What is replayed keeps to the limits that its queue will have.

use super::dead_letters::{Choice, open};
use super::folders::{Folder, Kept};
use super::limits::Limits;
use millrace_delivery::dead_letters::{Cause, as_queued};
use millrace_delivery::storage::{CONSUMER, NEARLY_FULL, is_nearly_full};
use millrace_engine::Cost;
use millrace_engine::storage::{Outcome, Task};
use millrace_extensions::file_storage::control::Answer;
use millrace_log::{Delivery, Entry, Log};
use millrace_wire::Signal;
use std::path::PathBuf;

/// With the collector stopped, the files are ours meanwhile.
pub fn change(folder: &Folder, choice: &Choice, task: Task) -> Result<Answer, String> {
    let Some(signal) = folder.signal() else {
        return Ok(Answer::Refused("the folder's name does not say which signal it is".into()));
    };
    let queue = match task {
        Task::Drop => None,
        Task::Replay => match Queue::of(folder, choice, signal)? {
            Ok(queue) => Some(queue),
            Err(problem) => return Ok(Answer::Refused(problem)),
        },
    };
    let letters = open(folder, None)?;
    let consumer = letters.consumer(CONSUMER).expect("every log has this consumer");
    let which = choice.selection();
    let mut outcome = Outcome::default();
    let (mut left, mut staying) = (Vec::new(), 0_u64);
    while which.limit.is_none_or(|limit| outcome.requests < limit) {
        let Delivery { lease, meta, payload } = match consumer.read_next() {
            Ok(Some(delivery)) => delivery,
            Ok(None) => break,
            Err(error) => {
                outcome.stopped = Some(error.to_string());
                break;
            }
        };
        let is_meant =
            Cause::read(lease.kind, &meta).is_ok_and(|cause| which.takes(lease.sequence, &cause.reason));
        if !is_meant {
            left.push(lease.sequence);
            continue;
        }
        if outcome.stopped.is_none()
            && let Some(queue) = &queue
        {
            outcome.stopped = queue.put(payload).err();
        }
        if outcome.stopped.is_some() {
            // Only counted from here on.
            left.push(lease.sequence);
            staying += 1;
            continue;
        }
        // In the queue on disk by now: if this is not written down any more, it is there twice.
        consumer.ack(lease.sequence);
        outcome.requests += 1;
        outcome.items += u64::from(lease.items);
    }
    for sequence in left {
        let _ = consumer.defer(sequence);
    }
    if let Some(queue) = queue {
        queue.log.close();
    }
    letters.close();
    if let Some(problem) = outcome.stopped.as_mut().filter(|_| staying > 0) {
        *problem = format!("{problem}; {staying} that were meant, too, stay among the dead letters");
    }
    Ok(Answer::Done(outcome))
}

/// The queue that they go back to.
struct Queue {
    path: PathBuf,
    log: Log,
    signal: Signal,
    limits: Option<Limits>,
}

impl Queue {
    /// The one of the same exporter and signal; or why there is none to put anything into.
    fn of(letters: &Folder, choice: &Choice, signal: Signal) -> Result<Result<Self, String>, String> {
        let folder = letters.beside(Kept::Queue);
        if !folder.path().is_dir() {
            let problem =
                "there is no queue on disk to put them into; start the collector, and replay while it runs";
            return Ok(Err(problem.into()));
        }
        let limits = match Limits::of(&folder, choice.place())? {
            Ok(limits) => Some(limits),
            // Who says how many knows what the queue can hold.
            Err(_) if choice.limit.is_some() => None,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(Ok(Self { path: folder.path(), log: open(&folder, limits.as_ref())?, signal, limits }))
    }

    fn put(&self, payload: bytes::Bytes) -> Result<(), String> {
        if is_nearly_full(&self.path) {
            return Err(NEARLY_FULL.into());
        }
        let entry = as_queued(self.signal, payload)?;
        if let Some(limits) = &self.limits {
            limits.admit(self.log.held(), cost(&entry))?;
        }
        let room = self.log.reserve(entry.framed_len()).map_err(|refusal| refusal.to_string())?;
        self.log.append(room, entry).wait().map(drop).map_err(|refusal| refusal.to_string())
    }
}

/// As the queue counts it.
fn cost(entry: &Entry) -> Cost {
    Cost { items: entry.items.into(), bytes: entry.framed_len() }
}
