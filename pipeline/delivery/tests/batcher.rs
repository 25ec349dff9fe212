//! The batcher against a model that knows items and times and nothing of bytes.

mod support;

use millrace_delivery::Sizer;
use millrace_delivery::batcher::{Batcher, Ready, Rules, Trigger};
use millrace_engine::{Batch, Cost};
use millrace_wire::{Payload, Signal};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use support::{ids, logs, piece, points};

/// A request: the items of each of its pieces, and how long after the last one it comes.
type Arrival = (Vec<u8>, u64);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let pieces = prop::collection::vec(prop_oneof![1..6u8, 1..60u8], 1..4);
    prop::collection::vec((pieces, 0..80u64), 1..25)
}

/// `min_size` and `max_size` as the configuration allows them.
fn sizes(unit: u64) -> impl Strategy<Value = (u64, u64)> {
    let unit = unit.max(1);
    (0..50 * unit, prop_oneof![Just(None), (0..50 * unit).prop_map(Some)])
        .prop_map(|(min, over)| (min, over.map_or(0, |over| (min + over).max(1))))
}

struct Run {
    signal: Signal,
    start: Instant,
    now: Instant,
    batcher: Batcher<usize>,
    timeout: Duration,
    build: fn(std::ops::Range<u64>) -> Payload,
    next_id: u64,
    pieces_in: usize,
    out: Vec<Ready<usize>>,
}

impl Run {
    fn new(signal: Signal, rules: Rules) -> Self {
        let start = Instant::now();
        let timeout = rules.timeout;
        let build = if signal == Signal::Logs { logs } else { points };
        let batcher = Batcher::new(signal, rules);
        Self { signal, start, now: start, batcher, timeout, build, next_id: 1, pieces_in: 0, out: Vec::new() }
    }

    /// Lets time go by as a dispatcher does: it comes at the time asked for.
    fn pass(&mut self, ms: u64) -> Vec<(Duration, usize)> {
        let end = self.now + Duration::from_millis(ms);
        let mut flushed = Vec::new();
        while let Some(due) = self.batcher.due().filter(|due| *due <= end) {
            assert!(self.batcher.flush_due(due - Duration::from_nanos(1)).is_empty(), "not before its time");
            let ready = self.batcher.flush_due(due);
            assert!(!ready.is_empty(), "what is due is given out");
            flushed.push((due - self.start, ready.len()));
            self.out.extend(ready);
        }
        self.now = end;
        flushed
    }

    fn push(&mut self, tag: usize, pieces: &[u8]) -> usize {
        let mut batch = Batch::empty(self.signal);
        for &items in pieces {
            batch.push(piece((self.build)(self.next_id..self.next_id + u64::from(items))));
            self.next_id += u64::from(items);
        }
        self.pieces_in += pieces.len();
        let ready = self.batcher.push(batch, &tag, self.now);
        assert_eq!(self.batcher.due().is_some(), self.batcher.waiting().items > 0);
        assert!(self.batcher.due().is_none_or(|due| due <= self.now + self.timeout));
        let count = ready.len();
        self.out.extend(ready);
        count
    }

    /// What holds of every run: all items once and in order, parts that add up, few cuts.
    fn check(&self, tags_of: impl Fn(u64) -> usize) {
        let delivered: Vec<u64> = self.out.iter().flat_map(|ready| ids(&ready.batch)).collect();
        let all: Vec<u64> = (1..self.next_id).collect();
        assert_eq!(delivered, all, "every item once, in order");
        for ready in &self.out {
            let sum = ready.parts.iter().fold(Cost::default(), |sum, (_, cost)| sum + *cost);
            assert_eq!(sum, ready.batch.cost());
            let mut ids = ids(&ready.batch).into_iter();
            for (tag, cost) in &ready.parts {
                for id in ids.by_ref().take(cost.items as usize) {
                    assert_eq!(tags_of(id), *tag, "item {id} keeps the tag of its request");
                }
            }
        }
        let pieces_out: usize = self.out.iter().map(|ready| ready.batch.pieces().len()).sum();
        assert!(pieces_out <= self.pieces_in + self.out.len(), "at most one cut for each batch");
    }
}

