//! What has gone wrong in other logs, one test each: buffers that would not start again, filled the disk, or lost what
//! they had acknowledged.

mod dropped;
mod files;
mod half_done;
mod place;
#[path = "../support/mod.rs"]
mod support;
mod unreadable;

use bytes::Bytes;
use millrace_log::{
    ConsumerOptions, Entry, Inspected, Inspector, Log, LossReason, Next, Notice, OpenError, Options, Order,
    Recovered, Refusal, SegmentState, Steps, Totals,
};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::sim::{Fault, Sim};
use support::{HandClock, Told, entry, id_of};

const DAY: Duration = Duration::from_secs(86_400);

struct Opened {
    log: Log,
    recovered: Recovered,
    steps: Steps,
    told: Arc<Told>,
    clock: Arc<HandClock>,
}

fn small() -> Options {
    Options { max_size: 1 << 20, segment_size: Some(64 << 10), ..Options::default() }
}

fn open_at(sim: &Sim, clock: &Arc<HandClock>, options: Options) -> Result<Opened, OpenError> {
    let told = Arc::<Told>::default();
    let options = Options { observer: Arc::clone(&told) as _, ..options };
    let (log, recovered, steps) = Log::open_stepped(Arc::new(sim.clone()), Arc::clone(clock) as _, options)?;
    Ok(Opened { log, recovered, steps, told, clock: Arc::clone(clock) })
}

fn open(sim: &Sim, options: Options) -> Opened {
    open_at(sim, &HandClock::new(sim.calls() + 1), options).expect("opens")
}

impl Opened {
    fn try_append(&mut self, entry: Entry) -> Result<u64, Refusal> {
        let appending = self.log.append(self.log.reserve(entry.framed_len())?, entry);
        while self.steps.write() {}
        appending.wait().map(|appended| appended.sequence)
    }

    fn append(&mut self, id: u64, len: usize) -> u64 {
        self.try_append(entry(id, len)).expect("appended")
    }

    fn fill(&mut self, ids: Range<u64>, len: usize) {
        for id in ids {
            self.append(id, len);
        }
    }

    fn drain(&self) -> Vec<u64> {
        let consumer = self.log.consumer("default").expect("there");
        let mut ids = Vec::new();
        while let Some(delivery) = consumer.read_next().expect("readable") {
            ids.push(id_of(&delivery));
            assert!(consumer.ack(delivery.lease.sequence));
        }
        ids
    }

    fn lost(&self) -> Totals {
        let mut lost = Totals::default();
        for loss in self.recovered.losses.iter().chain(&self.told.losses()) {
            lost.entries += loss.lost.entries;
            lost.items += loss.lost.items;
        }
        lost
    }
}

fn segments(sim: &Sim) -> Vec<String> {
    sim.names().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

#[test]
fn nobody_is_told_before_the_sync_and_one_that_fails_is_not_tried_again() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.append(1, 100);
    // The next write works, and the sync behind it does not. That the descriptor is let go is asserted by `Sim`.
    sim.fail_at(1, Fault::Io);
    assert!(matches!(opened.try_append(entry(2, 100)), Err(Refusal::Disk(_))));
    assert_eq!(opened.append(3, 100), 3, "a number that may be on disk is not given to another");
    assert_eq!(segments(&sim).len(), 2, "in a new file");
    assert_eq!(opened.drain(), [1, 3], "what was refused is not handed out");
    let opened = open(&sim.after_kill(), small());
    assert_eq!(opened.recovered.losses, []);
    assert_eq!(opened.drain(), [1, 3]);
}

