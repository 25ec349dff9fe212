//! What failed when a part of it had been done.

use crate::support::frames;
use crate::support::sim::{Fault, Rng, Sim};
use crate::{Opened, entry, open, open_at, small};
use millrace_log::{Inspector, Notice, Options, SegmentState};
use std::sync::Arc;
use std::time::Duration;

fn notices(opened: &Opened) -> Vec<Notice> {
    opened.recovered.notices.iter().chain(&opened.told.notices()).cloned().collect()
}

/// A file that is written half, and may be there again after a crash, takes nothing from the one that is begun instead.
#[test]
fn a_segment_of_which_nothing_was_taken_does_not_stand_in_the_way_of_the_next() {
    for is_cut in [true, false] {
        for nth in 0..12 {
            let (sim, mut rng) = (Sim::default(), Rng::new(nth));
            let mut opened = open(&sim, small());
            // Leaves no room for another one in its segment.
            opened.fill(0..2, 61_240);
            let group = [entry(100, 100), entry(101, 100), entry(102, 40_000)];
            let appending = group
                .map(|entry| opened.log.append(opened.log.reserve(entry.framed_len()).expect("room"), entry));
            sim.fail_at(nth, Fault::Short);
            (nth + 1..=nth + if is_cut { 1 } else { 2 }).for_each(|nth| sim.fail_at(nth, Fault::Io));
            while opened.steps.write() {}
            let outcomes = (100..).zip(appending.map(|appending| appending.wait().is_ok()));
            let taken: Vec<u64> = outcomes.filter(|(_, is_taken)| *is_taken).map(|(id, _)| id).collect();
            sim.no_more_faults();
            opened.fill(10..13, 1_000);
            for after in 0..40 {
                let crashed = if after == 0 { sim.after_kill() } else { sim.after_power_loss(&mut rng) };
                let again = open(&crashed, small());
                let context = format!("{nth} {is_cut} {after}: {:?}", notices(&again));
                let handed = again.drain();
                for id in (0..2).chain(10..13).chain(taken.iter().copied()) {
                    let times = handed.iter().filter(|handed| **handed == id).count();
                    assert_eq!(times, 1, "{id} of {handed:?}; {context}");
                }
                assert_eq!(again.lost().entries, 0, "{context}");
            }
        }
    }
}

/// A log with a segment each of the entries 0 and 2, and between them one of which nothing was taken: it was written, and
/// its name could not be synced. In the last one are 3 and 4.
fn with_a_void_segment(sim: &Sim) -> Opened {
    let mut opened = open(sim, small());
    opened.append(0, 50_000);
    // The last but one of the calls that it takes.
    let twin = sim.after_kill();
    let mut again = open(&twin, small());
    again.append(0, 50_000);
    let before = twin.calls();
    again.append(1, 50_000);
    sim.fail_at(twin.calls() - before - 2, Fault::Io);
    assert!(opened.try_append(entry(1, 50_000)).is_err());
    sim.no_more_faults();
    opened.fill(2..4, 50_000);
    opened.append(4, 1_000);
    opened
}

#[test]
fn a_segment_of_which_nothing_was_taken_is_not_taken_for_a_damaged_one() {
    let sim = Sim::default();
    with_a_void_segment(&sim);
    for seed in 0..100 {
        let mut crashed = sim.after_power_loss(&mut Rng::new(seed));
        for context in ["first", "once more", "and again"].map(|time| format!("{seed}, {time}")) {
            let mut again = open(&crashed, small());
            assert_eq!(again.lost().entries, 0, "{context}");
            let is_alarm = |notice: &Notice| !matches!(notice, Notice::TornTail { .. });
            assert!(!notices(&again).iter().any(is_alarm), "{context}: {:?}", notices(&again));
            // What this one knows is not forgotten by those after it, be it before the file is removed.
            again.append(9, 10);
            crashed = crashed.after_power_loss(&mut Rng::new(seed));
        }
        let mut again = open(&crashed, small());
        again.steps.keep(true);
        assert!(
            !crashed.names().contains(&"00000000000000000002.seg".into()),
            "{seed}: {:?}",
            crashed.names()
        );
        let handed = again.drain();
        assert!([0, 2, 3, 4].iter().all(|id| handed.contains(id)), "{seed}: {handed:?}");
    }
}

