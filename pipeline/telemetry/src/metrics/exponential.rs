//! Histograms whose buckets follow the values: base-2 exponential buckets, as the OpenTelemetry data model defines
//! them. The scale is lowered when values lie too far apart for the buckets there may be.

use std::sync::{Mutex, PoisonError};

use super::Exponential as Value;
use crate::shard::{shard_count, worker_slot};

/// How fine, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) max_scale: i32,
    pub(super) max_size: usize,
}

/// One histogram, in parts that workers have for themselves.
pub(super) struct Exponential {
    shape: Shape,
    parts: Box<[Part]>,
}

/// Behind a lock that nobody takes but its worker and who reads.
#[repr(align(128))]
struct Part(Mutex<Value>);

impl Exponential {
    pub(super) fn new(shape: Shape) -> Self {
        let parts = (0..shard_count()).map(|_| Part(Mutex::new(empty(shape)))).collect();
        Self { shape, parts }
    }

    pub(super) fn record(&self, value: f64, count: u64) {
        let part = &self.parts[worker_slot() & (self.parts.len() - 1)];
        let mut part = part.0.lock().unwrap_or_else(PoisonError::into_inner);
        record(&mut part, value, count, self.shape.max_size);
    }

    pub(super) fn read(&self) -> Value {
        let mut all = empty(self.shape);
        for part in &self.parts {
            let part = part.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            all.add(part, self.shape.max_size);
        }
        all
    }
}

fn empty(shape: Shape) -> Value {
    Value { scale: shape.max_scale, ..Value::default() }
}

fn record(into: &mut Value, value: f64, count: u64, max_size: usize) {
    if !value.is_finite() {
        return;
    }
    into.count += count;
    into.sum += value * count as f64;
    into.min = Some(into.min.map_or(value, |min| min.min(value)));
    into.max = Some(into.max.map_or(value, |max| max.max(value)));
    if value == 0.0 {
        into.zero_count += count;
        return;
    }
    loop {
        let index = index(value.abs(), into.scale);
        let side = if value > 0.0 { &mut into.positive } else { &mut into.negative };
        let by = side.surplus(index, index, max_size);
        if by == 0 {
            side.put(index, count);
            return;
        }
        into.lower(by);
    }
}

/// The bucket of a positive number: the one whose bounds it lies between, the upper included.
fn index(value: f64, scale: i32) -> i32 {
    // A subnormal number is taken for the least normal one.
    let bits = value.max(f64::MIN_POSITIVE).to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let is_power = bits << 12 == 0;
    if scale <= 0 {
        return (exponent - i32::from(is_power)) >> -scale;
    }
    if is_power {
        return (exponent << scale) - 1;
    }
    let (low, high) = (exponent << scale, ((exponent + 1) << scale) - 1);
    // Rounding may lead into the neighbours of the power of two that the number lies in.
    ((value.log2() * f64::from(1 << scale)).floor() as i32).clamp(low, high)
}

impl Value {
    /// Lowers the scale: each step joins two neighbouring buckets.
    fn lower(&mut self, by: i32) {
        self.scale -= by;
        self.positive.lower(by);
        self.negative.lower(by);
    }

    pub(super) fn add(&mut self, mut other: Self, max_size: usize) {
        if other.count == 0 {
            return;
        }
        let scale = self.scale.min(other.scale);
        self.lower(self.scale - scale);
        other.lower(other.scale - scale);
        let span = |mine: &Side, theirs: &Side| match theirs.last() {
            Some(last) => mine.surplus(theirs.offset, last, max_size),
            None => 0,
        };
        let by = span(&self.positive, &other.positive).max(span(&self.negative, &other.negative));
        self.lower(by);
        other.lower(by);
        self.positive.add(&other.positive);
        self.negative.add(&other.negative);
        self.count += other.count;
        self.sum += other.sum;
        self.zero_count += other.zero_count;
        self.min = self.min.into_iter().chain(other.min).reduce(f64::min);
        self.max = self.max.into_iter().chain(other.max).reduce(f64::max);
    }

    /// What was recorded since `earlier`, which is an earlier state of the same histogram.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut earlier = earlier.clone();
        earlier.lower((earlier.scale - self.scale).max(0));
        let mut rest = self.clone();
        rest.positive.take(&earlier.positive);
        rest.negative.take(&earlier.negative);
        rest.count -= earlier.count.min(rest.count);
        rest.zero_count -= earlier.zero_count.min(rest.zero_count);
        rest.sum -= earlier.sum;
        // They are of all the time.
        (rest.min, rest.max) = (None, None);
        rest
    }
}

/// Consecutive buckets on one side of zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// The index of the first one.
    pub offset: i32,
    /// Values per bucket.
    pub counts: Vec<u64>,
}

