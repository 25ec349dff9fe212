//! Latencies in a log-linear histogram: fixed memory, under 1% error, mergeable.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Linear steps in each power of two.
const STEPS: u64 = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Microseconds up to 2^36 (19 hours); later ones count in the last bucket.
const BUCKETS: usize = (STEPS as usize) * (36 - STEP_BITS as usize + 1);

/// Counts of durations, in microseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum_us: u64,
    max_us: u64,
}

/// What is quoted of a histogram, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum_us: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let us = duration.as_micros() as u64;
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
    }

    /// Takes over another histogram's counts.
    pub fn absorb(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The quoted quantiles; all zero when nothing was counted.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        if self.total == 0 {
            return Quantiles::default();
        }
        Quantiles {
            mean: self.sum_us as f64 / self.total as f64 / 1000.0,
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            max: self.max_us as f64 / 1000.0,
        }
    }

    fn at(&self, quantile: f64) -> f64 {
        let rank = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return (upper_us(index).min(self.max_us)) as f64 / 1000.0;
            }
        }
        self.max_us as f64 / 1000.0
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let power = us.ilog2();
    let step = (us >> (power - STEP_BITS)) - STEPS;
    (((u64::from(power - STEP_BITS) + 1) * STEPS + step) as usize).min(BUCKETS - 1)
}

/// The largest duration that falls into a bucket.
fn upper_us(index: usize) -> u64 {
    let (group, step) = (index as u64 / STEPS, index as u64 % STEPS);
    match group {
        0 => step,
        _ => ((STEPS + step + 1) << (group - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_percent() {
        let mut histogram = Histogram::default();
        for us in 1..=100_000u64 {
            histogram.record(Duration::from_micros(us));
        }
        let quantiles = histogram.quantiles();
        for (measured, exact) in [(quantiles.p50, 50.0), (quantiles.p99, 99.0), (quantiles.p999, 99.9)] {
            assert!((measured - exact).abs() / exact < 0.01, "{measured} is not about {exact}");
        }
        assert_eq!(quantiles.max, 100.0);
    }

    #[test]
    fn every_bucket_holds_its_own_upper_bound() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(upper_us(index)), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
