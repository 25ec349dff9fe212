//! What is set aside: a part of the limit that something has for as long as it is there, whether it uses it or not.
//!
//! It is taken from the limit instead of being charged. Who waits in [`Budget::charge`] for as much as there is waits
//! for the rest of the limit, which is released at some time; a charge that is never released would keep him, and all
//! behind him, waiting for ever.
//!
//! # What holds
//! At least half of the limit can be charged, however many set something aside, and however low it is set later.

use super::{Budget, Pool, slab_of};
use std::sync::atomic::Ordering::Relaxed;

/// A part of the limit that is set aside, until it is dropped.
#[derive(Debug)]
pub struct Aside {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// Sets `most` bytes aside, or half of what can still be: so there is something for the next who asks, too.
    #[must_use]
    pub fn set_aside(&self, most: u64) -> Aside {
        let mut aside = self.pool.reclaiming();
        let left = (self.limit() / 2).saturating_sub(*aside);
        let bytes = most.min(left / 2);
        *aside += bytes;
        self.pool.resize(*aside);
        Aside { budget: self.clone(), bytes }
    }
}

impl Aside {
    /// How much it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let mut aside = self.budget.pool.reclaiming();
        *aside -= self.bytes;
        self.budget.pool.resize(*aside);
    }
}

impl Pool {
    /// Makes what can be charged what the whole limit leaves beside what is set aside. Who waits looks again.
    pub(super) fn resize(&self, aside: u64) {
        let whole = self.whole.load(Relaxed);
        let limit = (whole - aside.min(whole / 2)).cast_signed();
        let before = self.limit.swap(limit.cast_unsigned(), Relaxed).cast_signed();
        self.slab.store(slab_of(limit), Relaxed);
        self.free.0.fetch_add(limit - before, Relaxed);
        self.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn what_is_set_aside_leaves_half_to_be_charged_and_comes_back() {
        let budget = Budget::new(1_000);
        let aside: Vec<_> = (0..100).map(|_| budget.set_aside(200)).collect();
        let bytes: Vec<_> = aside.iter().map(Aside::bytes).collect();
        assert_eq!(bytes[..5], [200, 150, 75, 37, 19]);
        assert_eq!(bytes.iter().sum::<u64>(), 499);
        assert_eq!((budget.used(), budget.limit()), (499, 1_000));
        assert!(budget.try_charge(502).is_none());
        let charge = budget.try_charge(501).expect("that much is left");
        assert_eq!(budget.used(), 1_000);
        drop(aside);
        assert_eq!(budget.used(), 501);
        drop(charge);
        assert!(budget.try_charge(1_000).is_some());
    }

    #[test]
    fn the_largest_thing_can_pass_beside_what_is_set_aside_also_below_a_lower_limit() {
        let budget = Budget::new(1_000);
        let _aside = budget.set_aside(250);
        let granted = |wanted| budget.charge(wanted).now_or_never().map(|charge| charge.bytes());
        assert_eq!(granted(5_000), Some(750));
        budget.set_limit(300);
        assert_eq!(granted(5_000), Some(150));
        assert_eq!((budget.used(), budget.limit()), (150, 300));
        budget.set_limit(2_000);
        assert_eq!(granted(5_000), Some(1_750));
    }

    #[test]
    fn who_waits_goes_on_when_nothing_is_set_aside_any_more() {
        let budget = Budget::new(1_000);
        let (aside, _charge) = (budget.set_aside(250), budget.try_charge(700).expect("room"));
        let waiting = budget.charge(300);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(aside);
        assert_eq!(waiting.now_or_never().expect("there is room").bytes(), 300);
    }

    #[test]
    fn what_is_charged_already_may_be_set_aside_as_well_and_nothing_is_granted_until_it_is_back() {
        let budget = Budget::new(1_000);
        let charge = budget.try_charge(1_000).expect("room");
        let aside = budget.set_aside(100);
        assert_eq!((aside.bytes(), budget.used()), (100, 1_100));
        drop(charge);
        assert!(budget.try_charge(901).is_none());
        assert!(budget.try_charge(900).is_some());
    }
}
