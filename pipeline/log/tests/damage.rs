//! Stored bytes are damaged at random. Nothing panics, no wrong byte is handed out, only what was hit is lost, and all
//! of it is counted.
//!
//! The oracle reads the segments itself, by the tables in the README, to know which entry each byte belongs to.

mod support;

use millrace_log::{Log, Notice, Options};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use support::sim::{Rng, Sim};
use support::{HandClock, Told, entry, frames, id_of, items};

const CASES: u64 = 10_000;

fn options(told: &Arc<Told>) -> Options {
    Options {
        max_size: 1 << 20,
        segment_size: Some(64 << 10),
        observer: Arc::clone(told) as _,
        ..Options::default()
    }
}

/// A log's files, and what is in them.
struct Stored {
    files: BTreeMap<String, Vec<u8>>,
    /// What has not been acked: id by sequence.
    owed: BTreeMap<u64, u64>,
    /// Where entries are: file, bytes, sequence.
    frames: Vec<(String, Range<usize>, u64)>,
    /// It was closed in order.
    closed: bool,
}

fn store(seed: u64, closed: bool) -> Stored {
    let mut rng = Rng::new(seed);
    let (sim, clock, told) = (Sim::default(), HandClock::new(seed), Arc::default());
    let (log, _, mut steps) = Log::open_stepped(Arc::new(sim.clone()), clock, options(&told)).expect("opens");
    let mut owed = BTreeMap::new();
    let consumer = log.consumer("default").expect("there");
    for id in 0..40 {
        let entry = entry(id, rng.below(8_000) as usize);
        let appending = log.append(log.reserve(entry.framed_len()).expect("room"), entry);
        if rng.chance(2) || id == 39 {
            while steps.write() {}
            owed.insert(appending.wait().expect("appended").sequence, id);
        } else {
            // In one group with the next.
            owed.insert(id + 1, id);
        }
    }
    for _ in 0..15 {
        let delivery = consumer.read_next().expect("readable").expect("there");
        if rng.chance(2) {
            consumer.ack(delivery.lease.sequence);
            owed.remove(&delivery.lease.sequence);
        }
    }
    steps.keep(true);
    if closed {
        steps.close();
    }
    let files: BTreeMap<_, _> =
        sim.names().into_iter().map(|name| (name.clone(), sim.content(&name))).collect();
    let frames = files.iter().filter(|(name, _)| name.ends_with(".seg")).flat_map(|(name, bytes)| {
        frames(bytes).into_iter().map(|(range, sequence)| (name.clone(), range, sequence))
    });
    let frames: Vec<_> = frames.collect();
    assert!(
        owed.keys().all(|sequence| frames.iter().any(|(.., of)| of == sequence)),
        "the oracle finds them"
    );
    Stored { files, owed, frames, closed }
}

/// What was done to a file.
#[derive(Debug, Default)]
struct Damage {
    /// File, bytes.
    hit: Vec<(String, Range<usize>)>,
    cursor: bool,
}

fn damage(stored: &Stored, sim: &Sim, rng: &mut Rng) -> Damage {
    let mut done = Damage::default();
    let names: Vec<&String> = stored.files.keys().collect();
    for _ in 0..=rng.below(3) {
        let name = names[rng.below(names.len() as u64) as usize].clone();
        if !sim.names().contains(&name) {
            continue;
        }
        let mut bytes = sim.content(&name);
        if bytes.is_empty() {
            continue;
        }
        let at = rng.below(bytes.len() as u64) as usize;
        let end = bytes.len().min(at + 1 + rng.below(3_000) as usize);
        let hit = match rng.below(12) {
            0..=5 => {
                bytes[at] ^= 1 << rng.below(8);
                at..at + 1
            }
            6 | 7 => {
                bytes[at..end].fill(0);
                at..end
            }
            8 | 9 => {
                bytes[at..end].iter_mut().for_each(|byte| *byte = rng.next() as u8);
                at..end
            }
            10 => {
                let len = bytes.len();
                bytes.truncate(at);
                at..len
            }
            _ => {
                // Another segment's bytes, as if blocks had been mixed up.
                let other = &stored.files[names[rng.below(names.len() as u64) as usize]];
                let from = &other[at.min(other.len())..end.min(other.len())];
                bytes[at..at + from.len()].copy_from_slice(from);
                at..at + from.len()
            }
        };
        done.cursor |= name.starts_with("cursor");
        if rng.chance(40) {
            sim.remove(&name);
            done.hit.push((name, 0..usize::MAX));
        } else {
            sim.put(&name, &bytes);
            done.hit.push((name, hit));
        }
    }
    done
}

