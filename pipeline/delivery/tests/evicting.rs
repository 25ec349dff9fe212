//! `millrace_on_full: drop_oldest`: the oldest give way to what is taken, and to nothing else.

mod support;

use millrace_delivery::{DeadLettersConfig, OnFull, QueueConfig};
use millrace_engine::{Reason, Stage};
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, on_disk, until};
use support::process::{Trial, patient};
use support::sender::Scripted;
use tokio::task::JoinSet;

const SECOND: Duration = Duration::from_secs(1);

/// A queue for ten requests, of which so many are sent at once.
fn ten(num_consumers: usize) -> QueueConfig {
    QueueConfig {
        queue_size: 10,
        num_consumers,
        millrace_on_full: OnFull::DropOldest,
        millrace_adaptive_concurrency: false,
        millrace_dead_letters: DeadLettersConfig { enabled: false, ..DeadLettersConfig::default() },
        ..on_disk()
    }
}

/// A full queue, of which that many requests are being sent, and go on being sent.
async fn full(disk: &Disk, under_way: usize) -> (Arc<Trial>, Arc<Scripted>) {
    let sender = Scripted::gated();
    let trial = disk.start(&patient(ten(under_way)), Arc::clone(&sender) as _);
    for request in 0..10 {
        trial.hand_in(batch(request * 10..request * 10 + 10)).await.expect("there is room");
    }
    until("they are under way", || trial.metric("otelcol_exporter_in_flight_requests") == under_way as f64)
        .await;
    (Arc::new(trial), sender)
}

async fn end(trial: &Trial, sender: &Scripted) {
    sender.open(1_000);
    trial.drain(SECOND * 60).await;
    trial.assert_settled();
}

/// As where another branch refuses what has room here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_has_room_makes_nothing_give_way() {
    for wanted in [1, 5, 9, 10, 40] {
        let disk = Disk::new();
        let (trial, sender) = full(&disk, 1).await;
        let one = batch(1_000..1_010);
        let mut permits = Vec::new();
        for _ in 0..wanted {
            permits.extend(trial.exporter.reserve(one.cost()).decided().await);
        }
        assert_eq!(permits.len(), wanted.min(9), "one is being sent");
        assert_eq!(trial.lost(Reason::Evicted), 0);
        // One of them is handed in.
        let permit = permits.pop().expect("there is one");
        trial.exporter.commit(permit, one, millrace_engine::Until::Stored).await.expect("it has room");
        drop(permits);
        assert_eq!((trial.lost(Reason::Evicted), trial.account().kept().items), (10, 100));
        end(&trial, &sender).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_only_what_is_being_sent_is_refused_and_makes_nothing_give_way() {
    let disk = Disk::new();
    let (trial, sender) = full(&disk, 10).await;
    let refused = trial.hand_in(batch(1_000..1_010)).await.expect_err("all of it is being sent");
    assert!(refused.reason == Reason::QueueFull && refused.is_transient(), "{refused:?}");
    assert_eq!(trial.lost(Reason::Evicted), 0);
    sender.open(1);
    until("one is delivered", || trial.account().kept().items == 90).await;
    trial.hand_in(batch(1_000..1_010)).await.expect("there is room");
    assert_eq!(trial.lost(Reason::Evicted), 0);
    end(&trial, &sender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_more_at_once_than_there_is_room_for_as_many_are_dropped_as_are_taken() {
    let disk = Disk::new();
    let (trial, sender) = full(&disk, 1).await;
    let mut arriving = JoinSet::new();
    for request in 100..400 {
        let trial = Arc::clone(&trial);
        arriving.spawn(async move { trial.hand_in(batch(request * 10..request * 10 + 10)).await.is_ok() });
    }
    let taken = arriving.join_all().await.into_iter().filter(|is_taken| *is_taken).count() as u64;
    assert!(taken >= 9, "{taken}");
    assert_eq!((trial.lost(Reason::Evicted), trial.account().kept().items), (taken * 10, 100));
    end(&trial, &sender).await;
    assert!(sender.delivered().contains(&0), "what was under way is delivered");
}

/// What is being sent goes on meanwhile, and what has just been put there is never what gives way to itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_taken_is_delivered_or_has_given_way_to_later_ones() {
    let disk = Disk::new();
    let sender = Scripted::new([]);
    let trial = Arc::new(disk.start(&patient(ten(4)), Arc::clone(&sender) as _));
    let mut arriving = JoinSet::new();
    for worker in 0..8 {
        let trial = Arc::clone(&trial);
        arriving.spawn(async move {
            let mut taken = 0;
            for request in worker * 100..worker * 100 + 100 {
                taken += u64::from(trial.hand_in(batch(request * 10..request * 10 + 10)).await.is_ok());
            }
            taken
        });
    }
    let taken: u64 = arriving.join_all().await.into_iter().sum();
    trial.drain(SECOND * 60).await;
    trial.assert_settled();
    let delivered = sender.delivered().len() as u64;
    assert_eq!(delivered + trial.lost(Reason::Evicted), taken * 10);
}
