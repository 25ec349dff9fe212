//! What a log promises, on a real disk.

use bytes::Bytes;
use millrace_log::{
    Caps, ConsumerOptions, Entry, Log, LossReason, Next, OnFull, OpenError, Options, Order, Recovered,
    Refusal, Totals,
};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

fn open(directory: &Path, options: Options) -> (Log, Recovered) {
    Log::open(directory, options).expect("opens")
}

fn entry(nth: u32, len: usize) -> Entry {
    let payload = vec![
        Bytes::from(vec![nth as u8; len / 2]),
        Bytes::from(vec![(nth as u8).wrapping_add(1); len - len / 2]),
    ];
    Entry { kind: 3, codec: 1, items: nth, meta: Bytes::from(format!("meta {nth}")), payload }
}

fn append(log: &Log, entry: Entry) -> u64 {
    let room = log.reserve(entry.framed_len()).expect("room");
    log.append(room, entry).wait().expect("appended").sequence
}

fn drain(log: &Log) -> Vec<u32> {
    let consumer = log.consumer("default").expect("there");
    let mut seen = Vec::new();
    while let Some(delivery) = consumer.read_next().expect("readable") {
        let expected = entry(delivery.lease.items, delivery.payload.len());
        assert_eq!(delivery.meta, expected.meta);
        assert_eq!(delivery.payload, expected.payload.concat());
        assert_eq!((delivery.lease.kind, delivery.lease.codec), (3, 1));
        seen.push(delivery.lease.items);
        assert!(consumer.ack(delivery.lease.sequence));
    }
    seen
}

/// Small segments, so that there are several.
fn small() -> Options {
    Options { max_size: 1 << 20, segment_size: Some(64 << 10), ..Options::default() }
}

#[test]
fn what_is_appended_is_handed_out_in_order_and_gone_when_acked() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, recovered) = open(directory.path(), Options::default());
    assert_eq!(recovered, Recovered::default());
    for nth in 0..100 {
        assert_eq!(append(&log, entry(nth, 1000)), u64::from(nth) + 1);
    }
    assert_eq!(log.stats().held.entries, 100);
    assert_eq!(log.stats().held.items, (0..100).sum());
    assert_eq!(drain(&log), (0..100).collect::<Vec<_>>());
    assert_eq!(log.stats().held, Totals::default());
    log.close();
    let (log, recovered) = open(directory.path(), Options::default());
    assert_eq!(recovered, Recovered::default());
    assert_eq!(append(&log, entry(1, 10)), 101, "no number is given twice");
}

#[test]
fn what_was_not_acked_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = open(directory.path(), small());
    for nth in 0..50 {
        append(&log, entry(nth, 10_000));
    }
    let consumer = log.consumer("default").expect("there");
    let mut leased = Vec::new();
    while let Some(delivery) = consumer.read_next().expect("readable") {
        leased.push(delivery.lease.sequence);
    }
    for sequence in leased.iter().filter(|sequence| *sequence % 3 == 0) {
        assert!(consumer.ack(*sequence));
    }
    log.close();
    let (log, recovered) = open(directory.path(), small());
    let left: Vec<u32> = (0..50).filter(|nth| (nth + 1) % 3 != 0).collect();
    assert_eq!(recovered.losses, []);
    assert_eq!(recovered.held.entries, left.len() as u64);
    assert_eq!(recovered.held.items, left.iter().map(|nth| u64::from(*nth)).sum::<u64>());
    assert_eq!(drain(&log), left);
    log.tidy();
    assert_eq!(log.stats().segments, 0);
}

#[test]
fn the_newest_come_first_if_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let consumers = vec![ConsumerOptions { order: Order::NewestFirst, ..ConsumerOptions::default() }];
    let (log, _) = open(directory.path(), Options { consumers, ..small() });
    for nth in 0..30 {
        append(&log, entry(nth, 10_000));
    }
    assert_eq!(drain(&log), (0..30).rev().collect::<Vec<_>>());
}

