//! Segments that end too early, or that something else is in the place of, though others were begun after them: whoever
//! looks from outside is told as much as the next start counts.

mod support;

use millrace_log::{Disk, Inspector, Log, Options, SegmentState, Steps};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{HandClock, Told, entry};

fn options(told: &Arc<Told>) -> Options {
    Options {
        max_size: 1 << 20,
        segment_size: Some(64 << 10),
        observer: Arc::clone(told) as _,
        ..Options::default()
    }
}

fn log(directory: &Path) -> (Log, Arc<Told>) {
    let told = Arc::<Told>::default();
    let disk = Arc::new(Disk::open(directory).expect("there"));
    let (log, recovered, _) = Log::open_stepped(disk, HandClock::new(1), options(&told)).expect("opens");
    for loss in &recovered.losses {
        millrace_log::Observer::lost(told.as_ref(), loss);
    }
    (log, told)
}

const LEN: usize = 5_000;

/// Four segments, and the last one is not complete. Of the first, five entries are done with; of the last, the cursor
/// knows of two.
fn stored(directory: &Path) -> Vec<PathBuf> {
    let disk = Arc::new(Disk::open(directory).expect("there"));
    let (log, _, mut steps) =
        Log::open_stepped(disk, HandClock::new(1), options(&Arc::default())).expect("opens");
    (0..38).for_each(|id| append(&log, &mut steps, id));
    let consumer = log.consumer("default").expect("there");
    for _ in 0..5 {
        let delivery = consumer.read_next().expect("readable").expect("there");
        assert!(consumer.ack(delivery.lease.sequence));
    }
    steps.keep(true);
    (38..40).for_each(|id| append(&log, &mut steps, id));
    drop((consumer, steps, log));
    let files = fs::read_dir(directory).expect("listed").map(|file| file.expect("listed").path());
    let mut segments: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments
}

fn append(log: &Log, steps: &mut Steps, id: u64) {
    let entry = entry(id, LEN);
    let appending = log.append(log.reserve(entry.framed_len()).expect("room"), entry);
    while steps.write() {}
    appending.wait().expect("appended");
}

/// How many requests are missing, as an inspector sees it.
fn missing(inspector: &Inspector) -> u64 {
    let segments = inspector.segments().expect("readable").into_iter();
    let regular = segments.filter(|facts| facts.state != SegmentState::Irregular);
    let within = regular.filter_map(|facts| inspector.verify(facts.number).expect("readable"));
    let within: u64 = within.map(|verified| verified.missing + verified.broken.entries).sum();
    within + inspector.holes().expect("readable").iter().map(|hole| hole.missing.entries).sum::<u64>()
}

fn cut(segment: &Path) {
    let file = fs::File::options().write(true).open(segment).expect("there");
    file.set_len(file.metadata().expect("there").len() / 2).expect("cut");
}

fn empty(segment: &Path) {
    fs::File::create(segment).expect("emptied");
}

fn take_away(segment: &Path) {
    fs::remove_file(segment).expect("removed");
}

fn replace(segment: &Path) {
    take_away(segment);
    fs::create_dir(segment).expect("made");
}

#[test]
fn what_is_missing_before_the_newest_segment_is_said_as_the_next_start_counts_it() {
    for (what, damage) in
        [("cut", cut as fn(&Path)), ("empty", empty), ("gone", take_away), ("a folder", replace)]
    {
        for which in 0..3 {
            let directory = tempfile::tempdir().expect("a directory");
            let segments = stored(directory.path());
            assert!(segments.len() >= 4, "{segments:?}");
            let inspector = Inspector::open(directory.path()).expect("there");
            assert_eq!(missing(&inspector), 0, "nothing has happened yet");
            damage(&segments[which]);
            let said = missing(&inspector);
            let states: Vec<_> =
                inspector.segments().expect("readable").iter().map(|facts| facts.state).collect();
            match what {
                "empty" => assert_eq!(states[which], SegmentState::Empty, "{which}"),
                "a folder" => assert_eq!(states[which], SegmentState::Irregular, "{which}"),
                _ => {}
            }
            inspector.waiting(|_| ()).expect("readable");
            let (_log, told) = log(directory.path());
            let lost: u64 = told.losses().iter().map(|loss| loss.lost.entries).sum();
            assert_eq!(said, lost, "segment {which} is {what}");
            assert!(said >= 3, "segment {which} is {what}: {said}");
        }
    }
}

#[test]
fn the_newest_segment_may_have_been_cut_short_by_a_kill() {
    // Of so many requests in it, the cursor knows of two.
    for (left, expected) in [(1, 1), (2, 0), (3, 0)] {
        let directory = tempfile::tempdir().expect("a directory");
        let segments = stored(directory.path());
        let inspector = Inspector::open(directory.path()).expect("there");
        let facts = inspector.segments().expect("readable");
        let newest = facts.iter().rposition(|facts| facts.totals.entries > 0).expect("one");
        assert_eq!(facts[newest].totals.entries, 4);
        let file = fs::File::options().write(true).open(&segments[newest]).expect("there");
        file.set_len((4096 + left * (LEN + 100) + LEN / 2) as u64).expect("cut");
        let number = facts[newest].number;
        let verified = inspector.verify(number).expect("readable").expect("there");
        assert_eq!(verified.whole.entries, left as u64);
        assert!(verified.torn_bytes > 0, "{verified:?}");
        // The header of the next one may be there, though not what it is of.
        let said = missing(&inspector);
        let (_log, told) = log(directory.path());
        let lost: u64 = told.losses().iter().map(|loss| loss.lost.entries).sum();
        assert_eq!((said, lost), (expected, expected), "{left} are left");
    }
}
