//! The registry: all series of the process, by metric and labels.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::instrument::Cells;
use super::{Counter, CounterF64, Def, Gauge, Histogram, Kind, Labels, Level, UpDown};

/// How many series a metric may have, unless the registry says otherwise. As in the OpenTelemetry SDKs.
pub const DEFAULT_SERIES_LIMIT: usize = 2000;

/// The label of the one series that stands for all that are over the limit.
const OVERFLOW_LABEL: &str = "otel.metric.overflow";

type Observer = Arc<dyn Fn() -> f64 + Send + Sync>;

/// All metrics of the process. A clone is the same registry.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    level: Level,
    series_limit: usize,
    resource: Labels,
    next_observer: AtomicU64,
    families: Mutex<BTreeMap<&'static str, Family>>,
}

struct Family {
    def: &'static Def,
    series: HashMap<Labels, Series>,
}

#[derive(Default)]
struct Series {
    cells: Option<Arc<Cells>>,
    /// Those who are asked when the metric is read, by the number they were registered under.
    observers: Vec<(u64, Observer)>,
}

/// What a metric holds at one moment.
#[derive(Debug, Clone)]
pub struct FamilySnapshot {
    /// The definition.
    pub def: &'static Def,
    /// The series that have been touched, in no particular order; never empty.
    pub series: Vec<SeriesSnapshot>,
}

/// What a series holds at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSnapshot {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: Value,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of all kinds but histograms.
    Number(f64),
    /// Of histograms.
    Histogram {
        /// Upper bounds, inclusive.
        bounds: &'static [f64],
        /// Values per bucket (not cumulative), one more than there are bounds.
        counts: Vec<u64>,
        /// The sum of all values.
        sum: f64,
    },
}

