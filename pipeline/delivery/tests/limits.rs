//! Limits of what is open already, as a new configuration has them.

mod support;

use millrace_delivery::{DeadLettersConfig, Exporter, OnFull, QueueConfig};
use millrace_engine::component::Context;
use millrace_engine::ledger::{DEAD_LETTERS, Term};
use millrace_engine::storage::Rules;
use millrace_engine::{Account, Reason, Stage, Until};
use millrace_wire::Signal;
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, RULES, on_disk, soon, until};
use support::process::{Trial, queued};
use support::sender::{Go, Scripted, never};

const SMALL: Rules = Rules { max_bytes: Some(512 << 10), segment_bytes: 64 << 10, ..RULES };

fn queue() -> QueueConfig {
    QueueConfig { queue_size: 1_000_000, num_consumers: 1, ..on_disk() }
}

/// Hands in requests of a hundred records until one is refused; how many were taken.
async fn fill(trial: &Trial) -> u64 {
    for taken in 0..10_000 {
        if let Err(failure) = trial.hand_in(batch(0..100)).await {
            assert_eq!(failure.reason, Reason::QueueFull);
            return taken;
        }
    }
    panic!("it has no limit");
}

/// Another one in its place, in a process where that storage has other rules.
fn successor(disk: &Disk, trial: &Trial, queue: QueueConfig) -> Trial {
    let context = Context { shared: trial.context.shared.next(), ..trial.context.clone() };
    disk.publish(&context);
    let sender = Scripted::new([Go::Hang]);
    let exporter = Exporter::start(&context, Signal::Logs, &queued(queue), sender as _).expect("it starts");
    Trial { context, exporter }
}

