//! Opening what is kept for a component, and showing it among the metrics.

use super::Store;
use super::lent::HandedOut;
use super::memory::Memory;
use super::window::Window;
use crate::config::OnFull as Configured;
use crate::says::say;
use crate::storage::{self, Free, QUEUE, Texts, Watch, Watched};
use millrace_config::ComponentId;
use millrace_engine::Account;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::storage::{NoPlace, Place, Rules};
use millrace_log::{Caps, OnFull, Options};
use millrace_telemetry::Registration;
use millrace_telemetry::catalogue::millrace as ours;
use millrace_wire::Signal;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Notify;

const TEXTS: Texts = Texts {
    found: "found what an earlier run has left on disk; sending it",
    lost: "requests that were on disk are lost",
    fails: "what arrives is refused until it does",
    displaced: "until then what arrives is refused, and what can still be read or is in memory is sent",
};

impl Store {
    /// Opens what is kept for the component of `context`, or joins those who have it open. The place is to be held for as
    /// long as the component is there, and has the rules for [`Store::follow`].
    ///
    /// # Errors
    /// Why it cannot be kept there, and what to do.
    pub(crate) fn open(
        context: &Context,
        signal: Signal,
        storage: &ComponentId,
        account: &Arc<Account>,
    ) -> Result<(Arc<Self>, Place), BuildError> {
        let place = storage::place(context, signal, storage, QUEUE)?;
        let open = |place: &Place| Self::opened(context, signal, place, account);
        let store = place.open(open).map_err(|problem: NoPlace| context.error(problem))?;
        Ok((store, place))
    }

    fn opened(
        context: &Context,
        signal: Signal,
        place: &Place,
        account: &Arc<Account>,
    ) -> Result<Self, NoPlace> {
        let watch = Watch::new(context, account, place, TEXTS);
        let (log, consumer) = storage::open(&context.shared.openings, place, &watch, options(place.rules))?;
        Ok(Self {
            signal,
            rules: Mutex::new(place.rules),
            memory: Memory::new(Window::of(&context.shared.work), !log.held().is_empty()),
            consumer,
            log,
            taker: Mutex::new(Weak::new()),
            handed_out: HandedOut::default(),
            making_room: tokio::sync::Mutex::default(),
            freed: Notify::new(),
            free: Free::of(&place.folder()),
            watch,
        })
    }
}

impl Store {
    /// The most bytes on disk; `None` leaves it to the disk.
    fn limit(&self) -> Option<u64> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).max_bytes
    }

    /// From now on keeps to these rules, as far as that can change while it is open, and says where it cannot.
    pub(super) fn follow(&self, rules: Rules, on_full: Configured) {
        let mut present = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed = [
            ("fsync", present.sync != rules.sync),
            ("millrace_commit_delay", present.commit_delay != rules.commit_delay),
            ("millrace_segment_size", present.segment_bytes != rules.segment_bytes),
        ];
        let keys: Vec<_> = fixed.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect();
        let caps = caps(rules, on_full);
        let max_size = self.log.limit(caps);
        if rules.max_bytes.is_some() && max_size > caps.max_size {
            say!(
                warn,
                &self.watch.holder(),
                max_size,
                "the new `max_size` is less than two files of the size that they have now; this is its limit until the next start"
            );
        }
        if !keys.is_empty() {
            say!(
                warn,
                &self.watch.holder(),
                keys = keys.join(", "),
                "how the queue writes to the disk stays as it was until the next start; the other new settings are at work"
            );
        }
        present.max_bytes = rules.max_bytes;
        present.max_age = rules.max_age;
    }
}

fn caps(rules: Rules, on_full: Configured) -> Caps {
    Caps {
        max_size: rules.max_bytes.unwrap_or(u64::MAX),
        max_age: rules.max_age,
        on_full: match on_full {
            Configured::Refuse | Configured::DeadLetter => OnFull::Refuse,
            Configured::DropOldest => OnFull::DropOldest,
        },
    }
}

fn options(rules: Rules) -> Options {
    Options {
        max_size: rules.max_bytes.unwrap_or(u64::MAX),
        segment_size: Some(rules.segment_bytes),
        commit_delay: rules.commit_delay,
        ..Options::default()
    }
}

impl Watched for Store {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// Makes a store visible, for as long as it is in that account, until the registrations are dropped.
pub(crate) fn watch_store(
    context: &Context,
    store: &Arc<Store>,
    account: &Arc<Account>,
) -> Vec<Registration> {
    let observe = |def, read| storage::observe(context, account, store, def, read);
    vec![
        observe(&ours::STORAGE_BYTES, |store| store.log.stats().disk_bytes as f64),
        observe(&ours::STORAGE_SEGMENTS, |store| store.log.stats().segments as f64),
        observe(&ours::STORAGE_DISPLACED, |store| f64::from(u8::from(store.log.stats().displaced))),
        observe(&ours::STORAGE_MEMORY, |store| store.memory.window.used() as f64),
        observe(&ours::STORAGE_LIMIT, |store| store.limit().map_or(f64::NAN, |limit| limit as f64)),
    ]
}
