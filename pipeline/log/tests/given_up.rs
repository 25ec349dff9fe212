//! What is given up is told before the disk forgets it: whenever the process is killed meanwhile, the next one tells
//! what has not been told yet, and none tells more than there was.

mod support;

use millrace_log::{Log, Loss, Observer, Options, Recovered};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use support::sim::{Fault, Rng, Sim};
use support::{HandClock, Told, entry, frames, id_of, items};

/// What has been told by a process that was alive. What is told after its death nobody hears.
struct Heard {
    sim: Sim,
    lost: Mutex<(u64, u64)>,
}

impl Heard {
    fn by(sim: &Sim) -> Arc<Self> {
        Arc::new(Self { sim: sim.clone(), lost: Mutex::default() })
    }

    /// Entries and items.
    fn sum(&self) -> (u64, u64) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Heard {
    fn opened(&self, recovered: &Recovered) {
        recovered.losses.iter().for_each(|loss| self.lost(loss));
    }

    fn lost(&self, loss: &Loss) {
        if !self.sim.crashed() {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            *lost = (lost.0 + loss.lost.entries, lost.1 + loss.lost.items);
        }
    }
}

fn options(observer: Arc<dyn Observer>) -> Options {
    Options { max_size: 1 << 20, segment_size: Some(64 << 10), observer, ..Options::default() }
}

/// Files of which parts are damaged, and what that costs: entries and items.
struct Damaged {
    files: BTreeMap<String, Vec<u8>>,
    cost: (u64, u64),
}

impl Damaged {
    fn sim(&self) -> Sim {
        let sim = Sim::default();
        self.files.iter().for_each(|(name, bytes)| sim.put(name, bytes));
        sim
    }
}

/// What is done to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    Header,
    Body,
}

/// How the files came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    hit: Hit,
    /// They were closed in order.
    closed: bool,
    /// Something is done with, and a cursor says so.
    begun: bool,
    /// Only the newest segment is hit.
    newest: bool,
}

fn kinds() -> impl Iterator<Item = Kind> {
    (0..16).map(|bits: u8| Kind {
        hit: if bits & 1 == 0 { Hit::Body } else { Hit::Header },
        closed: bits & 2 != 0,
        begun: bits & 4 != 0,
        newest: bits & 8 != 0,
    })
}

fn damaged(seed: u64, kind: Kind) -> Damaged {
    let mut rng = Rng::new(seed);
    let (sim, clock, told) = (Sim::default(), HandClock::new(seed), Arc::<Told>::default());
    let opened = Log::open_stepped(Arc::new(sim.clone()), clock, options(told));
    let (log, _, mut steps) = opened.expect("opens");
    let mut owed = BTreeMap::new();
    for id in 0..24 {
        let entry = entry(id, 1_000 + rng.below(6_000) as usize);
        let appending = log.append(log.reserve(entry.framed_len()).expect("room"), entry);
        while steps.write() {}
        owed.insert(appending.wait().expect("appended").sequence, id);
    }
    if kind.begun {
        let consumer = log.consumer("default").expect("there");
        for nth in 0..8 {
            let sequence = consumer.read_next().expect("readable").expect("there").lease.sequence;
            if nth % 2 == 0 {
                consumer.ack(sequence);
                owed.remove(&sequence);
            }
        }
        steps.keep(true);
    }
    if kind.closed {
        steps.close();
    }
    let mut files: BTreeMap<_, _> =
        sim.names().into_iter().map(|name| (name.clone(), sim.content(&name))).collect();
    let several = |(name, bytes): &(&String, &Vec<u8>)| name.ends_with(".seg") && frames(bytes).len() > 1;
    let segments: Vec<_> = files.iter().filter(several).map(|(name, _)| name.clone()).collect();
    let mut cost = (0, 0);
    for name in segments.iter().filter(|name| !kind.newest || Some(*name) == segments.last()) {
        let segment = files.get_mut(name).expect("there");
        let frames = frames(segment);
        // Whether the very last one had been taken, only a trailer or a cursor would say; what its header says of those
        // before it is known while that is whole.
        let is_told = kind.closed || kind.begun || Some(name) != segments.last();
        for (back, (range, sequence)) in frames.iter().rev().enumerate() {
            let hit = match back {
                0 => is_told || kind.hit == Hit::Body,
                nth => nth == 1 || nth % 3 == 0,
            };
            if hit {
                segment[range.start + if kind.hit == Hit::Header { 20 } else { 100 }] ^= 4;
            }
            if let Some(id) = owed.get(sequence).filter(|_| hit && (back > 0 || is_told)) {
                cost = (cost.0 + 1, cost.1 + u64::from(items(*id)));
            }
        }
    }
    assert!(cost.0 > 0, "{seed} {kind:?}");
    Damaged { files, cost }
}

