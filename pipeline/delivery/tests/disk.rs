//! Queues on disk: what is acknowledged is there until it is delivered, whatever becomes of the process, and memory is
//! bounded however long the queue is.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, DeadLettersConfig, Delivery, OnFull, QueueConfig, RetryConfig, Sizer};
use millrace_engine::ledger::Term;
use millrace_engine::{Reason, Retry, Until};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, on_disk, soon, until};
use support::process::{Trial, queued};
use support::sender::{Go, Scripted, later, never};

const SECOND: Duration = Duration::from_secs(1);

/// What is refused for a while is tried again at once.
fn persistent(queue: QueueConfig) -> Delivery {
    let retry = RetryConfig {
        initial_interval: Configured::from_millis(1),
        max_interval: Configured::from_millis(5),
        ..RetryConfig::default()
    };
    Delivery { retry, ..queued(queue) }
}

/// A queue on disk that puts nothing aside.
fn dropping() -> QueueConfig {
    let off = DeadLettersConfig { enabled: false, ..DeadLettersConfig::default() };
    QueueConfig { millrace_dead_letters: off, ..on_disk() }
}

/// A destination that is not there.
fn absent() -> Arc<Scripted> {
    Scripted::new(std::iter::repeat_n(Go::Fail(later()), 1_000_000))
}

async fn hand_in(trial: &Trial, requests: std::ops::Range<u64>, items: u64) {
    for request in requests {
        trial.hand_in(batch(request * items..(request + 1) * items)).await.expect("there is room");
    }
}

fn assert_balanced(trial: &Trial) {
    let account = trial.account();
    assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
}

