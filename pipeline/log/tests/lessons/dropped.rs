//! What is with a consumer when the segment that it lies in is dropped: it may yet be delivered, so it is not lost yet,
//! and if the process ends before, the next one counts it.

use super::{DAY, Opened, open, small};
use crate::support::{id_of, items, sim::Sim};
use millrace_log::{OnFull, Options, Refusal};
use std::time::Duration;

/// How many are put in, and how many of them are with the consumer.
const ALL: u64 = 20;
const OUT: u64 = 6;

/// How a segment comes to be dropped.
#[derive(Debug, Clone, Copy)]
enum Why {
    TooOld,
    NoRoom,
}

fn options(why: Why) -> Options {
    match why {
        Why::TooOld => Options { max_age: Some(DAY), ..small() },
        Why::NoRoom => Options { on_full: OnFull::DropOldest, max_size: 256 << 10, ..small() },
    }
}

/// With entries out, and all segments dropped in which they lie.
fn with_entries_out(sim: &Sim, why: Why) -> (Opened, Vec<u64>) {
    let mut opened = open(sim, options(why));
    opened.fill(0..ALL, 5_000);
    let consumer = opened.log.consumer("default").expect("there");
    // One of the first segment is done with, so that its cursor has something to say.
    let first = consumer.read_next().expect("readable").expect("there");
    assert!(consumer.ack(first.lease.sequence));
    let out: Vec<u64> = (0..OUT)
        .map(|_| consumer.read_next().expect("readable").expect("there"))
        .inspect(|delivery| assert!(id_of(delivery) <= OUT))
        .map(|delivery| delivery.lease.sequence)
        .collect();
    opened.steps.keep(true);
    match why {
        Why::TooOld => opened.clock.pass(DAY + Duration::from_secs(1)),
        Why::NoRoom => opened.fill(100..160, 5_000),
    }
    opened.steps.keep(true);
    (opened, out)
}

fn sum(ids: impl IntoIterator<Item = u64>) -> u64 {
    ids.into_iter().map(|id| u64::from(items(id))).sum()
}

/// Everything that was put in is delivered, lost and told, or there.
fn assert_balanced(why: Why, before: &Opened, after: &Opened, acked: u64) {
    let put = ALL + if matches!(why, Why::NoRoom) { 60 } else { 0 };
    let put_items = sum(0..ALL) + if matches!(why, Why::NoRoom) { sum(100..160) } else { 0 };
    let held = after.recovered.held;
    let (told, found) = (before.lost(), after.lost());
    assert_eq!(
        told.entries + found.entries + held.entries + acked,
        put,
        "{why:?}: {told:?} {found:?} {held:?}"
    );
    assert_eq!(told.items + found.items + held.items + sum(0..acked), put_items, "{why:?}");
}

#[test]
fn what_is_out_when_the_process_ends_is_counted_by_the_next() {
    for why in [Why::TooOld, Why::NoRoom] {
        let sim = Sim::default();
        let (opened, _) = with_entries_out(&sim, why);
        let told = opened.lost().entries;
        assert!(told > 0, "{why:?}: the others of the segment are lost already");
        let sim = sim.after_kill();
        let mut after = open(&sim, options(why));
        assert_balanced(why, &opened, &after, 1);
        assert_eq!(after.lost().entries, OUT, "{why:?}");
        after.steps.keep(true);
        let once_more = open(&sim.after_kill(), options(why));
        assert_eq!((once_more.recovered.losses, once_more.recovered.held), (vec![], after.recovered.held));
    }
}

#[test]
fn what_has_come_back_before_the_process_ends_is_not_counted_again() {
    for why in [Why::TooOld, Why::NoRoom] {
        let sim = Sim::default();
        let (mut opened, out) = with_entries_out(&sim, why);
        let consumer = opened.log.consumer("default").expect("there");
        let (delivered, given_back) = out.split_at(2);
        assert!(delivered.iter().all(|sequence| consumer.ack(*sequence)));
        assert!(given_back.iter().all(|sequence| !consumer.defer(*sequence)), "{why:?}");
        opened.steps.keep(true);
        let after = open(&sim.after_kill(), options(why));
        assert_eq!(after.lost().entries, 0, "{why:?}");
        assert_balanced(why, &opened, &after, 1 + delivered.len() as u64);
    }
}

/// It would have been refused with nothing left.
#[test]
fn nothing_is_dropped_for_what_does_not_fit_all_the_same() {
    let sim = Sim::default();
    let mut opened = open(&sim, Options { on_full: OnFull::DropOldest, ..small() });
    opened.fill(0..150, 5_000);
    let set_aside = opened.log.reserve(500_000).expect("the oldest make room");
    let lost = opened.lost();
    assert!(lost.entries > 0 && lost.entries < 120, "{lost:?}");
    assert!(matches!(opened.log.reserve(600_000), Err(Refusal::Full { .. })));
    assert_eq!(opened.lost(), lost);
    drop(set_aside);
    let _room = opened.log.reserve(600_000).expect("now they make room for it");
    assert!(opened.lost().entries > lost.entries);
}
