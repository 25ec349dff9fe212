//! What everything that is kept on disk has in common: its place, and what its log tells.

mod watch;

pub(crate) use watch::{Texts, Watch, labels};

use millrace_config::ComponentId;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::storage::{NoPlace, Owner, Place};
use millrace_engine::{Account, Cost};
use millrace_log::{Consumer, Lease, Log, Options, Totals};
use millrace_telemetry::{Def, Registration};
use millrace_wire::Signal;
use std::sync::Arc;

/// What waits for a destination, as folders are named after it.
pub const QUEUE: &str = "queue";
/// What could not be delivered, as folders are named after it.
pub const DEAD_LETTERS: &str = "dead-letters";
/// The name of the only one that reads.
pub const CONSUMER: &str = "default";

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
    storage.place(&owner).map_err(|problem| context.error(problem))
}

/// Opens the log in a place; it tells `watch` what was there.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn open(place: &Place, watch: &Arc<Watch>, options: Options) -> Result<(Log, Consumer), NoPlace> {
    let folder = place.folder();
    let options = Options { fsync: place.rules.sync, observer: Arc::clone(watch) as _, ..options };
    let opened = Log::open(&folder, options);
    let (log, _) = opened.map_err(|error| NoPlace(format!("{}: {error}", folder.display())))?;
    let consumer = log.consumer(CONSUMER).expect("every log has this consumer");
    Ok((log, consumer))
}

/// Makes something of what is kept visible, for as long as it and the registration are there.
pub(crate) fn observe<T: Send + Sync + 'static>(
    context: &Context,
    account: &Account,
    kept: &Arc<T>,
    def: &'static Def,
    read: fn(&T) -> f64,
) -> Registration {
    let kept = Arc::downgrade(kept);
    let read = move || kept.upgrade().map_or(f64::NAN, |kept| read(&kept));
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
