//! Opening what is kept for a component, and showing it among the metrics.

use super::Store;
use super::free::Free;
use super::memory::Memory;
use super::window::Window;
use crate::config::OnFull as Configured;
use crate::storage::{self, QUEUE, Texts, Watch};
use millrace_config::ComponentId;
use millrace_engine::Account;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::storage::{NoPlace, Place, Rules};
use millrace_log::{OnFull, Options};
use millrace_telemetry::Registration;
use millrace_telemetry::catalogue::millrace as ours;
use millrace_wire::Signal;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::Notify;

const TEXTS: Texts = Texts {
    found: "found what an earlier run has left on disk; sending it",
    lost: "requests that were on disk are lost",
    fails: "what arrives is refused until it does",
};

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
        let place = storage::place(context, signal, storage, QUEUE)?;
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
        let watch = Watch::new(context, account, place, TEXTS);
        let (log, consumer) = storage::open(place, &watch, options(place.rules, on_full))?;
        Ok(Self {
            signal,
            limit: place.rules.max_bytes,
            account: Arc::clone(account),
            memory: Memory::new(Window::of(&context.shared.work), !log.held().is_empty()),
            consumer,
            log,
            lent: AtomicU64::new(0),
            freed: Notify::new(),
            free: Free::of(&place.folder()),
            watch,
        })
    }
}

fn options(rules: Rules, on_full: Configured) -> Options {
    Options {
        max_size: rules.max_bytes.unwrap_or(u64::MAX),
        segment_size: Some(rules.segment_bytes),
        max_age: rules.max_age,
        on_full: match on_full {
            Configured::Refuse | Configured::DeadLetter => OnFull::Refuse,
            Configured::DropOldest => OnFull::DropOldest,
        },
        commit_delay: rules.commit_delay,
        ..Options::default()
    }
}

/// Makes a store visible until the registrations are dropped.
pub(crate) fn watch_store(context: &Context, store: &Arc<Store>) -> Vec<Registration> {
    let observe = |def, read| storage::observe(context, &store.account, store, def, read);
    vec![
        observe(&ours::STORAGE_BYTES, |store| store.log.stats().disk_bytes as f64),
        observe(&ours::STORAGE_SEGMENTS, |store| store.log.stats().segments as f64),
        observe(&ours::STORAGE_MEMORY, |store| store.memory.window.used() as f64),
        observe(&ours::STORAGE_LIMIT, |store| store.limit.map_or(f64::NAN, |limit| limit as f64)),
    ]
}