/// The request that an item came with.
fn tags(arrivals: &[Arrival]) -> Vec<usize> {
    let tags = arrivals.iter().enumerate().flat_map(|(tag, (pieces, _))| {
        let items = pieces.iter().map(|items| usize::from(*items)).sum();
        std::iter::repeat_n(tag, items)
    });
    tags.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn by_items_batches_are_exactly_those_of_the_model(
        arrivals in arrivals(),
        (min, max) in sizes(1),
        timeout in 1..200u64,
        metrics in any::<bool>(),
    ) {
        let timeout = Duration::from_millis(timeout);
        let signal = if metrics { Signal::Metrics } else { Signal::Logs };
        let mut run = Run::new(signal, Rules { sizer: Sizer::Items, min_size: min, max_size: max, timeout });
        // The model: how many wait, and since when; the sizes and triggers of the batches that it expects.
        let most = if max == 0 { u64::MAX } else { max };
        let (mut waiting, mut since, mut now) = (0u64, Duration::ZERO, Duration::ZERO);
        let mut expected: VecDeque<(u64, Trigger)> = VecDeque::new();
        let flush = |waiting: &mut u64, least: u64, trigger, expected: &mut VecDeque<_>| {
            while *waiting > 0 && *waiting >= least {
                let size = (*waiting).min(most);
                expected.push_back((size, trigger));
                *waiting -= size;
            }
        };
        for (tag, (pieces, gap)) in arrivals.iter().enumerate() {
            run.pass(*gap);
            now += Duration::from_millis(*gap);
            if waiting > 0 && since + timeout <= now {
                flush(&mut waiting, 0, Trigger::Timeout, &mut expected);
            }
            run.push(tag, pieces);
            let (before, batches) = (waiting, expected.len());
            waiting += pieces.iter().map(|items| u64::from(*items)).sum::<u64>();
            flush(&mut waiting, min, Trigger::Size, &mut expected);
            if before == 0 || expected.len() > batches {
                since = now;
            }
        }
        run.pass(timeout.as_millis() as u64);
        flush(&mut waiting, 0, Trigger::Timeout, &mut expected);

        let batches: Vec<_> = run.out.iter().map(|ready| (ready.batch.cost().items, ready.trigger)).collect();
        prop_assert_eq!(batches, Vec::from(expected));
        let tags = tags(&arrivals);
        run.check(|id| tags[id as usize - 1]);
    }

    #[test]
    fn by_bytes_no_batch_is_larger_unless_it_is_one_item(
        arrivals in arrivals(),
        (min, max) in sizes(60),
        timeout in 1..200u64,
        metrics in any::<bool>(),
    ) {
        let timeout = Duration::from_millis(timeout);
        let signal = if metrics { Signal::Metrics } else { Signal::Logs };
        let mut run = Run::new(signal, Rules { sizer: Sizer::Bytes, min_size: min, max_size: max, timeout });
        for (tag, (pieces, gap)) in arrivals.iter().enumerate() {
            run.pass(*gap);
            run.push(tag, pieces);
            prop_assert!(run.batcher.waiting().bytes < min.max(1), "what is enough does not wait");
        }
        run.out.extend(run.batcher.flush());
        for ready in &run.out {
            let cost = ready.batch.cost();
            prop_assert!(max == 0 || cost.bytes <= max || cost.items == 1, "{:?} of at most {}", cost, max);
        }
        let tags = tags(&arrivals);
        run.check(|id| tags[id as usize - 1]);
    }
}

#[test]
fn nothing_waits_longer_than_the_timeout() {
    let rules =
        Rules { sizer: Sizer::Items, min_size: 10, max_size: 10, timeout: Duration::from_millis(100) };
    let mut run = Run::new(Signal::Logs, rules);
    run.push(0, &[4]);
    run.pass(60);
    assert_eq!(run.push(1, &[3]), 0);
    assert_eq!(run.pass(60), [(Duration::from_millis(100), 1)], "the first request's time counts");
    assert_eq!(run.push(2, &[13]), 1);
    assert_eq!(run.pass(200), [(Duration::from_millis(220), 1)], "what is left over waits from its arrival");
}

#[test]
fn pieces_without_items_get_through() {
    for sizer in [Sizer::Items, Sizer::Bytes] {
        let rules = Rules { sizer, min_size: 2, max_size: 2, timeout: Duration::from_millis(100) };
        let mut batcher = Batcher::new(Signal::Logs, rules);
        let mut batch = Batch::empty(Signal::Logs);
        for payload in [Payload::empty(Signal::Logs), logs(1..2), Payload::empty(Signal::Logs)] {
            batch.push(piece(payload));
        }
        let mut out = batcher.push(batch, &(), Instant::now());
        out.extend(batcher.flush());
        assert_eq!(out.iter().flat_map(|ready| ids(&ready.batch)).collect::<Vec<_>>(), [1]);
        assert_eq!((batcher.waiting(), batcher.due()), (Cost::default(), None));
    }
}
