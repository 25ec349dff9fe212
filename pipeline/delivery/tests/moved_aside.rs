//! A reload puts on disk what waits in memory, and there is no room for all of it until the end: the rest is put aside
//! where there are dead letters, whatever else becomes of what does not fit.

mod support;

use millrace_config::Duration as Configured;
use millrace_delivery::{DeadLettersConfig, Delivery, OnFull, QueueConfig, RetryConfig};
use millrace_engine::Reason;
use millrace_engine::ledger::{DEAD_LETTERS, Term};
use millrace_engine::storage::{Selection, Task};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, soon, until};
use support::moves::{account, assert_balanced, holding, leaving, sorted, stop, waiting};
use support::process::{Trial, hand_over, patient, queued};
use support::sender::{Go, Scripted, dead, later, too_large};

const SECOND: Duration = Duration::from_secs(1);

/// What the next process finds in the queue and among the dead letters, and delivers.
async fn found(disk: &Disk) -> Vec<u64> {
    let sender = Scripted::new([]);
    let next = disk.start(&patient(holding(100_000)), Arc::clone(&sender) as _);
    let letters = disk.dead_letters(&next.context).go_through(Task::Replay, Selection::default()).await;
    assert_eq!(letters.stopped, None);
    let exporter = account(&next, "exporter");
    let all = exporter.total(Term::Opening).items + letters.items;
    until("all is delivered", || exporter.total(Term::Out).items == all).await;
    next.drain(SECOND * 5).await;
    assert_balanced(&next);
    sorted(sender.delivered())
}