#[test]
fn without_fsync_nothing_waits_for_the_disk_and_a_dead_process_loses_nothing() {
    let sim = Sim::default();
    let mut opened = open(&sim, Options { fsync: false, ..small() });
    let syncs = sim.syncs();
    opened.fill(0..50, 3_000);
    assert_eq!(sim.syncs(), syncs);
    let opened = open(&sim.after_kill(), small());
    assert_eq!(opened.recovered.losses, []);
    assert_eq!(opened.drain(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_write_that_fails_midway_leaves_nothing_that_hides_what_follows() {
    for fault in [Fault::Io, Fault::NoSpace] {
        let sim = Sim::default();
        let mut opened = open(&sim, small());
        opened.append(1, 100);
        sim.fail_at(0, Fault::Short);
        sim.fail_at(1, fault);
        assert!(opened.try_append(entry(2, 3_000)).is_err());
        opened.clock.pass(Duration::from_secs(2));
        opened.append(3, 100);
        let opened = open(&sim.after_kill(), small());
        assert_eq!(opened.recovered.losses, []);
        assert_eq!(opened.drain(), [1, 3]);
    }
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.append(1, 100);
    opened.steps.close();
    let name = segments(&sim)[0].clone();
    let mut content = sim.content(&name);
    for copy in [0, 2048] {
        content[copy + 8] = 2;
        let crc = crc32c::crc32c(&content[copy..copy + 100]).to_le_bytes();
        content[copy + 100..copy + 104].copy_from_slice(&crc);
    }
    sim.put(&name, &content);
    let refused = open_at(&sim, &HandClock::new(1), small()).map(drop);
    assert!(matches!(refused, Err(OpenError::NewerVersion { version: 2, .. })));
    assert_eq!(sim.content(&name), content);
    let facts = Inspector::new(Arc::new(sim)).segments().expect("readable");
    assert_eq!(facts[0].state, SegmentState::Newer(2));
}

#[test]
fn a_frame_inside_a_payload_is_not_taken_for_one() {
    let other = Sim::default();
    let mut opened = open_at(&other, &HandClock::new(77), small()).expect("opens");
    opened.append(666, 200);
    let smuggled = other.content(&segments(&other)[0])[4096..4096 + 400].to_vec();

    let sim = Sim::default();
    let mut opened = open_at(&sim, &HandClock::new(78), small()).expect("opens");
    opened.append(1, 100);
    let carrier = Entry::new(0, 5, vec![Bytes::from(vec![0; 8]), smuggled.into(), Bytes::from(vec![0; 512])]);
    opened.try_append(carrier).expect("appended");
    opened.append(3, 100);
    opened.steps.close();
    // The carrier's own header is damaged, so that the next frame has to be searched.
    let name = segments(&sim)[0].clone();
    let mut content = sim.content(&name);
    let first_len = entry(1, 100).framed_len() as usize;
    content[4096 + first_len + 20] ^= 1;
    sim.put(&name, &content);
    let opened = open(&sim, small());
    assert_eq!(opened.drain(), [1, 3]);
    assert_eq!((opened.lost().entries, opened.lost().items), (1, 5));
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own_and_one_larger_than_the_log_fails_alone() {
    let sim = Sim::default();
    sim.assert_below(1 << 20);
    let mut opened = open(&sim, small());
    opened.append(1, 100);
    opened.append(2, 500_000);
    let refused = opened.try_append(entry(3, 2_000_000));
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })), "{refused:?}");
    opened.append(4, 100);
    assert_eq!(opened.drain(), [1, 2, 4]);
}

#[test]
fn numbers_end_without_wrapping() {
    for (segment, base) in [(7, u64::MAX - (1 << 32) - 3), (u64::MAX - 2, 5)] {
        let sim = Sim::default();
        let mut opened = open(&sim, small());
        opened.append(1, 100);
        opened.steps.close();
        // The same segment, as if it had been begun long after.
        let name = segments(&sim)[0].clone();
        let mut content = sim.content(&name);
        sim.remove(&name);
        for copy in [0, 2048] {
            content[copy + 16..copy + 24].copy_from_slice(&u64::to_le_bytes(segment));
            content[copy + 24..copy + 32].copy_from_slice(&u64::to_le_bytes(base));
            let crc = crc32c::crc32c(&content[copy..copy + 100]).to_le_bytes();
            content[copy + 100..copy + 104].copy_from_slice(&crc);
        }
        content.truncate(4096);
        let seed = u32::from_le_bytes(content[52..56].try_into().expect("four"));
        let marker = content[48..52].to_vec();
        content.extend(frame(&marker, seed, base));
        sim.put(&format!("{segment:020}.seg"), &content);
        sim.remove("cursor-default");

        let mut opened = open(&sim, small());
        let mut numbers = vec![base];
        let refused = loop {
            // Larger than half a segment, so that each begins a new one.
            match opened.try_append(entry(numbers.len() as u64, 40_000)) {
                Ok(number) => numbers.push(number),
                Err(refusal) => break refusal,
            }
            assert!(numbers.len() < 10);
        };
        assert!(matches!(refused, Refusal::Disk(_)), "{refused:?}");
        assert!(numbers.is_sorted() && numbers[0] == base, "{numbers:?}");
        let consumer = opened.log.consumer("default").expect("there");
        for number in numbers {
            assert_eq!(consumer.read_next().expect("readable").expect("there").lease.sequence, number);
        }
    }
}

