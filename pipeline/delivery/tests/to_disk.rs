//! A reload that gives an exporter a queue on disk: what waits in the memory of the one before goes there.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, DeadLettersConfig, QueueConfig, Sizer};
use millrace_engine::ledger::Term;
use millrace_engine::{Reason, Until};
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, on_disk, soon, until};
use support::process::{Trial, hand_over, patient};
use support::sender::{Scripted, dead};

const SECOND: Duration = Duration::from_secs(1);

/// A queue on disk that holds so many items and puts nothing aside.
fn holding(queue_size: u64) -> QueueConfig {
    let off = DeadLettersConfig { enabled: false, ..DeadLettersConfig::default() };
    QueueConfig { queue_size, sizer: Sizer::Items, millrace_dead_letters: off, ..on_disk() }
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

fn assert_balanced(trial: &Trial) {
    let account = trial.account();
    assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
}

/// An exporter with so many requests of two items in memory, some of them in line, some batched, some being retried.
async fn waiting(disk: &Disk, requests: u64, batches: bool) -> Trial {
    let batch_of = |size| BatchConfig {
        min_size: size,
        max_size: size,
        flush_timeout: Configured::from_secs(600),
        ..BatchConfig::default()
    };
    let batching = if batches { Optional::On(batch_of(3)) } else { Optional::Off };
    let config = QueueConfig { num_consumers: 2, batch: batching, ..QueueConfig::default() };
    let old = disk.start(&patient(config), dead());
    for id in 0..requests {
        old.hand_in(batch(2 * id..2 * id + 2)).await.expect("there is room");
    }
    until("some are being retried", || old.metric("otelcol_millrace_retry_waiting") > 0.0).await;
    old
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_what_is_batched_and_what_would_be_tried_again_is_on_disk_and_outlives_the_process() {
    let disk = Disk::new();
    for batches in [false, true] {
        let old = waiting(&disk, 100, batches).await;
        let new = old.beside(&patient(holding(10_000)), dead());
        hand_over(&old, &new);
        old.hand_in(batch(200..202)).await.expect("whoever still holds the old one may hand in");
        soon("it does not linger", old.leave(SECOND * 600, SECOND * 60)).await;
        drop(old);
        until("all is on disk", || new.account().kept().items == 202).await;
        assert_eq!((new.total(Term::In), new.account().lost().items), (202, 0), "counted once");
        new.drain(SECOND * 60).await;
        assert_balanced(&new);
        assert_eq!((new.account().kept().items, new.account().held().items), (202, 202));
        drop(new);

        let sender = Scripted::new([]);
        let next = disk.start(&patient(holding(10_000)), Arc::clone(&sender) as _);
        assert_eq!(next.total(Term::Opening), 202);
        until("all is delivered", || next.total(Term::Out) == 202).await;
        assert_eq!(sorted(sender.delivered()), (0..202).collect::<Vec<_>>(), "each once");
        next.drain(SECOND * 60).await;
        next.assert_settled();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_goes_there_as_soon_as_it_does() {
    let disk = Disk::new();
    let old = waiting(&disk, 10, false).await;
    let sender = Scripted::gated();
    let new = old.beside(&patient(holding(6)), Arc::clone(&sender) as _);
    hand_over(&old, &new);
    let leaving = tokio::spawn(async move { old.leave(SECOND * 600, SECOND * 60).await });
    until("it is full", || new.account().kept().items == 6).await;
    assert!(!leaving.is_finished());
    // What has just been stored is held twice for a moment.
    until("the rest is in memory", || new.account().held().items == 20).await;
    assert_eq!(new.account().lost().items, 0);
    sender.open(100);
    soon("the rest follows", leaving).await.expect("no panic");
    until("all is delivered", || new.total(Term::Out) == 20).await;
    assert_eq!(sorted(sender.delivered()), (0..20).collect::<Vec<_>>());
    new.drain(SECOND * 60).await;
    new.assert_settled();
    assert_eq!((new.total(Term::In), new.account().lost().items), (20, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_until_the_end_is_lost_by_name_and_the_rest_is_kept() {
    let disk = Disk::new();
    let old = waiting(&disk, 10, false).await;
    let new = old.beside(&patient(holding(6)), dead());
    hand_over(&old, &new);
    soon("it ends", old.leave(SECOND, SECOND * 60)).await;
    assert_eq!(new.lost(Reason::Unreachable), 14, "{:?}", new.account());
    assert_eq!(new.account().held().items, 6);
    new.drain(SECOND * 60).await;
    assert_balanced(&new);
    assert_eq!((new.account().kept().items, new.total(Term::In)), (6, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_the_queue_on_disk_is_offered_to_the_destination_in_the_end() {
    let disk = Disk::new();
    let sender = Scripted::gated();
    let old = disk.start(&patient(QueueConfig { num_consumers: 1, ..QueueConfig::default() }), {
        Arc::clone(&sender) as _
    });
    for id in 0..2 {
        old.hand_in(batch(10 * id..10 * id + 10)).await.expect("there is room");
    }
    let new = old.beside(&patient(holding(6)), dead());
    hand_over(&old, &new);
    sender.open(100);
    soon("it ends", old.leave(SECOND, SECOND * 60)).await;
    assert_eq!(sorted(sender.delivered()), (0..20).collect::<Vec<_>>());
    new.drain(SECOND * 60).await;
    new.assert_settled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_hears_that_it_can_send_again_and_is_counted_as_handed_back() {
    for wait_for_result in [false, true] {
        let disk = Disk::new();
        let config = QueueConfig { num_consumers: 1, wait_for_result, ..QueueConfig::default() };
        let old = Arc::new(disk.start(&patient(config), dead()));
        let waits = {
            let old = Arc::clone(&old);
            tokio::spawn(async move { old.hand_in_until(batch(0..3), Until::Settled).await })
        };
        until("it is being retried", || old.metric("otelcol_millrace_retry_waiting") > 0.0).await;
        let new = old.beside(&patient(holding(10_000)), dead());
        hand_over(&old, &new);
        soon("it ends", old.leave(SECOND * 600, SECOND * 60)).await;
        let failure = soon("it hears", waits).await.expect("no panic").expect_err("it was not delivered");
        assert!(failure.is_transient(), "{failure:?}");
        assert_eq!((new.total(Term::Refused), new.account().lost().items), (3, 0));
        new.drain(SECOND * 60).await;
        new.assert_settled();
    }
}
