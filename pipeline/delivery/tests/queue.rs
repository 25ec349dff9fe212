//! The queue: its room in every unit, who waits for what, and how many are sent at once.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, QueueConfig, Sizer};
use millrace_engine::ledger::Term;
use millrace_engine::{Batch, Origin, Piece, Reason, Stage, Until};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::process::{Trial, queued};
use support::sender::{Go, Scripted, later, never};
use support::{batch, ids, logs, piece};
use tokio::task::yield_now;

const LONG: Duration = Duration::from_secs(3600);

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

fn small(queue_size: u64, sizer: Sizer) -> QueueConfig {
    QueueConfig { queue_size, sizer, num_consumers: 1, ..QueueConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn room_is_exact_in_every_unit_and_counts_what_is_in_flight() {
    let bytes = batch(0..5).cost().bytes;
    for (sizer, queue_size) in [(Sizer::Requests, 3), (Sizer::Items, 15), (Sizer::Bytes, 3 * bytes)] {
        let sender = Scripted::gated();
        let trial = Trial::new(&queued(small(queue_size, sizer)), Arc::clone(&sender) as _);
        for _ in 0..3 {
            trial.hand_in(batch(0..5)).await.expect("there is room for three");
        }
        settle().await;
        let refused = trial.hand_in(batch(0..5)).await.expect_err("one is in flight and two wait: full");
        assert_eq!(refused.reason, Reason::QueueFull, "{sizer:?}");
        assert!(refused.is_transient());
        assert_eq!(trial.metric("otelcol_exporter_queue_size"), queue_size as f64);
        assert_eq!(trial.metric("otelcol_exporter_queue_capacity"), queue_size as f64);
        assert_eq!(trial.metric("otelcol_exporter_enqueue_failed_log_records"), 5.0);

        sender.open(1);
        settle().await;
        trial.hand_in(batch(0..5)).await.expect("one has been delivered");
        sender.open(3);
        settle().await;

        assert_eq!(trial.metric("otelcol_exporter_queue_size"), 0.0, "{sizer:?}");
        assert_eq!((trial.total(Term::In), trial.total(Term::Out)), (20, 20));
        trial.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_refused_for_good() {
    let trial = Trial::new(&queued(small(9, Sizer::Items)), Scripted::new([]));
    let refused = trial.hand_in(batch(0..10)).await.expect_err("ten do not fit into nine");
    assert_eq!((refused.reason, refused.is_transient()), (Reason::TooLarge, false));
    assert_eq!(trial.total(Term::In), 0);
}

#[tokio::test(start_paused = true)]
async fn room_for_several_copies_is_taken_at_once() {
    let trial = Trial::new(&queued(small(5, Sizer::Items)), Scripted::gated());
    let mut permit =
        trial.exporter.reserve_copies(batch(0..2).cost(), 2).decided().await.expect("room for four items");
    assert_eq!(permit.units(), 4);
    let first = permit.split(2);
    assert!(trial.exporter.reserve(batch(0..2).cost()).decided().await.is_err());
    drop(first);
    assert!(trial.exporter.reserve(batch(0..2).cost()).decided().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_has_become_smaller_takes_only_the_room_it_needs() {
    let sender = Scripted::gated();
    let trial = Trial::new(&queued(small(10, Sizer::Items)), Arc::clone(&sender) as _);
    let permit = trial.exporter.reserve(batch(0..10).cost()).decided().await.expect("room");
    trial.exporter.commit(permit, batch(0..4), Until::Stored).await.expect("accepted");
    assert_eq!(trial.metric("otelcol_exporter_queue_size"), 4.0);
}

#[tokio::test(start_paused = true)]
async fn blocking_waits_for_room_first_come_first_served() {
    let sender = Scripted::gated();
    let config = QueueConfig { block_on_overflow: true, ..small(10, Sizer::Items) };
    let trial = Arc::new(Trial::new(&queued(config), Arc::clone(&sender) as _));
    trial.hand_in(batch(0..6)).await.expect("there is room");
    let mut waiting = Vec::new();
    // The second would fit at once, but it came after one that does not.
    for range in [100..109, 200..201, 300..305] {
        let trial = Arc::clone(&trial);
        waiting.push(tokio::spawn(async move { trial.hand_in(batch(range)).await }));
        settle().await;
    }
    assert!(waiting.iter().all(|task| !task.is_finished()));
    sender.open(4);
    for task in waiting {
        task.await.expect("no panic").expect("accepted");
    }
    settle().await;
    let firsts: Vec<_> = sender.attempts().iter().map(|attempt| attempt.ids[0]).collect();
    assert_eq!(firsts, [0, 100, 200, 300]);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_for_room_holds_up_nobody() {
    let sender = Scripted::gated();
    let config = QueueConfig { block_on_overflow: true, ..small(1, Sizer::Requests) };
    let trial = Arc::new(Trial::new(&queued(config), Arc::clone(&sender) as _));
    trial.hand_in(batch(0..1)).await.expect("there is room");
    let [impatient, patient] = [10..11, 20..21].map(|range| {
        let trial = Arc::clone(&trial);
        tokio::spawn(async move { trial.hand_in(batch(range)).await })
    });
    settle().await;
    impatient.abort();
    sender.open(2);
    patient.await.expect("no panic").expect("accepted");
    settle().await;
    assert_eq!(sender.delivered(), [0, 20]);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_room_are_told_when_the_queue_closes() {
    let sender = Scripted::new([Go::Hang]);
    let config = QueueConfig { block_on_overflow: true, ..small(1, Sizer::Requests) };
    let trial = Arc::new(Trial::new(&queued(config), sender));
    trial.hand_in(batch(0..1)).await.expect("there is room");
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let trial = Arc::clone(&trial);
            tokio::spawn(async move { trial.hand_in(batch(1..2)).await })
        })
        .collect();
    settle().await;
    trial.drain(Duration::from_secs(1)).await;
    for task in waiting {
        let refused = task.await.expect("no panic").expect_err("the queue has closed");
        assert_eq!(refused.reason, Reason::ShuttingDown);
    }
    let late = trial.hand_in(batch(2..3)).await.expect_err("the queue has closed");
    assert_eq!((late.reason, late.is_transient()), (Reason::ShuttingDown, true));
    assert_eq!((trial.total(Term::In), trial.lost(Reason::ShuttingDown)), (1, 1));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn no_more_are_sent_at_once_than_there_are_consumers() {
    let sender = Scripted::gated();
    let config = QueueConfig { num_consumers: 3, ..QueueConfig::default() };
    let trial = Trial::new(&queued(config), Arc::clone(&sender) as _);
    for request in 0..10 {
        trial.hand_in(batch(request..request + 1)).await.expect("there is room");
    }
    settle().await;
    assert_eq!(trial.metric("otelcol_exporter_in_flight_requests"), 3.0);
    for _ in 0..10 {
        sender.open(1);
        settle().await;
    }
    assert_eq!(sender.most_at_once.load(SeqCst), 3);
    assert_eq!(trial.total(Term::Out), 10);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn without_waiting_for_the_result_a_failure_is_a_loss_by_its_reason() {
    let sender = Scripted::new([Go::Fail(never()), Go::Fail(later())]);
    let trial = Trial::new(&queued(small(9, Sizer::Requests)), sender);
    trial.hand_in(batch(0..3)).await.expect("the queue has it");
    trial.hand_in(batch(3..7)).await.expect("the queue has it");
    settle().await;
    assert_eq!((trial.lost(Reason::Rejected), trial.lost(Reason::Unreachable)), (3, 4));
    assert_eq!(trial.metric("otelcol_exporter_send_failed_log_records"), 7.0);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_result_a_failure_is_the_callers() {
    for (wait_for_result, until) in [(true, Until::Stored), (false, Until::Settled)] {
        let sender =
            Scripted::new([Go::After(Duration::from_secs(3), Box::new(Go::Fail(never()))), Go::Take]);
        let config = QueueConfig { wait_for_result, ..small(9, Sizer::Requests) };
        let trial = Trial::new(&queued(config), sender);
        let refused = trial.hand_in_until(batch(0..3), until).await.expect_err("it was refused");
        assert_eq!(refused.reason, Reason::Rejected);
        trial.hand_in_until(batch(3..5), until).await.expect("it was delivered");
        assert_eq!((trial.total(Term::Refused), trial.total(Term::Out)), (3, 2));
        trial.assert_settled();
    }
}

fn batching(min_size: u64, max_size: u64) -> Optional<BatchConfig> {
    let flush_timeout = Configured::from_secs(1);
    Optional::On(BatchConfig {
        flush_timeout,
        min_size,
        max_size,
        sizer: Some(Sizer::Items),
        ..BatchConfig::default()
    })
}

#[tokio::test(start_paused = true)]
async fn each_request_behind_a_batch_hears_of_its_own_items() {
    let config = QueueConfig { wait_for_result: true, batch: batching(12, 0), ..small(100, Sizer::Items) };
    let sender = Scripted::poisoned([5, 9]);
    let trial = Arc::new(Trial::new(&queued(config), Arc::clone(&sender) as _));
    let callers = [0..4, 4..5, 5..6, 6..12].map(|range| {
        let trial = Arc::clone(&trial);
        tokio::spawn(async move { trial.hand_in(batch(range)).await })
    });
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.expect("no panic").map_err(|failure| failure.reason));
    }
    // Request 5..6 was refused as a whole; of 6..12 all but one item got through, and it is not to be sent again.
    assert_eq!(outcomes, [Ok(()), Ok(()), Err(Reason::Rejected), Ok(())]);
    assert_eq!(sender.attempts()[0].ids.len(), 12, "they were sent as one batch");
    let delivered: Vec<_> = (0..12).filter(|id| ![5, 9].contains(id)).collect();
    assert_eq!(sender.delivered(), delivered);
    assert_eq!(
        (trial.total(Term::Out), trial.total(Term::Refused), trial.lost(Reason::Rejected)),
        (10, 1, 1)
    );
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cut_is_done_with_its_last_part() {
    let sender = Scripted::gated();
    let config = QueueConfig { wait_for_result: true, batch: batching(4, 4), ..small(10, Sizer::Items) };
    let trial = Arc::new(Trial::new(&queued(config), Arc::clone(&sender) as _));
    let caller = tokio::spawn({
        let trial = Arc::clone(&trial);
        async move { trial.hand_in(batch(0..10)).await }
    });
    for sent in 1..=3 {
        settle().await;
        assert!(!caller.is_finished());
        assert_eq!(trial.metric("otelcol_exporter_queue_size"), 10.0, "its room is taken until all is done");
        if sent == 3 {
            // The last two items wait for company until their time is up.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        sender.open(1);
    }
    caller.await.expect("no panic").expect("delivered");
    let sizes: Vec<_> = sender.attempts().iter().map(|attempt| attempt.ids.len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(sender.delivered(), ids(&batch(0..10)));
    trial.assert_settled();
}

/// A log record from a client that said who it was.
fn from_tenant(tenant: &str, id: u64) -> Batch {
    let origin = Origin {
        received: now(),
        peer: None,
        metadata: vec![("tenant".into(), tenant.into())],
        identity: None,
    };
    Batch::of(Piece { origin: Arc::new(origin), ..piece(logs(id..id + 1)) })
}

#[tokio::test(start_paused = true)]
async fn partitions_are_batched_apart_and_each_waits_its_own_time() {
    let sender = Scripted::new([]);
    let Optional::On(mut batching) = batching(3, 0) else { panic!("it is on") };
    batching.partition.metadata_keys = vec!["Tenant".into()];
    let config = QueueConfig { batch: Optional::On(batching), ..small(100, Sizer::Requests) };
    let trial = Trial::new(&queued(config), Arc::clone(&sender) as _);

    for (tenant, id) in [("a", 1), ("b", 2), ("a", 3)] {
        trial.hand_in(from_tenant(tenant, id)).await.expect("there is room");
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    for (tenant, id) in [("c", 4), ("a", 5)] {
        trial.hand_in(from_tenant(tenant, id)).await.expect("there is room");
    }
    settle().await;
    let batches = || sender.attempts().into_iter().map(|attempt| attempt.ids).collect::<Vec<_>>();
    assert_eq!(batches(), [[1, 3, 5]], "a is full");
    assert_eq!(trial.metric("otelcol_millrace_queue_oldest_age"), 0.6, "b waits");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(batches()[1..], [[2]], "b has waited long enough");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(batches()[2..], [[4]]);
    trial.hand_in(from_tenant("a", 6)).await.expect("there is room");
    trial.hand_in(from_tenant("b", 7)).await.expect("there is room");
    trial.drain(LONG).await;
    let mut last = batches()[3..].concat();
    last.sort_unstable();
    assert_eq!(last, [6, 7], "what waits is sent by the drain");
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn the_oldest_age_counts_what_is_in_line_batched_or_in_flight() {
    let sender = Scripted::new([Go::After(Duration::from_secs(100), Box::new(Go::Take))]);
    let config = QueueConfig { batch: batching(2, 0), ..small(9, Sizer::Requests) };
    let trial = Trial::new(&queued(config), sender);
    let age = || trial.metric("otelcol_millrace_queue_oldest_age");
    trial.hand_in(batch(0..1)).await.expect("there is room");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(age(), 0.5, "waiting for company");
    tokio::time::sleep(Duration::from_millis(59_500)).await;
    assert_eq!(age(), 60.0, "in flight");
    trial.hand_in(batch(1..2)).await.expect("there is room");
    tokio::time::sleep(Duration::from_secs(41)).await;
    settle().await;
    assert!(age() <= 41.0, "the first has been delivered: {}", age());
    trial.drain(LONG).await;
    assert_eq!(age(), 0.0);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_is_dropped_sends_what_it_has_and_ends() {
    let sender = Scripted::new([Go::Fail(later())]);
    let mut delivery = queued(small(9, Sizer::Requests));
    delivery.retry.enabled = true;
    let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
    trial.hand_in(batch(0..2)).await.expect("there is room");
    trial.hand_in(batch(2..4)).await.expect("there is room");
    settle().await;
    let account = trial.account();
    drop(trial.exporter);
    settle().await;
    assert_eq!(sender.delivered(), [0, 1, 2, 3]);
    assert_eq!((account.imbalance(), account.held().items), (0, 0));
    assert_eq!(Arc::strong_count(&sender), 1, "the task behind the queue has ended");
}