/// A frame without a body, by the README.
fn frame(marker: &[u8], seed: u32, sequence: u64) -> Vec<u8> {
    let mut frame = [marker, &[56, 0, 0, 0], &sequence.to_le_bytes(), &[0; 36]].concat();
    let crc = crc32c::crc32c_append(seed, &frame);
    frame.extend(crc.to_le_bytes());
    frame
}

#[test]
fn what_is_too_old_is_dropped_and_counted_and_the_clock_may_jump() {
    let sim = Sim::default();
    let options = || Options { max_age: Some(DAY), ..small() };
    let mut opened = open(&sim, options());
    opened.fill(0..20, 5_000);
    // Somebody sets the clock: nothing gets older.
    opened.clock.wall_ns.fetch_add(400 * DAY.as_nanos() as u64, SeqCst);
    opened.steps.keep(true);
    opened.append(20, 100);
    assert_eq!(opened.log.stats().held.entries, 21);
    // Time passes: what is in complete segments is dropped whole, the rest when its turn comes.
    opened.clock.pass(DAY - Duration::from_secs(1));
    opened.append(21, 100);
    opened.clock.pass(Duration::from_secs(2));
    opened.steps.keep(true);
    assert_eq!(opened.drain(), [21]);
    assert_eq!(opened.lost().entries, 21);
    assert!(opened.told.losses().iter().all(|loss| loss.reason == LossReason::Expired));
    // The clock goes back before the process starts again: told, and nothing is dropped or stalls.
    opened.append(22, 100);
    opened.steps.close();
    let clock = HandClock::new(3);
    clock.wall_ns.fetch_sub(100 * DAY.as_nanos() as u64, SeqCst);
    let mut opened = open_at(&sim, &clock, options()).expect("opens");
    assert!(matches!(opened.recovered.notices[..], [Notice::ClockWentBack { .. }]));
    opened.append(23, 100);
    assert_eq!(opened.drain(), [22, 23]);
}

#[test]
fn a_directory_that_cannot_be_written_to_is_drained() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..5, 100);
    let sim = sim.after_kill();
    sim.set_read_only(true);
    let mut opened = open(&sim, small());
    assert!(matches!(opened.recovered.notices[..], [Notice::ReadOnly { .. }, ..]));
    assert!(matches!(opened.try_append(entry(9, 10)), Err(Refusal::Disk(_))));
    assert_eq!(opened.drain(), [0, 1, 2, 3, 4]);
    opened.steps.keep(true);
    opened.steps.close();
    sim.set_read_only(false);
    assert_eq!(open(&sim, small()).drain(), [0, 1, 2, 3, 4], "nothing could be remembered");
}

#[test]
fn an_unreadable_entry_is_tried_again_and_then_counted() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.append(1, 100);
    opened.append(2, 100);
    let consumer = opened.log.consumer("default").expect("there");
    for _ in 0..3 {
        sim.fail_at(1, Fault::Io);
        assert!(consumer.read_next().is_err());
        opened.clock.pass(Duration::from_secs(2));
    }
    assert_eq!(opened.drain(), [2]);
    let [loss] = opened.told.losses()[..] else { panic!("one loss") };
    assert_eq!((loss.reason, loss.lost.entries), (LossReason::Unreadable, 1));
}

