//! Who has what is on disk while configurations change: the exporter that began to work last, and nobody else.

mod support;

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{BatchConfig, Delivery, QueueConfig, RetryConfig, Sizer};
use millrace_engine::ledger::Term;
use millrace_engine::storage::{Outcome, Rules, Selection, Task};
use millrace_engine::{Failure, Reason, Stage, Until};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, RULES, on_disk, soon, until};
use support::process::{Trial, patient, queued};
use support::sender::{Go, Scripted, dead, never};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Configured = Configured::from_millis(3_600_000);

/// What is refused for a while is tried again, but not soon.
fn reluctant(queue: QueueConfig) -> Delivery {
    let retry = RetryConfig { initial_interval: HOUR, max_interval: HOUR, ..RetryConfig::default() };
    Delivery { retry, ..queued(queue) }
}

async fn hand_in(trial: &Trial, requests: Range<u64>) {
    for request in requests {
        trial.hand_in(batch(request * 10..request * 10 + 10)).await.expect("there is room");
    }
}

/// Waits until everything has been delivered there that these requests consist of; each once.
async fn has_all(sender: &Scripted, requests: Range<u64>) {
    let expected: BTreeSet<_> = (requests.start * 10..requests.end * 10).collect();
    until("all is delivered", || sender.delivered().into_iter().collect::<BTreeSet<_>>() == expected).await;
    assert_eq!(sender.delivered().len(), expected.len(), "each once");
}

