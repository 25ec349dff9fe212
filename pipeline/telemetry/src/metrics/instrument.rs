//! Handles on one series. All are cheap to clone, and inert when the metric is above the registry's level.

use std::sync::Arc;

use super::Kind;
use super::exponential::Exponential;
use super::view::{Buckets, Stream};
use crate::shard::Sharded;

/// The cell that says that the series has been touched, in all but histograms.
const TOUCHED: usize = 1;
/// The cell that holds the value, in all but histograms.
const VALUE: usize = 0;

/// What a series holds; how the cells are used follows from the kind.
pub(super) struct Cells {
    cells: Sharded,
    kind: Kind,
    /// Of histograms, one for each way in which they are shown.
    histograms: Box<[Histograms]>,
}

/// The values of a histogram, by bucket.
enum Histograms {
    Explicit(Explicit),
    Exponential(Exponential),
}

struct Explicit {
    cells: Sharded,
    bounds: Arc<[f64]>,
}

impl Cells {
    pub(super) fn new(kind: Kind, streams: &[Stream]) -> Self {
        let cells = match kind {
            Kind::Counter | Kind::CounterF64 | Kind::UpDown => Sharded::new(2),
            Kind::Gauge | Kind::Histogram => Sharded::single(2),
        };
        let histograms =
            streams.iter().filter_map(|stream| stream.buckets.as_ref()).map(|buckets| match buckets {
                Buckets::Explicit(bounds) => Histograms::Explicit(Explicit::new(Arc::clone(bounds))),
                Buckets::Exponential(shape) => Histograms::Exponential(Exponential::new(*shape)),
            });
        Self { cells, kind, histograms: histograms.collect() }
    }

    fn touch(&self) {
        if self.cells.load(TOUCHED) == 0 {
            self.cells.store(TOUCHED, 1);
        }
    }

    /// What the series holds now, shown in the way of that number, or nothing if it has never been touched.
    pub(super) fn read(&self, way: usize) -> Option<super::Value> {
        if self.kind == Kind::Histogram {
            return match self.histograms.get(way)? {
                Histograms::Explicit(explicit) => explicit.read(),
                Histograms::Exponential(exponential) => {
                    let value = exponential.read();
                    (value.count > 0).then(|| super::Value::Exponential(Box::new(value)))
                }
            };
        }
        let number = |value| super::Value::Number(value);
        self.cells.any(TOUCHED).then(|| match self.kind {
            Kind::Counter => number(self.cells.sum(VALUE) as f64),
            Kind::UpDown => number(self.cells.sum(VALUE).cast_signed() as f64),
            Kind::CounterF64 | Kind::Gauge | Kind::Histogram => number(self.cells.sum_f64(VALUE)),
        })
    }
}

/// One cell per bucket, one for what is over the last bound, then the sum, the least and the greatest value.
impl Explicit {
    fn new(bounds: Arc<[f64]>) -> Self {
        Self { cells: Sharded::new(bounds.len() + 4), bounds }
    }

    fn sum_cell(&self) -> usize {
        self.bounds.len() + 1
    }

    fn record(&self, value: f64, count: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.cells.add_f64(self.sum_cell(), value * count as f64);
        self.cells.extreme(self.sum_cell() + 1, value, |known| value < known);
        self.cells.extreme(self.sum_cell() + 2, value, |known| value > known);
        self.cells.add(bucket, count);
    }

    fn count(&self) -> u64 {
        (0..=self.bounds.len()).map(|bucket| self.cells.sum(bucket)).sum()
    }

    fn read(&self) -> Option<super::Value> {
        let counts: Vec<u64> = (0..=self.bounds.len()).map(|bucket| self.cells.sum(bucket)).collect();
        let touched = counts.iter().any(|count| *count != 0);
        touched.then(|| super::Value::Histogram {
            bounds: Arc::clone(&self.bounds),
            counts,
            sum: self.cells.sum_f64(self.sum_cell()),
            min: self.cells.extremes(self.sum_cell() + 1).reduce(f64::min),
            max: self.cells.extremes(self.sum_cell() + 2).reduce(f64::max),
        })
    }
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default)]
        pub struct $name(pub(super) Option<Arc<Cells>>);

        impl $name {
            /// A handle that ignores what it is told.
            #[must_use]
            pub const fn inert() -> Self {
                Self(None)
            }

            /// Whether anything is recorded; lets callers skip the work of computing what to record.
            #[must_use]
            pub const fn is_active(&self) -> bool {
                self.0.is_some()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let value = self.0.as_ref().and_then(|cells| cells.read(0));
                f.debug_tuple(stringify!($name)).field(&value).finish()
            }
        }
    };
}

