//! A reload puts on disk what waits in memory, and something else happens meanwhile: the process is told to stop, the
//! queue there is full, or a further reload comes.

mod support;

use millrace_delivery::{DeadLettersConfig, OnFull, QueueConfig};
use millrace_engine::Reason;
use millrace_engine::ledger::{DEAD_LETTERS, Term};
use std::sync::Arc;
use std::time::Duration;
use support::batch;
use support::disk::{Disk, soon, until};
use support::moves::{self, account, assert_balanced, leaving, sorted, stop, waiting};
use support::process::{hand_over, patient};
use support::sender::{Scripted, dead};

const SECOND: Duration = Duration::from_secs(1);

/// The same without dead letters.
fn holding(queue_size: u64) -> QueueConfig {
    let off = DeadLettersConfig { enabled: false, ..DeadLettersConfig::default() };
    QueueConfig { millrace_dead_letters: off, ..moves::holding(queue_size) }
}

/// What the next process finds and delivers.
async fn found(disk: &Disk) -> Vec<u64> {
    let sender = Scripted::new([]);
    let next = disk.start(&patient(holding(10_000)), Arc::clone(&sender) as _);
    let opening = next.total(Term::Opening);
    until("all is delivered", || next.total(Term::Out) == opening).await;
    next.drain(SECOND * 5).await;
    next.assert_settled();
    sorted(sender.delivered())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_meanwhile_everything_gets_to_the_disk_that_fits() {
    for after_ms in [0, 1, 5, 20] {
        let disk = Disk::new();
        let old = waiting(&disk, 300).await;
        let new = old.beside(&patient(holding(10_000)), dead());
        hand_over(&old, &new);
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        stop([&old, &new]).await;
        let account = account(&new, "exporter");
        assert_eq!((account.total(Term::In).items, account.kept().items), (600, 600), "{account:?}");
        assert_balanced(&new);
        drop((old, new));
        assert_eq!(found(&disk).await, (0..600).collect::<Vec<_>>(), "each once");
    }
}

/// Nothing is handed in any more then, but what has been accepted before stays there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_has_ended_takes_what_was_accepted_before() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let new = old.beside(&patient(holding(10_000)), dead());
    new.drain(SECOND * 5).await;
    hand_over(&old, &new);
    soon("it ends", old.leave(SECOND * 600, SECOND * 5)).await;
    assert_eq!((new.account().kept().items, new.account().lost().items), (40, 0));
    assert_balanced(&new);
    drop((old, new));
    assert_eq!(found(&disk).await, (0..40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_while_the_disk_is_full_the_rest_is_lost_by_name() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let new = old.beside(&patient(holding(10)), dead());
    hand_over(&old, &new);
    until("it is full", || new.account().kept().items == 10).await;
    stop([&old, &new]).await;
    assert_eq!((new.account().kept().items, new.lost(Reason::Unreachable)), (10, 30), "{:?}", new.account());
    assert_balanced(&new);
    drop((old, new));
    assert_eq!(found(&disk).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_oldest_make_room_everything_is_taken_and_what_gave_way_is_counted() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let config = QueueConfig { millrace_on_full: OnFull::DropOldest, ..holding(10) };
    let new = old.beside(&patient(config), dead());
    for id in 100..105 {
        new.hand_in(batch(2 * id..2 * id + 2)).await.expect("there is room");
    }
    hand_over(&old, &new);
    soon("it ends", old.leave(SECOND * 600, SECOND * 5)).await;
    new.drain(SECOND * 5).await;
    let account = account(&new, "exporter");
    let evicted = account.total(Term::Lost(Reason::Evicted)).items;
    assert_eq!((account.total(Term::In).items, account.lost().items), (50, evicted), "{account:?}");
    assert_eq!((account.kept().items, evicted), (10, 40));
    assert_balanced(&new);
    drop((old, new));
    assert_eq!(found(&disk).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_while_the_oldest_make_room_nothing_vanishes() {
    for after_ms in [0, 2, 10] {
        let disk = Disk::new();
        let old = waiting(&disk, 200).await;
        let config = QueueConfig { millrace_on_full: OnFull::DropOldest, ..holding(20) };
        let new = old.beside(&patient(config), dead());
        hand_over(&old, &new);
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        stop([&old, &new]).await;
        let account = account(&new, "exporter");
        assert_eq!(account.kept().items + account.lost().items, 400, "{account:?}");
        assert_eq!(account.kept().items, 20, "{account:?}");
        assert_balanced(&new);
        drop((old, new));
        assert_eq!(found(&disk).await.len(), 20);
    }
}

fn aside(queue_size: u64) -> QueueConfig {
    let millrace_dead_letters = DeadLettersConfig::default();
    QueueConfig { millrace_on_full: OnFull::DeadLetter, millrace_dead_letters, ..holding(queue_size) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_what_does_not_fit_is_put_aside_the_rest_is_in_the_end_and_nothing_is_lost() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let new = old.beside(&patient(aside(10)), dead());
    hand_over(&old, &new);
    until("it is full", || account(&new, "exporter").kept().items == 10).await;
    assert_eq!(account(&new, DEAD_LETTERS).kept().items, 0, "it may still find room");
    stop([&old, &new]).await;
    let (account, letters) = (account(&new, "exporter"), account(&new, DEAD_LETTERS));
    assert_eq!((account.kept().items, letters.kept().items), (10, 30), "{account:?} {letters:?}");
    assert_eq!((account.total(Term::DeadLettered).items, account.lost().items), (30, 0), "{account:?}");
    assert_balanced(&new);
    drop((old, new));
    assert_eq!(found(&disk).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_what_does_not_fit_is_put_aside_it_waits_for_room_first() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let sender = Scripted::gated();
    let new = old.beside(&patient(aside(10)), Arc::clone(&sender) as _);
    hand_over(&old, &new);
    let leaves = leaving(&old);
    until("it is full", || account(&new, "exporter").kept().items == 10).await;
    sender.open(100);
    soon("the rest follows", leaves).await.expect("no panic");
    until("all is delivered", || account(&new, "exporter").total(Term::Out).items == 40).await;
    assert_eq!(sorted(sender.delivered()), (0..40).collect::<Vec<_>>());
    new.drain(SECOND * 5).await;
    assert_eq!(account(&new, DEAD_LETTERS).total(Term::In).items, 0);
    assert_balanced(&new);
}

/// As when a reload that has set too small a `queue_size` is corrected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_room_goes_to_the_queue_that_takes_the_place_of_the_one_on_disk() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let small = Arc::new(old.beside(&patient(holding(10)), dead()));
    hand_over(&old, &small);
    let leaves = leaving(&old);
    until("it is full", || small.account().kept().items == 10).await;

    let large = small.beside(&patient(holding(10_000)), dead());
    hand_over(&small, &large);
    hand_over(&old, &large);
    let follows = leaving(&small);

    soon("the rest follows", leaves).await.expect("no panic");
    soon("the small one ends", follows).await.expect("no panic");
    assert_eq!((large.account().kept().items, large.account().lost().items), (40, 0));
    large.drain(SECOND * 5).await;
    assert_balanced(&large);
    drop((old, small, large));
    assert_eq!(found(&disk).await, (0..40).collect::<Vec<_>>(), "each once");
}

/// What is too large for the small one, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_ever_be_moved_goes_to_the_queue_that_takes_the_place() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    // The last one fits: when it is there, those before it have had their turn.
    old.hand_in(batch(40..41)).await.expect("there is room");
    let small = Arc::new(old.beside(&patient(holding(1)), dead()));
    hand_over(&old, &small);
    let leaves = leaving(&old);
    until("what fits is there", || small.account().kept().items > 0).await;
    // What has just been stored is held twice for a moment.
    until("the rest is in memory", || small.account().held().items == 41).await;
    assert_eq!(small.account().kept().items, 1);

    let large = small.beside(&patient(holding(10_000)), dead());
    hand_over(&small, &large);
    hand_over(&old, &large);
    let follows = leaving(&small);
    soon("all of it follows", leaves).await.expect("no panic");
    soon("the small one ends", follows).await.expect("no panic");
    assert_eq!((large.account().kept().items, large.account().lost().items), (41, 0));
    large.drain(SECOND * 5).await;
    assert_balanced(&large);
}

/// As when a reload that has given it a storage is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_room_goes_back_into_memory_when_the_queue_is_no_longer_on_disk() {
    let disk = Disk::new();
    let old = waiting(&disk, 20).await;
    let small = Arc::new(old.beside(&patient(holding(10)), dead()));
    hand_over(&old, &small);
    let leaves = leaving(&old);
    until("it is full", || small.account().kept().items == 10).await;

    let sender = Scripted::new([]);
    let back = Arc::new(small.beside(&patient(QueueConfig::default()), Arc::clone(&sender) as _));
    hand_over(&small, &back);
    hand_over(&old, &back);
    let follows = leaving(&small);

    soon("it ends", leaves).await.expect("no panic");
    soon("the one on disk ends", follows).await.expect("no panic");
    until("the rest is delivered", || back.total(Term::Out) == 30).await;
    assert_eq!((back.account().kept().items, back.account().lost().items), (10, 0), "{:?}", back.account());
    soon("it can leave", leaving(&back)).await.expect("no panic");
    assert_balanced(&back);
    let delivered = sender.delivered();
    drop((old, small, back));
    let kept = found(&disk).await;
    assert_eq!(sorted([delivered, kept].concat()), (0..40).collect::<Vec<_>>(), "each once");
}
