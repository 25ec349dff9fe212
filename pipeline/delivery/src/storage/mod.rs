//! What everything that is kept on disk has in common: its place, and what its log tells.

mod free;
mod watch;

pub(crate) use free::Free;
pub use free::{NEARLY_FULL, is_nearly_full};
pub(crate) use watch::{Texts, Watch, Watched};

use millrace_config::ComponentId;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::storage::{NoPlace, Owner, Place};
use millrace_engine::{Account, Cost, Openings};
use millrace_log::{AlsoAt, Consumer, Lease, Log, OnFull, OpenError, Options, Totals};
use millrace_telemetry::{Def, Registration};
use millrace_wire::Signal;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use watch::labels;

/// What waits for a destination, as folders are named after it.
pub const QUEUE: &str = "queue";
/// What could not be delivered, as folders are named after it.
pub const DEAD_LETTERS: &str = "dead-letters";
/// The name of the only one that reads.
pub const CONSUMER: &str = "default";
/// How often it is seen whether another process has let go of a folder.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The place of the component of `context` at a storage extension, for what is kept of one signal.
///
/// # Errors
/// Why there is none, and what to do.
pub(crate) fn place(
    context: &Context,
    signal: Signal,
    storage: &ComponentId,
    what: &'static str,
) -> Result<Place, BuildError> {
    let storage = context.shared.offers.storage(storage).map_err(|problem| context.error(problem))?;
    let owner = Owner {
        kind: context.kind,
        id: context.id.clone(),
        namesakes: Arc::clone(&context.shared.namesakes),
        pipeline: context.pipeline.as_ref().map(ToString::to_string),
        signal,
        what,
    };
    let directory = storage.directory().to_owned();
    let placed = context.shared.openings.open(&directory, move || storage.place(&owner));
    placed.and_then(|place| place).map_err(|problem| context.error(problem))
}

/// Opens the log in a place; it tells `watch` what was there. Nothing that is there is dropped before it is known that the
/// configuration is at work ([`Log::limit`]): it may be another one's.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn open(
    openings: &Openings,
    place: &Place,
    watch: &Arc<Watch>,
    options: Options,
) -> Result<(Log, Consumer), NoPlace> {
    let folder = place.folder();
    let elsewhere = place.clone();
    let options = Options {
        max_age: None,
        on_full: OnFull::Refuse,
        fsync: place.rules.sync,
        observer: Arc::clone(watch) as _,
        also_at: AlsoAt::of(move || elsewhere.folder_elsewhere()),
        ..options
    };
    let (at, timeout) = (folder.clone(), place.rules.lock_timeout);
    let opened = openings.and(timeout).open(&folder, move || unlocked(&at, &options, timeout))?;
    let log = opened.map_err(|error| no_place(&folder, &error))?;
    let consumer = log.consumer(CONSUMER).expect("every log has this consumer");
    Ok((log, consumer))
}

/// Opens it when nobody else has it any more: a command may be at work there, which had found no collector.
#[expect(
    clippy::disallowed_methods,
    reason = "logs are opened off the workers, or before these have any work"
)]
fn unlocked(folder: &Path, options: &Options, timeout: Duration) -> Result<Log, OpenError> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match Log::open(folder, options.clone()) {
            Err(OpenError::Locked(_)) if begun.elapsed() < timeout => {
                if !mem::replace(&mut is_told, true) {
                    tracing::info!(folder = %folder.display(), "waiting for another process to let go of it");
                }
                thread::sleep(LOCK_POLL);
            }
            opened => return opened.map(|(log, _)| log),
        }
    }
}

fn no_place(folder: &Path, error: &OpenError) -> NoPlace {
    let folder = folder.display();
    NoPlace(match error {
        OpenError::Locked(_) => format!(
            "{folder} is in use by another process (a command that changes what is in it?), or is not closed yet by a \
             component that had it before in this one, as its disk does not answer; try again when that is over, or have \
             it waited for with the `timeout` of `file_storage`"
        ),
        error => format!("{folder}: {error}"),
    })
}

/// Makes something of what is kept visible under the name of that account, for as long as it is that one's and the
/// registration is there.
pub(crate) fn observe<T: Watched>(
    context: &Context,
    account: &Arc<Account>,
    kept: &Arc<T>,
    def: &'static Def,
    read: fn(&T) -> f64,
) -> Registration {
    let (of, kept) = (Arc::clone(account), Arc::downgrade(kept));
    let read = move || match kept.upgrade() {
        Some(kept) if kept.watch().is_of(&of) => read(&kept),
        _ => f64::NAN,
    };
    context.shared.registry.observe(def, &labels(account), read)
}

/// What an entry is in the account: its bytes are those that it takes on disk, which is what the log knows of all that
/// it holds, also of what it finds when it is opened.
pub(crate) fn cost(lease: &Lease) -> Cost {
    Cost { items: lease.items.into(), bytes: lease.framed_len }
}

fn totals(totals: Totals) -> Cost {
    Cost { items: totals.items, bytes: totals.bytes }
}