#[test]
fn a_disk_without_room_keeps_what_was_done_with() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.append(1, 1_000);
    opened.append(2, 1_000);
    sim.set_capacity(Some(sim.bytes()));
    let consumer = opened.log.consumer("default").expect("there");
    let first = consumer.read_next().expect("readable").expect("there");
    assert!(consumer.ack(first.lease.sequence));
    opened.steps.keep(true);
    assert_eq!(opened.told.notices(), []);
    let opened = open(&sim.after_kill(), small());
    assert_eq!(opened.drain(), [2]);
}

#[test]
fn each_consumer_has_its_own_place_and_none_holds_up_another() {
    let sim = Sim::default();
    let named =
        |name: &str, order| ConsumerOptions { name: name.into(), order, ..ConsumerOptions::default() };
    let consumers = || vec![named("slow", Order::OldestFirst), named("fast", Order::NewestFirst)];
    let mut opened = open(&sim, Options { consumers: consumers(), ..small() });
    opened.fill(0..20, 5_000);
    let fast = opened.log.consumer("fast").expect("there");
    for id in (0..20).rev() {
        let delivery = fast.read_next().expect("readable").expect("there");
        assert_eq!(id_of(&delivery), id);
        assert!(fast.ack(delivery.lease.sequence));
    }
    assert!(fast.read_next().expect("readable").is_none());
    opened.steps.keep(true);
    let sim = sim.after_kill();
    let mut opened = open(&sim, Options { consumers: consumers(), ..small() });
    assert_eq!(opened.log.consumer("fast").expect("there").try_next(|_| false), Next::Empty);
    let slow = opened.log.consumer("slow").expect("there");
    for id in 0..20 {
        let delivery = slow.read_next().expect("readable").expect("there");
        assert_eq!(id_of(&delivery), id);
        assert!(slow.ack(delivery.lease.sequence));
    }
    opened.steps.keep(true);
    assert_eq!(segments(&sim).len(), 0);
}

#[test]
fn dropping_the_log_writes_what_was_put_in_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = Log::open(directory.path(), Options::default()).expect("opens");
    let appending: Vec<_> = (0..100)
        .map(|id| {
            let entry = entry(id, 1_000);
            log.append(log.reserve(entry.framed_len()).expect("room"), entry)
        })
        .collect();
    drop(log);
    assert!(appending.into_iter().all(|appending| appending.wait().is_ok()));
    let (log, recovered) = Log::open(directory.path(), Options::default()).expect("opens");
    assert_eq!((recovered.held.entries, recovered.notices), (100, vec![]));
    drop(log);
    let inspector = Inspector::open(directory.path()).expect("there");
    let [facts] = &inspector.segments().expect("readable")[..] else { panic!("one segment") };
    assert_eq!((facts.state, facts.totals.entries), (SegmentState::Complete, 100));
    let verified = inspector.verify(facts.number).expect("readable").expect("there");
    assert_eq!((verified.whole, verified.missing, verified.torn_bytes), (facts.totals, 0, 0));
}

#[test]
fn segments_of_the_default_size_follow_one_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = Log::open(directory.path(), Options::default()).expect("opens");
    let consumer = log.consumer("default").expect("there");
    let payload = Bytes::from(vec![7; 1 << 20]);
    for nth in 1..=40 {
        let entry = Entry::new(0, nth, vec![payload.clone()]);
        let appended = log.append(log.reserve(entry.framed_len()).expect("room"), entry).wait();
        assert_eq!(appended.expect("appended").sequence, u64::from(nth));
    }
    assert!(log.stats().segments >= 3);
    for nth in 1..=40 {
        let delivery = consumer.read_next().expect("readable").expect("there");
        assert_eq!((delivery.lease.sequence, delivery.payload == payload), (nth, true));
        consumer.ack(nth);
    }
    log.tidy();
    let stats = log.stats();
    assert!(stats.segments <= 1 && stats.disk_bytes < 40 << 20, "{stats:?}");
}

