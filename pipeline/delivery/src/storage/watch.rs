//! What the log tells: losses into the account, mishaps into logs, metrics and health.

use super::totals;
use crate::says::{Evictions, say};
use millrace_engine::component::Context;
use millrace_engine::health::State;
use millrace_engine::ledger::{Holder, Loan, PlaceId, Shelf, Term};
use millrace_engine::storage::Place;
use millrace_engine::{Account, Cost, Health, Reason};
use millrace_log::{Loss, LossReason, Notice, Observer, Recovered, Totals};
use millrace_telemetry::catalogue::millrace as ours;
use millrace_telemetry::{Counter, Def, Histogram, Labels, Registry};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Has nothing of the log, which has this.
pub(crate) struct Watch {
    /// Whose it is now.
    name: Mutex<Arc<Name>>,
    shelf: Shelf,
    place: Place,
    is_failing: AtomicBool,
    /// The directory is not where the next process looks for it: nothing that still gets there makes it well.
    is_displaced: AtomicBool,
    /// A file cannot be opened, and what is in it waits: nothing that is written makes it well.
    is_unopened: AtomicBool,
    /// Whether something was dropped that may be in memory still.
    has_dropped: AtomicBool,
    evictions: Evictions,
    registry: Registry,
    health: Health,
    texts: Texts,
}

/// A component under one of the names that it has in turn.
struct Name {
    /// As the log says it.
    holder: Holder,
    labels: Labels,
    sync_duration: Histogram,
    /// Those of what has happened, by what that was. The registry forgets what nobody can change any more, and this may
    /// go on under a name that is no longer configured.
    counters: Mutex<BTreeMap<&'static str, Counter>>,
}

/// Something that is kept, which has somebody to watch it.
pub(crate) trait Watched: Send + Sync + 'static {
    fn watch(&self) -> &Watch;
}

/// What is said of it, where that depends on what it is.
pub(crate) struct Texts {
    /// Something was there when it was opened.
    pub(crate) found: &'static str,
    /// Something that was there is gone.
    pub(crate) lost: &'static str,
    /// It cannot be written to.
    pub(crate) fails: &'static str,
    /// Its directory is gone, and what to do has been said.
    pub(crate) displaced: &'static str,
}

/// By what everything of one store is labelled.
pub(crate) fn labels(account: &Account) -> Labels {
    let holder = account.holder();
    let mut labels = Labels::new()
        .with("component", holder.component.clone())
        .with("kind", holder.kind)
        .with("signal", holder.signal.name());
    if let Some(pipeline) = &holder.pipeline {
        labels.set("pipeline", pipeline.clone());
    }
    labels
}

impl Name {
    /// Dead letters have an account beside that of their component, which is of that `kind`.
    fn of(kind: &'static str, account: &Account, registry: &Registry) -> Self {
        let labels = labels(account);
        Self {
            holder: Holder { kind, ..account.holder().clone() },
            sync_duration: registry.histogram(&ours::STORAGE_SYNC_DURATION, &labels),
            labels,
            counters: Mutex::default(),
        }
    }
}

impl Watch {
    pub(crate) fn new(context: &Context, account: &Arc<Account>, place: &Place, texts: Texts) -> Arc<Self> {
        let registry = &context.shared.registry;
        Arc::new(Self {
            name: Mutex::new(Arc::new(Name::of(context.kind, account, registry))),
            shelf: Shelf::new(&context.shared.ledger, account),
            place: place.clone(),
            is_failing: AtomicBool::new(false),
            is_displaced: AtomicBool::new(false),
            is_unopened: AtomicBool::new(false),
            has_dropped: AtomicBool::new(false),
            evictions: Evictions::new(),
            registry: registry.clone(),
            health: context.shared.health.clone(),
            texts,
        })
    }

    /// Whose it is, as the log says it.
    pub(crate) fn holder(&self) -> Holder {
        self.name().holder.clone()
    }

    /// From now on it is that account's, and is called as that: a reload may have found another name for the type of the
    /// component that keeps it.
    pub(crate) fn go_over_to(&self, account: &Arc<Account>) {
        if self.is_of(account) {
            return;
        }
        let name = Arc::new(Name::of(self.name().holder.kind, account, &self.registry));
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.shelf.go_over_to(account);
    }

    /// Whether what is here is in that account.
    pub(crate) fn is_of(&self, account: &Arc<Account>) -> bool {
        Arc::ptr_eq(&self.shelf.account(), account)
    }

