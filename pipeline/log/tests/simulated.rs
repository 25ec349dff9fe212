//! Random operations on a file system that fails, loses power, and lies about nothing else, beside an oracle that only
//! knows ids: what was acknowledged, what was refused, what was handed out, and what was acked.

mod support;

use millrace_log::{
    Appended, Appending, ConsumerOptions, Log, LossReason, Notice, OnFull, Options, Order, Recovered,
    Refusal, Steps,
};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::sim::{Fault, Rng, Sim};
use support::{HandClock, Told, each_seed, entry, id_of};

const MAX_SIZE: u64 = 512 << 10;

/// What ought to be, by id.
#[derive(Default)]
struct Oracle {
    next_id: u64,
    /// Acknowledged, and not acked by the consumer.
    owed: BTreeSet<u64>,
    /// Refused, or never answered: may turn up after a restart, and need not.
    maybe: BTreeSet<u64>,
    /// Refused in this life of the process.
    refused: BTreeSet<u64>,
    /// Acked, and not known to be persisted: may turn up again after a crash.
    acked: BTreeSet<u64>,
    /// Acked, and persisted.
    done: BTreeSet<u64>,
    /// With the consumer: sequence and id.
    leased: BTreeMap<u64, u64>,
    /// Given back.
    deferred: BTreeSet<u64>,
    /// Handed out in this life and not deferred.
    seen: BTreeSet<u64>,
    last_sequence: u64,
}

struct World {
    sim: Sim,
    clock: Arc<HandClock>,
    told: Arc<Told>,
    log: Log,
    steps: Steps,
    waiting: Vec<(u64, Appending)>,
    oracle: Oracle,
    rng: Rng,
    order: Order,
    fsync: bool,
    /// No call has failed.
    is_sound: bool,
}

fn options(told: &Arc<Told>, order: Order, fsync: bool) -> Options {
    Options {
        max_size: MAX_SIZE,
        segment_size: Some(64 << 10),
        consumers: vec![ConsumerOptions { order, ..ConsumerOptions::default() }],
        observer: Arc::clone(told) as _,
        on_full: OnFull::Refuse,
        fsync,
        ..Options::default()
    }
}

