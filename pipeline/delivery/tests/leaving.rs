//! Leaving on a reload: an exporter that has no place in the new graph goes on with what waits in its memory as it
//! always does, and is drained when its time is over.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, Delivery, QueueConfig, RetryConfig};
use millrace_engine::{Reason, Stage, ledger::Term};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::batch;
use support::process::{Trial, direct, queued};
use support::sender::{Go, Scripted, later};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Tries again every second.
fn patient(queue: QueueConfig) -> Delivery {
    let retry = RetryConfig {
        enabled: true,
        initial_interval: Configured::from_secs(1),
        max_interval: Configured::from_secs(1),
        randomization_factor: 0.0,
        ..RetryConfig::default()
    };
    Delivery { retry, ..queued(queue) }
}

fn dead(attempts: usize) -> Arc<Scripted> {
    Scripted::new(std::iter::repeat_n(Go::Fail(later()), attempts))
}

async fn fill(trial: &Trial, requests: u64) {
    for id in 0..requests {
        trial.hand_in(batch(id..id + 1)).await.expect("there is room");
    }
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_tried_again_until_the_destination_is_back() {
    // Three at a time, each of which needs four attempts.
    let sender = dead(9);
    let config = QueueConfig { num_consumers: 3, ..QueueConfig::default() };
    let trial = Trial::new(&patient(config), Arc::clone(&sender) as _);
    fill(&trial, 20).await;
    let took = trial.leave(SECOND * 20, SECOND * 5).await;
    assert_eq!(took, SECOND * 3, "it ends as soon as everything is delivered");
    let mut delivered = sender.delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..20).collect::<Vec<_>>());
    assert_eq!((trial.total(Term::Out), sender.closed.load(SeqCst)), (20, 1));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_gets_one_last_attempt_and_is_lost_by_the_reason_of_that() {
    let sender = dead(1000);
    let config = QueueConfig { num_consumers: 2, ..QueueConfig::default() };
    let trial = Trial::new(&patient(config), Arc::clone(&sender) as _);
    fill(&trial, 20).await;
    let started = Instant::now();
    let took = trial.leave(SECOND * 20, SECOND * 5).await;
    assert_eq!(took, SECOND * 20);
    let attempts = sender.attempts();
    let early = attempts.iter().filter(|attempt| attempt.at < started + took).count();
    assert!(early >= 20, "two are tried again every second: {early}");
    assert_eq!(attempts.len() - early, 20, "everything is tried once more in the end");
    assert_eq!((trial.total(Term::Out), trial.lost(Reason::Unreachable)), (0, 20));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_by_its_own_configuration_is_lost_by_that_reason() {
    let mut delivery = patient(QueueConfig::default());
    delivery.retry.max_elapsed_time = Some(Configured::from_secs(3));
    let trial = Trial::new(&delivery, dead(1000));
    fill(&trial, 5).await;
    let took = trial.leave(SECOND * 20, SECOND * 5).await;
    assert_eq!((took, trial.lost(Reason::RetriesExhausted)), (SECOND * 3, 5));
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_company_is_sent_at_once_and_nothing_new_is_taken() {
    let batching = BatchConfig { flush_timeout: Configured::from_secs(600), ..BatchConfig::default() };
    let config = QueueConfig { batch: Optional::On(batching), ..QueueConfig::default() };
    let sender = dead(1);
    let trial = Arc::new(Trial::new(&patient(config), Arc::clone(&sender) as _));
    fill(&trial, 5).await;
    let leaving = tokio::spawn({
        let trial = Arc::clone(&trial);
        async move { trial.leave(SECOND * 20, SECOND * 5).await }
    });
    sleep(SECOND / 2).await;
    assert_eq!(sender.attempts().len(), 1, "the batch is being tried");
    let refused = trial.hand_in(batch(5..6)).await.expect_err("it is on its way out");
    assert_eq!((refused.reason, refused.is_transient()), (Reason::ShuttingDown, true));
    assert_eq!(leaving.await.expect("no panic"), SECOND);
    assert_eq!(sender.delivered(), [0, 1, 2, 3, 4]);
    trial.assert_settled();
}

/// As when the process is told to stop meanwhile.
#[tokio::test(start_paused = true)]
async fn one_that_is_not_to_linger_any_more_drains_at_once() {
    let sender = dead(4);
    let trial = Trial::new(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    fill(&trial, 2).await;
    let deadline = Instant::now() + SECOND * 20;
    let lingered = timeout(SECOND * 3 / 2, trial.exporter.linger(deadline.into_std())).await;
    assert!(lingered.is_err(), "there is something left");
    let took = trial.drain(SECOND * 5).await;
    assert_eq!((took, trial.total(Term::Out)), (Duration::ZERO, 2), "the last attempts");
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn one_whose_place_another_has_taken_does_not_linger() {
    let old = Trial::new(&patient(QueueConfig::default()), dead(1000));
    fill(&old, 5).await;
    let sender = Scripted::new([]);
    let new = old.beside(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    (Arc::clone(&old.exporter) as Arc<dyn Stage>).hand_over(&(Arc::clone(&new.exporter) as Arc<dyn Stage>));
    let took = old.leave(SECOND * 20, SECOND * 5).await;
    assert!(took < SECOND, "{took:?}");
    assert_eq!(new.total(Term::Out), 5);
    new.assert_settled();
}

fn stage(trial: &Trial) -> Arc<dyn Stage> {
    Arc::clone(&trial.exporter) as _
}

fn leaving(trial: &Arc<Trial>, lingering: u64) -> JoinHandle<Duration> {
    let trial = Arc::clone(trial);
    tokio::spawn(async move { trial.leave(SECOND * lingering as u32, SECOND * 5).await })
}

/// As when a further reload takes back what the one before has removed.
#[tokio::test(start_paused = true)]
async fn one_that_has_a_place_again_hands_over_what_it_has_left() {
    let config = QueueConfig { num_consumers: 2, ..QueueConfig::default() };
    let old = Arc::new(Trial::new(&patient(config), dead(1000)));
    fill(&old, 20).await;
    let leaves = leaving(&old, 20);
    sleep(SECOND * 7 / 2).await;

    let sender = Scripted::new([]);
    let new = old.beside(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    stage(&old).hand_over(&stage(&new));

    let took = leaves.await.expect("no panic");
    assert!(took < SECOND * 4, "{took:?}");
    sleep(SECOND).await;
    let mut delivered = sender.delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..20).collect::<Vec<_>>());
    assert_eq!((new.total(Term::In), new.total(Term::Out)), (20, 20));
    new.assert_settled();
}

/// As when it is being drained already: what is under way is handed over if it fails.
#[tokio::test(start_paused = true)]
async fn one_that_has_a_place_again_in_the_last_moment_hands_over_what_it_still_has() {
    let slow = Go::After(SECOND * 3, Box::new(Go::Fail(later())));
    let old = Trial::new(&patient(QueueConfig::default()), Scripted::new(std::iter::repeat_n(slow, 1000)));
    fill(&old, 20).await;
    let old = Arc::new(old);
    let leaves = leaving(&old, 0);
    sleep(SECOND).await;
    let sender = Scripted::new([]);
    let new = old.beside(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    stage(&old).hand_over(&stage(&new));
    leaves.await.expect("no panic");
    sleep(SECOND).await;
    assert_eq!((new.total(Term::In), new.total(Term::Out)), (20, 20), "{:?}", new.account());
    new.assert_settled();
}

/// The destination is asked by one that has been replaced for longer than the one that has replaced it is there.
#[tokio::test(start_paused = true)]
async fn what_is_under_way_finds_the_one_in_its_place_while_that_leaves_itself() {
    let slow = Go::After(SECOND * 3, Box::new(Go::Fail(later())));
    let first = Trial::new(&patient(QueueConfig::default()), Scripted::new([slow]));
    fill(&first, 1).await;
    let sender = dead(4);
    let second = first.beside(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    stage(&first).hand_over(&stage(&second));
    let (first, second) = (Arc::new(first), Arc::new(second));
    let (leaves, follows) = (leaving(&first, 20), leaving(&second, 20));
    assert_eq!(leaves.await.expect("no panic"), SECOND * 3);
    assert_eq!(follows.await.expect("no panic"), SECOND * 7, "it is tried until it is taken");
    assert_eq!((second.total(Term::Out), sender.delivered()), (1, vec![0]));
    second.assert_settled();
}

/// Who has ended takes nothing any more, and what comes is lost by name.
#[tokio::test(start_paused = true)]
async fn what_comes_when_the_one_in_its_place_was_cut_off_is_lost_by_name() {
    let slow = Go::After(SECOND * 10, Box::new(Go::Fail(later())));
    let first = Arc::new(Trial::new(&patient(QueueConfig::default()), Scripted::new([slow])));
    fill(&first, 1).await;
    let second = first.beside(&patient(QueueConfig::default()), dead(1000));
    stage(&first).hand_over(&stage(&second));
    let leaves = leaving(&first, 20);
    assert_eq!(second.drain(SECOND * 2).await, SECOND * 2);
    leaves.await.expect("no panic");
    assert_eq!((first.total(Term::In), first.lost(Reason::ShuttingDown)), (1, 1));
    first.assert_settled();
}

/// Who waits for an answer can send again, and gets to the new graph that way.
#[tokio::test(start_paused = true)]
async fn without_a_queue_nobody_is_kept_waiting_for_retries() {
    let delivery = Delivery { retry: patient(QueueConfig::default()).retry, ..direct() };
    let trial = Arc::new(Trial::new(&delivery, dead(1000)));
    let caller = tokio::spawn({
        let trial = Arc::clone(&trial);
        async move { trial.hand_in(batch(0..4)).await }
    });
    sleep(SECOND / 2).await;
    let took = trial.leave(SECOND * 20, SECOND * 5).await;
    assert!(took < SECOND, "{took:?}");
    assert_eq!(caller.await.expect("no panic").expect_err("handed back").reason, Reason::Unreachable);
    trial.assert_settled();
}