#[test]
fn a_full_log_refuses_until_something_is_acked() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options { max_size: 256 << 10, segment_size: Some(64 << 10), ..Options::default() };
    let (log, _) = open(directory.path(), options.clone());
    let mut taken = 0;
    let refusal = loop {
        let next = entry(taken, 10_000);
        match log.reserve(next.framed_len()) {
            Ok(room) => {
                log.append(room, next).wait().expect("appended");
            }
            Err(refusal) => break refusal,
        }
        taken += 1;
        let stats = log.stats();
        assert!(stats.disk_bytes <= 256 << 10, "{stats:?}");
    };
    assert_eq!(refusal, Refusal::Full { max_size: 256 << 10 });
    assert!(taken >= 15, "{taken}");
    assert_eq!(drain(&log), (0..taken).collect::<Vec<_>>());
    log.tidy();
    append(&log, entry(9, 10_000));
    let huge = log.reserve(1 << 30).map(drop);
    let Err(Refusal::TooLarge { limit, .. }) = huge else { panic!("{huge:?}") };
    // In the unit of what is refused.
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = open(directory.path(), options);
    log.reserve(limit).map(drop).expect("so much fits");
    let more = log.reserve(limit + 1).map(drop);
    assert_eq!(more, Err(Refusal::TooLarge { bytes: limit + 1, limit }));
}

#[test]
fn the_oldest_are_dropped_and_counted_if_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let losses = std::sync::Arc::new(Losses::default());
    let options = Options { on_full: OnFull::DropOldest, observer: losses.clone(), ..small() };
    let (log, _) = open(directory.path(), options);
    for nth in 0..250 {
        append(&log, entry(nth, 10_000));
        assert!(log.stats().disk_bytes <= 1 << 20);
    }
    let kept = drain(&log);
    assert_eq!(kept.last(), Some(&249));
    let lost = losses.0.lock().expect("whole").iter().fold((0, 0), |(entries, items), loss| {
        assert_eq!(loss.reason, LossReason::Evicted);
        (entries + loss.lost.entries, items + loss.lost.items)
    });
    assert_eq!(lost.0 + kept.len() as u64, 250);
    assert_eq!(lost.1, (0..u64::from(kept[0])).sum());
}

#[derive(Default)]
struct Losses(Mutex<Vec<millrace_log::Loss>>);

impl millrace_log::Observer for Losses {
    fn lost(&self, loss: &millrace_log::Loss) {
        self.0.lock().expect("whole").push(*loss);
    }
}

#[test]
fn what_the_caller_holds_is_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = open(directory.path(), Options::default());
    let consumer = log.consumer("default").expect("there");
    assert_eq!(consumer.try_next(|_| true), Next::Empty);
    let ready = consumer.ready();
    append(&log, entry(1, 10));
    append(&log, entry(2, 10));
    assert!(ready.wait(Duration::from_secs(60)));
    let Next::Held(lease) = consumer.try_next(|sequence| sequence == 1) else { panic!("held") };
    assert_eq!((lease.sequence, lease.items), (1, 1));
    assert_eq!(consumer.try_next(|sequence| sequence == 1), Next::OnDisk);
    assert!(consumer.defer(1));
    assert!(!consumer.defer(1), "not with the consumer any more");
    assert_eq!(consumer.untaken_from(), 2, "whoever was handed the first has it");
    assert_eq!(drain(&log), [1, 2], "what was given back comes first");
    assert_eq!(consumer.untaken_from(), 3);
}

#[test]
fn one_process_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = open(directory.path(), Options::default());
    let second = Log::open(directory.path(), Options::default()).map(drop);
    assert!(matches!(second, Err(OpenError::Locked(path)) if path == directory.path()));
    log.close();
    open(directory.path(), Options::default());
    assert!(matches!(log.reserve(100).map(drop), Err(Refusal::Closed)));
}

#[test]
fn sixty_four_threads_share_syncs() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = open(directory.path(), Options::default());
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let log = &log;
            scope.spawn(move || {
                for nth in 0..20 {
                    append(log, entry(thread * 20 + nth, 500));
                }
            });
        }
    });
    let stats = log.stats();
    assert_eq!((stats.appended, stats.held.entries), (1280, 1280));
    assert!(stats.commits < 1280, "{stats:?}");
    let mut seen = drain(&log);
    seen.sort_unstable();
    assert_eq!(seen, (0..1280).collect::<Vec<_>>());
}

