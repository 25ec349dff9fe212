//! Handing over on a reload: what is in memory goes on in the queue of the exporter that takes the place.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, Delivery, QueueConfig, RetryConfig, Sizer};
use millrace_engine::ledger::Term;
use millrace_engine::{Failure, Reason, Stage};
use std::sync::Arc;
use std::time::Duration;
use support::process::{Trial, queued};
use support::sender::{Go, Scripted, dead};
use support::{Rng, batch};
use tokio::task::yield_now;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

fn patient(queue: QueueConfig) -> Delivery {
    let retry = RetryConfig { enabled: true, ..RetryConfig::default() };
    Delivery { retry, ..queued(queue) }
}

fn stage(trial: &Trial) -> Arc<dyn Stage> {
    Arc::clone(&trial.exporter) as _
}

async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

#[tokio::test(start_paused = true)]
async fn what_waits_what_is_batched_and_what_would_be_tried_again_goes_on_in_the_new_one() {
    let batching = BatchConfig {
        min_size: 4,
        max_size: 4,
        flush_timeout: Configured::from_secs(600),
        ..BatchConfig::default()
    };
    let config = QueueConfig { num_consumers: 2, batch: Optional::On(batching), ..QueueConfig::default() };
    let old = Trial::new(&patient(config), dead());
    // Two batches are being retried, one is ready, and a rest waits for company.
    for id in 0..7 {
        old.hand_in(batch(2 * id..2 * id + 2)).await.expect("there is room");
    }
    settle().await;

    let sender = Scripted::new([]);
    let new = old.beside(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    stage(&old).hand_over(&stage(&new));
    let took = old.drain(SECOND * 25).await;
    settle().await;

    assert!(took < SECOND, "{took:?}");
    assert_eq!(sorted(sender.delivered()), (0..14).collect::<Vec<_>>());
    assert_eq!((new.total(Term::In), new.total(Term::Out)), (14, 14), "one account");
    new.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_smaller_queue_takes_everything_and_nothing_new_until_there_is_room() {
    let old = Trial::new(&patient(QueueConfig { num_consumers: 1, ..QueueConfig::default() }), dead());
    for id in 0..10 {
        old.hand_in(batch(id..id + 1)).await.expect("there is room");
    }
    let sender = Scripted::gated();
    let small = QueueConfig { queue_size: 3, num_consumers: 1, ..QueueConfig::default() };
    let new = old.beside(&queued(small), Arc::clone(&sender) as _);
    stage(&old).hand_over(&stage(&new));
    old.drain(SECOND * 25).await;

    for left in (3..10).rev() {
        let refused = new.hand_in(batch(100..101)).await.expect_err("there is no room");
        assert_eq!(refused.reason, Reason::QueueFull, "{left} wait");
        sender.open(1);
        settle().await;
    }
    sender.open(1);
    settle().await;
    new.hand_in(batch(10..11)).await.expect("there is room");
    sender.open(10);
    settle().await;
    assert_eq!(sorted(sender.delivered()), (0..11).collect::<Vec<_>>());
    new.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn room_is_counted_as_the_new_queue_counts_it() {
    let old = Trial::new(&patient(QueueConfig { num_consumers: 1, ..QueueConfig::default() }), dead());
    for id in 0..3 {
        old.hand_in(batch(10 * id..10 * id + 10)).await.expect("there is room");
    }
    let sender = Scripted::gated();
    let items =
        QueueConfig { sizer: Sizer::Items, queue_size: 35, num_consumers: 1, ..QueueConfig::default() };
    let new = old.beside(&queued(items), Arc::clone(&sender) as _);
    stage(&old).hand_over(&stage(&new));
    old.drain(SECOND * 25).await;
    settle().await;

    new.hand_in(batch(30..35)).await.expect("for five there is room");
    new.hand_in(batch(35..36)).await.expect_err("for one more there is not");
    sender.open(100);
    settle().await;
    new.hand_in(batch(35..70)).await.expect("all of it is free again");
    settle().await;
    new.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn who_still_holds_the_old_one_hands_in_to_the_new_one_and_who_waits_hears_from_it() {
    let waiting = QueueConfig { wait_for_result: true, num_consumers: 1, ..QueueConfig::default() };
    let old = Arc::new(Trial::new(&patient(waiting), dead()));
    let early = {
        let old = Arc::clone(&old);
        tokio::spawn(async move { old.hand_in(batch(0..1)).await })
    };
    settle().await;
    let sender = Scripted::new([]);
    let new = old.beside(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    stage(&old).hand_over(&stage(&new));
    let late = old.hand_in(batch(1..2)).await;
    assert!(late.is_ok(), "{late:?}");
    old.drain(SECOND * 25).await;
    let early: Result<(), Failure> = early.await.expect("no panic");
    assert!(early.is_ok(), "{early:?}");
    assert_eq!(sorted(sender.delivered()), [0, 1]);
    new.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_under_way_ends_where_it_began() {
    let sender = Scripted::new([Go::After(SECOND * 3, Box::new(Go::Take))]);
    let old = Trial::new(&patient(QueueConfig::default()), Arc::clone(&sender) as _);
    old.hand_in(batch(0..1)).await.expect("there is room");
    settle().await;
    let other = Scripted::new([]);
    let new = old.beside(&patient(QueueConfig::default()), Arc::clone(&other) as _);
    stage(&old).hand_over(&stage(&new));
    assert_eq!(old.drain(SECOND * 25).await, SECOND * 3);
    assert_eq!((sender.delivered(), other.delivered()), (vec![0], vec![]));
    new.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn whatever_is_handed_over_however_often_everything_arrives_once() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut trial = Trial::new(&patient(QueueConfig::default()), dead());
        let (mut next, mut generations) = (0, Vec::new());
        for generation in 0..6 {
            for _ in 0..rng.below(8) {
                let items = 1 + rng.below(6);
                trial.hand_in(batch(next..next + items)).await.expect("there is room");
                next += items;
            }
            sleep(Duration::from_millis(rng.below(8_000))).await;
            let mut config =
                QueueConfig { num_consumers: 1 + rng.below(3) as usize, ..QueueConfig::default() };
            if rng.one_in(2) {
                let (min_size, max_size) = (1 + rng.below(9), 9 + rng.below(3));
                config.batch = Optional::On(BatchConfig { min_size, max_size, ..BatchConfig::default() });
            }
            let is_last = generation == 5;
            let sender = if is_last { Scripted::new([]) } else { dead() };
            let heir = trial.beside(&patient(config), Arc::clone(&sender) as _);
            stage(&trial).hand_over(&stage(&heir));
            trial.drain(SECOND * 25).await;
            generations.push(sender);
            trial = heir;
        }
        sleep(SECOND * 5).await;
        let sender = generations.pop().expect("there is one");
        assert_eq!(sorted(sender.delivered()), (0..next).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!((trial.total(Term::In), trial.total(Term::Out)), (next, next), "seed {seed}");
        trial.assert_settled();
    }
}
