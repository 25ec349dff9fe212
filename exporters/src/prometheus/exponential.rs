//! Exponential histograms, as they become native ones.

use super::refusal::Refusal;
use super::series::{Temporality, in_order, latest};
use millrace_formats::prometheus::Exemplar;
use millrace_wire::view::{self, ExponentialPoint};
use std::mem::size_of;

/// The finest and the coarsest scale that native histograms have.
const SCALES: std::ops::RangeInclusive<i32> = -4..=8;
/// Where no zero threshold is given, native histograms get this one.
const ZERO_THRESHOLD: f64 = 1e-128;
/// The most buckets of one data point: in a request they may take a byte each, and here eight. Doubles from a millionth
/// to a billion fill 13,000 at the finest scale that native histograms have.
const READ_MAX: usize = 1 << 16;
/// Adding two data points whose buckets lie farther apart than this makes them coarser, until they do not. Doubles at
/// the coarsest scale fill 132 buckets, so it always fits unless the data point makes up buckets.
const BUCKETS_MAX: i64 = 4096;

/// What the data points of an exponential histogram have come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exponential {
    pub start_ns: u64,
    pub time_ns: u64,
    pub count: u64,
    pub sum: Option<f64>,
    pub scale: i32,
    pub zero_threshold: f64,
    pub zero_count: u64,
    pub positive: Buckets,
    pub negative: Buckets,
    pub exemplars: Vec<Exemplar>,
}

/// Consecutive buckets; the first has index `offset`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets {
    pub offset: i64,
    pub counts: Vec<u64>,
}

impl Exponential {
    pub(super) fn read(point: ExponentialPoint<'_>) -> Result<Self, Refusal> {
        let scale = point.scale();
        let buckets = [point.positive(), point.negative()];
        let count: usize = buckets.into_iter().map(|buckets| buckets.bucket_counts().count()).sum();
        if scale < *SCALES.start() || count > READ_MAX {
            return Err(Refusal::Unsupported);
        }
        let mut read = Self {
            start_ns: point.start_ns(),
            time_ns: point.time_ns(),
            count: point.count(),
            sum: point.sum(),
            scale,
            zero_threshold: point.zero_threshold(),
            zero_count: point.zero_count(),
            positive: Buckets::read(point.positive()),
            negative: Buckets::read(point.negative()),
            exemplars: latest(point.exemplars()).collect(),
        };
        read.coarsen(scale.min(*SCALES.end()));
        read.adds_up().then_some(read).ok_or(Refusal::Inconsistent)
    }

    /// What a scraper is shown where no threshold was given.
    pub(super) fn shown_zero_threshold(&self) -> f64 {
        if self.zero_threshold == 0.0 { ZERO_THRESHOLD } else { self.zero_threshold }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of::<u64>() * (self.positive.counts.len() + self.negative.counts.len())
            + size_of::<Exemplar>() * self.exemplars.len()
    }

    /// Whether the buckets hold as many measurements as there are said to be; fewer if what was measured includes
    /// what is no number. Prometheus refuses a whole scrape for one that does not.
    fn adds_up(&self) -> bool {
        let counts = self.positive.counts.iter().chain(&self.negative.counts);
        let total = counts.fold(u128::from(self.zero_count), |total, count| total + u128::from(*count));
        let count = u128::from(self.count);
        if self.sum.is_some_and(f64::is_nan) { total <= count } else { total == count }
    }

    /// The state after a further data point.
    pub(super) fn after(
        &self,
        point: ExponentialPoint<'_>,
        temporality: Temporality,
    ) -> Result<Self, Refusal> {
        let next = Self::read(point)?;
        match temporality {
            Temporality::Cumulative => in_order(next.time_ns, self.time_ns)?,
            Temporality::Delta if next.start_ns == self.time_ns => return self.clone().plus(next),
            Temporality::Delta if next.start_ns < self.time_ns => return Err(Refusal::Misaligned),
            Temporality::Delta => {}
        }
        Ok(next)
    }

