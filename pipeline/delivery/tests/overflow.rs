//! `millrace_on_full: dead_letter`: what does not fit into a queue on disk is put aside, and nothing of it goes away.

mod support;

use millrace_delivery::{DeadLettersConfig, OnFull, QueueConfig};
use millrace_engine::component::Context;
use millrace_engine::ledger::{DEAD_LETTERS, Term};
use millrace_engine::storage::{Outcome, Rules, Selection, Task};
use millrace_engine::{Account, Reason, Until};
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, RULES, on_disk, soon, until};
use support::process::{Trial, queued};
use support::sender::{Go, Scripted, never};

/// A queue for three requests, of which one is being sent.
fn narrow() -> QueueConfig {
    QueueConfig {
        queue_size: 3,
        num_consumers: 1,
        millrace_on_full: OnFull::DeadLetter,
        millrace_adaptive_concurrency: false,
        ..on_disk()
    }
}

fn letters(context: &Context) -> Arc<Account> {
    let accounts = context.shared.ledger.accounts();
    accounts.into_iter().find(|account| account.holder().kind == DEAD_LETTERS).expect("there is a store")
}

fn aside(trial: &Trial) -> u64 {
    letters(&trial.context).kept().items
}

fn assert_balanced(trial: &Trial) {
    for account in trial.context.shared.ledger.accounts() {
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
    }
}

/// Hands in so many requests of ten records, all of which are taken.
async fn hand_in(trial: &Trial, requests: std::ops::Range<u64>) {
    for request in requests {
        trial.hand_in(batch(request * 10..request * 10 + 10)).await.expect("it is taken");
    }
}

