//! The scrapes that are under way, and what they may take together.
//!
//! Each scrape shows one moment: a snapshot, which lives until it has been written. Scrapers that read slowly hold
//! theirs for long, so there are only so many snapshots: when there are more, the newest is shared, and those who have
//! held one for longer than scrapers usually wait are cut off. Nobody is kept out by others who do not read.
//!
//! # Invariants
//! - What snapshots and scrapes take is charged before they are made.
//! - A slot that is empty has been cut off; nothing is written into it again.

use super::scrape::Writing;
use super::store::Shown;
use millrace_engine::{Budget, Charge};
use std::mem::size_of;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How many scrapes may be under way.
const SCRAPES_MAX: usize = 64;
/// How many snapshots they may hold.
const SNAPSHOTS_MAX: usize = 8;
/// When there are more of either, those that have taken longer are cut off. Prometheus waits that long by default.
const SLOW: Duration = Duration::from_secs(10);
/// What a scrape takes beside its snapshot: the piece that is being written, and what compressing it takes. A metric in
/// protobuf is one piece, and takes more if it is larger.
const SCRAPE_BYTES: u64 = 512 << 10;

/// Everything that is served, at one moment and in order.
pub(super) struct Snapshot {
    taken: Instant,
    pub(super) shown: Vec<Shown>,
    _charge: Charge,
}

/// Where a scrape lives until it is written or cut off.
pub(super) type Slot = Mutex<Option<Writing>>;

/// Why there can be no scrape now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Busy {
    #[error("too many scrapes are under way")]
    Scrapes,
    #[error("the memory budget is used up")]
    Budget,
}

/// The scrapes of one exporter.
pub(super) struct Scrapes {
    /// What they are charged to, the first that has room.
    pools: [Budget; 2],
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    scrapes: Vec<Scrape>,
    snapshots: Vec<Weak<Snapshot>>,
}

struct Scrape {
    since: Instant,
    peer: Option<IpAddr>,
    slot: Weak<Slot>,
}

impl Scrapes {
    pub(super) fn new(pools: [Budget; 2]) -> Self {
        Self { pools, under_way: Mutex::default() }
    }

    /// Begins a scrape for `peer` that writes what `write` makes of a snapshot. There are about `series` to be shown,
    /// which `take` does.
    pub(super) fn begin(
        &self,
        now: Instant,
        peer: Option<IpAddr>,
        series: usize,
        take: impl FnOnce() -> Vec<Shown>,
        write: impl FnOnce(Arc<Snapshot>, Charge) -> Writing,
    ) -> Result<Arc<Slot>, Busy> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.forget_ended();
        if under_way.scrapes.len() >= SCRAPES_MAX && !under_way.make_room(now, peer) {
            return Err(Busy::Scrapes);
        }
        let charge = self.charge(SCRAPE_BYTES).ok_or(Busy::Budget)?;
        let snapshot = self.snapshot(&mut under_way, now, series, take)?;
        let slot = Arc::new(Slot::new(Some(write(snapshot, charge))));
        under_way.scrapes.push(Scrape { since: now, peer, slot: Arc::downgrade(&slot) });
        Ok(slot)
    }

    /// A new snapshot, or the newest there is where there can be no other.
    fn snapshot(
        &self,
        under_way: &mut UnderWay,
        now: Instant,
        series: usize,
        take: impl FnOnce() -> Vec<Shown>,
    ) -> Result<Arc<Snapshot>, Busy> {
        if under_way.snapshots.len() >= SNAPSHOTS_MAX && !under_way.cut_off_slow(now) {
            return under_way.newest().ok_or(Busy::Scrapes);
        }
        let bytes = (series * size_of::<Shown>()) as u64;
        let charge = self.charge(bytes).or_else(|| {
            under_way.cut_off_slow(now);
            self.charge(bytes)
        });
        let Some(mut charge) = charge else { return under_way.newest().ok_or(Busy::Budget) };
        let shown = take();
        // They are shared with their series until those change.
        let shared: usize = shown.iter().map(|shown| shown.state.bytes()).sum();
        if !charge.try_grow(shared as u64) {
            return under_way.newest().ok_or(Busy::Budget);
        }
        let snapshot = Arc::new(Snapshot { taken: now, shown, _charge: charge });
        under_way.snapshots.push(Arc::downgrade(&snapshot));
        Ok(snapshot)
    }

    fn charge(&self, bytes: u64) -> Option<Charge> {
        self.pools.iter().find_map(|pool| pool.try_charge(bytes))
    }
}

impl UnderWay {
    fn forget_ended(&mut self) {
        self.scrapes.retain(|scrape| scrape.slot.strong_count() > 0);
        self.snapshots.retain(|snapshot| snapshot.strong_count() > 0);
    }

    fn newest(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.iter().filter_map(Weak::upgrade).max_by_key(|snapshot| snapshot.taken)
    }