    fn plus(mut self, mut other: Self) -> Result<Self, Refusal> {
        let mut scale = self.scale.min(other.scale);
        loop {
            self.coarsen(scale);
            other.coarsen(scale);
            let widest = self.positive.reach(&other.positive).max(self.negative.reach(&other.negative));
            if widest <= BUCKETS_MAX {
                break;
            }
            scale -= 1;
            if scale < *SCALES.start() {
                return Err(Refusal::Unsupported);
            }
        }
        let threshold = self.zero_threshold.max(other.zero_threshold);
        self.widen_zero(threshold);
        other.widen_zero(threshold);
        Ok(Self {
            start_ns: self.start_ns.min(other.start_ns),
            time_ns: self.time_ns.max(other.time_ns),
            count: self.count.saturating_add(other.count),
            sum: self.sum.zip(other.sum).map(|(a, b)| a + b),
            scale,
            zero_threshold: threshold,
            zero_count: self.zero_count.saturating_add(other.zero_count),
            positive: self.positive.plus(&other.positive),
            negative: self.negative.plus(&other.negative),
            exemplars: other.exemplars,
        })
    }

    /// Halves the number of buckets as often as it takes to get to a coarser scale.
    fn coarsen(&mut self, scale: i32) {
        let halvings = self.scale.saturating_sub(scale).unsigned_abs();
        self.positive.coarsen(halvings);
        self.negative.coarsen(halvings);
        self.scale = scale;
    }

    /// Moves what is no farther from zero than a higher threshold into the zero bucket.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold > self.zero_threshold {
            let scale = self.scale;
            let moved =
                self.positive.take_below(threshold, scale) + self.negative.take_below(threshold, scale);
            self.zero_count = self.zero_count.saturating_add(moved);
            self.zero_threshold = threshold;
        }
    }
}

impl Buckets {
    fn read(buckets: view::Buckets<'_>) -> Self {
        Self { offset: buckets.offset().into(), counts: buckets.bucket_counts().collect() }
    }

    fn end(&self) -> i64 {
        self.offset + self.counts.len() as i64
    }

    /// From the first bucket of either to the last.
    fn reach(&self, other: &Self) -> i64 {
        match (self.counts.is_empty(), other.counts.is_empty()) {
            (_, true) => self.counts.len() as i64,
            (true, _) => other.counts.len() as i64,
            _ => self.end().max(other.end()) - self.offset.min(other.offset),
        }
    }

    fn coarsen(&mut self, halvings: u32) {
        if halvings == 0 || self.counts.is_empty() {
            return;
        }
        // Beyond this, everything above 1 is in one bucket and everything below in another.
        let halvings = halvings.min(62);
        let offset = self.offset >> halvings;
        let len = ((self.end() - 1) >> halvings) - offset + 1;
        let mut counts = vec![0u64; usize::try_from(len).unwrap_or_default()];
        for (index, count) in (self.offset..).zip(&self.counts) {
            let place = usize::try_from((index >> halvings) - offset).unwrap_or_default();
            if let Some(total) = counts.get_mut(place) {
                *total = total.saturating_add(*count);
            }
        }
        *self = Self { offset, counts };
    }

    /// Takes out the buckets whose upper bounds are no higher than `threshold`; how much was in them.
    fn take_below(&mut self, threshold: f64, scale: i32) -> u64 {
        // The upper bound of bucket i is 2^((i + 1) / 2^scale).
        let whole = (threshold.log2() * f64::from(scale).exp2()).floor();
        let below = (whole as i64).saturating_sub(self.offset).clamp(0, self.counts.len() as i64);
        let taken = self.counts.drain(..usize::try_from(below).unwrap_or_default());
        let taken = taken.fold(0u64, u64::saturating_add);
        self.offset += below;
        taken
    }