handle! {
    /// Counts whole things.
    Counter
}
handle! {
    /// Sums fractions, such as seconds.
    CounterF64
}
handle! {
    /// A count that goes up and down.
    UpDown
}
handle! {
    /// A number that is set.
    Gauge
}
handle! {
    /// Numbers by bucket.
    Histogram
}

impl Counter {
    /// Adds; adding 0 makes the series appear.
    #[inline]
    pub fn add(&self, count: u64) {
        if let Some(cells) = &self.0 {
            cells.cells.add(VALUE, count);
            cells.touch();
        }
    }

    /// What has been counted so far; 0 for an inert handle.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.as_ref().map_or(0, |cells| cells.cells.sum(VALUE))
    }
}

impl CounterF64 {
    /// Adds; negative amounts and what is not a number are ignored.
    #[inline]
    pub fn add(&self, amount: f64) {
        if let Some(cells) = &self.0
            && amount >= 0.0
        {
            cells.cells.add_f64(VALUE, amount);
            cells.touch();
        }
    }

    /// What has been summed so far; 0 for an inert handle.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |cells| cells.cells.sum_f64(VALUE))
    }
}

impl UpDown {
    /// Adds or, with a negative amount, takes away.
    #[inline]
    pub fn add(&self, amount: i64) {
        if let Some(cells) = &self.0 {
            cells.cells.add(VALUE, amount.cast_unsigned());
            cells.touch();
        }
    }

    /// What is left of what was added; 0 for an inert handle.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.as_ref().map_or(0, |cells| cells.cells.sum(VALUE).cast_signed())
    }
}

impl Gauge {
    /// Sets the number.
    #[inline]
    pub fn set(&self, value: f64) {
        if let Some(cells) = &self.0 {
            cells.cells.store(VALUE, value.to_bits());
            cells.touch();
        }
    }

    /// What was last set; 0 for an inert handle.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |cells| cells.cells.sum_f64(VALUE))
    }
}

impl Histogram {
    /// Records one value; what is not a number is ignored.
    #[inline]
    pub fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    /// Records the same value `count` times.
    pub fn record_many(&self, value: f64, count: u64) {
        let Some(cells) = &self.0 else { return };
        if value.is_nan() || count == 0 {
            return;
        }
        for histogram in &cells.histograms {
            match histogram {
                Histograms::Explicit(explicit) => explicit.record(value, count),
                Histograms::Exponential(exponential) => exponential.record(value, count),
            }
        }
    }

    /// How many values have been recorded; 0 for an inert handle.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.as_ref().and_then(|cells| cells.histograms.first()).map_or(0, |histogram| match histogram {
            Histograms::Explicit(explicit) => explicit.count(),
            Histograms::Exponential(exponential) => exponential.read().count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Def, Labels, Level, Registry, Value};
    use super::*;

    static SIZES: Def = Def::histogram("sizes", "", "").with_bounds(&[1.0, 10.0]);

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let registry = Registry::new(Level::Basic);
        let sizes = registry.histogram(&SIZES, &Labels::new());

        for value in [0.5, 1.0, 1.5, 10.0, 11.0, f64::INFINITY, f64::NAN] {
            sizes.record(value);
        }
        sizes.record_many(2.0, 3);

        let cells = sizes.0.as_ref().expect("the level is enough");
        let Some(Value::Histogram { counts, sum, min, max, .. }) = cells.read(0) else {
            panic!("a histogram")
        };
        assert_eq!(counts, [2, 5, 2]);
        assert_eq!(sum, f64::INFINITY);
        assert_eq!((min, max), (Some(0.5), Some(f64::INFINITY)));
        assert_eq!(sizes.count(), 9);
    }

    #[test]
    fn inert_handles_ignore_what_they_are_told() {
        let counter = Counter::inert();
        counter.add(5);
        assert_eq!(counter.value(), 0);
        assert!(!counter.is_active());
        Histogram::inert().record(1.0);
        Gauge::inert().set(1.0);
        UpDown::inert().add(-1);
        CounterF64::inert().add(1.0);
    }

    #[test]
    fn a_float_counter_never_shrinks() {
        let registry = Registry::new(Level::Basic);
        static SECONDS: Def = Def::counter_f64("seconds", "", "s");
        let seconds = registry.counter_f64(&SECONDS, &Labels::new());
        seconds.add(1.5);
        seconds.add(-1.0);
        seconds.add(f64::NAN);
        assert_eq!(seconds.value(), 1.5);
    }
}
