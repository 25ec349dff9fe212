//! What cannot be delivered is put aside with its reason, and comes back when somebody says so.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::storage::CONSUMER;
use millrace_delivery::{BatchConfig, DeadLettersConfig, Delivery, QueueConfig, RetryConfig};
use millrace_engine::component::Context;
use millrace_engine::ledger::{DEAD_LETTERS, Term};
use millrace_engine::storage::{Outcome, Selection, Task};
use millrace_engine::{Account, Reason, Until};
use millrace_log::{Delivery as Letter, Entry, Log, Options};
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, PATIENCE, on_disk, until};
use support::process::{Trial, queued};
use support::sender::{Go, Scripted, later, never, too_large};
use tokio::time::timeout;

fn delivery(queue: QueueConfig) -> Delivery {
    let retry = RetryConfig {
        initial_interval: Configured::from_millis(1),
        max_interval: Configured::from_millis(2),
        ..RetryConfig::default()
    };
    Delivery { retry, ..queued(queue) }
}

fn one_at_a_time() -> QueueConfig {
    QueueConfig { num_consumers: 1, ..on_disk() }
}

/// So many requests of ten items.
async fn hand_in(trial: &Trial, requests: u64) {
    for request in 0..requests {
        trial.hand_in(batch(request * 10..request * 10 + 10)).await.expect("there is room");
    }
}

/// The account of what has been put aside.
fn letters(context: &Context) -> Arc<Account> {
    let accounts = context.shared.ledger.accounts();
    accounts.into_iter().find(|account| account.holder().kind == DEAD_LETTERS).expect("there is a store")
}

fn kept(context: &Context) -> u64 {
    letters(context).kept().items
}

fn assert_balanced(trial: &Trial) {
    for account in trial.context.shared.ledger.accounts() {
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
    }
}