/// The next process sees nothing of it but an empty file, and gives its numbers to others. Then the power fails, and it is
/// there again, whole.
#[test]
fn a_segment_of_which_nothing_was_taken_does_not_stand_in_the_way_of_the_next_process() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    // Leaves no room for another one in its segment.
    opened.append(0, 61_240);
    let twin = sim.after_kill();
    let mut again = open(&twin, small());
    again.append(0, 61_240);
    let before = twin.calls();
    again.append(1, 100);
    sim.fail_at(twin.calls() - before - 2, Fault::Io);
    assert!(opened.try_append(entry(1, 100)).is_err());
    let killed = sim.after_kill();
    let mut next = open_at(&killed, &opened.clock, small()).expect("opens");
    next.append(2, 1_000);
    for seed in 0..100 {
        let again = open(&killed.after_power_loss(&mut Rng::new(seed)), small());
        assert_eq!(again.drain(), [0, 2], "{seed}: {:?}", notices(&again));
        assert_eq!(again.lost().entries, 0, "{seed}: {:?}", notices(&again));
        let is_alarm = |notice: &Notice| !matches!(notice, Notice::TornTail { .. });
        assert!(!notices(&again).iter().any(is_alarm), "{seed}: {:?}", notices(&again));
    }
}

/// The head of a segment is damaged: destroyed, or nothing but zeros.
#[test]
fn a_segment_that_something_was_taken_into_is_not_taken_for_one_of_which_nothing_was() {
    let sim = Sim::default();
    with_a_void_segment(&sim);
    for (number, ids) in [(1, vec![0]), (2, vec![]), (3, vec![2])] {
        for fill in [0, 0xaa] {
            let damaged = sim.after_kill();
            let name = format!("{number:020}.seg");
            let mut content = sim.content(&name);
            content.resize(4096.max(content.len()), 0);
            content[..4096].fill(fill);
            content.extend([1; 8]);
            damaged.put(&name, &content);
            let again = open(&damaged, small());
            let context = format!("{number} {fill}: {:?}", notices(&again));
            assert_eq!(again.lost().entries, ids.len() as u64, "{context}");
            let is_aside = |notice: &Notice| matches!(notice, Notice::SetAside { .. });
            assert_eq!(notices(&again).iter().any(is_aside), !ids.is_empty(), "{context}");
            let is_kept = damaged.names().contains(&format!("{name}.damaged"));
            assert_eq!(is_kept, !ids.is_empty(), "{context}");
            let expected: Vec<u64> = [0, 2, 3, 4].into_iter().filter(|id| !ids.contains(id)).collect();
            assert_eq!(again.drain(), expected, "{context}");
        }
    }
}

/// The power fails before anybody has been told of a group, and a part of it is there: not its first entry.
#[test]
fn what_nobody_was_told_of_is_missed_by_no_later_start() {
    for (from, to) in [(0, 56), (56, 100)] {
        let twin = Sim::default();
        let mut opened = open(&twin, small());
        let before = twin.calls();
        opened.append(0, 1_000);
        let sim = Sim::default();
        let mut opened = open(&sim, small());
        let group = [0, 1].map(|id| entry(id, 1_000));
        let waiting = group
            .map(|entry| opened.log.append(opened.log.reserve(entry.framed_len()).expect("room"), entry));
        // The last call is the sync.
        sim.fail_at(twin.calls() - before - 1, Fault::Crash);
        while opened.steps.write() {}
        assert!(waiting.into_iter().all(|waiting| waiting.wait().is_err()));
        let sim = sim.after_kill();
        let name = "00000000000000000001.seg";
        let mut content = sim.content(name);
        let first = frames(&content)[0].0.start;
        content[first + from..first + to].fill(0);
        sim.put(name, &content);
        for start in 0..3 {
            let again = open(&sim.after_kill(), small());
            assert_eq!(again.drain(), [1], "start {start}");
            assert_eq!(again.lost().entries, 0, "start {start}: {:?}", notices(&again));
            // And one of which nothing is remembered but what it did to the file.
            drop(open(&sim, small()));
            let inspector = Inspector::new(Arc::new(sim.clone()));
            let verified = inspector.verify(1).expect("readable").expect("there");
            assert!(verified.is_sound(), "start {start}: {verified:?}");
        }
    }
}

/// A start completes what the process before it had not synced, and the power fails meanwhile.
#[test]
fn a_start_that_is_cut_short_completes_nothing_that_is_not_on_disk() {
    let twin = Sim::default();
    let mut opened = open(&twin, small());
    opened.fill(0..3, 1_000);
    let before = twin.calls();
    opened.append(3, 2_000);
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..3, 1_000);
    sim.fail_at(twin.calls() - before - 1, Fault::Crash);
    assert!(opened.try_append(entry(3, 2_000)).is_err());
    for nth in 0..25 {
        for seed in 0..100 {
            let killed = sim.after_kill();
            killed.fail_at(nth, Fault::Crash);
            let _ = open_at(&killed, &opened.clock, small());
            let again = open(&killed.after_power_loss(&mut Rng::new(seed)), small());
            let context = format!("{nth} {seed}: {:?}", notices(&again));
            assert!(again.drain().starts_with(&[0, 1, 2]), "{context}");
            assert_eq!(again.lost().entries, 0, "{context}");
        }
    }
}