/// Ends it; what is on disk then, in items.
async fn end(trial: Trial) -> u64 {
    trial.drain(SECOND * 60).await;
    assert_balanced(&trial);
    let (held, kept) = (trial.account().held(), trial.account().kept());
    assert_eq!(held, kept, "nothing is in memory only");
    kept.items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_destination_takes_goes_from_memory_in_order_and_leaves_the_disk() {
    let disk = Disk::new();
    let sender = Scripted::new([]);
    let queue = QueueConfig { num_consumers: 1, ..on_disk() };
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    hand_in(&trial, 0..50, 4).await;
    until("all is delivered", || trial.total(Term::Out) == 200).await;
    assert_eq!(sender.delivered(), (0..200).collect::<Vec<_>>());
    until("all is done with", || trial.account().held().items == 0).await;
    trial.assert_settled();
    assert_eq!(trial.metric("otelcol_exporter_queue_size"), 0.0);
    assert_eq!(trial.metric("otelcol_exporter_queue_capacity"), 1000.0);
    assert_eq!(trial.metric("otelcol_millrace_storage_memory"), 0.0);
    assert!(trial.metric("otelcol_millrace_storage_bytes") > 0.0);
    assert!(trial.metric("otelcol_millrace_storage_sync_duration_count") > 0.0);
    assert_eq!(end(trial).await, 0);
    let sender = Scripted::new([]);
    let again = disk.start(&persistent(on_disk()), Arc::clone(&sender) as _);
    assert_eq!(again.total(Term::Opening), 0);
    end(again).await;
    assert!(sender.attempts().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_destination_has_not_taken_is_kept_and_sent_by_the_next_process() {
    let disk = Disk::new();
    let trial = disk.start(&persistent(on_disk()), absent());
    hand_in(&trial, 0..30, 10).await;
    let took = soon("it ends", trial.drain(SECOND * 60)).await;
    assert!(took < SECOND * 30, "one attempt at what is dead is enough, and took {took:?}");
    let kept = end(trial).await;
    assert_eq!(kept, 300);

    let sender = Scripted::new([]);
    let trial = disk.start(&persistent(on_disk()), Arc::clone(&sender) as _);
    assert_eq!(trial.total(Term::Opening), kept);
    until("all is delivered", || trial.total(Term::Out) == 300).await;
    let delivered = sender.delivered();
    assert_eq!(delivered.iter().copied().collect::<BTreeSet<_>>(), (0..300).collect());
    assert_eq!(delivered.len(), 300, "each once");
    assert_eq!(trial.lost(Reason::ShuttingDown), 0);
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_sent_in_part_is_sent_again_as_a_whole() {
    let disk = Disk::new();
    let batching = BatchConfig { min_size: 6, max_size: 6, ..BatchConfig::default() };
    let queue = QueueConfig { num_consumers: 1, batch: Optional::On(batching), ..on_disk() };
    // Of two requests of ten, the first six items are delivered, and then nothing any more.
    let sender = Scripted::new([Go::Take, Go::Hang]);
    let trial = disk.start(&persistent(queue.clone()), Arc::clone(&sender) as _);
    hand_in(&trial, 0..2, 10).await;
    until("the first part is delivered", || trial.total(Term::Out) == 6).await;
    trial.drain(Duration::from_millis(50)).await;
    assert_balanced(&trial);
    assert_eq!((trial.account().kept().items, trial.total(Term::Created)), (20, 6));
    drop(trial);

    let sender = Scripted::new([]);
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    until("all is delivered", || trial.total(Term::Out) == 20).await;
    assert_eq!(sender.delivered(), (0..20).collect::<Vec<_>>());
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_and_the_rest_is_read_back_in_order() {
    let disk = Disk { work_bytes: 1 << 20, ..Disk::new() };
    let sender = Scripted::gated();
    let queue = QueueConfig { num_consumers: 1, queue_size: 10_000, ..on_disk() };
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    let bound = 256.0 * 1024.0;
    for request in 0..300 {
        trial.hand_in(batch(request * 100..request * 100 + 100)).await.expect("there is room");
        assert!(trial.metric("otelcol_millrace_storage_memory") <= bound);
    }
    assert!(trial.account().kept().bytes as f64 > 4.0 * bound, "it would not fit");
    let mut most: f64 = 0.0;
    for _ in 0..300 {
        sender.open(1);
        tokio::task::yield_now().await;
        most = most.max(trial.metric("otelcol_millrace_storage_memory"));
    }
    until("all is delivered", || trial.total(Term::Out) == 30_000).await;
    // What is read is let in before its size is known.
    assert!(most <= bound + 32.0 * 1024.0, "{most}");
    assert_eq!(sender.delivered(), (0..30_000).collect::<Vec<_>>());
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_does_not_keep_what_waits_on_disk_from_leaving() {
    let disk = Disk { work_bytes: 1 << 20, ..Disk::new() };
    let sender = Scripted::gated();
    let queue = QueueConfig { num_consumers: 4, queue_size: 10_000, ..on_disk() };
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    hand_in(&trial, 0..300, 100).await;

    // As many come in as leave, until nothing is left of what was in memory in the beginning.
    for round in 1..=200 {
        sender.open(1);
        until("one leaves", || trial.total(Term::Out) == round * 100).await;
        hand_in(&trial, 299 + round..300 + round, 100).await;
    }

    sender.most_at_once.store(0, SeqCst);
    sender.open(1);
    until("all consumers are at work", || sender.most_at_once.load(SeqCst) == 4).await;
    sender.open(1_000);
    until("all is delivered", || trial.total(Term::Out) == 50_000).await;
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_does_not_fit_into_memory_is_sent_before_it_is_full() {
    let disk = Disk { work_bytes: 1 << 20, ..Disk::new() };
    let batching = BatchConfig {
        min_size: 1_000_000,
        flush_timeout: Configured::from_secs(600),
        ..BatchConfig::default()
    };
    let queue = QueueConfig { queue_size: 10_000, batch: Optional::On(batching), ..on_disk() };
    let sender = Scripted::new([]);
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    hand_in(&trial, 0..200, 100).await;
    until("much is delivered", || trial.total(Term::Out) > 10_000).await;
    assert_eq!(end(trial).await, 0);
    assert_eq!(sender.delivered().len(), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_of_the_queue_counts_what_is_on_disk() {
    for (sizer, queue_size) in [(Sizer::Requests, 3), (Sizer::Items, 39)] {
        let disk = Disk::new();
        let sender = Scripted::gated();
        let queue = QueueConfig { sizer, queue_size, ..on_disk() };
        let trial = disk.start(&persistent(queue.clone()), Arc::clone(&sender) as _);
        hand_in(&trial, 0..3, 10).await;
        let refused = trial.hand_in(batch(30..40)).await.expect_err("full");
        assert_eq!((refused.reason, refused.is_transient()), (Reason::QueueFull, true));
        assert_eq!(trial.metric("otelcol_exporter_enqueue_failed_log_records"), 10.0);
        trial.drain(Duration::from_millis(10)).await;
        drop(trial);

        let sender = Scripted::gated();
        let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
        trial.hand_in(batch(30..40)).await.expect_err("still full");
        sender.open(1);
        until("one is delivered", || trial.total(Term::Out) == 10).await;
        until("it is gone", || trial.account().kept().items == 20).await;
        trial.hand_in(batch(30..40)).await.expect("there is room");
        sender.open(100);
        until("all is delivered", || trial.total(Term::Out) == 40).await;
        assert_eq!(end(trial).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_full_queue_blocks_senders_wait_for_their_turn() {
    let disk = Disk::new();
    let sender = Scripted::gated();
    let queue = QueueConfig { queue_size: 2, block_on_overflow: true, ..on_disk() };
    let trial = Arc::new(disk.start(&persistent(queue), Arc::clone(&sender) as _));
    hand_in(&trial, 0..2, 1).await;
    let blocked = tokio::spawn({
        let trial = Arc::clone(&trial);
        async move { trial.hand_in(batch(2..3)).await }
    });
    until("both are being sent", || trial.metric("otelcol_exporter_in_flight_requests") == 2.0).await;
    assert!(!blocked.is_finished());
    sender.open(3);
    soon("there is room", blocked).await.expect("no panic").expect("there is room");
    until("all is delivered", || trial.total(Term::Out) == 3).await;
    trial.drain(SECOND * 60).await;
    trial.assert_settled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_oldest_give_way_the_newest_are_kept() {
    let disk = Disk::new();
    let sender = Scripted::gated();
    let queue = QueueConfig {
        queue_size: 5,
        num_consumers: 1,
        millrace_on_full: OnFull::DropOldest,
        millrace_adaptive_concurrency: false,
        ..on_disk()
    };
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    hand_in(&trial, 0..1, 10).await;
    until("it is being sent", || trial.metric("otelcol_exporter_in_flight_requests") == 1.0).await;
    hand_in(&trial, 1..12, 10).await;
    assert_balanced(&trial);
    assert_eq!(trial.account().kept().items, 50);
    assert_eq!(trial.lost(Reason::Evicted), 70);
    // Others are forgotten when a reload has no component of that name.
    trial.context.shared.registry.forget(|_| true);
    assert_eq!(trial.metric("otelcol_millrace_storage_lost_requests"), 7.0);
    sender.open(100);
    until("the rest is delivered", || trial.total(Term::Out) == 50).await;
    let expected: Vec<u64> = (0..10).chain(80..120).collect();
    assert_eq!(sender.delivered(), expected, "what was under way, and the newest");
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_with_a_delay_and_takes_again_when_there_is_room() {
    let disk = Disk::new();
    let rules =
        millrace_engine::storage::Rules { max_bytes: Some(512 << 10), segment_bytes: 64 << 10, ..disk.rules };
    let disk = Disk { rules, ..disk };
    let sender = Scripted::gated();
    let queue = QueueConfig { queue_size: 1_000_000, ..on_disk() };
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    let mut requests = 0;
    let refused = loop {
        match trial.hand_in(batch(requests * 100..requests * 100 + 100)).await {
            Ok(()) => requests += 1,
            Err(refused) => break refused,
        }
        assert!(requests < 1_000, "it has a limit");
    };
    assert_eq!(refused.reason, Reason::QueueFull);
    assert!(matches!(refused.retry, Retry::After(Some(_))), "{refused:?}");
    assert!(trial.metric("otelcol_millrace_storage_bytes") <= f64::from(512 << 10));
    // Files are looked at one after the other, while the log cuts one and prepares the next.
    until("the files are within the limit", || disk.bytes() <= 512 << 10).await;
    assert_eq!(trial.metric("otelcol_millrace_storage_limit"), f64::from(512 << 10));
    sender.open(1_000);
    until("all is delivered", || trial.total(Term::Out) == requests * 100).await;
    until("there is room", || trial.metric("otelcol_millrace_storage_bytes") < f64::from(400 << 10)).await;
    trial.hand_in(batch(0..100)).await.expect("there is room again");
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_lost_by_name_and_leaves_the_disk() {
    let disk = Disk::new();
    let trial = disk.start(&persistent(dropping()), Scripted::new([Go::Fail(never())]));
    hand_in(&trial, 0..1, 10).await;
    until("it is given up", || trial.lost(Reason::Rejected) == 10).await;
    assert_eq!(end(trial).await, 0);
    let trial = disk.start(&persistent(dropping()), Scripted::new([]));
    assert_eq!(trial.total(Term::Opening), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrying_ends_where_somebody_has_said_so() {
    let disk = Disk::new();
    let mut delivery = persistent(dropping());
    delivery.retry.max_elapsed_time = Some(Configured::from_millis(50));
    let trial = disk.start(&delivery, absent());
    hand_in(&trial, 0..1, 10).await;
    until("it is given up", || trial.lost(Reason::RetriesExhausted) == 10).await;
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_needs_the_outcome_waits_for_it_beyond_the_disk() {
    let disk = Disk::new();
    let sender = Scripted::new([Go::Take, Go::Fail(never())]);
    let queue = QueueConfig { num_consumers: 1, ..on_disk() };
    let trial = disk.start(&persistent(queue), Arc::clone(&sender) as _);
    soon("it is delivered", trial.hand_in_until(batch(0..10), Until::Settled)).await.expect("delivered");
    assert_eq!(sender.delivered().len(), 10);
    let refused = soon("it is refused", trial.hand_in_until(batch(10..20), Until::Settled)).await;
    assert_eq!(refused.expect_err("refused").reason, Reason::Rejected);
    assert_eq!((trial.total(Term::Out), trial.total(Term::Refused)), (10, 10));
    assert_eq!(end(trial).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_over_what_is_open_and_nothing_is_sent_twice() {
    let disk = Disk::new();
    let old = disk.start(&persistent(on_disk()), absent());
    hand_in(&old, 0..20, 10).await;
    let taking = Scripted::new([]);
    let new = old.beside(&persistent(on_disk()), Arc::clone(&taking) as _);
    old.drain(SECOND * 60).await;
    until("the successor has delivered all", || taking.delivered().len() == 200).await;
    new.drain(SECOND * 60).await;
    let delivered: BTreeSet<_> = taking.delivered().into_iter().collect();
    assert_eq!(delivered.len(), 200, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_cannot_have_the_same_queue() {
    let disk = Disk::new();
    let _one = disk.start(&persistent(on_disk()), Scripted::new([]));
    let logs = millrace_wire::Signal::Logs;
    let other =
        millrace_delivery::Exporter::start(&disk.context(), logs, &persistent(on_disk()), Scripted::new([]));
    let problem = other.err().expect("refused").to_string();
    assert!(problem.contains("in use by another process"), "{problem}");
}