/// Keeps an observed series registered; dropping it takes the series away.
///
/// A reading that is under way on another thread may still call the observer once after the drop.
#[must_use = "dropping it takes the series away"]
#[derive(Default)]
pub struct Registration(Option<(Weak<Inner>, &'static str, Labels, u64)>);

impl Registry {
    /// An empty registry that collects up to `level`, with at most [`DEFAULT_SERIES_LIMIT`] series per metric.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self::build(level, Labels::new(), DEFAULT_SERIES_LIMIT)
    }

    /// An empty registry of a process that is described by `resource` (`service.name` and so on).
    #[must_use]
    pub fn with_resource(level: Level, resource: Labels) -> Self {
        Self::build(level, resource, DEFAULT_SERIES_LIMIT)
    }

    /// As [`with_resource`](Self::with_resource), with at most `series_limit` series per metric; at least one.
    #[must_use]
    pub fn build(level: Level, resource: Labels, series_limit: usize) -> Self {
        let inner = Inner {
            level,
            series_limit: series_limit.max(1),
            resource,
            next_observer: AtomicU64::new(0),
            families: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Up to which level metrics are collected. Some series have more labels at [`Level::Detailed`].
    #[must_use]
    pub fn level(&self) -> Level {
        self.inner.level
    }

    /// What describes this process.
    #[must_use]
    pub fn resource(&self) -> &Labels {
        &self.inner.resource
    }

    /// The counter of that definition and labels, made on first use.
    #[must_use]
    pub fn counter(&self, def: &'static Def, labels: &Labels) -> Counter {
        Counter(self.cells(def, Kind::Counter, labels))
    }

    /// The counter of fractions of that definition and labels, made on first use.
    #[must_use]
    pub fn counter_f64(&self, def: &'static Def, labels: &Labels) -> CounterF64 {
        CounterF64(self.cells(def, Kind::CounterF64, labels))
    }

    /// The up-down counter of that definition and labels, made on first use.
    #[must_use]
    pub fn updown(&self, def: &'static Def, labels: &Labels) -> UpDown {
        UpDown(self.cells(def, Kind::UpDown, labels))
    }

    /// The gauge of that definition and labels, made on first use.
    #[must_use]
    pub fn gauge(&self, def: &'static Def, labels: &Labels) -> Gauge {
        Gauge(self.cells(def, Kind::Gauge, labels))
    }

    /// The histogram of that definition and labels, made on first use.
    #[must_use]
    pub fn histogram(&self, def: &'static Def, labels: &Labels) -> Histogram {
        Histogram(self.cells(def, Kind::Histogram, labels))
    }

    /// Asks `observer` for the value whenever the metrics are read, until the registration is dropped.
    ///
    /// `observer` must be quick and must not block. While it answers NaN the series is not exposed. Where several are
    /// registered for the same series (around a reload), counters are summed and of gauges the latest counts.
    pub fn observe(
        &self,
        def: &'static Def,
        labels: &Labels,
        observer: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Registration {
        debug_assert!(def.kind != Kind::Histogram, "{} is a histogram, which cannot be observed", def.name);
        if self.inner.is_filtered(def) || def.kind == Kind::Histogram {
            return Registration(None);
        }
        let number = self.inner.next_observer.fetch_add(1, Ordering::Relaxed);
        let mut families = self.inner.families();
        let (labels, series) = self.inner.series(&mut families, def, labels);
        series.observers.push((number, Arc::new(observer)));
        Registration(Some((Arc::downgrade(&self.inner), def.name, labels, number)))
    }

    /// Takes a series away, for labels that stand for something that comes and goes (an endpoint, a topic). Handles
    /// that are still held count on, unseen.
    pub fn remove(&self, def: &'static Def, labels: &Labels) {
        // Dropped without the lock: what an observer holds may use the registry when it goes.
        let _removed =
            self.inner.families().get_mut(def.name).and_then(|family| family.series.remove(labels));
    }

    /// What all touched series hold now, by name of the metric.
    #[must_use]
    pub fn snapshot(&self) -> Vec<FamilySnapshot> {
        // Observers run without the lock, so that one that is slow, or that uses the registry, holds nobody up.
        let read: Vec<_> = {
            let families = self.inner.families();
            families
                .values()
                .map(|family| {
                    let series = family.series.iter().map(|(labels, series)| {
                        let observers: Vec<Observer> =
                            series.observers.iter().map(|(_, observer)| Arc::clone(observer)).collect();
                        (labels.clone(), series.cells.clone(), observers)
                    });
                    (family.def, series.collect::<Vec<_>>())
                })
                .collect()
        };
        let families = read.into_iter().map(|(def, series)| {
            let series = series.into_iter().filter_map(|(labels, cells, observers)| {
                let value = value(def, cells.as_deref(), &observers)?;
                Some(SeriesSnapshot { labels, value })
            });
            FamilySnapshot { def, series: series.collect() }
        });
        families.filter(|family| !family.series.is_empty()).collect()
    }

    fn cells(&self, def: &'static Def, kind: Kind, labels: &Labels) -> Option<Arc<Cells>> {
        debug_assert!(def.kind == kind, "{} is a {:?}, not a {kind:?}", def.name, def.kind);
        if self.inner.is_filtered(def) || def.kind != kind {
            return None;
        }
        let mut families = self.inner.families();
        let (_, series) = self.inner.series(&mut families, def, labels);
        Some(Arc::clone(series.cells.get_or_insert_with(|| Arc::new(Cells::new(def.kind, def.bounds)))))
    }
}

impl Inner {
    fn is_filtered(&self, def: &Def) -> bool {
        self.level == Level::None || def.level > self.level
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        // Every change under the lock is complete before anything can panic.
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series of those labels or, if it would be one too many, the one that stands for the rest.
    fn series<'a>(
        &self,
        families: &'a mut BTreeMap<&'static str, Family>,
        def: &'static Def,
        labels: &Labels,
    ) -> (Labels, &'a mut Series) {
        let family = families.entry(def.name).or_insert_with(|| Family { def, series: HashMap::new() });
        debug_assert!(family.def == def, "two definitions of {}", def.name);
        let is_over = !family.series.contains_key(labels) && family.series.len() + 1 >= self.series_limit;
        let labels = if is_over { Labels::from([(OVERFLOW_LABEL, "true")]) } else { labels.clone() };
        let series = family.series.entry(labels.clone()).or_default();
        (labels, series)
    }
}

fn value(def: &Def, cells: Option<&Cells>, observers: &[Observer]) -> Option<Value> {
    let own = cells.and_then(Cells::read);
    if let Some(Value::Histogram { .. }) = own {
        return own;
    }
    let own = own.and_then(|value| match value {
        Value::Number(number) => Some(number),
        Value::Histogram { .. } => None,
    });
    let observed = observers.iter().map(|observer| observer()).filter(|value| !value.is_nan());
    let numbers = own.into_iter().chain(observed);
    let number =
        if def.kind == Kind::Gauge { numbers.last() } else { numbers.reduce(|sum, next| sum + next) };
    number.map(Value::Number)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some((inner, name, labels, number)) = self.0.take() else { return };
        let Some(inner) = inner.upgrade() else { return };
        let removed = {
            let mut families = inner.families();
            let Some(family) = families.get_mut(name) else { return };
            let Some(series) = family.series.get_mut(&labels) else { return };
            let at = series.observers.iter().position(|(known, _)| *known == number);
            let removed = at.map(|at| series.observers.remove(at));
            if series.observers.is_empty() && series.cells.is_none() {
                family.series.remove(&labels);
            }
            removed
        };
        // What the observer holds may register or unregister metrics when dropped: not under the lock.
        drop(removed);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("level", &self.inner.level).finish_non_exhaustive()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let series = self.0.as_ref().map(|(_, name, labels, _)| (name, labels));
        f.debug_tuple("Registration").field(&series).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ACCEPTED: Def = Def::counter("accepted", "", "");
    static SIZE: Def = Def::gauge("size", "", "");
    static DETAIL: Def = Def::counter("detail", "", "").at(Level::Detailed);
    static UPTIME: Def = Def::counter_f64("uptime", "", "s");

    fn numbers(registry: &Registry, def: &Def) -> Vec<(Labels, f64)> {
        let families = registry.snapshot();
        let series = families.into_iter().filter(|family| family.def == def).flat_map(|family| family.series);
        let mut numbers: Vec<_> = series
            .map(|series| match series.value {
                Value::Number(number) => (series.labels, number),
                Value::Histogram { .. } => panic!("not a number"),
            })
            .collect();
        numbers.sort_by(|a, b| a.0.cmp(&b.0));
        numbers
    }

    #[test]
    fn the_same_definition_and_labels_are_the_same_series() {
        let registry = Registry::new(Level::Normal);
        let labels = Labels::from([("receiver", "otlp")]);

        registry.counter(&ACCEPTED, &labels).add(2);
        registry.clone().counter(&ACCEPTED, &labels).add(3);

        assert_eq!(numbers(&registry, &ACCEPTED), [(labels, 5.0)]);
    }

    #[test]
    fn a_series_appears_with_its_first_add_even_of_nothing() {
        let registry = Registry::new(Level::Normal);
        let counter = registry.counter(&ACCEPTED, &Labels::new());
        assert!(registry.snapshot().is_empty());

        counter.add(0);

        assert_eq!(numbers(&registry, &ACCEPTED), [(Labels::new(), 0.0)]);
    }

    #[test]
    fn metrics_above_the_level_are_not_collected() {
        let registry = Registry::new(Level::Normal);
        let detail = registry.counter(&DETAIL, &Labels::new());
        detail.add(1);
        assert!(!detail.is_active());
        assert!(registry.snapshot().is_empty());

        let off = Registry::new(Level::None);
        assert!(!off.counter(&ACCEPTED, &Labels::new()).is_active());
        let _kept = off.observe(&SIZE, &Labels::new(), || 1.0);
        assert!(off.snapshot().is_empty());
    }

    #[test]
    fn series_over_the_limit_are_counted_in_one() {
        let registry = Registry::build(Level::Normal, Labels::new(), 3);
        for tenant in 0..10 {
            registry.counter(&ACCEPTED, &Labels::new().with("tenant", tenant.to_string())).add(1);
        }
        registry.counter(&ACCEPTED, &Labels::from([("tenant", "1")])).add(1);

        let expected = [
            (Labels::from([(OVERFLOW_LABEL, "true")]), 8.0),
            (Labels::from([("tenant", "0")]), 1.0),
            (Labels::from([("tenant", "1")]), 2.0),
        ];
        assert_eq!(numbers(&registry, &ACCEPTED), expected);
    }

    #[test]
    fn an_observed_series_lives_as_long_as_its_registration() {
        let registry = Registry::new(Level::Normal);
        let first = registry.observe(&SIZE, &Labels::new(), || 1.0);
        let second = registry.observe(&SIZE, &Labels::new(), || 2.0);
        assert_eq!(numbers(&registry, &SIZE), [(Labels::new(), 2.0)]);

        drop(second);
        assert_eq!(numbers(&registry, &SIZE), [(Labels::new(), 1.0)]);

        drop(first);
        assert!(registry.snapshot().is_empty());
    }

    #[test]
    fn observed_counters_of_the_same_series_are_summed_and_absent_ones_left_out() {
        let registry = Registry::new(Level::Normal);
        let _one = registry.observe(&UPTIME, &Labels::new(), || 1.5);
        let _two = registry.observe(&UPTIME, &Labels::new(), || 2.0);
        let _absent = registry.observe(&UPTIME, &Labels::new(), || f64::NAN);
        assert_eq!(numbers(&registry, &UPTIME), [(Labels::new(), 3.5)]);
    }

    #[test]
    fn an_observer_may_use_the_registry() {
        let registry = Registry::new(Level::Normal);
        let counter_registry = Registry::clone(&registry);
        let kept = registry.observe(&SIZE, &Labels::new(), move || {
            counter_registry.counter(&ACCEPTED, &Labels::new()).value() as f64
        });
        registry.counter(&ACCEPTED, &Labels::new()).add(7);
        assert_eq!(numbers(&registry, &SIZE), [(Labels::new(), 7.0)]);
        drop(kept);
    }

    #[test]
    fn a_removed_series_is_gone_and_starts_again_from_nothing() {
        let registry = Registry::new(Level::Normal);
        let labels = Labels::from([("endpoint", "a")]);
        let old = registry.counter(&ACCEPTED, &labels);
        old.add(5);
        registry.remove(&ACCEPTED, &labels);
        old.add(1);
        assert!(registry.snapshot().is_empty());
        registry.counter(&ACCEPTED, &labels).add(1);
        assert_eq!(numbers(&registry, &ACCEPTED), [(labels, 1.0)]);
    }

    #[test]
    fn concurrent_registration_and_adding_lose_nothing() {
        let registry = Registry::new(Level::Normal);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..1_000_u64 {
                        let labels = Labels::new().with("shard", (round % 7).to_string());
                        registry.counter(&ACCEPTED, &labels).add(round);
                    }
                });
            }
        });
        let total: f64 = numbers(&registry, &ACCEPTED).iter().map(|(_, value)| value).sum();
        assert_eq!(total, 8.0 * (0..1_000).sum::<u64>() as f64);
    }
}