impl Damage {
    fn hits(&self, name: &str, range: &Range<usize>) -> bool {
        self.hit.iter().any(|(of, hit)| of == name && hit.start < range.end && range.start < hit.end)
    }

    /// Without either copy of its header, nothing in a segment can be used.
    fn costs(&self, name: &str, frame: &Range<usize>) -> bool {
        self.hits(name, frame) || self.hits(name, &(0..104)) && self.hits(name, &(2048..2152))
    }
}

#[test]
fn random_damage_costs_what_it_hits_and_all_of_it_is_counted() {
    let variants: Vec<Stored> = (0..8).map(|seed| store(seed, seed % 2 == 0)).collect();
    for case in 0..CASES {
        let stored = &variants[(case % 8) as usize];
        let mut rng = Rng::new(1_000 + case);
        let sim = Sim::default();
        for (name, bytes) in &stored.files {
            sim.put(name, bytes);
        }
        let damage = damage(stored, &sim, &mut rng);
        let told = Arc::default();
        let opened = Log::open_stepped(Arc::new(sim.clone()), HandClock::new(case), options(&told));
        let (log, recovered, _steps) =
            opened.unwrap_or_else(|error| panic!("case {case}: {error} {damage:?}"));
        let consumer = log.consumer("default").expect("there");
        let mut left = stored.owed.clone();
        while let Some(delivery) = consumer.read_next().expect("readable") {
            let sequence = delivery.lease.sequence;
            let id = id_of(&delivery);
            let owed = left.remove(&sequence);
            // Without its cursor, a consumer is handed again what it had acked.
            assert!(owed == Some(id) || owed.is_none() && damage.cursor, "case {case}: {id}");
        }
        let hit: BTreeSet<u64> = stored
            .frames
            .iter()
            .filter(|(name, range, _)| damage.costs(name, range))
            .map(|(.., sequence)| *sequence)
            .collect();
        let context = || format!("case {case}: {damage:?} {left:?} {recovered:?} {:?}", told.notices());
        assert!(left.keys().all(|sequence| hit.contains(sequence)), "{}", context());

        let losses = recovered.losses.iter().copied().chain(told.losses());
        let (counted, unknown) = losses.fold(((0, 0), 0), |((entries, items), unknown), loss| {
            ((entries + loss.lost.entries, items + loss.lost.items), unknown + loss.unknown)
        });
        let missing = (left.len() as u64, left.values().map(|id| u64::from(items(*id))).sum::<u64>());
        if damage.cursor {
            // What had been acked, and was hit, may be counted as well; and nobody remembers a segment that is gone.
            continue;
        }
        if stored.closed {
            assert_eq!((counted, unknown), (missing, 0), "{}", context());
        } else if counted != missing {
            let torn = |notice: &Notice| matches!(notice, Notice::TornTail { .. });
            assert!(counted.0 <= missing.0, "{}", context());
            // Those whose items are not among those that are counted are said to be.
            assert!(counted.0 < missing.0 || unknown > 0 && counted.1 < missing.1, "{}", context());
            assert!(recovered.notices.iter().any(torn) || damage.hit.len() > 1, "{}", context());
        }
    }
}