/// How many items are in the queue, aside, and lost.
fn whereabouts(trial: &Trial) -> (u64, u64, u64) {
    let (own, letters) = (account(trial, "exporter"), account(trial, DEAD_LETTERS));
    assert_eq!(own.total(Term::DeadLettered).items, letters.total(Term::In).items, "{own:?} {letters:?}");
    (own.kept().items, letters.kept().items, own.lost().items + letters.lost().items)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_room_until_the_end_is_put_aside_with_what_the_destination_said() {
    for on_full in [OnFull::Refuse, OnFull::DropOldest] {
        let disk = Disk::new();
        let old = waiting(&disk, 20).await;
        let new = old.beside(&patient(QueueConfig { millrace_on_full: on_full, ..holding(10) }), dead());
        hand_over(&old, &new);
        until("it is full", || account(&new, "exporter").kept().items >= 10).await;
        stop([&old, &new]).await;
        let (kept, aside, lost) = whereabouts(&new);
        // Where the oldest make room, all but what is being sent may have.
        assert_eq!((kept + aside + lost, kept), (40, 10), "{on_full:?}");
        assert_eq!(lost, account(&new, "exporter").total(Term::Lost(Reason::Evicted)).items);
        assert!(on_full == OnFull::DropOldest || lost == 0);
        assert_balanced(&new);
        drop((old, new));
        let ids = found(&disk).await;
        assert_eq!(ids.len() as u64, 40 - lost, "each once: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_been_offered_when_the_time_is_up_is_put_aside_too() {
    let disk = Disk::new();
    let hangs = Scripted::new(std::iter::repeat_n(Go::Hang, 1000));
    let old = disk.start(&patient(QueueConfig { num_consumers: 2, ..QueueConfig::default() }), hangs);
    for id in 0..50 {
        old.hand_in(batch(2 * id..2 * id + 2)).await.expect("there is room");
    }
    let new = old.beside(&patient(holding(10)), dead());
    hand_over(&old, &new);
    until("it is full", || account(&new, "exporter").kept().items == 10).await;
    soon("they end", async { tokio::join!(old.drain(SECOND), new.drain(SECOND)) }).await;
    // Two were being sent before there was a disk, and still are.
    assert_eq!(whereabouts(&new), (10, 86, 4));
    assert_eq!(account(&new, "exporter").total(Term::Lost(Reason::ShuttingDown)).items, 4);
    assert_balanced(&new);
    drop((old, new));
    assert_eq!(found(&disk).await, (4..100).collect::<Vec<_>>(), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_request_that_is_taken_in_part_the_rest_is_put_aside() {
    let disk = Disk::new();
    // As it arrives, when it is handed over, and in the end, where only its first half is taken.
    let script = [Go::Fail(later()), Go::Fail(later()), Go::Fail(too_large()), Go::Take, Go::Fail(later())];
    let sender = Scripted::new(script);
    let retry = RetryConfig { initial_interval: Configured::from_secs(60), ..RetryConfig::default() };
    let once_a_minute = Delivery { retry, ..queued(QueueConfig::default()) };
    let old = disk.start(&once_a_minute, Arc::clone(&sender) as _);
    old.hand_in(batch(0..10)).await.expect("there is room");
    until("it is to be tried again", || old.metric("otelcol_millrace_retry_waiting") > 0.0).await;
    let new = old.beside(&patient(holding(1)), dead());
    hand_over(&old, &new);
    stop([&old, &new]).await;
    assert_eq!(whereabouts(&new), (0, 5, 0));
    assert_eq!(account(&new, "exporter").total(Term::Out).items, 5);
    assert_balanced(&new);
    assert_eq!(sender.delivered(), (0..5).collect::<Vec<_>>());
    drop((old, new));
    assert_eq!(found(&disk).await, (5..10).collect::<Vec<_>>());
}

/// As when a disk is full, and somebody makes room before it is too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_itself_takes_nothing_it_is_asked_until_the_time_is_up() {
    for is_mended in [true, false] {
        let disk = Disk::new();
        let old = waiting(&disk, 20).await;
        let new = Arc::new(old.beside(&patient(holding(10)), dead()));
        let (folder, away) = (disk.folder.path().to_owned(), tempfile::tempdir().expect("a folder"));
        let folders: Vec<_> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(folders.len(), 2, "queue and dead letters: {folders:?}");
        for name in &folders {
            fs::rename(folder.join(name), away.path().join(name)).expect("moved");
        }
        until("it is noticed", || new.metric("otelcol_millrace_storage_displaced") == 2.0).await;
        hand_over(&old, &new);
        let stops = {
            let (old, new) = (Arc::clone(&old), Arc::clone(&new));
            // That it is mended is noticed within a second, and later on a busy machine.
            let time = SECOND * if is_mended { 12 } else { 4 };
            tokio::spawn(async move { tokio::join!(old.drain(time), new.drain(time)) })
        };
        until("all has been offered", || old.metric("otelcol_millrace_retry_waiting") == 0.0).await;
        assert_eq!(account(&new, "exporter").lost().items, 0);
        if is_mended {
            for name in &folders {
                fs::rename(away.path().join(name), folder.join(name)).expect("moved back");
            }
        }
        soon("they end", stops).await.expect("no panic");
        assert_eq!(whereabouts(&new), if is_mended { (10, 30, 0) } else { (0, 0, 40) });
        let unreachable = account(&new, "exporter").total(Term::Lost(Reason::Unreachable)).items;
        assert_eq!(unreachable, if is_mended { 0 } else { 40 });
        assert_balanced(&new);
        drop((old, new));
        if is_mended {
            assert_eq!(found(&disk).await, (0..40).collect::<Vec<_>>(), "each once");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_at_any_time_everything_is_somewhere() {
    for after_ms in [0, 1, 3, 10, 30] {
        let disk = Disk::new();
        let old = waiting(&disk, 200).await;
        let new = old.beside(&patient(holding(100)), dead());
        hand_over(&old, &new);
        let leaves = leaving(&old);
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        stop([&old, &new]).await;
        leaves.abort();
        let (kept, aside, lost) = whereabouts(&new);
        assert_eq!((kept + aside, lost), (400, 0), "after {after_ms} ms");
        assert_balanced(&new);
        drop((old, new));
        assert_eq!(found(&disk).await, (0..400).collect::<Vec<_>>(), "each once");
    }
}

/// Without dead letters nothing is put aside: it is lost by the name of what the destination said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_nowhere_to_go_is_lost_by_name_at_once() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let off = DeadLettersConfig { enabled: false, ..DeadLettersConfig::default() };
    let new = old.beside(&patient(QueueConfig { millrace_dead_letters: off, ..holding(10) }), dead());
    hand_over(&old, &new);
    until("it is full", || new.account().kept().items == 10).await;
    let took = soon("they end", async { tokio::join!(old.drain(SECOND * 600), new.drain(SECOND * 5)) }).await;
    assert!(took.0 < SECOND * 10, "nothing is waited for: {took:?}");
    assert_eq!((new.account().kept().items, new.lost(Reason::Unreachable)), (10, 30));
    assert_balanced(&new);
}
