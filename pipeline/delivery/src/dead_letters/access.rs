//! One exporter's part in the dead letters of its component and signal, which outlive it.

use super::DeadLetters;
use crate::config::{OnFull as WhenFull, QueueConfig};
use crate::exporter::Exporter;
use crate::says::say;
use crate::storage;
use millrace_config::ComponentId;
use millrace_engine::Account;
use millrace_engine::component::{BuildError, Context};
use millrace_engine::ledger::DEAD_LETTERS;
use millrace_engine::storage::{NoPlace, Place};
use millrace_log::{Caps, OnFull};
use millrace_telemetry::Registration;
use millrace_telemetry::catalogue::millrace as ours;
use millrace_wire::Signal;
use std::sync::{Arc, Weak};

/// They are there for as long as somebody has this, and follow the configuration of whoever has begun to work last.
pub(crate) struct Access {
    letters: Arc<DeadLetters>,
    /// Theirs, under the name that the component has here.
    account: Arc<Account>,
    caps: Caps,
    /// Nobody else's while this is there.
    _place: Place,
}

impl Access {
    /// Opens the store of the component of `context`, or joins those who have it open.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub(crate) fn open(
        context: &Context,
        signal: Signal,
        storage: &ComponentId,
        config: &QueueConfig,
    ) -> Result<Self, BuildError> {
        let (account, caps) = (context.account_of(DEAD_LETTERS, signal), caps(config));
        let place = storage::place(context, signal, storage, storage::DEAD_LETTERS)?;
        let open = |place: &Place| DeadLetters::opened(context, signal, place, &account, caps);
        let letters = place.open(open).map_err(|problem: NoPlace| context.error(problem))?;
        place.answer_with(&letters);
        Ok(Self { letters, account, caps, _place: place })
    }

    pub(crate) fn letters(&self) -> &Arc<DeadLetters> {
        &self.letters
    }

    /// From now on they are in the account of this component, keep to its limits, and go to that exporter when they are
    /// replayed.
    pub(crate) fn begin(&self, exporter: Weak<Exporter>) {
        let watch = &self.letters.watch;
        watch.go_over_to(&self.account);
        let max_size = self.letters.log.limit(self.caps);
        if max_size > self.caps.max_size {
            say!(
                warn,
                &watch.holder(),
                max_size,
                "the new `millrace_dead_letters::max_size` is less than two files of the size that they have now; this is \
                 the limit until the next start"
            );
        }
        self.letters.replay_to(exporter);
    }

    /// Makes them visible, for as long as they are in that account, until the registrations are dropped.
    pub(crate) fn watch(&self, context: &Context) -> Vec<Registration> {
        let observe = |def, read| storage::observe(context, &self.account, &self.letters, def, read);
        vec![
            observe(&ours::DEAD_LETTERS, |letters| letters.log.stats().held.entries as f64),
            observe(&ours::DEAD_LETTER_ITEMS, |letters| letters.log.stats().held.items as f64),
            observe(&ours::STORAGE_DISPLACED, |letters| f64::from(u8::from(letters.log.stats().displaced))),
            observe(&ours::DEAD_LETTER_BYTES, |letters| letters.log.stats().disk_bytes as f64),
        ]
    }
}

/// The limits that a configuration sets.
fn caps(config: &QueueConfig) -> Caps {
    let letters = &config.millrace_dead_letters;
    Caps {
        max_size: letters.max_size,
        max_age: (!letters.max_age.is_zero()).then(|| letters.max_age.get()),
        on_full: match config.millrace_on_full {
            WhenFull::Refuse | WhenFull::DropOldest => OnFull::DropOldest,
            // What was acknowledged and never tried does not give way to what comes later.
            WhenFull::DeadLetter => OnFull::Refuse,
        },
    }
}
