//! Opening what is kept for a component, and showing it among the metrics.

use super::Store;
use super::free::Free;
use super::memory::Memory;
use super::watch::{Watch, labels};
use super::window::Window;
use crate::config::OnFull as Configured;
use millrace_config::ComponentId;
use millrace_engine::Account;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::storage::{NoPlace, Owner, Place, Rules};
use millrace_log::{Log, OnFull, Options};
use millrace_telemetry::Registration;
use millrace_telemetry::catalogue::millrace as ours;
use millrace_wire::Signal;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::Notify;

/// The name of the only one that reads.
const CONSUMER: &str = "default";

impl Store {
    /// Opens what is kept for the component of `context`, or joins those who have it open.
    ///
    /// # Errors
    /// Why it cannot be kept there, and what to do.
    pub(crate) fn open(
        context: &Context,
        signal: Signal,
        storage: &ComponentId,
        on_full: Configured,
        account: &Arc<Account>,
    ) -> Result<Arc<Self>, BuildError> {
        let storage = context.shared.offers.storage(storage).map_err(|problem| context.error(problem))?;
        let owner = Owner {
            kind: context.kind,
            id: context.id.clone(),
            pipeline: context.pipeline.as_ref().map(ToString::to_string),
            signal,
            what: "queue",
        };
        let place = storage.place(&owner).map_err(|problem| context.error(problem))?;
        let open = |place: &Place| Self::opened(context, signal, place, on_full, account);
        place.open(open).map_err(|problem: NoPlace| context.error(problem))
    }

    fn opened(
        context: &Context,
        signal: Signal,
        place: &Place,
        on_full: Configured,
        account: &Arc<Account>,
    ) -> Result<Self, NoPlace> {
        let watch = Watch::new(context, signal, account, place);
        let folder = place.folder();
        let opened = Log::open(&folder, options(place.rules, on_full, &watch));
        let (log, recovered) = opened.map_err(|error| NoPlace(format!("{}: {error}", folder.display())))?;
        watch.opened(&recovered);
        let consumer = log.consumer(CONSUMER).expect("every log has this consumer");
        Ok(Self {
            signal,
            limit: place.rules.max_bytes,
            consumer,
            log,
            account: Arc::clone(account),
            memory: Memory::new(Window::of(&context.shared.work)),
            lent: AtomicU64::new(0),
            freed: Notify::new(),
            free: Free::of(&folder),
            watch,
        })
    }
}

fn options(rules: Rules, on_full: Configured, watch: &Arc<Watch>) -> Options {
    Options {
        max_size: rules.max_bytes.unwrap_or(u64::MAX),
        segment_size: Some(rules.segment_bytes),
        max_age: rules.max_age,
        on_full: match on_full {
            Configured::Refuse => OnFull::Refuse,
            Configured::DropOldest => OnFull::DropOldest,
        },
        fsync: rules.sync,
        commit_delay: rules.commit_delay,
        observer: Arc::clone(watch) as _,
        ..Options::default()
    }
}

/// Makes a store visible until the registrations are dropped.
pub(crate) fn watch_store(context: &Context, signal: Signal, store: &Arc<Store>) -> Vec<Registration> {
    let labels = labels(context, signal);
    let observe = |def, read: fn(&Store) -> f64| {
        let store = Arc::downgrade(store);
        let read = move || store.upgrade().map_or(f64::NAN, |store| read(&store));
        context.shared.registry.observe(def, &labels, read)
    };
    vec![
        observe(&ours::STORAGE_BYTES, |store| store.log.stats().disk_bytes as f64),
        observe(&ours::STORAGE_SEGMENTS, |store| store.log.stats().segments as f64),
        observe(&ours::STORAGE_MEMORY, |store| store.memory.window.used() as f64),
        observe(&ours::STORAGE_LIMIT, |store| store.limit.map_or(f64::NAN, |limit| limit as f64)),
    ]
}