    /// Cuts off all that have taken too long; whether that was any.
    fn cut_off_slow(&mut self, now: Instant) -> bool {
        let before = self.scrapes.len();
        self.scrapes.retain(|scrape| {
            let is_slow = now.saturating_duration_since(scrape.since) > SLOW;
            if is_slow {
                scrape.cut_off();
            }
            !is_slow
        });
        self.forget_ended();
        self.scrapes.len() < before
    }

    /// Makes room for a scrape of `peer`: by those that are slow, or else by the oldest of whoever has the most, unless
    /// that is the same.
    fn make_room(&mut self, now: Instant, peer: Option<IpAddr>) -> bool {
        if self.cut_off_slow(now) {
            return true;
        }
        let count = |peer| self.scrapes.iter().filter(|scrape| scrape.peer == peer).count();
        // The first of those with the most is the oldest one's.
        let Some(crowd) = self.scrapes.iter().map(|scrape| scrape.peer).rev().max_by_key(|peer| count(*peer))
        else {
            return false;
        };
        if crowd == peer {
            return false;
        }
        let oldest = self.scrapes.iter().position(|scrape| scrape.peer == crowd);
        if let Some(oldest) = oldest {
            self.scrapes.remove(oldest).cut_off();
        }
        oldest.is_some()
    }
}

impl Scrape {
    fn cut_off(&self) {
        if let Some(slot) = self.slot.upgrade() {
            *lock(&slot) = None;
        }
    }
}

/// What is written of a scrape, if it has not been cut off.
pub(super) fn lock(slot: &Slot) -> MutexGuard<'_, Option<Writing>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_formats::prometheus::{Offer, OpenMetrics, negotiate};

    const SERIES: usize = 1000;
    const SNAPSHOT: u64 = (SERIES * size_of::<Shown>()) as u64;

    fn begin(scrapes: &Scrapes, now: Instant, peer: u8) -> Result<Arc<Slot>, Busy> {
        let peer = Some(IpAddr::from([127, 0, 0, peer]));
        let format = negotiate(None, Offer { open_metrics: OpenMetrics::Never, protobuf: false });
        scrapes.begin(now, peer, SERIES, Vec::new, |snapshot, charge| Writing::test(snapshot, charge, format))
    }

    fn is_cut_off(slot: &Arc<Slot>) -> bool {
        lock(slot).is_none()
    }

    fn scrapes() -> (Scrapes, Budget) {
        let budget = Budget::new(1 << 30);
        (Scrapes::new([budget.clone(), Budget::new(0)]), budget)
    }

    #[test]
    fn those_who_do_not_read_keep_nobody_out_and_hold_only_so_much() {
        let (scrapes, budget) = scrapes();
        let start = Instant::now();
        let slow: Vec<_> = (0..20).map(|_| begin(&scrapes, start, 1).expect("there is room")).collect();
        assert_eq!(budget.used(), 8 * SNAPSHOT + 20 * SCRAPE_BYTES, "further ones share");
        assert!(!slow.iter().any(is_cut_off));

        let later = start + SLOW + Duration::from_secs(1);
        let fast = begin(&scrapes, later, 2).expect("they have had their time");
        assert!(slow.iter().all(is_cut_off) && !is_cut_off(&fast));
        assert_eq!(budget.used(), SNAPSHOT + SCRAPE_BYTES);
        drop(fast);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn whoever_has_the_most_gives_way_to_others() {
        let (scrapes, _budget) = scrapes();
        let start = Instant::now();
        let mut crowd = vec![begin(&scrapes, start, 1).expect("there is room")];
        crowd.extend((1..SCRAPES_MAX).map(|_| begin(&scrapes, start, 1).expect("there is room")));
        assert_eq!(begin(&scrapes, start, 1).err(), Some(Busy::Scrapes), "it has them all");
        let other = begin(&scrapes, start, 2).expect("it has none");
        let again = begin(&scrapes, start, 2).expect("it has few");
        assert_eq!(crowd.iter().filter(|slot| is_cut_off(slot)).count(), 2);
        assert!(is_cut_off(&crowd[0]) && is_cut_off(&crowd[1]), "the oldest");
        assert!(!is_cut_off(&other) && !is_cut_off(&again));
    }

    #[test]
    fn without_budget_the_newest_is_shared_and_else_there_is_none() {
        let budget = Budget::new(SNAPSHOT + 2 * SCRAPE_BYTES);
        let scrapes = Scrapes::new([Budget::new(0), budget.clone()]);
        let start = Instant::now();
        let first = begin(&scrapes, start, 1).expect("it fits");
        let second = begin(&scrapes, start, 1).expect("it shares");
        assert_eq!(begin(&scrapes, start, 1).err(), Some(Busy::Budget), "not even itself fits");
        drop((first, second));
        let _held = budget.try_charge(SNAPSHOT + SCRAPE_BYTES).expect("it is free again");
        assert_eq!(begin(&scrapes, start, 1).err(), Some(Busy::Budget), "nothing to share");
    }
}