    /// So much is kept here from now on. Gives the account in which it is; where it came from is to be recorded there.
    pub(crate) fn keep(&self, cost: Cost) -> Arc<Account> {
        self.shelf.keep(cost)
    }

    /// So much is here no longer, and left by that name.
    pub(crate) fn leaves(&self, by: Term, cost: Cost) {
        self.shelf.release(cost).record(by, cost);
    }

    /// So much is handed out.
    pub(crate) fn lend(&self, cost: Cost) -> Loan {
        self.shelf.lend(cost)
    }

    /// It comes back.
    pub(crate) fn put_back(&self, loan: &Loan) {
        self.shelf.put_back(loan);
    }

    fn name(&self) -> Arc<Name> {
        Arc::clone(&self.name.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the folder is known by, now that it is there. One that cannot be looked at is not found again.
    fn id(&self) -> Option<PlaceId> {
        fs::metadata(self.place.folder()).ok().map(|folder| (folder.dev(), folder.ino()))
    }

    /// Whoever has sent it so far is gone, and nobody is there instead.
    pub(crate) fn stays(&self, held: Totals) {
        if held.is_empty() {
            return;
        }
        say!(
            warn,
            &self.holder(),
            requests = held.entries,
            items = held.items,
            bytes = held.bytes,
            folder = %self.place.folder().display(),
            "Nothing in the configuration sends from here any more. What has not been sent stays on disk until a \
             component of this name has this storage again (`millrace queue list` shows it)."
        );
    }

    /// Something has been put on disk.
    pub(crate) fn works(&self) {
        if self.is_failing.load(Relaxed) && !self.is_displaced.load(Relaxed) {
            self.is_failing.store(false, SeqCst);
            say!(info, &self.holder(), "the disk takes what it should again");
            if !self.is_unopened.load(SeqCst) {
                self.place.works();
            }
        }
    }

    /// The disk does not do what it should.
    pub(crate) fn fails(&self, error: &str) {
        if !self.is_failing.swap(true, Relaxed) {
            say!(
                error,
                &self.holder(),
                folder = %self.place.folder().display(),
                error,
                "the disk does not take what it should; {}",
                self.texts.fails
            );
        }
        self.place.fails(error);
    }

    /// What is on disk would not be found by the next process, as somebody has moved or removed the directory.
    fn displaced(&self, notice: &Notice) {
        self.is_displaced.store(true, Relaxed);
        self.is_failing.store(true, Relaxed);
        let folder = self.place.folder();
        say!(error, &self.holder(), folder = %folder.display(), "{notice}; {}", self.texts.displaced);
        self.place.fails(&notice.to_string());
    }

    /// What is on disk cannot be got at.
    fn unopened(&self, notice: &Notice) {
        self.is_unopened.store(true, SeqCst);
        say!(error, &self.holder(), folder = %self.place.folder().display(), "{notice}");
        self.place.fails(&notice.to_string());
    }

    /// It can be again.
    fn reads_on(&self, notice: &Notice) {
        self.is_unopened.store(false, SeqCst);
        say!(info, &self.holder(), folder = %self.place.folder().display(), "{notice}");
        if !self.is_failing.load(SeqCst) {
            self.place.works();
        }
    }

    /// Whether what is in memory now has nobody who goes on with it.
    pub(crate) fn is_at_end(&self) -> bool {
        self.health.state() >= State::Draining
    }

    /// Whether something was dropped since this was last asked.
    pub(crate) fn has_dropped(&self) -> bool {
        self.has_dropped.load(Relaxed) && self.has_dropped.swap(false, Relaxed)
    }

    /// The oldest was dropped, to make room.
    pub(crate) fn evicted(&self, lost: Cost) {
        self.evictions.tell(&self.name().holder, lost.items);
        self.count_lost(LossReason::Evicted, 1);
        self.leaves(Term::Lost(Reason::Evicted), lost);
    }

    /// What was read cannot be used.
    pub(crate) fn unusable(&self, lost: Cost, problem: &str) {
        say!(
            error,
            &self.holder(),
            error = problem,
            dropped_items = lost.items,
            "a request on disk cannot be used; dropping it"
        );
        self.count_lost(LossReason::Damaged, 1);
        self.leaves(Term::Lost(Reason::Damaged), lost);
    }

    /// What was read was written by a newer version.
    pub(crate) fn unknown(&self, sequence: u64) {
        say!(
            error,
            &self.holder(),
            folder = %self.place.folder().display(),
            sequence,
            "a request on disk was written by a newer version; leaving it there"
        );
    }

    fn tell_loss(&self, loss: &Loss) {
        self.count_lost(loss.reason, loss.lost.entries);
        let Loss { reason, lost, unknown } = loss;
        self.shelf.account().lose_unknown(*unknown);
        say!(
            error,
            &self.holder(),
            folder = %self.place.folder().display(),
            reason = reason.as_str(),
            requests = lost.entries,
            dropped_items = lost.items,
            requests_of_unknown_items = unknown,
            "{}",
            self.texts.lost
        );
    }

    fn count_lost(&self, reason: LossReason, entries: u64) {
        self.count(&ours::STORAGE_LOST, "reason", reason.as_str(), entries);
    }

    fn count_failure(&self, operation: &'static str) {
        self.count(&ours::STORAGE_FAILURES, "operation", operation, 1);
    }

    /// No reason is called as an operation is.
    fn count(&self, def: &'static Def, label: &'static str, what: &'static str, number: u64) {
        let name = self.name();
        let mut counters = name.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = || self.registry.counter(def, &name.labels.clone().with(label, what));
        counters.entry(what).or_insert_with(counter).add(number);
    }
}

impl Observer for Watch {
    /// What is lost of it was there in the beginning, too.
    fn opened(&self, recovered: &Recovered) {
        // What cannot be read now is there still, and is found or missed by the next process.
        let held = totals(recovered.held) + totals(recovered.unreadable);
        let there = recovered.losses.iter().fold(held, |there, loss| there + totals(loss.lost));
        self.shelf.found(self.id(), there);
        for loss in &recovered.losses {
            self.leaves(Term::Lost(reason(loss.reason)), totals(loss.lost));
            self.tell_loss(loss);
        }
        for notice in &recovered.notices {
            self.noticed(notice);
        }
        if !recovered.held.is_empty() {
            say!(
                info,
                &self.holder(),
                requests = recovered.held.entries,
                items = recovered.held.items,
                bytes = recovered.held.bytes,
                folder = %self.place.folder().display(),
                "{}",
                self.texts.found
            );
        }
    }

    fn lost(&self, loss: &Loss) {
        self.has_dropped.store(true, Relaxed);
        self.tell_loss(loss);
        self.leaves(Term::Lost(reason(loss.reason)), totals(loss.lost));
    }

    fn synced(&self, took: Duration) {
        self.name().sync_duration.record(took.as_secs_f64());
    }

    fn noticed(&self, notice: &Notice) {
        match notice {
            Notice::WriteFailed { .. } | Notice::ReadOnly { .. } => self.count_failure("write"),
            Notice::DiskFull => self.count_failure("space"),
            Notice::ReadFailed { .. } | Notice::Unopened { .. } | Notice::Unreadable { .. } => {
                self.count_failure("read");
            }
            Notice::UnlinkFailed { .. } => self.count_failure("remove"),
            Notice::CursorFailed { .. } | Notice::CursorCut { .. } => self.count_failure("cursor"),
            Notice::Displaced(_) | Notice::Vanished { .. } => self.count_failure("place"),
            _ => {}
        }
        match notice {
            Notice::Displaced(_) => return self.displaced(notice),
            Notice::Unopened { .. } => return self.unopened(notice),
            Notice::ReadsOn { .. } => return self.reads_on(notice),
            Notice::Unreadable { .. } => {
                say!(error, &self.holder(), folder = %self.place.folder().display(), "{notice}");
                return;
            }
            Notice::InPlace => {
                self.is_displaced.store(false, Relaxed);
                return self.works();
            }
            _ => {}
        }
        if matches!(notice, Notice::WriteFailed { .. } | Notice::ReadOnly { .. } | Notice::DiskFull) {
            return self.fails(&notice.to_string());
        }
        let folder = self.place.folder();
        if matches!(notice, Notice::TornTail { .. }) {
            // What a kill leaves: nobody was told that it was there.
            say!(info, &self.holder(), folder = %folder.display(), "{notice}");
        } else {
            say!(warn, &self.holder(), folder = %folder.display(), "{notice}");
        }
    }
}

fn reason(reason: LossReason) -> Reason {
    match reason {
        LossReason::Evicted => Reason::Evicted,
        LossReason::Expired => Reason::Expired,
        LossReason::Damaged | LossReason::Missing | LossReason::Unreadable => Reason::Damaged,
    }
}
