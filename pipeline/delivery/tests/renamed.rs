//! A reload calls the type of an exporter by another of its names: what it has on disk is the renamed one's from then on,
//! in the accounts, the metrics and the log.

mod support;

use millrace_delivery::{DeadLettersConfig, OnFull, QueueConfig, Sizer};
use millrace_engine::ledger::{DEAD_LETTERS, Term};
use millrace_engine::storage::{Outcome, Selection, Task};
use millrace_engine::{Account, Reason, Stage};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, on_disk, until};
use support::moves::assert_balanced;
use support::process::{Trial, patient};
use support::sender::{Go, Scripted, dead, never, too_large};

const SECOND: Duration = Duration::from_secs(1);

/// The account of that kind, under the name that the trial has.
fn account(trial: &Trial, kind: &str) -> Arc<Account> {
    let id = trial.context.id.to_string();
    let accounts = trial.context.shared.ledger.accounts();
    let is_it = |account: &Arc<Account>| account.holder().kind == kind && account.holder().component == id;
    accounts.into_iter().find(is_it).expect("there is one")
}

fn kept(trial: &Trial) -> u64 {
    account(trial, "exporter").kept().items
}

/// The sum of the series of a metric under the name that the trial has; `None` if there are none.
fn metric(trial: &Trial, name: &str, label: &str) -> Option<f64> {
    let (_, page) = trial.context.shared.registry.render(None);
    let id = format!("{label}=\"{}\"", trial.context.id);
    let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(&id));
    lines
        .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number"))
        .reduce(|sum, value| sum + value)
}

async fn hand_in(trial: &Trial, requests: Range<u64>) {
    for request in requests {
        trial.hand_in(batch(request * 10..request * 10 + 10)).await.expect("there is room");
    }
}

/// What waits, what is being sent meanwhile, and what still comes to the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_the_renamed_ones_in_accounts_and_metrics() {
    let disk = Disk::new();
    let hangs = Scripted::gated();
    let queue = || QueueConfig { num_consumers: 2, ..on_disk() };
    let old = disk.start(&patient(queue()), Arc::clone(&hangs) as _);
    hand_in(&old, 0..20).await;
    until("two are under way", || old.metric("otelcol_exporter_in_flight_requests") == 2.0).await;
    let new = old.renamed("new", &patient(queue()), dead());
    assert_eq!((kept(&old), kept(&new)), (200, 0), "it is not known yet whether it will be at work");
    let on_disk = |trial: &Trial| metric(trial, "otelcol_millrace_storage_bytes", "component");
    assert!(on_disk(&old).is_some() && on_disk(&new).is_none());

    new.exporter.begin();
    assert_eq!((kept(&old), kept(&new)), (20, 180), "what is being sent stays where it is");
    assert!(on_disk(&old).is_none() && on_disk(&new).is_some());
    let size = |trial| metric(trial, "otelcol_exporter_queue_size", "exporter");
    assert_eq!((size(&old), size(&new)), (Some(0.0), Some(20.0)));
    assert_balanced(&new);
    // What is under way in the old graph has come in there.
    hand_in(&old, 20..22).await;
    hand_in(&new, 22..25).await;
    assert_eq!(account(&old, "exporter").total(Term::In).items, 220);
    assert_eq!(account(&new, "exporter").total(Term::In).items, 30);
    assert_eq!((kept(&old), kept(&new)), (20, 230));
    hangs.open(1);
    until("one is delivered", || account(&old, "exporter").total(Term::Out).items == 10).await;
    old.drain(Duration::ZERO).await;
    assert_eq!((kept(&old), kept(&new)), (0, 240), "the other one has come back");
    new.drain(SECOND * 60).await;
    assert_balanced(&new);
    let closing = new.context.shared.ledger.closing();
    assert_eq!((closing.opening, closing.kept, closing.lost), (0, 240, 0), "{closing}");
    assert!(closing.imbalances.is_empty(), "{closing}");
}

