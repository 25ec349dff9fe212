//! Whole segments are removed, or their headers destroyed, from one run to the next: what was in them is counted to the
//! item, and nothing else is.
//!
//! The oracle reads the segments itself, by the tables in the README, to know which entries were in a file.

mod support;

use millrace_log::{Inspector, Log, LossReason, Options, Recovered};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use support::sim::{Rng, Sim};
use support::{HandClock, entry, frames, id_of, items};

const CASES: u64 = 300;

fn options() -> Options {
    Options { max_size: 4 << 20, segment_size: Some(64 << 10), ..Options::default() }
}

fn segments(sim: &Sim) -> Vec<String> {
    sim.names().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

/// What had been taken and is neither done with nor lost: id by number.
type Owed = BTreeMap<u64, u64>;

/// A life of a log: entries come, some are done with, and it ends in one way or the other.
fn live(sim: &Sim, rng: &mut Rng, owed: &mut Owed, next_id: &mut u64) -> (Recovered, Sim) {
    let clock = HandClock::new(rng.next());
    let (log, recovered, mut steps) =
        Log::open_stepped(Arc::new(sim.clone()), clock, options()).expect("opens");
    // What was given up is told once only if it is written down.
    steps.keep(true);
    let consumer = log.consumer("default").expect("there");
    for _ in 0..=rng.below(3) {
        for _ in 0..rng.below(40) {
            let entry = entry(*next_id, rng.below(9_000) as usize);
            let appending = log.append(log.reserve(entry.framed_len()).expect("room"), entry);
            while steps.write() {}
            owed.insert(appending.wait().expect("appended").sequence, *next_id);
            *next_id += 1;
            if rng.chance(20) {
                steps.keep(false);
            }
        }
        let (all, some) = (rng.chance(4), rng.below(30));
        let mut left = Vec::new();
        let mut taken = 0;
        while all || taken < some {
            let Some(delivery) = consumer.read_next().expect("readable") else { break };
            let sequence = delivery.lease.sequence;
            assert_eq!(owed.get(&sequence), Some(&id_of(&delivery)));
            if all || rng.chance(2) {
                consumer.ack(sequence);
                owed.remove(&sequence);
            } else {
                left.push(sequence);
            }
            taken += 1;
        }
        left.into_iter().for_each(|sequence| assert!(consumer.defer(sequence)));
        if taken > 0 {
            steps.keep(true);
        }
    }
    let after = match rng.below(3) {
        0 => {
            steps.close();
            sim.after_kill()
        }
        1 => sim.after_kill(),
        _ => sim.after_power_loss(rng),
    };
    (recovered, after)
}

/// What of that is in a file, by the oracle: entries and items.
fn in_file(bytes: &[u8], owed: &mut Owed) -> (u64, u64) {
    let ids: Vec<u64> = frames(bytes).iter().filter_map(|(_, sequence)| owed.remove(sequence)).collect();
    (ids.len() as u64, ids.iter().map(|id| u64::from(items(*id))).sum())
}

/// Takes some files away, but never the newest with something in it; what that costs is returned.
fn take_away(sim: &Sim, rng: &mut Rng, owed: &mut Owed) -> (u64, u64) {
    let begun: Vec<_> =
        segments(sim).into_iter().filter(|name| !frames(&sim.content(name)).is_empty()).collect();
    let mut cost = (0, 0);
    for name in begun.iter().rev().skip(1) {
        if !rng.chance(3) {
            continue;
        }
        let mut bytes = sim.content(name);
        let lost = in_file(&bytes, owed);
        cost = (cost.0 + lost.0, cost.1 + lost.1);
        if rng.chance(8) {
            bytes[..4096].fill(rng.next() as u8 | 1);
            sim.put(name, &bytes);
        } else {
            sim.remove(name);
        }
    }
    cost
}

fn counted(recovered: &Recovered) -> ((u64, u64), u64) {
    recovered.losses.iter().fold(((0, 0), 0), |((entries, items), unknown), loss| {
        assert!(matches!(loss.reason, LossReason::Missing | LossReason::Damaged));
        ((entries + loss.lost.entries, items + loss.lost.items), unknown + loss.unknown)
    })
}

/// What `queue verify` would say beforehand.
fn foreseen(sim: &Sim) -> ((u64, u64), u64) {
    let holes = Inspector::new(Arc::new(sim.clone())).holes().expect("readable");
    holes.iter().fold(((0, 0), 0), |((entries, items), unknown), hole| {
        ((entries + hole.missing.entries, items + hole.missing.items), unknown + hole.unknown)
    })
}

fn assert_what_is_there_is_sound(sim: &Sim) {
    let inspector = Inspector::new(Arc::new(sim.clone()));
    for facts in inspector.segments().expect("readable") {
        let verified = inspector.verify(facts.number).expect("readable");
        assert!(verified.is_none_or(|verified| verified.is_sound()), "{}: {verified:?}", facts.file);
    }
}

#[test]
fn what_was_in_segments_that_are_gone_is_counted_to_the_item() {
    let mut gone = 0;
    for case in 0..CASES {
        let mut rng = Rng::new(case);
        let (mut sim, mut owed, mut next_id) = (Sim::default(), Owed::new(), 0);
        let mut cost = (0, 0);
        for run in 0..4 {
            let expected = (cost, 0);
            assert_eq!(foreseen(&sim), expected, "case {case}, run {run}");
            assert_what_is_there_is_sound(&sim);
            let (recovered, after) = live(&sim, &mut rng, &mut owed, &mut next_id);
            assert_eq!(counted(&recovered), expected, "case {case}, run {run}: {recovered:?}");
            sim = after;
            cost = take_away(&sim, &mut rng, &mut owed);
            gone += cost.0;
        }
    }
    assert!(gone > 500, "{gone}");
}

/// Makes a header what it was before it said how much had been taken.
fn make_old(bytes: &mut [u8], copies: &[usize]) {
    for copy in copies {
        if bytes[*copy..][..6] != *b"\x89MRSEG" && bytes[*copy..][..6] != *b"\x89MRCUR" {
            continue;
        }
        let old = bytes[*copy..*copy + 64].to_vec();
        bytes[*copy..*copy + 104].fill(0);
        bytes[*copy..*copy + 64].copy_from_slice(&old);
        bytes[*copy + 10] = 64;
        let crc = crc32c::crc32c(&bytes[*copy..*copy + 60]);
        bytes[*copy + 60..*copy + 64].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn beside_segments_of_older_programs_entries_are_counted_and_items_as_far_as_they_are_told() {
    let (mut told, mut untold) = (0, 0);
    for case in 0..CASES / 4 {
        let mut rng = Rng::new(1_000_000 + case);
        let (mut sim, mut owed, mut next_id) = (Sim::default(), Owed::new(), 0);
        let mut cost = (0, 0);
        for run in 0..4 {
            let (recovered, after) = live(&sim, &mut rng, &mut owed, &mut next_id);
            let context = format!("case {case}, run {run}: {recovered:?}");
            let (lost, unknown) = counted(&recovered);
            assert_eq!(lost.0, cost.0, "{context}");
            match unknown {
                0 => assert_eq!(lost.1, cost.1, "{context}"),
                _ => assert!(lost.1 < cost.1 && unknown <= lost.0, "{context}"),
            }
            told += lost.0 - unknown;
            untold += unknown;
            sim = after;
            for name in segments(&sim) {
                // A program is of one age for a whole life, but what is left of several lives is mixed.
                if rng.chance(2) {
                    let mut bytes = sim.content(&name);
                    if bytes.len() >= 4096 {
                        make_old(&mut bytes, &[0, 2048]);
                        sim.put(&name, &bytes);
                    }
                }
            }
            cost = take_away(&sim, &mut rng, &mut owed);
        }
    }
    assert!(told > 100 && untold > 10, "{told} {untold}");
}

/// What the program wrote before headers said how much had been taken: three lives of four entries each, of which the
/// first one is done with. The last was killed.
fn of_header_64() -> Sim {
    let sim = Sim::default();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/header-64");
    for file in std::fs::read_dir(golden).expect("it is there") {
        let file = file.expect("readable");
        let name = file.file_name().into_string().expect("text");
        sim.put(&name, &std::fs::read(file.path()).expect("readable"));
    }
    sim
}

fn ids(log: &Log) -> Vec<u64> {
    let consumer = log.consumer("default").expect("there");
    std::iter::from_fn(|| consumer.read_next().expect("readable")).map(|delivery| id_of(&delivery)).collect()
}

#[test]
fn files_without_sums_in_their_headers_are_read() {
    let sim = of_header_64();
    let open = || Log::open_stepped(Arc::new(sim.clone()), HandClock::new(1), options()).expect("opens");
    let (log, recovered, mut steps) = open();
    assert_eq!((recovered.losses, recovered.notices), (vec![], vec![]));
    let sum = |ids: &mut dyn Iterator<Item = u64>| ids.map(|id| u64::from(items(id))).sum::<u64>();
    assert_eq!((recovered.held.entries, recovered.held.items), (11, sum(&mut (1..12))));
    assert_eq!(ids(&log), (1..12).collect::<Vec<_>>());
    // And goes on with headers that have them.
    let more = entry(12, 3_000);
    let appending = log.append(log.reserve(more.framed_len()).expect("room"), more);
    assert!(steps.write());
    assert_eq!(appending.wait().expect("appended").sequence, 13);
    steps.close();
    drop(log);
    assert_eq!(ids(&open().0), (1..13).collect::<Vec<_>>());
}

#[test]
fn where_both_neighbours_are_of_an_older_program_a_gap_is_what_its_cursor_tells() {
    let sim = of_header_64();
    sim.remove("00000000000000000002.seg");
    let inspector = Inspector::new(Arc::new(sim.clone()));
    assert!(inspector.segments().expect("readable").len() == 2);
    let (log, recovered, _steps) =
        Log::open_stepped(Arc::new(sim.clone()), HandClock::new(1), options()).expect("opens");
    // The second life had begun with a cursor that knew of the first only.
    let (lost, unknown) = counted(&recovered);
    let items: u64 = (4..8).map(|id| u64::from(items(id))).sum();
    assert_eq!((lost.0, lost.1, unknown), (4, items, 0), "{recovered:?}");
    assert_eq!(ids(&log), [1, 2, 3, 8, 9, 10, 11]);
}