/// Starts, hands out everything, and stops, as a collector does.
fn start(sim: &Sim, heard: &Arc<Heard>) {
    let opened = Log::open_stepped(Arc::new(sim.clone()), HandClock::new(1), options(heard.clone()));
    let Ok((log, recovered, mut steps)) = opened else { return assert!(sim.crashed()) };
    let before = heard.sum();
    let consumer = log.consumer("default").expect("there");
    let (mut entries, mut sum) = (0, 0);
    while let Ok(Some(delivery)) = consumer.read_next() {
        entries += 1;
        sum += u64::from(items(id_of(&delivery)));
        consumer.ack(delivery.lease.sequence);
        if entries % 5 == 0 {
            steps.keep(true);
        }
    }
    if !sim.crashed() {
        let lost = heard.sum();
        let held = (entries + lost.0 - before.0, sum + lost.1 - before.1);
        assert_eq!((recovered.held.entries, recovered.held.items), held, "the account balances");
    }
    steps.close();
}

fn repair(sim: &Sim, heard: &Arc<Heard>) {
    let repaired = Log::repair_in(Arc::new(sim.clone()), HandClock::new(1), options(heard.clone()));
    assert!(repaired.is_ok() || sim.crashed());
}

/// Of what a header said that is damaged, only the rest of the segment's tells how much it was.
fn knows_items(kind: Kind) -> bool {
    kind.hit == Hit::Body || kind.closed
}

fn assert_told_despite_kills(work: fn(&Sim, &Arc<Heard>)) {
    for (seed, kind) in (0..).zip(kinds()) {
        let damaged = damaged(seed, kind);
        let whole = damaged.sim();
        let heard = Heard::by(&whole);
        work(&whole, &heard);
        let known = |lost: (u64, u64)| (lost.0, if knows_items(kind) { lost.1 } else { 0 });
        assert_eq!(known(heard.sum()), known(damaged.cost), "{kind:?}");
        for nth in 0..whole.calls() {
            let mut rng = Rng::new(nth);
            let sim = damaged.sim();
            sim.fail_at(nth, Fault::Crash);
            let first = Heard::by(&sim);
            work(&sim, &first);
            assert!(sim.crashed());
            let next = if nth % 2 == 0 { sim.after_power_loss(&mut rng) } else { sim.after_kill() };
            let second = Heard::by(&next);
            start(&next, &second);
            let (first, second) = (known(first.sum()), known(second.sum()));
            let cost = known(damaged.cost);
            let context = format!("{kind:?}, killed at {nth}: {first:?}, {second:?} of {cost:?}");
            assert!(first.0 + second.0 >= cost.0 && first.1 + second.1 >= cost.1, "forgotten: {context}");
            for told in [first, second] {
                assert!(told.0 <= cost.0 && told.1 <= cost.1, "more than there was: {context}");
            }
        }
    }
}

#[test]
fn what_a_repair_gives_up_is_told_whenever_it_is_killed() {
    assert_told_despite_kills(repair);
}

#[test]
fn what_a_start_gives_up_is_told_whenever_it_is_killed() {
    assert_told_despite_kills(start);
}

#[test]
fn what_has_been_told_is_not_told_again() {
    for (seed, kind) in (0..).zip(kinds()) {
        for work in [repair, start] {
            let sim = damaged(seed, kind).sim();
            work(&sim, &Heard::by(&sim));
            let again = Heard::by(&sim);
            start(&sim, &again);
            assert_eq!(again.sum(), (0, 0), "{kind:?}");
        }
    }
}