async fn end(trial: Trial) {
    trial.drain(Duration::from_secs(60)).await;
    assert_balanced(&trial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_put_aside_and_comes_back_when_somebody_says_so() {
    let disk = Disk::new();
    let sender = Scripted::gated();
    let trial = disk.start(&queued(narrow()), Arc::clone(&sender) as _);
    hand_in(&trial, 0..8).await;
    assert_eq!((trial.account().kept().items, aside(&trial)), (30, 50));
    assert_eq!((trial.total(Term::In), trial.total(Term::DeadLettered)), (80, 50));
    assert_eq!((trial.total(Term::Refused), trial.account().lost().items), (0, 0));
    assert_balanced(&trial);

    let custodian = disk.dead_letters(&trial.context);
    let outcome = Arc::clone(&custodian).go_through(Task::Replay, Selection::default()).await;
    assert_eq!(outcome.requests, 0, "there is no room still, and nothing is moved to and fro");
    assert!(outcome.stopped.is_some_and(|why| why.contains("full")));

    sender.open(100);
    until("the queue is empty", || trial.total(Term::Out) == 30).await;
    let full = Selection { reason: Some("queue_full".to_owned()), limit: Some(2), ..Selection::default() };
    let outcome = Arc::clone(&custodian).go_through(Task::Replay, full).await;
    assert_eq!(outcome, Outcome { requests: 2, items: 20, ..Outcome::default() });
    until("they are delivered", || trial.total(Term::Out) == 50).await;
    assert_eq!(sender.delivered(), (0..50).collect::<Vec<_>>());
    assert_eq!(aside(&trial), 30);
    drop(custodian);
    end(trial).await;

    let trial = disk.start(&queued(narrow()), Scripted::new([]) as _);
    assert_eq!(aside(&trial), 30, "they are on disk");
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_dead_letters_are_full_too_it_is_refused_and_what_was_put_aside_stays() {
    let config = DeadLettersConfig { max_size: 1 << 20, ..DeadLettersConfig::default() };
    let queue = QueueConfig { millrace_dead_letters: config, ..narrow() };
    let disk = Disk::new();
    let sender = Scripted::gated();
    let trial = disk.start(&queued(queue), Arc::clone(&sender) as _);
    let mut taken = 0;
    let refusal = loop {
        match trial.hand_in(batch(taken..taken + 1000)).await {
            Ok(()) => taken += 1000,
            Err(failure) => break failure,
        }
    };
    assert_eq!(refusal.reason, Reason::QueueFull);
    assert!(refusal.is_transient() && refusal.message.contains("dead letters"), "{refusal}");
    assert!(taken > 5_000, "{taken}");
    assert_eq!(aside(&trial), taken - 3_000);
    assert_eq!(letters(&trial.context).lost().items, 0, "none makes room for another");
    assert_balanced(&trial);

    sender.open(100);
    until("the queue is empty", || trial.account().kept().items == 0).await;
    trial.hand_in(batch(taken..taken + 1000)).await.expect("there is room in the queue again");
    let custodian = disk.dead_letters(&trial.context);
    let mut left = u64::MAX;
    while left > 0 {
        // As far as the queue has room.
        Arc::clone(&custodian).go_through(Task::Replay, Selection::default()).await;
        until("it is delivered", || trial.account().kept().items == 0).await;
        let now = aside(&trial);
        assert!(now < left, "{now} of {left}");
        left = now;
    }
    assert_eq!(trial.total(Term::Out), taken + 1000);
    let mut delivered = sender.delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..taken + 1000).collect::<Vec<_>>(), "each once");
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_room_on_disk_counts_as_well_as_the_size_of_the_queue() {
    let rules = Rules { max_bytes: Some(512 << 10), segment_bytes: 64 << 10, ..RULES };
    let disk = Disk { rules, ..Disk::new() };
    let queue = QueueConfig { queue_size: 1_000_000, ..narrow() };
    let sender = Scripted::gated();
    let trial = disk.start(&queued(queue), Arc::clone(&sender) as _);
    let mut taken = 0;
    while aside(&trial) < 5_000 {
        trial.hand_in(batch(taken..taken + 1000)).await.expect("it is taken");
        taken += 1000;
    }
    assert_eq!(trial.account().kept().items + aside(&trial), taken);
    assert!(trial.account().kept().items > 3_000);
    sender.open(1000);
    until("the queue is empty", || trial.account().kept().items == 0).await;
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_room_waits_only_when_the_dead_letters_are_full() {
    let config = DeadLettersConfig { max_size: 1 << 20, ..DeadLettersConfig::default() };
    let queue = QueueConfig { millrace_dead_letters: config, block_on_overflow: true, ..narrow() };
    let disk = Disk::new();
    let sender = Scripted::gated();
    let trial = disk.start(&queued(queue), Arc::clone(&sender) as _);
    hand_in(&trial, 0..8).await;
    assert_eq!(aside(&trial), 50);
    let mut taken = 80;
    loop {
        let cost = batch(taken..taken + 1000).cost();
        match millrace_engine::Stage::reserve(&*trial.exporter, cost) {
            millrace_engine::Reservation::Now(permit) => drop(permit.expect("room")),
            millrace_engine::Reservation::Later(_) => break,
        }
        trial.hand_in(batch(taken..taken + 1000)).await.expect("it is taken");
        taken += 1000;
    }
    let waiting = trial.hand_in(batch(taken..taken + 1000));
    sender.open(100);
    soon("it gets its turn", waiting).await.expect("there is room");
    until("the queue is empty", || trial.account().kept().items == 0).await;
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_settled_when_it_is_put_aside() {
    let disk = Disk::new();
    let sender = Scripted::gated();
    let trial = disk.start(&queued(narrow()), Arc::clone(&sender) as _);
    hand_in(&trial, 0..3).await;
    let put = trial.hand_in_until(batch(30..40), Until::Settled);
    soon("nothing upstream is needed any more", put).await.expect("it is put aside");
    assert_eq!(aside(&trial), 10);
    sender.open(100);
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_destination_refuses_takes_no_room_from_what_was_put_aside() {
    let config = DeadLettersConfig { max_size: 1 << 20, ..DeadLettersConfig::default() };
    let queue = QueueConfig { millrace_dead_letters: config, queue_size: 1, ..narrow() };
    let disk = Disk::new();
    let sender = Scripted::new([Go::Hang]);
    let trial = disk.start(&queued(queue.clone()), sender as _);
    let mut taken = 0;
    while trial.hand_in(batch(taken..taken + 1000)).await.is_ok() {
        taken += 1000;
    }
    let before = aside(&trial);
    trial.drain(Duration::ZERO).await;
    drop(trial);

    let refusing = Scripted::new(std::iter::repeat_n(Go::Fail(never()), 1000));
    let trial = disk.start(&queued(queue), refusing as _);
    until("it is accounted for", || trial.account().kept().items == 0).await;
    assert_eq!(aside(&trial), before);
    assert_eq!(trial.lost(Reason::Rejected), 1000, "as without dead letters");
    end(trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_back_and_refused_is_put_aside_again_however_much_has_been() {
    let config = DeadLettersConfig { max_size: 1 << 20, ..DeadLettersConfig::default() };
    let queue = QueueConfig { millrace_dead_letters: config, queue_size: 1, ..narrow() };
    let disk = Disk::new();
    let trial = disk.start(&queued(queue.clone()), Scripted::new([Go::Hang]) as _);
    let mut taken = 0;
    while trial.hand_in(batch(taken..taken + 100)).await.is_ok() {
        taken += 100;
    }
    trial.drain(Duration::ZERO).await;
    drop(trial);

    let queue = QueueConfig { queue_size: 10_000, ..queue };
    let refusing =
        Scripted::new([Go::Take].into_iter().chain(std::iter::repeat_n(Go::Fail(never()), 100_000)));
    let trial = disk.start(&queued(queue), refusing as _);
    until("the queue is empty", || trial.account().kept().items == 0).await;
    let before = aside(&trial);
    assert_eq!(before + trial.total(Term::Out), taken);
    for _ in 0..4 {
        let outcome = disk.dead_letters(&trial.context).go_through(Task::Replay, Selection::default()).await;
        assert_eq!((outcome.items, outcome.stopped), (before, None));
        until("all is accounted for", || trial.account().kept().items == 0).await;
        assert_eq!((aside(&trial), trial.lost(Reason::Rejected)), (before, 0));
    }
    end(trial).await;
}
