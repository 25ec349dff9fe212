//! What the tests share: a file system that fails on request, a clock that is set by hand, and entries that know
//! themselves.
#![allow(dead_code, unused_imports, reason = "not every test uses all of it")]

mod rng;
mod seeds;
pub mod sim;

pub use seeds::each_seed;

use bytes::Bytes;
use millrace_log::{Clock, Delivery, Entry, Loss, Notice, Observer};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A clock that is set by hand. Its random numbers can be repeated.
#[derive(Debug)]
pub struct HandClock {
    pub wall_ns: AtomicU64,
    pub monotonic_ns: AtomicU64,
    random: AtomicU64,
}

impl HandClock {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            wall_ns: AtomicU64::new(1_700_000_000_000_000_000),
            monotonic_ns: AtomicU64::new(0),
            random: AtomicU64::new(seed),
        })
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        self.wall_ns.fetch_add(time.as_nanos() as u64, SeqCst);
        self.monotonic_ns.fetch_add(time.as_nanos() as u64, SeqCst);
    }
}

impl Clock for HandClock {
    fn wall_ns(&self) -> u64 {
        self.wall_ns.load(SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_ns.load(SeqCst))
    }

    fn random(&self) -> u64 {
        let seed = self.random.fetch_add(1, SeqCst);
        sim::Rng::new(seed ^ 0x5eed).next()
    }
}

/// Remembers what it is told.
#[derive(Debug, Default)]
pub struct Told {
    losses: Mutex<Vec<Loss>>,
    notices: Mutex<Vec<Notice>>,
}

impl Told {
    pub fn losses(&self) -> Vec<Loss> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Told {
    fn lost(&self, loss: &Loss) {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).push(*loss);
    }

    fn noticed(&self, notice: &Notice) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice.clone());
    }
}

/// An entry whose content follows from its id, in several pieces.
pub fn entry(id: u64, len: usize) -> Entry {
    let payload = content(id, len);
    let cut = len / 3;
    Entry {
        kind: id as u8,
        codec: (id >> 8) as u8,
        items: items(id),
        meta: Bytes::copy_from_slice(&id.to_le_bytes()),
        payload: vec![payload.slice(..cut), Bytes::new(), payload.slice(cut..)],
    }
}

pub fn items(id: u64) -> u32 {
    (id % 97) as u32 + 1
}

/// Made once for each id, at its longest.
fn content(id: u64, len: usize) -> Bytes {
    thread_local! {
        static MADE: RefCell<HashMap<u64, Bytes>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        let whole = made.entry(id).or_default();
        if whole.len() < len {
            let mut rng = sim::Rng::new(id);
            *whole = (0..len.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes()).collect::<Vec<_>>().into();
        }
        whole.slice(..len)
    })
}

/// The id of an entry that has been handed out, if every byte of it is right.
pub fn id_of(delivery: &Delivery) -> u64 {
    let id = u64::from_le_bytes(delivery.meta[..].try_into().expect("an id is eight bytes"));
    assert_eq!(delivery.payload, content(id, delivery.payload.len()), "the payload of {id}");
    assert_eq!(delivery.lease.items, items(id));
    assert_eq!((delivery.lease.kind, delivery.lease.codec), (id as u8, (id >> 8) as u8));
    id
}

/// Where the frames of a segment are, and their numbers, by the README.
pub fn frames(segment: &[u8]) -> Vec<(Range<usize>, u64)> {
    let u16_at = |at: usize| u16::from_le_bytes(segment[at..at + 2].try_into().expect("2")) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().expect("4")) as usize;
    let u64_at = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().expect("8"));
    let marker = &segment[48..52];
    if marker == [0; 4] {
        return Vec::new(); // Prepared, and not written to.
    }
    let mut frames = Vec::new();
    let mut at = 4096;
    while segment.get(at..at + 4) == Some(marker) {
        let len = (u16_at(at + 4) + u32_at(at + 36) + u32_at(at + 40)).next_multiple_of(8);
        frames.push((at..at + len, u64_at(at + 8)));
        at += len;
    }
    frames
}
