//! What the log tells: losses into the account, mishaps into logs, metrics and health.

use super::totals;
use crate::says::say;
use millrace_engine::component::Context;
use millrace_engine::health::State;
use millrace_engine::ledger::{Holder, Term};
use millrace_engine::storage::Place;
use millrace_engine::{Account, Cost, Health, Reason};
use millrace_log::{Loss, LossReason, Notice, Observer, Recovered, Totals};
use millrace_telemetry::catalogue::millrace as ours;
use millrace_telemetry::{Histogram, Labels, Registry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Has nothing of the log, which has this.
pub(crate) struct Watch {
    /// Whose it is, as the log says it.
    holder: Holder,
    account: Arc<Account>,
    place: Place,
    is_failing: AtomicBool,
    /// The directory is not where the next process looks for it: nothing that still gets there makes it well.
    is_displaced: AtomicBool,
    /// Whether something was dropped that may be in memory still.
    has_dropped: AtomicBool,
    registry: Registry,
    health: Health,
    labels: Labels,
    sync_duration: Histogram,
    texts: Texts,
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

impl Watch {
    pub(crate) fn new(context: &Context, account: &Arc<Account>, place: &Place, texts: Texts) -> Arc<Self> {
        let registry = &context.shared.registry;
        let labels = labels(account);
        Arc::new(Self {
            sync_duration: registry.histogram(&ours::STORAGE_SYNC_DURATION, &labels),
            // Dead letters have an account beside that of their component.
            holder: Holder { kind: context.kind, ..account.holder().clone() },
            account: Arc::clone(account),
            place: place.clone(),
            is_failing: AtomicBool::new(false),
            is_displaced: AtomicBool::new(false),
            has_dropped: AtomicBool::new(false),
            registry: registry.clone(),
            health: context.shared.health.clone(),
            labels,
            texts,
        })
    }

    /// Whose it is, as the log says it.
    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Whoever has sent it so far is gone, and nobody is there instead.
    pub(crate) fn stays(&self, held: Totals) {
        if held.is_empty() {
            return;
        }
        say!(
            warn,
            &self.holder,
            requests = held.entries,
            items = held.items,
            bytes = held.bytes,
            folder = %self.place.folder().display(),
            "No longer part of the configuration. What has not been sent stays on disk until there is a component of \
             this name again (`millrace queue list` shows it)."
        );
    }

    /// Something has been put on disk.
    pub(crate) fn works(&self) {
        if self.is_failing.load(Relaxed) && !self.is_displaced.load(Relaxed) {
            self.is_failing.store(false, Relaxed);
            say!(info, &self.holder, "the disk takes what it should again");
            self.place.works();
        }
    }

    /// The disk does not do what it should.
    pub(crate) fn fails(&self, error: &str) {
        if !self.is_failing.swap(true, Relaxed) {
            say!(
                error,
                &self.holder,
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
        say!(error, &self.holder, folder = %folder.display(), "{notice}; {}", self.texts.displaced);
        self.place.fails(&notice.to_string());
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
        self.count_lost(LossReason::Evicted, 1);
        self.account.record(Term::Lost(Reason::Evicted), lost);
        self.account.release(lost);
    }

    /// What was read cannot be used.
    pub(crate) fn unusable(&self, lost: Cost, problem: &str) {
        say!(
            error,
            &self.holder,
            error = problem,
            dropped_items = lost.items,
            "a request on disk cannot be used; dropping it"
        );
        self.count_lost(LossReason::Damaged, 1);
        self.account.record(Term::Lost(Reason::Damaged), lost);
        self.account.release(lost);
    }

    /// What was read was written by a newer version.
    pub(crate) fn unknown(&self, sequence: u64) {
        say!(
            error,
            &self.holder,
            folder = %self.place.folder().display(),
            sequence,
            "a request on disk was written by a newer version; leaving it there"
        );
    }

    fn tell_loss(&self, loss: &Loss) {
        self.count_lost(loss.reason, loss.lost.entries);
        let Loss { reason, lost, unknown } = loss;
        self.account.lose_unknown(*unknown);
        say!(
            error,
            &self.holder,
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
        let labels = self.labels.clone().with("reason", reason.as_str());
        self.registry.counter(&ours::STORAGE_LOST, &labels).add(entries);
    }

    fn count_failure(&self, operation: &'static str) {
        let labels = self.labels.clone().with("operation", operation);
        self.registry.counter(&ours::STORAGE_FAILURES, &labels).add(1);
    }
}

impl Observer for Watch {
    /// What is lost of it was there in the beginning, too.
    fn opened(&self, recovered: &Recovered) {
        // What cannot be read now is there still, and is found or missed by the next process.
        let held = totals(recovered.held) + totals(recovered.unreadable);
        self.account.record(Term::Opening, held);
        self.account.keep(held);
        for loss in &recovered.losses {
            self.account.record(Term::Opening, totals(loss.lost));
            self.account.record(Term::Lost(reason(loss.reason)), totals(loss.lost));
            self.tell_loss(loss);
        }
        for notice in &recovered.notices {
            self.noticed(notice);
        }
        if !recovered.held.is_empty() {
            say!(
                info,
                &self.holder,
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
        self.account.record(Term::Lost(reason(loss.reason)), totals(loss.lost));
        self.account.release(totals(loss.lost));
    }

    fn synced(&self, took: Duration) {
        self.sync_duration.record(took.as_secs_f64());
    }

    fn noticed(&self, notice: &Notice) {
        match notice {
            Notice::WriteFailed { .. } | Notice::ReadOnly { .. } => self.count_failure("write"),
            Notice::DiskFull => self.count_failure("space"),
            Notice::ReadFailed { .. } | Notice::Unreadable { .. } => self.count_failure("read"),
            Notice::UnlinkFailed { .. } => self.count_failure("remove"),
            Notice::CursorFailed { .. } | Notice::CursorCut { .. } => self.count_failure("cursor"),
            Notice::Displaced(_) | Notice::Vanished { .. } => self.count_failure("place"),
            _ => {}
        }
        match notice {
            Notice::Displaced(_) => return self.displaced(notice),
            Notice::Unreadable { .. } => {
                say!(error, &self.holder, folder = %self.place.folder().display(), "{notice}");
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
            say!(info, &self.holder, folder = %folder.display(), "{notice}");
        } else {
            say!(warn, &self.holder, folder = %folder.display(), "{notice}");
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
