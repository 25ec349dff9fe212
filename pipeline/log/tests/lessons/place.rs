//! The directory, its lock and its files are taken away from under a log that has them open.

use crate::support::sim::Sim;
use crate::support::{entry, id_of};
use crate::{Opened, open, segments, small};
use millrace_log::{Displacement, LossReason, Notice, Refusal, Totals};
use std::collections::BTreeSet;
use std::time::Duration;

impl Opened {
    /// Enough time for everything to be looked at again.
    fn look(&mut self) {
        self.clock.pass(Duration::from_secs(1));
        self.steps.keep(false);
    }
}

fn moved() -> Displacement {
    Displacement::Moved { to: None }
}

#[test]
fn a_directory_that_is_moved_away_takes_nothing_until_it_is_back() {
    for displaced in [moved(), Displacement::Replaced { to: Some("/elsewhere".into()) }] {
        let sim = Sim::default();
        let mut opened = open(&sim, small());
        opened.fill(0..20, 5_000);
        // What had been let in when it was noticed is refused, too.
        let late = entry(97, 100);
        let room = opened.log.reserve(late.framed_len()).expect("not noticed yet");
        sim.displace(Some(displaced.clone()));
        opened.look();
        assert_eq!(opened.told.notices(), [Notice::Displaced(displaced)]);
        assert!(opened.log.stats().displaced);
        let late = opened.log.append(room, late);
        while opened.steps.write() {}
        assert!(matches!(late.wait(), Err(Refusal::Disk(_))));
        assert!(
            matches!(opened.try_append(entry(98, 100)), Err(Refusal::Disk(why)) if why.contains("put it back"))
        );
        assert_eq!(opened.log.stats().reserved_bytes, 0);
        assert_eq!(opened.drain(), (0..20).collect::<Vec<_>>(), "it goes on handing out");
        // And remembers what is done with.
        opened.look();
        assert_eq!(open(&sim.after_kill(), small()).drain(), []);

        let freed = opened.log.freed();
        sim.displace(None);
        opened.look();
        assert!(freed.has_happened(), "who waits for room looks again");
        assert_eq!(opened.told.notices().last(), Some(&Notice::InPlace));
        assert_eq!(opened.append(20, 100), 21);
        assert_eq!(opened.drain(), [20]);
        assert_eq!(opened.told.losses(), []);
        assert_eq!(opened.told.notices().len(), 2, "each is told once");
    }
}

#[test]
fn a_segment_is_not_begun_where_nobody_looks_for_it() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..5, 5_000);
    sim.displace(Some(moved()));
    // Without the keeper: until the segment is full, and no longer.
    let refused = (5..30).find(|id| opened.try_append(entry(*id, 5_000)).is_err());
    assert!(refused.is_some_and(|id| id < 13), "{refused:?}");
    assert_eq!(opened.told.notices(), [Notice::Displaced(moved())]);
}

#[test]
fn of_a_directory_that_is_removed_the_rest_is_counted() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..30, 5_000);
    let consumer = opened.log.consumer("default").expect("there");
    // Of which some are with the consumer, and one comes back.
    let leases: Vec<_> =
        (0..3).map(|_| consumer.read_next().expect("readable").expect("there").lease).collect();
    sim.displace(Some(Displacement::Removed));
    opened.look();
    assert!(matches!(opened.try_append(entry(98, 100)), Err(Refusal::Disk(why)) if why.contains("restart")));
    // It does not come back, whatever is made there.
    sim.displace(None);
    opened.look();
    assert!(opened.try_append(entry(98, 100)).is_err());
    assert!(consumer.ack(leases[0].sequence) && consumer.ack(leases[1].sequence));
    assert!(consumer.defer(leases[2].sequence));
    assert_eq!(opened.told.losses(), [], "what the caller holds can still be sent");
    assert_eq!(consumer.try_next(|_| true), millrace_log::Next::Held(leases[2]));
    assert!(consumer.ack(leases[2].sequence));
    let notices = opened.told.notices();
    let Opened { log, steps, told, .. } = opened;
    log.take_stock();
    assert_eq!(lost(&told.losses()), expected(3..30), "before it is closed");
    steps.close();
    assert_eq!(told.notices(), notices, "and nothing more is tried there");
    assert_eq!(lost(&told.losses()), expected(3..30));
    assert!(told.losses().iter().all(|loss| loss.reason == LossReason::Missing));
    assert_eq!(log.held(), Totals::default());
    assert_eq!(open(&sim, small()).recovered.losses, [], "that was counted already");
}