    fn plus(&self, other: &Self) -> Self {
        if other.counts.is_empty() {
            return self.clone();
        }
        if self.counts.is_empty() {
            return other.clone();
        }
        let offset = self.offset.min(other.offset);
        let mut counts = vec![0u64; usize::try_from(self.reach(other)).unwrap_or_default()];
        for buckets in [self, other] {
            let from = usize::try_from(buckets.offset - offset).unwrap_or_default();
            for (total, count) in counts.iter_mut().skip(from).zip(&buckets.counts) {
                *total = total.saturating_add(*count);
            }
        }
        Self { offset, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_wire::writer::{
        put_double_field, put_fixed64_field, put_len_field, put_sint_field, put_varint,
    };

    /// A data point from second `start` to `end`.
    fn point(start: u64, end: u64, scale: i64, (offset, counts): (i64, &[u64]), threshold: f64) -> Vec<u8> {
        let mut out = Vec::new();
        put_fixed64_field(&mut out, 2, start);
        put_fixed64_field(&mut out, 3, end);
        put_fixed64_field(&mut out, 4, counts.iter().sum());
        put_double_field(&mut out, 5, 1.5);
        put_sint_field(&mut out, 6, scale);
        let (mut packed, mut buckets) = (Vec::new(), Vec::new());
        counts.iter().for_each(|count| put_varint(&mut packed, *count));
        put_sint_field(&mut buckets, 1, offset);
        put_len_field(&mut buckets, 2, &packed);
        put_len_field(&mut out, 8, &buckets);
        put_double_field(&mut out, 14, threshold);
        out
    }

    fn read(bytes: &[u8]) -> Exponential {
        Exponential::read(ExponentialPoint::over(bytes)).expect("it can be read")
    }

    fn then(state: &Exponential, bytes: &[u8]) -> Result<Exponential, Refusal> {
        state.after(ExponentialPoint::over(bytes), Temporality::Delta)
    }

    #[test]
    fn finer_scales_than_prometheus_has_are_made_coarser() {
        let state = read(&point(0, 1, 10, (-1, &[1, 2, 4, 8, 16]), 0.0));
        assert_eq!(state.scale, 8);
        assert_eq!(state.positive, Buckets { offset: -1, counts: vec![1, 30] });
        let coarse = point(0, 1, -5, (0, &[1]), 0.0);
        assert_eq!(Exponential::read(ExponentialPoint::over(&coarse)), Err(Refusal::Unsupported));
        let extreme = read(&point(0, 1, i32::MAX.into(), (i32::MIN.into(), &[1, 1]), 0.0));
        assert_eq!(extreme.count, 2);
    }

    #[test]
    fn deltas_that_meet_are_added_at_the_coarser_scale() {
        let state = read(&point(5, 10, 1, (0, &[1, 1]), 0.0));
        let sum = then(&state, &point(10, 20, 0, (-1, &[3, 4]), 0.0)).expect("they meet");
        assert_eq!((sum.start_ns, sum.time_ns, sum.count, sum.sum), (5, 20, 9, Some(3.0)));
        assert_eq!((sum.scale, sum.positive), (0, Buckets { offset: -1, counts: vec![3, 6] }));
    }

    #[test]
    fn deltas_that_leave_a_gap_start_anew_and_overlapping_ones_are_refused() {
        let state = read(&point(5, 10, 0, (0, &[1]), 0.0));
        assert_eq!(then(&state, &point(11, 20, 0, (0, &[7]), 0.0)).expect("a gap").count, 7);
        assert_eq!(then(&state, &point(9, 20, 0, (0, &[7]), 0.0)), Err(Refusal::Misaligned));
    }

    #[test]
    fn a_higher_zero_threshold_takes_buckets_in() {
        // Buckets (1, 2], (2, 4], (4, 8].
        let state = read(&point(5, 10, 0, (0, &[1, 2, 4]), 0.0));
        let sum = then(&state, &point(10, 20, 0, (2, &[8]), 4.0)).expect("they meet");
        assert_eq!((sum.zero_count, sum.zero_threshold, sum.count), (3, 4.0, 15));
        assert_eq!(sum.positive, Buckets { offset: 2, counts: vec![12] });
        assert!(sum.adds_up());
    }

    #[test]
    fn buckets_that_lie_far_apart_do_not_fill_memory() {
        let state = read(&point(5, 10, 8, (-200_000, &[1]), 0.0));
        let sum = then(&state, &point(10, 20, 8, (200_000, &[1]), 0.0)).expect("coarser, they meet");
        assert!(sum.positive.counts.len() <= 4096 && sum.scale < 8, "{sum:?}");
        assert!(sum.adds_up());
        let (low, high) = (i32::MIN.into(), (i32::MAX - 1).into());
        let state = read(&point(5, 10, 8, (low, &[1]), 0.0));
        assert_eq!(then(&state, &point(10, 20, 8, (high, &[1]), 0.0)), Err(Refusal::Unsupported));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let mut bytes = point(0, 1, 0, (0, &[1, 2]), 0.0);
        put_fixed64_field(&mut bytes, 7, 1);
        assert_eq!(Exponential::read(ExponentialPoint::over(&bytes)), Err(Refusal::Inconsistent));
    }
}