/// The first write to a segment is cut short, and the power takes one of the two copies of its header.
#[test]
fn a_header_of_which_there_is_only_the_beginning_had_not_been_synced() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.append(0, 60_000);
    opened.append(1, 60_000);
    let name = "00000000000000000002.seg";
    let content = sim.content(name);
    for (len, is_torn) in [(1, true), (7, true), (50, true), (100, true), (103, false), (104, false)] {
        let torn = sim.after_kill();
        let mut block = vec![0; 4096];
        block[2048..2048 + len].copy_from_slice(&content[2048..2048 + len]);
        if !is_torn {
            block[2050] ^= 1;
        }
        torn.put(name, &[&block, &content[4096..]].concat());
        let again = open(&torn, small());
        let is_aside = |notice: &Notice| matches!(notice, Notice::SetAside { .. });
        assert_eq!(notices(&again).iter().any(is_aside), !is_torn, "{len}");
    }
}

/// What had been cut off is there again after a loss of power, and there is no room for what completes a segment.
#[test]
fn a_start_takes_no_more_than_there_may_be() {
    let sim = Sim::default();
    let mut opened = open(&sim, small());
    opened.fill(0..5, 50_000);
    drop(opened);
    let segments: Vec<String> = sim.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    for name in &segments {
        let content = sim.content(name);
        let end = frames(&content).last().expect("some").0.end;
        sim.put(name, &content[..end]);
    }
    let states = || {
        let facts = Inspector::new(Arc::new(sim.clone())).segments().expect("readable");
        facts.iter().map(|facts| facts.state).collect::<Vec<_>>()
    };
    let limited = Options { max_size: 256 << 10, ..small() };
    sim.assert_below(limited.max_size);
    for start in 0..2 {
        let again = open(&sim, limited.clone());
        assert_eq!((notices(&again), again.recovered.held.entries), (Vec::new(), 5), "start {start}");
        assert_eq!(states(), [SegmentState::Open; 5], "start {start}");
    }
    sim.assert_below(small().max_size);
    assert_eq!(open(&sim, small()).drain(), [0, 1, 2, 3, 4]);
    assert_eq!(states(), [SegmentState::Complete; 5]);
}

/// Each of the calls by which a cursor gets a larger file fails, and the process is killed.
#[test]
fn a_cursor_that_cannot_be_made_larger_is_not_damaged() {
    // A segment for each entry, and 48 bytes of the cursor for each segment.
    let options = || Options { max_size: 64 << 20, segment_size: Some(64 << 10), ..Options::default() };
    let before_that = Sim::default();
    let mut opened = open(&before_that, options());
    opened.fill(0..330, 33_000);
    let consumer = opened.log.consumer("default").expect("there");
    for _ in 0..3 {
        let read = consumer.read_next().expect("readable").expect("there");
        assert!(consumer.ack(read.lease.sequence));
    }
    opened.steps.keep(true);
    assert_eq!(before_that.content("cursor-default").len(), 32 << 10);
    drop(opened);
    for nth in 0.. {
        let sim = before_that.after_kill();
        let mut opened = open(&sim, options());
        opened.fill(330..350, 33_000);
        let before = sim.calls();
        sim.fail_at(nth, Fault::Io);
        opened.steps.keep(true);
        let is_over = sim.calls() - before <= nth;
        sim.no_more_faults();
        for sim in [sim.after_kill(), sim.after_power_loss(&mut Rng::new(nth))] {
            let again = open(&sim, options());
            let context = format!("{nth}: {:?}", notices(&again));
            let is_lost = |notice: &Notice| matches!(notice, Notice::CursorLost { .. });
            assert!(!notices(&again).iter().any(is_lost), "{context}");
            assert_eq!(again.recovered.held.entries, 347, "{context}");
        }
        // And once more, if it does not end.
        opened.clock.pass(Duration::from_secs(5));
        opened.append(350, 33_000);
        opened.steps.keep(true);
        assert_eq!(sim.content("cursor-default").len(), 64 << 10, "{nth}");
        for sim in [sim.after_kill(), sim.after_power_loss(&mut Rng::new(nth))] {
            let again = open_at(&sim, &opened.clock, options()).expect("opens");
            assert_eq!((notices(&again), again.recovered.held.entries), (Vec::new(), 348), "{nth}");
        }
        if is_over {
            break;
        }
    }
}