async fn end(trial: Trial) {
    trial.drain(Duration::from_secs(60)).await;
    assert_balanced(&trial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_there_after_a_restart_and_comes_back() {
    let disk = Disk::new();
    let sender = Scripted::new([Go::Take, Go::Fail(never()), Go::Take]);
    let trial = disk.start(&delivery(one_at_a_time()), Arc::clone(&sender) as _);
    hand_in(&trial, 3).await;
    until("all is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!((trial.total(Term::Out), trial.total(Term::DeadLettered)), (20, 10));
    assert_eq!((trial.account().lost().items, kept(&trial.context)), (0, 10));
    assert_eq!(trial.metric("otelcol_millrace_dead_letters"), 1.0);
    assert_eq!(trial.metric("otelcol_millrace_dead_letter_items"), 10.0);
    end(trial).await;

    let sender = Scripted::new([]);
    let trial = disk.start(&delivery(one_at_a_time()), Arc::clone(&sender) as _);
    assert_eq!(letters(&trial.context).total(Term::Opening).items, 10);
    let custodian = disk.dead_letters(&trial.context);
    let outcome = custodian.go_through(Task::Replay, Selection::default()).await;
    assert_eq!(outcome, Outcome { requests: 1, items: 10, ..Outcome::default() });
    until("it is delivered", || trial.total(Term::Out) == 10).await;
    assert_eq!(sender.delivered(), (10..20).collect::<Vec<_>>());
    assert_eq!((kept(&trial.context), letters(&trial.context).total(Term::Out).items), (0, 10));
    end(trial).await;
    let again = disk.start(&delivery(one_at_a_time()), Scripted::new([]) as _);
    assert_eq!(letters(&again.context).total(Term::Opening).items, 0, "it does not come back a second time");
    end(again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_again_is_put_aside_again_and_replaying_ends() {
    let disk = Disk::new();
    let sender = Scripted::new(std::iter::repeat_n(Go::Fail(never()), 1000));
    let trial = disk.start(&delivery(one_at_a_time()), Arc::clone(&sender) as _);
    hand_in(&trial, 5).await;
    until("all is put aside", || kept(&trial.context) == 50).await;
    let outcome = disk.dead_letters(&trial.context).go_through(Task::Replay, Selection::default()).await;
    assert_eq!((outcome.requests, outcome.stopped), (5, None));
    until("all is put aside again", || kept(&trial.context) == 50).await;
    until("nothing waits", || trial.account().kept().items == 0).await;
    assert_eq!(trial.total(Term::DeadLettered), 100);
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_the_queue_stays_put_aside_also_where_senders_wait_for_room() {
    let disk = Disk::new();
    let sender = Scripted::new([Go::Fail(never()), Go::Fail(never())]);
    let queue = QueueConfig { queue_size: 1, block_on_overflow: true, ..one_at_a_time() };
    let trial = disk.start(&delivery(queue.clone()), Arc::clone(&sender) as _);
    hand_in(&trial, 2).await;
    until("all is put aside", || kept(&trial.context) == 20).await;
    end(trial).await;

    let sender = Scripted::gated();
    let trial = disk.start(&delivery(queue), Arc::clone(&sender) as _);
    let replay = || disk.dead_letters(&trial.context).go_through(Task::Replay, Selection::default());
    let outcome = timeout(PATIENCE, replay()).await.expect("it ends");
    assert_eq!(outcome.requests, 1);
    assert!(outcome.stopped.as_ref().is_some_and(|stopped| stopped.contains("full")), "{outcome:?}");
    let all = timeout(PATIENCE, replay()).await.expect("nobody waits behind it");
    assert_eq!((all.requests, kept(&trial.context)), (0, 10));
    sender.open(1);
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_that_run_out_and_records_that_are_too_large_are_put_aside_with_their_reasons() {
    let disk = Disk::new();
    let mut config = delivery(one_at_a_time());
    config.retry.max_elapsed_time = Some(Configured::from_millis(20));
    let sender = Scripted::new(std::iter::repeat_n(Go::Fail(later()), 10_000));
    let trial = disk.start(&config, Arc::clone(&sender) as _);
    trial.hand_in(batch(0..10)).await.expect("there is room");
    until("it is put aside", || kept(&trial.context) == 10).await;
    end(trial).await;

    // One record in ten can never be taken; the others are.
    let sender = Scripted::poisoned([17]);
    let trial = disk.start(&config, Arc::clone(&sender) as _);
    trial.hand_in(batch(10..20)).await.expect("there is room");
    until("it is accounted for", || trial.account().kept().items == 0).await;
    let aside = trial.total(Term::DeadLettered);
    assert_eq!(trial.total(Term::Out) + aside, 10);
    assert!(aside >= 1);
    let custodian = disk.dead_letters(&trial.context);
    let exhausted = Selection { reason: Some("retries_exhausted".to_owned()), ..Selection::default() };
    let outcome = Arc::clone(&custodian).go_through(Task::Drop, exhausted).await;
    assert_eq!(outcome, Outcome { requests: 1, items: 10, ..Outcome::default() });
    assert_eq!(letters(&trial.context).total(Term::Lost(Reason::Discarded)).items, 10);
    assert_eq!(kept(&trial.context), aside);
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_sending_panic_is_put_aside_and_does_not_come_back_by_itself() {
    let disk = Disk::new();
    let sender = Scripted::new([Go::Take, Go::Panic, Go::Fail(later()), Go::Take]);
    let trial = disk.start(&delivery(one_at_a_time()), Arc::clone(&sender) as _);
    hand_in(&trial, 3).await;
    until("all is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!((trial.total(Term::Out), trial.total(Term::DeadLettered)), (20, 10));
    assert_eq!((trial.account().lost().items, kept(&trial.context)), (0, 10));
    assert_eq!(trial.context.shared.tasks.panics(), 1, "it is still a bug, and the process is told");
    end(trial).await;

    let sender = Scripted::new([]);
    let trial = disk.start(&delivery(one_at_a_time()), Arc::clone(&sender) as _);
    assert_eq!((trial.account().kept().items, kept(&trial.context)), (0, 10));
    let internal = Selection { reason: Some("internal".to_owned()), ..Selection::default() };
    let outcome = disk.dead_letters(&trial.context).go_through(Task::Replay, internal).await;
    assert_eq!(outcome, Outcome { requests: 1, items: 10, ..Outcome::default() });
    until("it is delivered", || trial.total(Term::Out) == 10).await;
    assert_eq!(sender.delivered(), (10..20).collect::<Vec<_>>());
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_halfway_through_a_batch_leaves_the_other_half_alone() {
    let disk = Disk::new();
    let batching = BatchConfig { min_size: 20, max_size: 20, ..BatchConfig::default() };
    let queue = QueueConfig { batch: Optional::On(batching), ..one_at_a_time() };
    let sender = Scripted::new([Go::Fail(too_large()), Go::Panic]);
    let trial = disk.start(&delivery(queue), Arc::clone(&sender) as _);
    hand_in(&trial, 2).await;
    until("all is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!((trial.total(Term::Out), trial.total(Term::DeadLettered)), (10, 10));
    assert_eq!(sender.delivered(), (10..20).collect::<Vec<_>>());
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_leaves_the_others_where_they_are() {
    let disk = Disk::new();
    let sender = Scripted::new(std::iter::repeat_n(Go::Fail(never()), 4));
    let trial = disk.start(&delivery(one_at_a_time()), Arc::clone(&sender) as _);
    hand_in(&trial, 4).await;
    until("all is put aside", || kept(&trial.context) == 40).await;
    let custodian = disk.dead_letters(&trial.context);
    let two = Selection { limit: Some(2), ..Selection::default() };
    assert_eq!(Arc::clone(&custodian).go_through(Task::Replay, two).await.requests, 2);
    until("they are delivered", || trial.total(Term::Out) == 20).await;
    assert_eq!(sender.delivered(), (0..20).collect::<Vec<_>>());
    let none = Selection { reason: Some("timeout".to_owned()), ..Selection::default() };
    assert_eq!(Arc::clone(&custodian).go_through(Task::Drop, none).await, Outcome::default());
    assert_eq!(custodian.go_through(Task::Replay, Selection::default()).await.requests, 2);
    until("all are delivered", || trial.total(Term::Out) == 40).await;
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_are_meant_are_found_behind_any_number_of_others() {
    const OTHERS: u64 = 66_000;
    let disk = Disk::new();
    let trial = disk.start(&delivery(one_at_a_time()), Scripted::new([Go::Fail(never())]) as _);
    trial.hand_in(batch(0..1)).await.expect("there is room");
    until("it is put aside", || kept(&trial.context) == 1).await;
    end(trial).await;
    let options = Options { fsync: false, ..Options::default() };
    let (log, _) = Log::open(&disk.folder.path().join("test-logs.dead-letters"), options).expect("it opens");
    let consumer = log.consumer(CONSUMER).expect("it is there");
    let Letter { lease, meta, payload } = consumer.read_next().expect("readable").expect("a letter");
    assert!(consumer.defer(lease.sequence));
    let copy = || {
        let (kind, codec, items) = (lease.kind, lease.codec, lease.items);
        let entry = Entry { kind, codec, items, meta: meta.clone(), payload: vec![payload.clone()] };
        log.append(log.reserve(entry.framed_len()).expect("room"), entry)
    };
    let appending: Vec<_> = (0..OTHERS).map(|_| copy()).collect();
    let last = appending.into_iter().map(|one| one.wait().expect("appended").sequence).last();
    drop(log);

    let sender = Scripted::new([]);
    let trial = disk.start(&delivery(one_at_a_time()), Arc::clone(&sender) as _);
    assert_eq!(kept(&trial.context), OTHERS + 1);
    let which = Selection { numbers: last.into_iter().collect(), ..Selection::default() };
    let custodian = disk.dead_letters(&trial.context);
    let outcome = Arc::clone(&custodian).go_through(Task::Replay, which).await;
    assert_eq!(outcome, Outcome { requests: 1, items: 1, ..Outcome::default() });
    until("it is delivered", || trial.total(Term::Out) == 1).await;
    // The others are where they were.
    let outcome = custodian.go_through(Task::Drop, Selection::default()).await;
    assert_eq!((outcome.requests, outcome.stopped), (OTHERS, None));
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_outcome_has_the_request_back_instead() {
    let disk = Disk::new();
    let trial = disk.start(&delivery(one_at_a_time()), Scripted::new([Go::Fail(never())]) as _);
    let failure = trial.hand_in_until(batch(0..10), Until::Settled).await.expect_err("it is refused");
    assert_eq!(failure.reason, Reason::Rejected);
    assert_eq!((trial.total(Term::Refused), kept(&trial.context)), (10, 0));
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_bounded_and_the_newest_are_kept() {
    let disk = Disk::new();
    let letters_config = DeadLettersConfig { max_size: 1 << 20, ..DeadLettersConfig::default() };
    let batching = BatchConfig { min_size: 1000, max_size: 1000, ..BatchConfig::default() };
    let queue = QueueConfig {
        millrace_dead_letters: letters_config,
        batch: Optional::On(batching),
        queue_size: 10_000,
        ..one_at_a_time()
    };
    let sender = Scripted::new(std::iter::repeat_n(Go::Fail(never()), 100_000));
    let trial = disk.start(&delivery(queue), sender as _);
    let items = 60_000;
    for request in 0..items / 1000 {
        trial.hand_in(batch(request * 1000..request * 1000 + 1000)).await.expect("there is room");
    }
    until("all is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!(trial.total(Term::DeadLettered), items);
    let account = letters(&trial.context);
    let evicted = account.total(Term::Lost(Reason::Evicted)).items;
    assert!(evicted > 0 && account.kept().items > 0, "{account:?}");
    assert_eq!(evicted + account.kept().items, items);
    assert!(trial.metric("otelcol_millrace_dead_letter_bytes") <= (1 << 20) as f64);
    end(trial).await;
}

/// A store of 1 MiB that is as full as it gets, of a destination that takes nothing.
async fn filled(disk: &Disk, sender: Arc<Scripted>) -> Trial {
    let letters_config = DeadLettersConfig { max_size: 1 << 20, ..DeadLettersConfig::default() };
    let queue = QueueConfig { millrace_dead_letters: letters_config, queue_size: 10_000, ..one_at_a_time() };
    let trial = disk.start(&delivery(queue), sender as _);
    for request in 0..1_000 {
        trial.hand_in(batch(request * 100..request * 100 + 100)).await.expect("there is room");
    }
    until("all is accounted for", || trial.account().kept().items == 0).await;
    assert!(evicted(&trial.context) > 0, "it is full");
    trial
}

fn evicted(context: &Context) -> u64 {
    letters(context).total(Term::Lost(Reason::Evicted)).items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_to_a_full_store_is_put_aside_again_and_nothing_gives_way_to_it() {
    let disk = Disk::new();
    let trial = filled(&disk, Scripted::new(std::iter::repeat_n(Go::Fail(never()), 1_000_000))).await;
    let (before, gone) = (kept(&trial.context), evicted(&trial.context));
    for _ in 0..4 {
        let outcome = disk.dead_letters(&trial.context).go_through(Task::Replay, Selection::default()).await;
        assert_eq!((outcome.items, outcome.stopped), (before, None));
        until("all is accounted for", || trial.account().kept().items == 0).await;
        assert_eq!((kept(&trial.context), evicted(&trial.context)), (before, gone));
        assert!(trial.metric("otelcol_millrace_dead_letter_bytes") <= (1 << 20) as f64);
    }
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_back_a_few_at_a_time_finds_its_way_back_as_well() {
    let disk = Disk::new();
    let trial = filled(&disk, Scripted::new(std::iter::repeat_n(Go::Fail(never()), 1_000_000))).await;
    let (before, gone) = (kept(&trial.context), evicted(&trial.context));
    for _ in 0..200 {
        let few = Selection { limit: Some(7), ..Selection::default() };
        let outcome = disk.dead_letters(&trial.context).go_through(Task::Replay, few).await;
        // There are less while the others are on their way.
        assert!(outcome.requests <= 7 && outcome.stopped.is_none(), "{outcome:?}");
    }
    until("all is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!((kept(&trial.context), evicted(&trial.context)), (before, gone));
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_here_and_there_no_more_is_given_back_than_finds_room_again() {
    let disk = Disk::new();
    let script = std::iter::repeat_n(Go::Fail(never()), 1_000).chain([Go::Hang]);
    let trial = filled(&disk, Scripted::new(script)).await;
    let (before, gone) = (kept(&trial.context), evicted(&trial.context));
    let every_third =
        |from: u64| Selection { numbers: (from..2_000).step_by(3).collect(), ..Selection::default() };
    let replay = |which| disk.dead_letters(&trial.context).go_through(Task::Replay, which);
    let outcome = timeout(PATIENCE, replay(every_third(0))).await.expect("it ends, although nothing answers");
    assert!(outcome.requests > 0 && outcome.is_for_now, "{outcome:?}");
    assert!(outcome.stopped.is_some_and(|stopped| stopped.contains("would find no room")));
    let mut given_back = outcome.items;
    // Less and less, as nothing is settled meanwhile.
    loop {
        let again = timeout(PATIENCE, replay(every_third(1))).await.expect("it ends");
        given_back += again.items;
        assert!(again.is_for_now && given_back < before / 4, "{again:?}");
        if again.requests == 0 {
            break;
        }
    }
    trial.drain(Duration::ZERO).await;
    assert_eq!((kept(&trial.context), evicted(&trial.context)), (before - given_back, gone));
    assert_balanced(&trial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_here_and_there_come_back_and_nothing_gives_way_to_them() {
    let disk = Disk::new();
    let trial = filled(&disk, Scripted::new(std::iter::repeat_n(Go::Fail(never()), 1_000_000))).await;
    let (before, gone) = (kept(&trial.context), evicted(&trial.context));
    for from in [0, 1, 2, 0, 1, 2] {
        let numbers = (from..4_000).step_by(3).collect();
        let which = Selection { numbers, ..Selection::default() };
        let outcome = disk.dead_letters(&trial.context).go_through(Task::Replay, which).await;
        assert!(outcome.stopped.is_none() || outcome.is_for_now, "{outcome:?}");
        until("all is accounted for", || trial.account().kept().items == 0).await;
        assert_eq!((kept(&trial.context), evicted(&trial.context)), (before, gone));
    }
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turned_off_it_is_dropped_and_counted_as_before() {
    let disk = Disk::new();
    let off = DeadLettersConfig { enabled: false, ..DeadLettersConfig::default() };
    let queue = QueueConfig { millrace_dead_letters: off, ..one_at_a_time() };
    let trial = disk.start(&delivery(queue), Scripted::new([Go::Fail(never())]) as _);
    trial.hand_in(batch(0..10)).await.expect("there is room");
    until("it is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!((trial.lost(Reason::Rejected), trial.total(Term::DeadLettered)), (10, 0));
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_within_a_success_is_counted_and_the_rest_is_not_kept_for_it() {
    let disk = Disk::new();
    let trial = disk.start(&delivery(one_at_a_time()), Scripted::new([Go::Partly(3)]) as _);
    trial.hand_in(batch(0..10)).await.expect("there is room");
    until("it is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!((trial.total(Term::Out), trial.lost(Reason::Rejected)), (7, 3));
    assert_eq!((trial.total(Term::DeadLettered), kept(&trial.context)), (0, 0));
    end(trial).await;
}