async fn end(trials: impl IntoIterator<Item = Trial>) {
    for trial in trials {
        trial.drain(Duration::ZERO).await;
        for account in trial.context.shared.ledger.accounts() {
            assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_has_the_new_room_as_soon_as_the_new_exporter_works_and_not_before() {
    let mut disk = Disk { rules: SMALL, ..Disk::new() };
    let first = disk.start(&queued(queue()), Scripted::new([Go::Hang]) as _);
    let taken = fill(&first).await;
    assert!(taken > 10, "{taken}");

    disk.rules = Rules { max_bytes: Some(1 << 20), ..SMALL };
    let second = successor(&disk, &first, queue());
    assert_eq!(fill(&second).await, 0, "it may yet turn out that it never works");
    second.exporter.begin();
    assert_eq!(second.metric("otelcol_millrace_storage_limit"), f64::from(1 << 20));
    assert!(fill(&second).await > taken / 2);

    disk.rules = SMALL;
    let third = successor(&disk, &second, queue());
    third.exporter.begin();
    assert_eq!(fill(&third).await, 0);
    assert_eq!(third.account().lost().items, 0, "what is over the limit stays");
    let fourth = successor(&disk, &third, QueueConfig { millrace_on_full: OnFull::DropOldest, ..queue() });
    fourth.exporter.begin();
    fourth.hand_in(batch(0..100)).await.expect("the oldest give way");
    assert!(fourth.lost(Reason::Evicted) > 0);
    end([first, second, third, fourth]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smaller_queue_gives_way_at_once_where_the_oldest_do_and_not_where_new_ones_are_refused() {
    let disk = Disk::new();
    let first = disk.start(&queued(queue()), Scripted::new([Go::Hang]) as _);
    for _ in 0..100 {
        first.hand_in(batch(0..100)).await.expect("there is room");
    }
    let small = || QueueConfig { queue_size: 60, ..queue() };
    let second = successor(&disk, &first, small());
    second.exporter.begin();
    assert_eq!(second.hand_in(batch(0..100)).await.expect_err("it is full").reason, Reason::QueueFull);
    assert_eq!(second.metric("otelcol_exporter_queue_size"), 100.0);
    assert_eq!(second.account().lost().items, 0, "what is over the limit stays");
    let drops = || QueueConfig { millrace_on_full: OnFull::DropOldest, ..small() };
    let third = successor(&disk, &second, drops());
    third.exporter.begin();
    until("there is room", || third.metric("otelcol_exporter_queue_size") <= 60.0).await;
    assert_eq!(third.lost(Reason::Evicted), 4_000);
    end([first, second, third]).await;

    // And so it does at a start, but for what has been read to be sent next.
    let again =
        disk.build(&queued(QueueConfig { queue_size: 40, ..drops() }), Scripted::new([Go::Hang]) as _);
    assert_eq!(again.metric("otelcol_exporter_queue_size"), 60.0);
    again.exporter.begin();
    until("there is room", || again.metric("otelcol_exporter_queue_size") <= 40.0).await;
    assert_eq!(again.lost(Reason::Evicted), 2_000);
    end([again]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_by_the_new_rules_goes() {
    let mut disk = Disk::new();
    let first = disk.start(&queued(queue()), Scripted::new([Go::Hang]) as _);
    for _ in 0..5 {
        first.hand_in(batch(0..100)).await.expect("there is room");
    }
    until("one is being sent", || first.metric("otelcol_exporter_in_flight_requests") == 1.0).await;
    disk.rules = Rules { max_age: Some(Duration::from_millis(1)), ..RULES };
    let second = successor(&disk, &first, queue());
    second.exporter.begin();
    // Each of the two may have one in its hands.
    until("the others are gone", || second.lost(Reason::Expired) >= 300).await;
    end([first, second]).await;
}

/// What is dropped while others before it are being sent, however long that takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_become_too_old_is_in_memory_no_longer_and_nobody_waits_for_it() {
    let rules = Rules { max_age: Some(Duration::from_secs(2)), segment_bytes: 64 << 10, ..RULES };
    let disk = Disk { rules, ..Disk::new() };
    let sender = Scripted::gated();
    let queue = QueueConfig { num_consumers: 2, millrace_adaptive_concurrency: false, ..queue() };
    let trial = disk.start(&queued(queue), Arc::clone(&sender) as _);
    let memory = || trial.metric("otelcol_millrace_storage_memory");
    // Two are being sent, and one or two are next.
    for _ in 0..4 {
        trial.hand_in(batch(0..100)).await.expect("there is room");
    }
    until("two are being sent", || trial.metric("otelcol_exporter_in_flight_requests") == 2.0).await;
    let few = memory();
    assert!(few > 0.0);
    let settled = trial.hand_in_until(batch(0..100), Until::Settled);
    let rest = async {
        for _ in 0..50 {
            trial.hand_in(batch(0..100)).await.expect("there is room");
        }
        until("the others are gone", || trial.lost(Reason::Expired) >= 51 * 100).await;
        sender.open(1);
        until("one is sent", || trial.total(Term::Out) == 100).await;
        until("the others leave memory", || memory() < few).await;
    };
    let (settled, ()) = tokio::join!(soon("nobody waits for what is gone", settled), rest);
    assert_eq!(settled.expect_err("it is gone").reason, Reason::Evicted);
    sender.open(10);
    until("nothing is in memory", || memory() == 0.0).await;
    end([trial]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_have_their_new_room() {
    let of = |max_size| QueueConfig {
        millrace_dead_letters: DeadLettersConfig { max_size, ..DeadLettersConfig::default() },
        queue_size: 1,
        millrace_on_full: OnFull::DeadLetter,
        ..queue()
    };
    let disk = Disk::new();
    let first = disk.start(&queued(of(1 << 20)), Scripted::new([Go::Hang]) as _);
    let taken = fill(&first).await;
    let second = successor(&disk, &first, of(3 << 20));
    second.exporter.begin();
    let more = fill(&second).await;
    assert!(more > taken, "{taken}, then {more}");

    // Where nothing is put aside because the queue is full, the newest are kept.
    let queue = QueueConfig { millrace_on_full: OnFull::Refuse, ..of(1 << 20) };
    let third = successor(&disk, &second, queue);
    third.exporter.begin();
    let letters: Arc<Account> = {
        let accounts = third.context.shared.ledger.accounts();
        accounts.into_iter().find(|account| account.holder().kind == DEAD_LETTERS).expect("a store")
    };
    until("the oldest give way", || letters.total(Term::Lost(Reason::Evicted)).items > 0).await;
    until("they fit", || third.metric("otelcol_millrace_dead_letter_bytes") <= f64::from(1 << 20) * 3.0)
        .await;
    end([first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_delivered_finds_the_store_of_the_exporter_before() {
    let disk = Disk::new();
    let first = disk.start(&queued(queue()), Scripted::new([Go::Fail(never())]) as _);
    first.hand_in(batch(0..10)).await.expect("there is room");
    until("it is put aside", || first.total(Term::DeadLettered) == 10).await;
    let second = first.beside(&queued(queue()), Scripted::new([Go::Fail(never())]));
    first.drain(Duration::from_secs(1)).await;
    drop(first);
    second.hand_in(batch(10..20)).await.expect("there is room");
    until("it is put aside", || second.total(Term::DeadLettered) == 20).await;
    end([second]).await;
}