fn lost(losses: &[millrace_log::Loss]) -> (u64, u64) {
    losses.iter().fold((0, 0), |sum, loss| (sum.0 + loss.lost.entries, sum.1 + loss.lost.items))
}

fn expected(ids: impl Iterator<Item = u64> + Clone) -> (u64, u64) {
    (ids.clone().count() as u64, ids.map(|id| u64::from(crate::support::items(id))).sum())
}

#[test]
fn a_segment_that_is_removed_is_missed_and_what_comes_next_is_safe() {
    for which in ["the first", "the one that is being written", "all", "replaced"] {
        let sim = Sim::default();
        let mut opened = open(&sim, small());
        opened.fill(0..20, 5_000);
        let names: Vec<_> =
            segments(&sim).into_iter().filter(|name| sim.content(name)[48..52] != [0; 4]).collect();
        let gone = match which {
            "the first" => &names[..1],
            "all" => &names[..],
            _ => &names[names.len() - 1..],
        };
        for name in gone {
            let content = sim.content(name);
            sim.remove(name);
            if which == "replaced" {
                sim.put(name, &content);
            }
        }
        opened.look();
        opened.look();
        let vanished = |notice: &Notice| match notice {
            Notice::Vanished { file } => file.clone(),
            other => panic!("{other:?}"),
        };
        let told: BTreeSet<String> = opened.told.notices().iter().map(vanished).collect();
        assert_eq!(
            (told, opened.told.notices().len()),
            (gone.iter().cloned().collect(), gone.len()),
            "{which}"
        );
        opened.fill(20..25, 5_000);
        // It is killed, or goes on, or ends.
        let survivor = open(&sim.after_kill(), small());
        let left: BTreeSet<u64> = survivor.drain().into_iter().collect();
        assert!((20..25).all(|id| left.contains(&id)), "{which}: {left:?}");
        assert_eq!(survivor.lost().entries, 25 - left.len() as u64, "{which}");
        if which == "replaced" {
            continue;
        }
        let consumer = opened.log.consumer("default").expect("there");
        let read = consumer.read_next().expect("readable").expect("there");
        let first = *left.first().expect("some");
        assert_eq!(id_of(&read), first);
        assert!(consumer.defer(read.lease.sequence));
        let Opened { steps, told, .. } = opened;
        steps.close();
        assert_eq!(lost(&told.losses()), expected((0..25).filter(|id| !left.contains(id))), "{which}");
        assert_eq!(open(&sim, small()).drain(), left.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_cursor_that_is_removed_is_made_again() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..20, 5_000);
    assert_eq!(opened.drain().len(), 20);
    opened.append(20, 100);
    opened.steps.keep(true);
    sim.remove("cursor-default");
    opened.look();
    assert!(opened.told.notices().contains(&Notice::Vanished { file: "cursor-default".into() }));
    opened.steps.keep(true);
    assert_eq!(open(&sim.after_kill(), small()).drain(), [20]);
}

#[test]
fn a_lock_that_is_removed_is_made_again_and_another_process_that_is_in_is_left_alone() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..5, 5_000);
    sim.replace_lock(false);
    opened.look();
    assert_eq!(opened.told.notices(), [Notice::Vanished { file: "lock".into() }]);
    assert!(crate::open_at(&sim, &opened.clock, small()).is_err(), "it keeps others out again");

    sim.replace_lock(true);
    opened.look();
    assert_eq!(opened.told.notices().last(), Some(&Notice::Displaced(Displacement::Taken)));
    assert!(
        matches!(opened.try_append(entry(9, 10)), Err(Refusal::Disk(why)) if why.contains("another process"))
    );
    let before: Vec<_> = sim.names().iter().map(|name| sim.content(name)).collect();
    assert_eq!(opened.drain(), [0, 1, 2, 3, 4]);
    opened.look();
    let after: Vec<_> = sim.names().iter().map(|name| sim.content(name)).collect();
    assert!(before == after, "the files are the other's");
}