#[test]
fn threads_that_append_read_ack_and_defer_at_once_see_each_entry_once() {
    const APPENDERS: u32 = 8;
    const EACH: u32 = 300;
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = open(directory.path(), small());
    let done = Mutex::new(Vec::new());
    let all = (APPENDERS * EACH) as usize;
    std::thread::scope(|scope| {
        for appender in 0..APPENDERS {
            let log = &log;
            scope.spawn(move || {
                for nth in 0..EACH {
                    let next = entry(appender * EACH + nth, 200 + (nth as usize * 97) % 8_000);
                    let mut freed = log.freed();
                    let room = loop {
                        match log.reserve(next.framed_len()) {
                            Ok(room) => break room,
                            Err(refusal) => assert!(matches!(refusal, Refusal::Full { .. }), "{refusal}"),
                        }
                        // Nobody else would persist what was acked last.
                        if !freed.wait(Duration::from_secs(60)) {
                            panic!("no room came: {:?}", log.stats());
                        }
                        freed = log.freed();
                    };
                    log.append(room, next).wait().expect("appended");
                }
            });
        }
        for reader in 0..3 {
            let (done, consumer) = (&done, log.consumer("default").expect("there"));
            scope.spawn(move || {
                let mut turn = reader;
                while done.lock().expect("whole").len() < all {
                    turn += 1;
                    let ready = consumer.ready();
                    let lease = match consumer.try_next(|sequence| sequence % 3 == 0) {
                        Next::Held(lease) => lease,
                        Next::OnDisk => match consumer.read_next().expect("readable") {
                            Some(delivery) => delivery.lease,
                            None => continue,
                        },
                        Next::Empty => {
                            ready.wait(Duration::from_millis(50));
                            continue;
                        }
                    };
                    if turn % 5 == 0 {
                        assert!(consumer.defer(lease.sequence));
                    } else {
                        assert!(consumer.ack(lease.sequence));
                        done.lock().expect("whole").push(lease.items);
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().expect("whole");
    done.sort_unstable();
    assert_eq!(done, (0..APPENDERS * EACH).collect::<Vec<_>>());
    assert_eq!(log.stats().held, Totals::default());
}

#[test]
fn limits_can_be_changed_while_it_is_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = open(directory.path(), small());
    let caps = |max_size, on_full| Caps { max_size, max_age: None, on_full };
    let mut nth = 0;
    let mut fill = || {
        while let Ok(room) = log.reserve(entry(nth, 20_000).framed_len()) {
            log.append(room, entry(nth, 20_000)).wait().expect("appended");
            nth += 1;
        }
        log.stats().held.entries
    };
    let first = fill();
    assert!(first > 30, "{first}");
    assert_eq!(log.limit(caps(2 << 20, OnFull::Refuse)), 2 << 20);
    let second = fill();
    assert!(second > 2 * first - 5, "{first}, then {second}");

    assert_eq!(log.limit(caps(1 << 20, OnFull::Refuse)), 1 << 20);
    assert_eq!(fill(), second, "nothing new, and nothing goes");
    assert_eq!(log.limit(caps(1 << 20, OnFull::DropOldest)), 1 << 20);
    let third = log.stats().held.entries;
    assert!(third <= first, "the oldest give way: {third} are left");
    log.tidy();
    assert!(log.stats().disk_bytes <= (1 << 20) + (64 << 10), "{:?}", log.stats());
    assert_eq!(log.limit(caps(0, OnFull::Refuse)), 128 << 10, "room for two segments");

    let max_age = Some(Duration::from_millis(1));
    log.limit(Caps { max_age, ..caps(1 << 20, OnFull::Refuse) });
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while log.stats().held.entries > 0 {
        assert!(std::time::Instant::now() < deadline, "{:?}", log.stats());
        std::thread::yield_now();
    }
}
