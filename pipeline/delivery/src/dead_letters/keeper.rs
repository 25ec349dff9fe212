//! What the log of the dead letters tells: into the account, and to whoever reads the logs.

use millrace_engine::component::Context;
use millrace_engine::ledger::Term;
use millrace_engine::storage::Place;
use millrace_engine::{Account, Cost, Reason};
use millrace_log::{Loss, LossReason, Notice, Observer, Recovered, Totals};
use std::path::PathBuf;
use std::sync::Arc;

/// Has nothing of the log, which has this.
pub(super) struct Keeper {
    name: String,
    account: Arc<Account>,
    folder: PathBuf,
}

impl Keeper {
    pub(super) fn new(context: &Context, account: &Arc<Account>, place: &Place) -> Self {
        Self { name: context.id.to_string(), account: Arc::clone(account), folder: place.folder() }
    }

    /// What was there when the store was opened, and what of it was lost.
    pub(super) fn opened(&self, recovered: &Recovered) {
        let held = cost(recovered.held);
        self.account.record(Term::Opening, held);
        self.account.keep(held);
        for loss in &recovered.losses {
            self.account.record(Term::Opening, cost(loss.lost));
            self.account.record(Term::Lost(reason(loss.reason)), cost(loss.lost));
            self.tell(loss);
        }
        for notice in &recovered.notices {
            self.noticed(notice);
        }
        if !recovered.held.is_empty() {
            tracing::info!(
                otelcol.component.id = self.name,
                requests = recovered.held.entries,
                items = recovered.held.items,
                folder = %self.folder.display(),
                "there are dead letters; `millrace dead-letters list` shows them"
            );
        }
    }

    fn tell(&self, loss: &Loss) {
        let Loss { reason, lost } = loss;
        tracing::warn!(
            otelcol.component.id = self.name,
            folder = %self.folder.display(),
            reason = reason.as_str(),
            requests = lost.entries,
            dropped_items = lost.items,
            "dead letters are gone"
        );
    }
}

impl Observer for Keeper {
    fn lost(&self, loss: &Loss) {
        self.tell(loss);
        self.account.record(Term::Lost(reason(loss.reason)), cost(loss.lost));
        self.account.release(cost(loss.lost));
    }

    fn noticed(&self, notice: &Notice) {
        let folder = self.folder.display();
        if matches!(notice, Notice::TornTail { .. }) {
            tracing::info!(otelcol.component.id = self.name, %folder, "{notice}");
        } else {
            tracing::warn!(otelcol.component.id = self.name, %folder, "{notice}");
        }
    }
}

pub(super) fn cost(totals: Totals) -> Cost {
    Cost { items: totals.items, bytes: totals.bytes }
}

fn reason(reason: LossReason) -> Reason {
    match reason {
        LossReason::Evicted => Reason::Evicted,
        LossReason::Expired => Reason::Expired,
        LossReason::Damaged | LossReason::Missing | LossReason::Unreadable => Reason::Damaged,
    }
}