/// What of a request is told before and after belongs to one account, though halves of it are told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_in_parts_while_the_name_changes_balances() {
    let disk = Disk::new();
    let old = disk.start(&patient(on_disk()), Scripted::new([Go::Fail(too_large()), Go::Take, Go::Hang]));
    hand_in(&old, 0..1).await;
    until("half of it is delivered", || account(&old, "exporter").total(Term::Out).items == 5).await;
    let taking = Scripted::new([]);
    let new = old.renamed("new", &patient(on_disk()), Arc::clone(&taking) as _);
    new.exporter.begin();
    old.drain(Duration::ZERO).await;
    until("it is delivered by the other one", || taking.delivered().len() == 10).await;
    new.drain(SECOND * 60).await;
    assert_balanced(&new);
    assert_eq!((kept(&old), kept(&new)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_the_renamed_ones_and_go_to_it() {
    let disk = Disk::new();
    let refusing = Scripted::new([Go::Fail(never()), Go::Fail(never())]);
    let old = disk.start(&patient(on_disk()), refusing);
    hand_in(&old, 0..2).await;
    until("they are put aside", || old.metric("otelcol_millrace_dead_letter_items") == 20.0).await;
    let taking = Scripted::new([]);
    let new = old.renamed("new", &patient(on_disk()), Arc::clone(&taking) as _);
    let aside = |trial| metric(trial, "otelcol_millrace_dead_letter_items", "component");
    assert_eq!((aside(&old), aside(&new)), (Some(20.0), None));
    new.exporter.begin();
    assert_eq!((aside(&old), aside(&new)), (None, Some(20.0)));
    let letters = |trial| account(trial, DEAD_LETTERS).kept().items;
    assert_eq!((letters(&old), letters(&new)), (0, 20));
    let one = Selection { limit: Some(1), ..Selection::default() };
    let outcome = disk.dead_letters(&old.context).go_through(Task::Replay, one).await;
    assert_eq!(outcome, Outcome { requests: 1, items: 10, ..Outcome::default() });
    until("it is delivered", || taking.delivered().len() == 10).await;
    assert_eq!(account(&new, DEAD_LETTERS).total(Term::Out).items, 10);
    for trial in [&old, &new] {
        trial.drain(SECOND * 60).await;
        assert_balanced(trial);
    }
}

/// Losses and writes are told by the name of now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gives_way_is_lost_by_the_renamed_one() {
    let disk = Disk::new();
    let off = DeadLettersConfig { enabled: false, ..DeadLettersConfig::default() };
    let queue = QueueConfig {
        // More than is read ahead, which does not give way.
        queue_size: 1_000,
        sizer: Sizer::Items,
        num_consumers: 1,
        millrace_on_full: OnFull::DropOldest,
        millrace_dead_letters: off,
        ..on_disk()
    };
    let old = disk.start(&patient(queue.clone()), dead());
    hand_in(&old, 0..105).await;
    let evicted = |trial: &Trial| account(trial, "exporter").total(Term::Lost(Reason::Evicted)).items;
    assert_eq!((evicted(&old), kept(&old)), (50, 1_000));
    let new = old.renamed("new", &patient(queue), dead());
    new.exporter.begin();
    let syncs = |trial: &Trial| metric(trial, "otelcol_millrace_storage_sync_duration_count", "component");
    let losses = |trial: &Trial| metric(trial, "otelcol_millrace_storage_lost_requests", "component");
    let syncs_before = syncs(&old);
    assert_eq!((syncs(&new), losses(&new)), (None, None));
    hand_in(&new, 200..202).await;
    assert_eq!((evicted(&old), evicted(&new)), (50, 20));
    assert_eq!((losses(&old), losses(&new)), (Some(5.0), Some(2.0)));
    assert!(syncs(&old) == syncs_before && syncs(&new) > Some(0.0), "{:?}", syncs(&new));
    for trial in [&old, &new] {
        trial.drain(SECOND * 60).await;
        assert_balanced(trial);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_and_forth_between_two_names_balances_and_sends_everything_once() {
    let disk = Disk::new();
    let senders: Vec<_> = (0..6).map(|_| Scripted::new([])).collect();
    let mut trials = vec![disk.start(&patient(on_disk()), Arc::clone(&senders[0]) as _)];
    for (round, sender) in (0u64..).zip(&senders) {
        if round > 0 {
            let id = if round % 2 == 1 { "new" } else { "test" };
            let next = trials[0].renamed(id, &patient(on_disk()), Arc::clone(sender) as _);
            next.exporter.begin();
            trials.push(next);
        }
        hand_in(trials.last().expect("there is one"), round * 50..round * 50 + 50).await;
    }
    let delivered = || senders.iter().flat_map(|sender| sender.delivered()).collect::<Vec<_>>();
    until("all is delivered", || delivered().into_iter().collect::<BTreeSet<_>>().len() == 3_000).await;
    assert_eq!(delivered().len(), 3_000, "each once");
    for trial in &trials {
        trial.drain(SECOND * 60).await;
    }
    assert_balanced(&trials[0]);
    let closing = trials[0].context.shared.ledger.closing();
    assert_eq!((closing.delivered, closing.kept, closing.lost), (3_000, 0, 0), "{closing}");
}