impl Side {
    fn last(&self) -> Option<i32> {
        (!self.counts.is_empty()).then(|| self.offset + self.counts.len() as i32 - 1)
    }

    /// By how much the scale must be lowered for the buckets from `low` to `high` to fit beside those there are.
    fn surplus(&self, low: i32, high: i32, max_size: usize) -> i32 {
        let low = if self.counts.is_empty() { low } else { low.min(self.offset) };
        let high = self.last().map_or(high, |last| high.max(last));
        let fits = |by: i32| ((high >> by) - (low >> by)) < max_size.max(2) as i32;
        (0..31).find(|by| fits(*by)).unwrap_or(31)
    }

    fn put(&mut self, index: i32, count: u64) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let missing = (self.offset - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += count;
    }

    fn lower(&mut self, by: i32) {
        if by <= 0 || self.counts.is_empty() {
            return;
        }
        let before = std::mem::take(self);
        for (index, count) in before.buckets() {
            self.put(index >> by, count);
        }
    }

    fn add(&mut self, other: &Self) {
        for (index, count) in other.buckets() {
            self.put(index, count);
        }
    }

    fn take(&mut self, earlier: &Self) {
        for (index, count) in earlier.buckets() {
            let at = usize::try_from(index - self.offset).ok();
            if let Some(mine) = at.and_then(|at| self.counts.get_mut(at)) {
                *mine = mine.saturating_sub(count);
            }
        }
    }

    fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        (self.offset..).zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(index: i32, scale: i32) -> (f64, f64) {
        let base = 2_f64.powf(2_f64.powi(-scale));
        (base.powi(index), base.powi(index + 1))
    }

    #[test]
    fn a_number_lies_within_the_bounds_of_its_bucket() {
        for scale in -4..=10 {
            for value in [1e-9, 0.001, 0.3, 0.999, 1.0, 1.5, 2.0, 3.0, 4.0, 1000.0, 1024.0, 1e9] {
                let (low, high) = bounds(index(value, scale), scale);
                let slack = 1e-9 * value;
                assert!(low - slack <= value && value <= high + slack, "{value} at {scale}: {low} to {high}");
            }
        }
    }

    #[test]
    fn powers_of_two_belong_to_the_bucket_below() {
        assert_eq!(index(1.0, 0), -1);
        assert_eq!(index(2.0, 0), 0);
        assert_eq!(index(4.0, 0), 1);
        assert_eq!(index(4.0, 3), 15);
        assert_eq!(index(4.0, -1), 0);
    }

    #[test]
    fn the_scale_is_lowered_until_the_values_fit_and_nothing_is_lost() {
        let histogram = Exponential::new(Shape { max_scale: 20, max_size: 160 });
        for value in 1..=1_000 {
            histogram.record(f64::from(value), 1);
        }
        histogram.record(0.0, 2);
        histogram.record(-5.0, 1);
        histogram.record(f64::NAN, 1);
        let value = histogram.read();
        assert_eq!((value.count, value.zero_count), (1_003, 2));
        assert_eq!(value.positive.counts.iter().sum::<u64>(), 1_000);
        assert_eq!(value.negative.counts.iter().sum::<u64>(), 1);
        assert!(value.positive.counts.len() <= 160);
        // With 16 buckets a doubling, 1 to 1000 would take 161, since 1 itself lies in the one below.
        assert_eq!(value.scale, 3);
        assert_eq!((value.min, value.max), (Some(-5.0), Some(1_000.0)));
    }

    #[test]
    fn parts_of_several_workers_are_added_up() {
        let histogram = Exponential::new(Shape { max_scale: 20, max_size: 20 });
        std::thread::scope(|scope| {
            for worker in 0..4_u32 {
                let histogram = &histogram;
                scope.spawn(move || {
                    for value in 0..1_000 {
                        histogram.record(f64::from(value + worker * 7 + 1), 1);
                    }
                });
            }
        });
        let value = histogram.read();
        assert_eq!(value.positive.counts.iter().sum::<u64>(), 4_000);
        assert!(value.positive.counts.len() <= 20);
    }

    #[test]
    fn what_came_since_is_the_difference_at_the_later_scale() {
        let histogram = Exponential::new(Shape { max_scale: 20, max_size: 4 });
        histogram.record(1.5, 3);
        let earlier = histogram.read();
        histogram.record(1_000.0, 2);
        histogram.record(1.5, 1);
        let since = histogram.read().since(&earlier);
        assert_eq!((since.count, since.sum), (3, 2_001.5));
        assert_eq!(since.positive.counts.iter().sum::<u64>(), 3);
        assert_eq!(since.positive.counts[0], 1);
    }
}