/// Ends them, the first one first; nothing is left.
async fn end(trials: impl IntoIterator<Item = Trial>) {
    for trial in trials {
        trial.drain(SECOND * 60).await;
        let account = trial.account();
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
        assert_eq!((account.kept().items, account.lost().items), (0, 0), "{account:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_built_and_never_begins_sends_nothing_also_when_it_is_gone() {
    let disk = Disk::new();
    let unreachable = dead();
    let old = disk.start(&patient(on_disk()), Arc::clone(&unreachable) as _);
    hand_in(&old, 0..20).await;
    let taking = Scripted::new([]);
    let attempts = async || {
        let before = unreachable.attempts().len();
        until("further attempts", || unreachable.attempts().len() >= before + 50).await;
        taking.attempts().len()
    };
    let refused = old.built_beside(&patient(on_disk()), Arc::clone(&taking) as _);
    assert_eq!(attempts().await, 0);
    drop(refused);
    assert_eq!(attempts().await, 0);
    let stopped = old.built_beside(&patient(on_disk()), Arc::clone(&taking) as _);
    stopped.drain(SECOND * 60).await;
    assert_eq!(attempts().await, 0);
    drop(stopped);
    assert_eq!(old.account().kept().items, 200);
    let new = old.beside(&patient(on_disk()), Arc::clone(&taking) as _);
    has_all(&taking, 0..20).await;
    end([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_or_too_old_by_a_configuration_that_is_never_at_work_stays() {
    let disk = Disk::new();
    let first = disk.start(&patient(on_disk()), dead());
    hand_in(&first, 0..3).await;
    first.drain(SECOND * 60).await;
    drop(first);
    // Nobody has it open now.
    let disk = Disk { rules: Rules { max_age: Some(Duration::from_millis(1)), ..RULES }, ..disk };
    let refused = disk.build(&patient(on_disk()), Scripted::new([]));
    // Longer than it takes to notice what is too old.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((refused.account().kept().items, refused.account().lost().items), (30, 0));
    refused.drain(SECOND * 60).await;
    drop(refused);

    let disk = Disk { rules: RULES, ..disk };
    let taking = Scripted::new([]);
    let second = disk.start(&patient(on_disk()), Arc::clone(&taking) as _);
    has_all(&taking, 0..3).await;
    end([second]).await;
    // At work, it does as it says.
    let disk = Disk { rules: Rules { max_age: Some(Duration::from_millis(1)), ..RULES }, ..disk };
    let third = disk.start(&patient(on_disk()), dead());
    hand_in(&third, 0..30).await;
    until("what is not being sent is gone", || third.lost(Reason::Expired) >= 100).await;
    third.drain(SECOND * 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replayed_goes_to_the_one_that_is_at_work() {
    let disk = Disk::new();
    let sender = Scripted::new([Go::Fail(never())]);
    let old = disk.start(&patient(on_disk()), Arc::clone(&sender) as _);
    hand_in(&old, 0..1).await;
    until("it is put aside", || old.total(Term::DeadLettered) == 10).await;
    // Nothing fits into this one.
    let tiny = QueueConfig { sizer: Sizer::Items, queue_size: 1, ..on_disk() };
    let refused = old.built_beside(&patient(tiny), Scripted::new([]));
    let custodian = disk.dead_letters(&old.context);
    let outcome = custodian.go_through(Task::Replay, Selection::default()).await;
    assert_eq!(outcome, Outcome { requests: 1, items: 10, ..Outcome::default() });
    until("it is delivered", || sender.delivered().len() == 10).await;
    drop(refused);
    old.drain(SECOND * 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_when_another_one_has_begun_is_not_sent_by_the_one_before() {
    for _ in 0..20 {
        let disk = Disk::new();
        let before = Scripted::new([]);
        let old = disk.start(&patient(on_disk()), Arc::clone(&before) as _);
        hand_in(&old, 0..20).await;
        let after = Scripted::new([]);
        let new = old.built_beside(&patient(on_disk()), Arc::clone(&after) as _);
        has_all(&before, 0..20).await;
        new.exporter.begin();
        // What is under way in the old graph has room there still.
        let together = async {
            tokio::join!(hand_in(&old, 20..40), hand_in(&new, 40..60));
        };
        together.await;
        has_all(&after, 20..60).await;
        assert_eq!(before.attempts().len(), 20);
        end([old, new]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_one_before_would_try_again_is_sent_by_the_next_one_at_once() {
    let disk = Disk::new();
    let unreachable = dead();
    let old = disk.start(&reluctant(on_disk()), Arc::clone(&unreachable) as _);
    hand_in(&old, 0..30).await;
    let most = QueueConfig::default().num_consumers;
    until("some have failed", || unreachable.attempts().len() == most).await;
    let taking = Scripted::new([]);
    let new = old.beside(&patient(on_disk()), Arc::clone(&taking) as _);
    has_all(&taking, 0..30).await;
    assert_eq!(unreachable.attempts().len(), most, "it has no last attempt");
    end([old, new]).await;
}

/// Two requests that have failed once, and whose senders wait for what becomes of them.
async fn awaited(disk: &Disk) -> (Arc<Trial>, Vec<JoinHandle<Result<(), Failure>>>) {
    let unreachable = dead();
    let old = Arc::new(disk.start(&reluctant(on_disk()), Arc::clone(&unreachable) as _));
    let hand_in = |request: u64| {
        let old = Arc::clone(&old);
        let batch = batch(request * 10..request * 10 + 10);
        tokio::spawn(async move { old.hand_in_until(batch, Until::Settled).await })
    };
    let waiting = (0..2).map(hand_in).collect();
    until("both have failed", || unreachable.attempts().len() == 2).await;
    (old, waiting)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_outcome_of_what_goes_back_hears_it_from_the_next_one() {
    let disk = Disk::new();
    let (old, waiting) = awaited(&disk).await;
    let next = Scripted::new([Go::Take, Go::Fail(never())]);
    let alone = QueueConfig { num_consumers: 1, ..on_disk() };
    let new = old.beside(&reluctant(alone), Arc::clone(&next) as _);
    old.drain(SECOND * 60).await;
    let mut refused = Vec::new();
    for told in waiting {
        let told = soon("it is told", told).await.expect("no panic");
        refused.extend(told.err().map(|failure| (failure.reason, failure.is_transient())));
    }
    assert_eq!(refused, [(Reason::Rejected, false)], "and the other one is delivered");
    assert_eq!(next.attempts().len(), 2);
    new.drain(SECOND * 60).await;
    new.assert_settled();
    assert_eq!((new.total(Term::Out), new.total(Term::Refused)), (10, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_outcome_hears_that_nobody_goes_on() {
    for has_successor in [false, true] {
        let disk = Disk::new();
        let (old, waiting) = awaited(&disk).await;
        let next = dead();
        let new = has_successor.then(|| old.beside(&reluctant(on_disk()), Arc::clone(&next) as _));
        if let Some(new) = &new {
            until("they have it", || next.attempts().len() == 2).await;
            new.drain(SECOND * 60).await;
        }
        old.drain(SECOND * 60).await;
        for told in waiting {
            let failure = soon("it is told", told).await.expect("no panic").expect_err("it stays");
            assert!(failure.reason == Reason::ShuttingDown && failure.is_transient(), "{failure:?}");
        }
        assert_eq!((old.account().kept().items, old.account().lost().items), (20, 0));
        assert_eq!(old.account().imbalance(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_one_before_has_read_or_batched_and_not_sent_is_sent_by_the_next_one() {
    let disk = Disk::new();
    let batching = BatchConfig { min_size: 1_000_000, flush_timeout: HOUR, ..BatchConfig::default() };
    let first = disk.start(&patient(on_disk()), dead());
    hand_in(&first, 0..50).await;
    first.drain(SECOND * 60).await;
    drop(first);
    let (batches, hangs, takes) = (Scripted::new([]), Scripted::new([Go::Hang]), Scripted::new([]));
    let queue = QueueConfig { batch: Optional::On(batching), ..on_disk() };
    let old = disk.start(&patient(queue), Arc::clone(&batches) as _);
    until("all is batched", || old.metric("otelcol_millrace_storage_memory") > 0.0).await;
    // One is under way there, and some have been read that come next.
    let alone = QueueConfig { num_consumers: 1, ..on_disk() };
    let next = old.beside(&patient(alone), Arc::clone(&hangs) as _);
    until("one is under way", || next.metric("otelcol_exporter_in_flight_requests") == 1.0).await;
    let last = old.beside(&patient(on_disk()), Arc::clone(&takes) as _);
    until("all but one are delivered", || takes.delivered().len() == 490).await;
    assert!(batches.attempts().is_empty());
    next.drain(Duration::from_millis(50)).await;
    has_all(&takes, 0..50).await;
    end([old, last]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_and_forth_with_everything_under_way_sends_everything_and_nothing_twice() {
    let disk = Disk::new();
    let senders: Vec<_> = (0..6).map(|_| Scripted::new([])).collect();
    let mut trials = vec![disk.start(&patient(on_disk()), Arc::clone(&senders[0]) as _)];
    for (round, sender) in (0u64..).zip(&senders) {
        if round > 0 {
            trials.push(trials[0].beside(&patient(on_disk()), Arc::clone(sender) as _));
        }
        let last = trials.last().expect("there is one");
        hand_in(last, round * 50..round * 50 + 50).await;
    }
    let delivered = || senders.iter().flat_map(|sender| sender.delivered()).collect::<Vec<_>>();
    until("all is delivered", || delivered().into_iter().collect::<BTreeSet<_>>().len() == 3_000).await;
    assert_eq!(delivered().len(), 3_000, "each once");
    end(trials).await;
}
