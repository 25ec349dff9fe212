//! Attempts: when the next one is, when it is given up, and what is done about requests that are too large.

mod support;

use millrace_config::Duration as Configured;
use millrace_delivery::{Delivery, QueueConfig, RetryConfig};
use millrace_engine::ledger::Term;
use millrace_engine::{Batch, Failure, Fault, Reason, Retry};
use std::sync::Arc;
use std::time::Duration;
use support::process::{Trial, direct, queued};
use support::sender::{Go, Scripted, later, never, too_large};
use support::{batch, ids, logs, piece};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Waits of 5, 7.5, 11.25 … seconds, without jitter.
fn patient() -> Delivery {
    let retry = RetryConfig { randomization_factor: 0.0, ..RetryConfig::default() };
    Delivery { retry, ..direct() }
}

/// The seconds between attempts.
fn gaps(sender: &Scripted) -> Vec<f64> {
    let attempts = sender.attempts();
    attempts.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect()
}

/// As the timer has them, to the millisecond.
fn assert_gaps(sender: &Scripted, expected: &[f64]) {
    let gaps = gaps(sender);
    let near = gaps.iter().zip(expected).all(|(gap, expected)| (gap - expected).abs() < 0.005);
    assert!(gaps.len() == expected.len() && near, "{gaps:?} and not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_the_same_items_are_sent_again() {
    let sender = Scripted::new(std::iter::repeat_n(Go::Fail(later()), 4));
    let trial = Trial::new(&patient(), Arc::clone(&sender) as _);
    trial.hand_in(batch(0..7)).await.expect("delivered at last");
    assert_gaps(&sender, &[5.0, 7.5, 11.25, 16.875]);
    assert!(sender.attempts().iter().all(|attempt| attempt.ids == ids(&batch(0..7))));
    assert_eq!((trial.total(Term::Out), trial.total(Term::Refused)), (7, 0));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn the_destinations_own_delay_is_honoured_when_it_is_longer() {
    let asks = |seconds| Go::Fail(later().after(SECOND * seconds));
    let sender = Scripted::new([asks(1), asks(60)]);
    let trial = Trial::new(&patient(), Arc::clone(&sender) as _);
    trial.hand_in(batch(0..1)).await.expect("delivered at last");
    assert_gaps(&sender, &[5.0, 60.0]);
}

#[tokio::test(start_paused = true)]
async fn retrying_ends_when_the_next_attempt_would_come_too_late() {
    let sender = Scripted::new(std::iter::repeat_n(Go::Fail(later()), 100));
    let mut delivery = patient();
    delivery.retry.max_elapsed_time = Some(Configured::from_secs(30));
    let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
    let started = Instant::now();
    let given_up = trial.hand_in(batch(0..1)).await.expect_err("given up");
    // Attempts at 0, 5, 12.5 and 23.75 seconds; the next would be at 40.6.
    assert_eq!(sender.attempts().len(), 4);
    assert!(started.elapsed() < SECOND * 24, "what comes too late is not waited for");
    assert_eq!(given_up.reason, Reason::RetriesExhausted);
    assert!(given_up.is_transient(), "its sender may still try again");
    assert!(given_up.message.contains("nobody there"), "{given_up}");
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_is_asked_for_beyond_the_end_is_not_waited_for() {
    let sender = Scripted::new([Go::Fail(later().after(SECOND * 1000))]);
    let trial = Trial::new(&patient(), Arc::clone(&sender) as _);
    let started = Instant::now();
    let given_up = trial.hand_in(batch(0..1)).await.expect_err("given up");
    assert_eq!((started.elapsed(), given_up.reason), (Duration::ZERO, Reason::RetriesExhausted));
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_not_tried_again() {
    let sender = Scripted::new([Go::Fail(never())]);
    let trial = Trial::new(&patient(), Arc::clone(&sender) as _);
    let refused = trial.hand_in(batch(0..3)).await.expect_err("refused");
    assert_eq!((refused.reason, refused.retry), (Reason::Rejected, Retry::Never));
    assert_eq!((sender.attempts().len(), trial.total(Term::Refused)), (1, 3));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_the_whole_timeout() {
    let slow = |seconds| Go::After(SECOND * seconds, Box::new(Go::Take));
    let sender = Scripted::new([slow(6), Go::Hang, slow(4)]);
    let delivery = Delivery { timeout: SECOND * 5, ..patient() };
    let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
    let started = Instant::now();
    trial.hand_in(batch(0..1)).await.expect("the third attempt is quick enough");
    // Two timeouts of 5 seconds, waits of 5 and 7.5, and 4 for the answer.
    assert!((started.elapsed().as_secs_f64() - 26.5).abs() < 0.01, "{:?}", started.elapsed());
    trial.assert_settled();

    let sender = Scripted::new([Go::Hang]);
    let delivery = Delivery { timeout: SECOND * 5, ..direct() };
    let refused = Trial::new(&delivery, sender).hand_in(batch(0..1)).await.expect_err("too slow");
    assert_eq!((refused.reason, refused.fault), (Reason::Timeout, Fault::Destination));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_halved_until_it_fits_in_order() {
    for max_items in [1, 2, 3, 7, 100] {
        let sender = Scripted::limited(max_items);
        let trial = Trial::new(&direct(), Arc::clone(&sender) as _);
        let mut request = Batch::empty(millrace_wire::Signal::Logs);
        for range in [0..40, 40..41, 41..64] {
            request.push(piece(logs(range)));
        }
        trial.hand_in(request).await.expect("all of it fits at last");
        assert_eq!(sender.delivered(), (0..64).collect::<Vec<_>>(), "every item once, in order");
        assert!(sender.attempts().len() < 2 * 64);
        assert_eq!(trial.total(Term::Out), 64);
        assert_eq!(trial.metric("otelcol_exporter_sent_log_records"), 64.0);
        trial.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_too_large_by_itself_is_lost_and_the_rest_delivered() {
    for delivery in [direct(), queued(QueueConfig::default())] {
        let sender = Arc::new(TooLargeFor { id: 6, inner: Scripted::new([]) });
        let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
        trial.hand_in(batch(0..10)).await.expect("its sender is not to send everything again");
        trial.drain(SECOND).await;
        let rest: Vec<_> = (0..10).filter(|id| *id != 6).collect();
        assert_eq!(sender.inner.delivered(), rest);
        assert_eq!((trial.total(Term::Out), trial.lost(Reason::TooLarge)), (9, 1));
        assert_eq!(trial.metric("otelcol_exporter_send_failed_log_records"), 1.0);
        trial.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn when_nothing_gets_through_the_sender_hears_that_it_is_too_large() {
    let sender = Scripted::limited(0);
    let trial = Trial::new(&direct(), Arc::clone(&sender) as _);
    let refused = trial.hand_in(batch(0..4)).await.expect_err("not even one item fits");
    assert_eq!((refused.reason, refused.lost), (Reason::TooLarge, None));
    assert_eq!(trial.total(Term::Refused), 4);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn halves_share_the_time_that_retrying_may_take() {
    let mut script = vec![Go::Fail(too_large())];
    script.extend(std::iter::repeat_n(Go::Fail(later()), 100));
    let sender = Scripted::new(script);
    let mut delivery = patient();
    delivery.retry.max_elapsed_time = Some(Configured::from_secs(30));
    let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
    let started = Instant::now();
    trial.hand_in(batch(0..8)).await.expect_err("given up");
    assert!(started.elapsed() <= SECOND * 30, "{:?}", started.elapsed());
    assert_eq!(trial.total(Term::Refused), 8);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn when_a_half_may_get_through_later_the_whole_is_handed_back() {
    let sender = Scripted::new([Go::Fail(too_large()), Go::Take, Go::Fail(later())]);
    let trial = Trial::new(&direct(), Arc::clone(&sender) as _);
    let refused = trial.hand_in(batch(0..8)).await.expect_err("half of it is still to be sent");
    assert!(refused.is_transient());
    assert_eq!(refused.lost.map(|cost| cost.items), Some(4));
    assert_eq!((trial.total(Term::Out), trial.total(Term::Refused)), (4, 4));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn partial_success_is_a_loss_by_name_and_no_failure() {
    let sender = Scripted::new([Go::Partly(3), Go::Partly(u64::MAX)]);
    let trial = Trial::new(&direct(), sender);
    trial.hand_in(batch(0..10)).await.expect("as in Go");
    trial.hand_in(batch(10..15)).await.expect("as in Go");
    assert_eq!((trial.total(Term::Out), trial.lost(Reason::Rejected)), (7, 8));
    assert_eq!(trial.metric("otelcol_exporter_sent_log_records"), 15.0, "Go counts the whole request");
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_panics_is_contained_and_accounted_for() {
    let sender = Scripted::new([Go::Fail(too_large()), Go::Take, Go::Panic]);
    let trial = Trial::new(&direct(), Arc::clone(&sender) as _);
    trial
        .hand_in(batch(0..8))
        .await
        .expect("half of it got through, the other half is not worth sending again");
    assert_eq!((trial.total(Term::Out), trial.lost(Reason::Internal)), (4, 4));
    assert_eq!(trial.context.shared.tasks.panics(), 1);
    trial.assert_settled();

    let trial = Trial::new(&direct(), Scripted::new([Go::Panic]));
    let broken = trial.hand_in(batch(0..8)).await.expect_err("it met a bug");
    assert_eq!((broken.fault, broken.reason, trial.total(Term::Refused)), (Fault::Us, Reason::Internal, 8));
    trial.assert_settled();

    let sender = Scripted::new([Go::Fail(too_large()), Go::Take, Go::Panic]);
    let trial = Trial::new(&queued(QueueConfig::default()), Arc::clone(&sender) as _);
    trial.hand_in(batch(0..8)).await.expect("the queue has it");
    trial.hand_in(batch(8..9)).await.expect("the queue has it");
    trial.drain(SECOND).await;
    assert_eq!(trial.total(Term::Out), 5, "the queue goes on after a panic");
    assert_eq!(trial.lost(Reason::Internal), 4);
    assert_eq!(trial.metric("otelcol_exporter_send_failed_log_records"), 4.0);
    assert_eq!(trial.metric("otelcol_exporter_in_flight_requests"), 0.0);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_request_without_items_is_nothing_to_deliver() {
    for delivery in [direct(), queued(QueueConfig::default())] {
        let sender = Scripted::new([Go::Fail(never())]);
        let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
        trial.hand_in(batch(0..0)).await.expect("nothing to do");
        trial.drain(SECOND).await;
        assert!(sender.attempts().is_empty());
        trial.assert_settled();
    }
}

/// Finds one item too large, whatever it comes with.
struct TooLargeFor {
    id: u64,
    inner: Arc<Scripted>,
}

impl millrace_delivery::Sender for TooLargeFor {
    fn send<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> millrace_engine::BoxFuture<'a, Result<millrace_delivery::Accepted, Failure>> {
        Box::pin(async move {
            if ids(batch).contains(&self.id) { Err(too_large()) } else { self.inner.send(batch).await }
        })
    }
}
