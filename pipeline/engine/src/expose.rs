//! Accounts among the metrics: each term is read from the account when somebody asks.

use crate::ledger::{Account, Term};
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Def, Labels, Registration, Registry};
use std::sync::Arc;

/// Makes an account visible for as long as it lives. Terms that have never been used are left out.
pub(crate) fn account(registry: &Registry, account: &Arc<Account>) {
    account.expose_with(|| registrations(registry, account));
}

fn registrations(registry: &Registry, account: &Arc<Account>) -> Vec<Registration> {
    let mut labels = Labels::new()
        .with("component", account.holder().component.clone())
        .with("kind", account.holder().kind)
        .with("signal", account.holder().signal.name());
    if let Some(pipeline) = &account.holder().pipeline {
        labels.set("pipeline", pipeline.clone());
    }
    let mut registrations = Vec::new();
    for term in Term::all().filter(|term| *term != Term::Opening) {
        let mut labels = labels.clone().with("term", term.name());
        if let Term::Lost(reason) = term {
            labels.set("reason", reason.name());
        }
        // `in` and `out` are there from the start, so that an alert on their rate sees the first increment.
        let always = matches!(term, Term::In | Term::Out);
        registrations.push(observe(registry, &catalogue::LEDGER_ITEMS, &labels, account, move |account| {
            shown(account.total(term).items, always)
        }));
        registrations.push(observe(registry, &catalogue::LEDGER_BYTES, &labels, account, move |account| {
            shown(account.total(term).bytes, always)
        }));
    }
    let opening = |account: &Account| account.total(Term::Opening);
    registrations.extend([
        observe(registry, &catalogue::LEDGER_HELD_ITEMS, &labels, account, |account| {
            account.held().items as f64
        }),
        observe(registry, &catalogue::LEDGER_HELD_BYTES, &labels, account, |account| {
            account.held().bytes as f64
        }),
        observe(registry, &catalogue::LEDGER_OPENING_ITEMS, &labels, account, move |account| {
            shown(opening(account).items, false)
        }),
        observe(registry, &catalogue::LEDGER_OPENING_BYTES, &labels, account, move |account| {
            shown(opening(account).bytes, false)
        }),
    ]);
    registrations
}

fn observe(
    registry: &Registry,
    def: &'static Def,
    labels: &Labels,
    account: &Arc<Account>,
    read: impl Fn(&Account) -> f64 + Send + Sync + 'static,
) -> Registration {
    let account = Arc::downgrade(account);
    registry.observe(def, labels, move || account.upgrade().map_or(f64::NAN, |account| read(&account)))
}

/// NaN keeps a series away.
fn shown(value: u64, always: bool) -> f64 {
    if value == 0 && !always { f64::NAN } else { value as f64 }
}
