//! Draining: everything gets its last attempt, and what is cut off at the deadline is accounted for when it returns.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, QueueConfig, RetryConfig};
use millrace_engine::Reason;
use millrace_engine::ledger::Term;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::batch;
use support::process::{Trial, direct, queued};
use support::sender::{Go, Scripted, later, too_large};
use tokio::task::yield_now;

const SECOND: Duration = Duration::from_secs(1);

async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

fn slow(seconds: u32) -> Go {
    Go::After(SECOND * seconds, Box::new(Go::Take))
}

#[tokio::test(start_paused = true)]
async fn everything_in_the_queue_is_sent_and_the_sender_closed_after_it() {
    let sender = Scripted::new(std::iter::repeat_n(slow(1), 20));
    let trial = Trial::new(
        &queued(QueueConfig { num_consumers: 2, ..QueueConfig::default() }),
        Arc::clone(&sender) as _,
    );
    for id in 0..20 {
        trial.hand_in(batch(id..id + 1)).await.expect("there is room");
    }
    let took = trial.drain(SECOND * 60).await;
    assert_eq!(took, SECOND * 10);
    assert_eq!((trial.total(Term::Out), sender.closed.load(SeqCst)), (20, 1));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_batched_is_sent_at_once() {
    let batching = BatchConfig { flush_timeout: Configured::from_secs(600), ..BatchConfig::default() };
    let sender = Scripted::new([]);
    let config = QueueConfig { batch: Optional::On(batching), ..QueueConfig::default() };
    let trial = Trial::new(&queued(config), Arc::clone(&sender) as _);
    for id in 0..5 {
        trial.hand_in(batch(id..id + 1)).await.expect("there is room");
    }
    settle().await;
    assert!(sender.attempts().is_empty());
    let took = trial.drain(SECOND * 60).await;
    assert_eq!((took, sender.delivered()), (Duration::ZERO, vec![0, 1, 2, 3, 4]));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn waits_between_attempts_are_cut_short_for_one_last_attempt() {
    let mut delivery = queued(QueueConfig { num_consumers: 1, ..QueueConfig::default() });
    delivery.retry = RetryConfig { max_elapsed_time: Some(Configured::ZERO), ..RetryConfig::default() };
    // The first is waiting when the drain begins and then gets through; the others get one attempt each.
    let sender = Scripted::new([Go::Fail(later()), Go::Take, Go::Fail(later())]);
    let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
    for id in 0..3 {
        trial.hand_in(batch(id..id + 1)).await.expect("there is room");
    }
    settle().await;
    let took = trial.drain(SECOND * 60).await;
    assert_eq!(took, Duration::ZERO);
    assert_eq!(sender.delivered(), [0, 2]);
    assert_eq!((trial.total(Term::Out), trial.lost(Reason::Unreachable)), (2, 1));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_what_is_left_is_cut_off_and_lost_by_name() {
    let config = QueueConfig { num_consumers: 2, ..QueueConfig::default() };
    // The first is delivered in half when it is cut off, the second hangs, the rest never leaves the queue.
    let sender = Scripted::new([Go::Fail(too_large()), Go::Take, Go::Hang, Go::Hang]);
    let trial = Trial::new(&queued(config), Arc::clone(&sender) as _);
    for request in 0..5 {
        trial.hand_in(batch(request * 10..request * 10 + 10)).await.expect("there is room");
    }
    settle().await;
    let took = trial.drain(SECOND * 7).await;
    assert_eq!(took, SECOND * 7);
    assert_eq!(sender.delivered().len() as u64, trial.total(Term::Out));
    assert_eq!((trial.total(Term::Out), trial.lost(Reason::ShuttingDown)), (5, 45));
    assert_eq!(trial.metric("otelcol_exporter_in_flight_requests"), 0.0);
    assert_eq!(trial.metric("otelcol_exporter_queue_size"), 0.0);
    trial.assert_settled();
}

/// On several workers a send that is cut off ends somewhere else; the drain waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_drain_returns_every_account_is_closed() {
    for _ in 0..50 {
        let sender = Scripted::new(std::iter::repeat_n(Go::Hang, 30));
        let trial = Trial::new(&queued(QueueConfig::default()), sender);
        for request in 0..30 {
            trial.hand_in(batch(request..request + 1)).await.expect("there is room");
        }
        trial.drain(Duration::from_millis(2)).await;
        assert_eq!(trial.lost(Reason::ShuttingDown), 30);
        trial.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_the_outcome_are_told_that_it_was_cut_off() {
    let config = QueueConfig { wait_for_result: true, ..QueueConfig::default() };
    let trial = Arc::new(Trial::new(&queued(config), Scripted::new([Go::Hang])));
    let caller = tokio::spawn({
        let trial = Arc::clone(&trial);
        async move { trial.hand_in(batch(0..4)).await }
    });
    settle().await;
    trial.drain(SECOND).await;
    let refused = caller.await.expect("no panic").expect_err("cut off");
    assert_eq!((refused.reason, refused.is_transient()), (Reason::ShuttingDown, true));
    assert_eq!((trial.total(Term::Refused), trial.account().lost().items), (4, 0));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_requests_under_way_are_waited_for_and_then_cut_off() {
    let sender = Scripted::new([slow(2), Go::Hang]);
    let trial = Arc::new(Trial::new(&direct(), Arc::clone(&sender) as _));
    let callers = [0..3, 3..7].map(|range| {
        let trial = Arc::clone(&trial);
        tokio::spawn(async move { trial.hand_in(batch(range)).await })
    });
    settle().await;
    let took = trial.drain(SECOND * 5).await;
    assert!(took >= SECOND * 5 && took < SECOND * 6, "{took:?}");
    let [quick, stuck] = callers;
    quick.await.expect("no panic").expect("it had the time");
    let refused = stuck.await.expect("no panic").expect_err("cut off");
    assert_eq!((refused.reason, refused.is_transient()), (Reason::ShuttingDown, true));
    assert_eq!((trial.total(Term::Out), trial.total(Term::Refused)), (3, 4));
    assert_eq!(sender.closed.load(SeqCst), 1);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_waits_between_attempts_are_cut_short() {
    let mut delivery = direct();
    delivery.retry = RetryConfig::default();
    let trial = Arc::new(Trial::new(&delivery, Scripted::new(std::iter::repeat_n(Go::Fail(later()), 9))));
    let caller = tokio::spawn({
        let trial = Arc::clone(&trial);
        async move { trial.hand_in(batch(0..4)).await }
    });
    settle().await;
    let took = trial.drain(SECOND * 5).await;
    assert!(took < SECOND, "{took:?}");
    assert_eq!(caller.await.expect("no panic").expect_err("refused").reason, Reason::Unreachable);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_has_nothing_to_do() {
    let trial = Trial::new(&queued(QueueConfig::default()), Scripted::new([]));
    trial.drain(SECOND).await;
    assert_eq!(trial.drain(SECOND).await, Duration::ZERO);
}

struct NeverCloses;

impl millrace_delivery::Sender for NeverCloses {
    fn send<'a>(
        &'a self,
        _: &'a millrace_engine::Batch,
    ) -> millrace_engine::BoxFuture<'a, Result<millrace_delivery::Accepted, millrace_engine::Failure>> {
        Box::pin(async { Ok(millrace_delivery::Accepted::default()) })
    }

    fn close(&self) -> millrace_engine::BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_does_not_close_is_left_behind() {
    let trial = Trial::new(&queued(QueueConfig::default()), Arc::new(NeverCloses));
    let took = trial.drain(SECOND * 3).await;
    assert!(took <= SECOND * 4, "{took:?}");
}