/// Opens, over as many crashes as it takes.
fn open(sim: &mut Sim, clock: &Arc<HandClock>, options: &Options, rng: &mut Rng) -> (Log, Recovered, Steps) {
    loop {
        match Log::open_stepped(Arc::new(sim.clone()), Arc::clone(clock) as _, options.clone()) {
            Ok(opened) if !sim.crashed() => return opened,
            _ => {
                assert!(sim.crashed(), "only a crash keeps it from opening");
                *sim = if rng.chance(2) { sim.after_kill() } else { sim.after_power_loss(rng) };
            }
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let order = if rng.chance(3) { Order::NewestFirst } else { Order::OldestFirst };
        let (sim, clock, told) = (Sim::default(), HandClock::new(seed), Arc::default());
        sim.assert_below(MAX_SIZE);
        let mut this = sim.clone();
        let (log, _, steps) = open(&mut this, &clock, &options(&told, order, true), &mut rng);
        Self {
            sim,
            clock,
            told,
            log,
            steps,
            waiting: Vec::new(),
            oracle: Oracle::default(),
            rng,
            order,
            fsync: true,
            is_sound: true,
        }
    }

    fn append(&mut self) {
        let id = self.oracle.next_id;
        self.oracle.next_id += 1;
        let len = match self.rng.below(10) {
            0 => 0,
            1..=6 => self.rng.below(2_000),
            7 | 8 => self.rng.below(20_000),
            _ => self.rng.below(80_000),
        };
        let entry = entry(id, len as usize);
        match self.log.reserve(entry.framed_len()) {
            Ok(room) => self.waiting.push((id, self.log.append(room, entry))),
            Err(_) => {
                self.oracle.refused.insert(id);
            }
        }
    }

    /// What has completed is owed, or refused.
    fn hear(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut still = Vec::new();
        for (id, mut appending) in std::mem::take(&mut self.waiting) {
            match Pin::new(&mut appending).poll(&mut context) {
                Poll::Ready(Ok(Appended { .. })) => {
                    self.oracle.owed.insert(id);
                }
                Poll::Ready(Err(refusal)) => {
                    let has_failed = !self.is_sound || self.sim.crashed();
                    let is_full = matches!(refusal, Refusal::Full { .. });
                    assert!(has_failed || !is_full, "room that was granted suffices: {:?}", self.log.stats());
                    self.oracle.refused.insert(id);
                    self.oracle.maybe.insert(id);
                }
                Poll::Pending => still.push((id, appending)),
            }
        }
        self.waiting = still;
    }

    fn read(&mut self) -> bool {
        let consumer = self.log.consumer("default").expect("there");
        let Ok(Some(delivery)) = consumer.read_next() else { return false };
        let (id, sequence) = (id_of(&delivery), delivery.lease.sequence);
        let oracle = &mut self.oracle;
        let again = oracle.deferred.remove(&sequence);
        assert!(!oracle.refused.contains(&id), "{id} was refused in this life, and handed out");
        assert!(!oracle.done.contains(&id), "{id} was done with for good, and handed out again");
        let known = oracle.owed.contains(&id) || oracle.maybe.contains(&id) || oracle.acked.contains(&id);
        assert!(known, "{id} was handed out, and nobody had brought it");
        assert!(oracle.seen.insert(sequence) || again, "{id} was handed out twice");
        if self.order == Order::OldestFirst && !again {
            assert!(sequence > oracle.last_sequence, "out of order");
            oracle.last_sequence = sequence;
        }
        assert_eq!(oracle.leased.insert(sequence, id), None);
        true
    }

    fn give_back(&mut self) {
        let count = self.oracle.leased.len() as u64;
        let Some((sequence, id)) =
            self.oracle.leased.iter().nth(self.rng.below(count) as usize).map(|(s, i)| (*s, *i))
        else {
            return;
        };
        self.oracle.leased.remove(&sequence);
        let consumer = self.log.consumer("default").expect("there");
        if self.rng.chance(4) {
            assert!(consumer.defer(sequence));
            assert!(!consumer.ack(sequence), "not with the consumer any more");
            self.oracle.deferred.insert(sequence);
        } else {
            assert!(consumer.ack(sequence));
            assert!(!consumer.defer(sequence), "not with the consumer any more");
            self.oracle.owed.remove(&id);
            self.oracle.maybe.remove(&id);
            self.oracle.acked.insert(id);
        }
    }

    fn keep(&mut self) {
        let faults_before = self.told.notices().len();
        self.steps.keep(true);
        if self.told.notices().len() == faults_before && !self.sim.crashed() {
            let acked = std::mem::take(&mut self.oracle.acked);
            self.oracle.done.extend(acked);
        }
    }

    fn step(&mut self) {
        match self.rng.below(12) {
            0..=3 => self.append(),
            4 | 5 => {
                self.steps.write();
            }
            6 | 7 => {
                self.read();
            }
            8..=10 => self.give_back(),
            _ => self.keep(),
        }
        self.hear();
        self.clock.pass(Duration::from_millis(10));
    }

    /// The process dies, and another one begins.
    fn restart(&mut self, sim: Sim) {
        for (id, _) in std::mem::take(&mut self.waiting) {
            self.oracle.maybe.insert(id);
        }
        let oracle = &mut self.oracle;
        oracle.maybe.extend(std::mem::take(&mut oracle.refused));
        // What was acked and not persisted may come again.
        oracle.maybe.extend(std::mem::take(&mut oracle.acked));
        oracle.leased.clear();
        oracle.deferred.clear();
        oracle.seen.clear();
        oracle.last_sequence = 0;
        self.sim = sim;
        self.told = Arc::default();
        let options = options(&self.told, self.order, self.fsync);
        let (log, recovered, steps) = open(&mut self.sim, &self.clock, &options, &mut self.rng);
        assert_eq!(recovered.losses, [], "{:?}", recovered.notices);
        let aside = |notice: &Notice| matches!(notice, Notice::SetAside { .. } | Notice::CursorLost { .. });
        assert!(!recovered.notices.iter().any(aside), "{:?}", recovered.notices);
        (self.log, self.steps) = (log, steps);
    }

    /// Everything that is owed is handed out, and then there is room again.
    fn settle(&mut self) {
        self.sim.no_more_faults();
        self.sim.set_capacity(None);
        self.clock.pass(Duration::from_secs(5));
        while self.steps.write() {}
        self.hear();
        while self.read() {}
        assert_eq!(self.told.losses(), [], "{:?}", self.told.notices());
        let leased: BTreeSet<u64> = self.oracle.leased.values().copied().collect();
        let missing: Vec<_> = self.oracle.owed.difference(&leased).collect();
        assert!(missing.is_empty(), "acknowledged and gone: {missing:?}; {:?}", self.told.notices());
        let consumer = self.log.consumer("default").expect("there");
        for (sequence, id) in std::mem::take(&mut self.oracle.leased) {
            assert!(consumer.ack(sequence));
            self.oracle.owed.remove(&id);
            self.oracle.maybe.remove(&id);
            self.oracle.acked.insert(id);
        }
        self.keep();
        let stats = self.log.stats();
        assert_eq!(stats.held, Default::default());
        assert_eq!(stats.disk_bytes, self.sim.bytes(), "{stats:?} {:?}", self.sim.names());
        assert_eq!(stats.reserved_bytes, 0);
        // The writer makes progress whenever the reader does.
        let entry = entry(self.oracle.next_id, 100_000);
        let mut room = self.log.reserve(entry.framed_len());
        if room.is_err() {
            while self.steps.write() {}
            self.keep();
            room = self.log.reserve(entry.framed_len());
        }
        let room = room.expect("there is room when everything is done with");
        let appending = self.log.append(room, entry);
        while self.steps.write() {}
        assert!(appending.wait().is_ok());
        self.oracle.owed.insert(self.oracle.next_id);
        self.oracle.next_id += 1;
    }
}

/// Steps until the crash or the end of the schedule.
fn run(world: &mut World, steps: u64) {
    for _ in 0..steps {
        if world.sim.crashed() {
            break;
        }
        world.step();
    }
}

#[test]
fn random_operations_keep_every_promise() {
    each_seed(0..200, |seed| {
        let mut world = World::new(seed);
        for _ in 0..4 {
            run(&mut world, 120);
            let stats = world.log.stats();
            assert_eq!(stats.disk_bytes, world.sim.bytes(), "seed {seed}");
            let sim = if world.rng.chance(2) {
                world.sim.after_kill()
            } else {
                world.sim.after_power_loss(&mut world.rng)
            };
            world.restart(sim);
        }
        world.settle();
    });
}

#[test]
fn a_crash_at_every_call_loses_nothing_that_was_acknowledged() {
    each_seed(0..6, |seed| {
        let mut whole = World::new(seed);
        run(&mut whole, 90);
        let calls = whole.sim.calls();
        for nth in 0..calls {
            let mut world = World::new(seed);
            let begun = world.sim.calls();
            if nth < begun {
                continue;
            }
            world.sim.fail_at(nth - begun, Fault::Crash);
            run(&mut world, 90);
            world.hear();
            let power = world.rng.chance(2) || nth % 2 == 0;
            let sim = if power { world.sim.after_power_loss(&mut world.rng) } else { world.sim.after_kill() };
            // And again, while it starts.
            sim.fail_at(world.rng.below(30), Fault::Crash);
            world.restart(sim);
            world.settle();
        }
    });
}

#[test]
fn an_error_at_every_call_is_survived() {
    each_seed(0..4, |seed| {
        let fault = [Fault::Io, Fault::NoSpace, Fault::Short][seed as usize % 3];
        let mut whole = World::new(seed);
        run(&mut whole, 120);
        let calls = whole.sim.calls();
        for nth in 0..calls {
            let mut world = World::new(seed);
            let begun = world.sim.calls();
            if nth < begun {
                continue;
            }
            world.sim.fail_at(nth - begun, fault);
            world.is_sound = false;
            run(&mut world, 120);
            if nth % 3 == 0 {
                let sim = world.sim.after_power_loss(&mut world.rng);
                world.restart(sim);
            }
            world.settle();
        }
    });
}

#[test]
fn many_errors_are_survived() {
    each_seed(0..200, |seed| {
        let mut world = World::new(seed);
        world.is_sound = false;
        for nth in 0..300 {
            if world.rng.chance(8) {
                let fault = [Fault::Io, Fault::NoSpace, Fault::Short][world.rng.below(3) as usize];
                world.sim.fail_at(nth + world.rng.below(2), fault);
            }
        }
        run(&mut world, 150);
        let sim = world.sim.after_power_loss(&mut world.rng);
        world.restart(sim);
        world.settle();
    });
}

#[test]
fn many_errors_are_survived_by_one_process_after_another() {
    each_seed(0..100, |seed| {
        let mut world = World::new(seed);
        world.is_sound = false;
        for _ in 0..4 {
            for nth in 0..200 {
                if world.rng.chance(12) {
                    let fault = [Fault::Io, Fault::NoSpace, Fault::Short][world.rng.below(3) as usize];
                    world.sim.fail_at(nth, fault);
                }
            }
            if world.rng.chance(2) {
                let nth = world.rng.below(200);
                world.sim.fail_at(nth, Fault::Crash);
            }
            run(&mut world, 90);
            world.hear();
            let sim = if world.rng.chance(3) {
                world.sim.after_kill()
            } else {
                world.sim.after_power_loss(&mut world.rng)
            };
            if world.rng.chance(2) {
                sim.fail_at(world.rng.below(40), Fault::Crash);
            }
            world.restart(sim);
        }
        world.settle();
    });
}

#[test]
fn a_full_device_refuses_new_work_and_goes_on_handing_out() {
    each_seed(0..20, |seed| {
        let mut world = World::new(seed);
        world.sim.set_capacity(Some(200 << 10));
        world.is_sound = false;
        run(&mut world, 300);
        let refusal = loop {
            let entry = entry(world.oracle.next_id, 5_000);
            match world.log.reserve(entry.framed_len()) {
                Ok(room) => {
                    let mut appending = world.log.append(room, entry);
                    let id = world.oracle.next_id;
                    world.oracle.next_id += 1;
                    while world.steps.write() {}
                    world.hear();
                    let mut context = Context::from_waker(Waker::noop());
                    match Pin::new(&mut appending).poll(&mut context) {
                        Poll::Ready(Ok(_)) => {
                            world.oracle.owed.insert(id);
                        }
                        Poll::Ready(Err(refusal)) => break refusal,
                        Poll::Pending => panic!("written"),
                    }
                }
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refusal, Refusal::DiskFull, "seed {seed}");
        // Acks and cursors still fit.
        let told = world.told.notices().len();
        while world.read() {}
        let consumer = world.log.consumer("default").expect("there");
        for (sequence, id) in std::mem::take(&mut world.oracle.leased) {
            assert!(consumer.ack(sequence));
            world.oracle.owed.remove(&id);
            world.oracle.acked.insert(id);
        }
        world.keep();
        assert_eq!(world.told.notices().len(), told, "{:?}", world.told.notices());
        world.append();
        while world.steps.write() {}
        world.hear();
        let sim = world.sim.after_kill();
        world.restart(sim);
        world.settle();
    });
}

#[test]
fn what_is_dropped_to_make_room_is_counted_once() {
    each_seed(0..50, |seed| {
        let mut rng = Rng::new(seed);
        let (sim, clock, told) = (Sim::default(), HandClock::new(seed), Arc::<Told>::default());
        sim.assert_below(MAX_SIZE);
        let options = Options { on_full: OnFull::DropOldest, ..options(&told, Order::OldestFirst, true) };
        let (log, _, mut steps) = open(&mut sim.clone(), &clock, &options, &mut rng);
        let consumer = log.consumer("default").expect("there");
        let (mut taken, mut taken_items, mut acked, mut acked_items) = (0, 0, 0, 0);
        let mut leased = Vec::new();
        for id in 0..400 {
            let entry = entry(id, rng.below(6_000) as usize);
            let items = u64::from(entry.items);
            match log.reserve(entry.framed_len()) {
                Ok(room) => {
                    let appending = log.append(room, entry);
                    while steps.write() {}
                    appending.wait().expect("appended");
                    (taken, taken_items) = (taken + 1, taken_items + items);
                }
                Err(refusal) => panic!("seed {seed}: {refusal}"),
            }
            if rng.chance(3)
                && let Ok(Some(delivery)) = consumer.read_next()
            {
                leased.push(delivery.lease);
            }
            if rng.chance(4) && !leased.is_empty() {
                let lease = leased.swap_remove(rng.below(leased.len() as u64) as usize);
                assert!(consumer.ack(lease.sequence));
                (acked, acked_items) = (acked + 1, acked_items + u64::from(lease.items));
            }
            if rng.chance(10) {
                steps.keep(false);
            }
        }
        for lease in leased {
            consumer.defer(lease.sequence);
        }
        while let Ok(Some(delivery)) = consumer.read_next() {
            assert!(consumer.ack(delivery.lease.sequence));
            (acked, acked_items) = (acked + 1, acked_items + u64::from(delivery.lease.items));
        }
        let lost = told.losses().into_iter().fold((0, 0), |(entries, items), loss| {
            assert_eq!(loss.reason, LossReason::Evicted);
            (entries + loss.lost.entries, items + loss.lost.items)
        });
        assert!(lost.0 > 0, "the log was never full");
        assert_eq!((acked + lost.0, acked_items + lost.1), (taken, taken_items), "seed {seed}");
        steps.close();
        assert_eq!(log.stats().held, Default::default());
    });
}