#[test]
fn repair_leaves_only_what_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = Log::open(directory.path(), small()).expect("opens");
    for id in 0..20 {
        let entry = entry(id, 5_000);
        log.append(log.reserve(entry.framed_len()).expect("room"), entry).wait().expect("appended");
    }
    drop(log);
    let path = directory.path().join("00000000000000000001.seg");
    let mut content = std::fs::read(&path).expect("readable");
    content[4096 + 5_000] ^= 1;
    content[4096 + 15_000] ^= 1;
    std::fs::write(&path, content).expect("writable");
    let inspector = Inspector::open(directory.path()).expect("there");
    let verify = || inspector.verify(1).expect("readable").expect("there");
    assert_eq!((verify().broken.entries, verify().settled, verify().is_sound()), (2, 0, false));
    let told = Arc::<Told>::default();
    let repaired =
        Log::repair(directory.path(), Options { observer: told.clone(), ..small() }).expect("opens");
    assert_eq!((repaired.whole.entries, repaired.recovered.held.entries), (18, 20));
    assert_eq!(told.losses().iter().map(|loss| loss.lost.entries).sum::<u64>(), 2);
    assert_eq!(
        (verify().whole.entries, verify().settled, verify().is_sound()),
        (10, 2, true),
        "of the first file"
    );
    let (log, recovered) = Log::open(directory.path(), small()).expect("opens");
    assert_eq!((recovered.held.entries, recovered.losses), (18, vec![]));
    drop(log);
}

#[test]
fn a_log_can_be_looked_at_while_it_is_in_use() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..30, 5_000);
    let consumer = opened.log.consumer("default").expect("there");
    for _ in 0..10 {
        let delivery = consumer.read_next().expect("readable").expect("there");
        assert!(consumer.ack(delivery.lease.sequence));
    }
    opened.steps.keep(true);
    opened.append(30, 100);
    let inspector = Inspector::new(Arc::new(sim.clone()));
    let mut facts = inspector.segments().expect("readable");
    // The next one has been prepared.
    assert_eq!(facts.pop().expect("some").state, SegmentState::Blank);
    assert!(facts.iter().rev().skip(1).all(|facts| facts.state == SegmentState::Complete), "{facts:?}");
    assert_eq!(facts.last().expect("some").state, SegmentState::Open);
    let [cursor] = &inspector.cursors().expect("readable")[..] else { panic!("one cursor") };
    let position = cursor.position.as_ref().expect("usable");
    assert_eq!((cursor.consumer.as_str(), position.low(), position.next_sequence()), ("default", 11, 31));
    assert_eq!(position.left().entries, 20);
    let mut shown = Vec::new();
    let visit = |inspected: Inspected| {
        assert_eq!(inspected.done, inspected.delivery.lease.sequence <= 10);
        shown.push(id_of(&inspected.delivery));
        if shown.len() == 29 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    inspector.entries(visit).expect("readable");
    assert!(shown.is_sorted() && shown.len() == 29, "{shown:?}");
    let whole: u64 = facts
        .iter()
        .map(|facts| inspector.verify(facts.number).expect("readable").expect("there").whole.entries)
        .sum();
    assert_eq!(whole, 31);
    assert_eq!(opened.drain(), (10..31).collect::<Vec<_>>(), "nothing was changed");
}

#[test]
fn options_that_cannot_work_are_refused() {
    let named = |name: &str| ConsumerOptions { name: name.into(), ..ConsumerOptions::default() };
    let wrong = [
        Options { max_size: 1000, ..Options::default() },
        Options { max_size: 1 << 20, segment_size: Some(1 << 20), ..Options::default() },
        Options { segment_size: Some(100), ..Options::default() },
        Options { segment_size: Some(100_001), ..Options::default() },
        Options { consumers: vec![], ..Options::default() },
        Options { consumers: vec![named("a"), named("a")], ..Options::default() },
        Options { consumers: vec![named("../a")], ..Options::default() },
    ];
    for options in wrong {
        let sim = Sim::default();
        let opened = open_at(&sim, &HandClock::new(1), options).map(drop);
        assert!(matches!(opened, Err(OpenError::Options(_))));
        assert_eq!(sim.calls(), 0, "nothing was touched");
    }
}
