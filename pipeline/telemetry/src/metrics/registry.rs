//! The registry: all series of the process, by metric and labels.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use super::exponential::Side;
use super::instrument::Cells;
use super::view::{self, Stream};
use super::{Counter, CounterF64, Def, Gauge, Histogram, Kind, Labels, Level, UpDown};
use crate::config::Resource;
use crate::config::views::View;
use crate::trace::Tracer;

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
    resource: Resource,
    next_observer: AtomicU64,
    views: Vec<View>,
    started: SystemTime,
    tracer: OnceLock<Tracer>,
    families: Mutex<BTreeMap<&'static str, Family>>,
}

struct Family {
    def: &'static Def,
    /// The ways in which it is shown; none if a view drops it.
    streams: Arc<[Stream]>,
    is_observed: bool,
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
    /// The name, which a view may have changed.
    pub name: Cow<'static, str>,
    /// The description, without the stability; a view may have changed it.
    pub help: Cow<'static, str>,
    /// What is counted and how; a view may have changed it.
    pub kind: Kind,
    /// Whether the values are read when somebody asks for them.
    pub is_observed: bool,
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
        bounds: Arc<[f64]>,
        /// Values per bucket (not cumulative), one more than there are bounds.
        counts: Vec<u64>,
        /// The sum of all values.
        sum: f64,
        /// The least value, where it is wanted.
        min: Option<f64>,
        /// The greatest value, where it is wanted.
        max: Option<f64>,
    },
    /// Of histograms whose buckets follow the values.
    Exponential(Box<Exponential>),
}

/// The value of a histogram with base-2 exponential buckets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exponential {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least value, where it is wanted.
    pub min: Option<f64>,
    /// The greatest value, where it is wanted.
    pub max: Option<f64>,
    /// The base of the buckets is `2^(2^-scale)`.
    pub scale: i32,
    /// How many values were zero.
    pub zero_count: u64,
    /// The values above zero.
    pub positive: Side,
    /// The values below zero, by magnitude.
    pub negative: Side,
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
        Self::build(level, Resource::default(), Vec::new(), DEFAULT_SERIES_LIMIT)
    }

    /// An empty registry of a process that is described by `resource` (`service.name` and so on).
    #[must_use]
    pub fn with_resource(level: Level, resource: impl Into<Resource>) -> Self {
        Self::build(level, resource.into(), Vec::new(), DEFAULT_SERIES_LIMIT)
    }

    /// As [`with_resource`](Self::with_resource), with views and at most `series_limit` series per metric; at least
    /// one.
    #[must_use]
    pub fn build(level: Level, resource: Resource, views: Vec<View>, series_limit: usize) -> Self {
        let inner = Inner {
            level,
            series_limit: series_limit.max(1),
            resource,
            next_observer: AtomicU64::new(0),
            views,
            started: SystemTime::now(),
            tracer: OnceLock::new(),
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
    pub fn resource(&self) -> &Resource {
        &self.inner.resource
    }

    /// Who makes spans of the process's own work; nobody unless [`trace_with`](Self::trace_with) was called before.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.inner.tracer.get().cloned().unwrap_or_default()
    }

    /// Has spans made from now on; before any component asks. The first call counts.
    pub fn trace_with(&self, tracer: Tracer) {
        // A second tracer would have buffers of its own, which nobody would know of.
        let _ = self.inner.tracer.set(tracer);
    }

    /// Since when values count.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.inner.started
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
        let Some((labels, series, _)) = self.inner.series(&mut families, def, labels, true) else {
            return Registration(None);
        };
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

    /// Takes away the series that `of` selects and that nobody can change any more: all handles are gone, and nobody is
    /// asked for their values.
    pub fn forget(&self, of: impl Fn(&Labels) -> bool) {
        let is_used = |series: &Series| {
            let has_handles = series.cells.as_ref().is_some_and(|cells| Arc::strong_count(cells) > 1);
            has_handles || !series.observers.is_empty()
        };
        for family in self.inner.families().values_mut() {
            family.series.retain(|labels, series| is_used(series) || !of(labels));
        }
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
                    (family.def, Arc::clone(&family.streams), family.is_observed, series.collect::<Vec<_>>())
                })
                .collect()
        };
        let families = read.into_iter().flat_map(|(def, streams, is_observed, series)| {
            // Asked once, however many ways there are to show it.
            let observed: Vec<Option<f64>> =
                series.iter().map(|(_, _, observers)| combined(def, observers)).collect();
            let shown = streams.iter().enumerate().map(|(way, stream)| {
                let values = series.iter().zip(&observed).filter_map(|((labels, cells, _), observed)| {
                    let value = shown(value(def, cells.as_deref(), *observed, way)?, stream);
                    Some(SeriesSnapshot { labels: labels.clone(), value })
                });
                FamilySnapshot {
                    def,
                    name: stream.name.clone(),
                    help: stream.help.clone(),
                    kind: stream.kind,
                    is_observed,
                    series: joined(values, stream),
                }
            });
            shown.collect::<Vec<_>>()
        });
        families.filter(|family| !family.series.is_empty()).collect()
    }

    fn cells(&self, def: &'static Def, kind: Kind, labels: &Labels) -> Option<Arc<Cells>> {
        debug_assert!(def.kind == kind, "{} is a {:?}, not a {kind:?}", def.name, def.kind);
        if self.inner.is_filtered(def) || def.kind != kind {
            return None;
        }
        let mut families = self.inner.families();
        let (_, series, streams) = self.inner.series(&mut families, def, labels, false)?;
        Some(Arc::clone(series.cells.get_or_insert_with(|| Arc::new(Cells::new(def.kind, &streams)))))
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

    /// The series of those labels or, if it would be one too many, the one that stands for the rest; none if a view
    /// drops the metric.
    fn series<'a>(
        &self,
        families: &'a mut BTreeMap<&'static str, Family>,
        def: &'static Def,
        labels: &Labels,
        is_observed: bool,
    ) -> Option<(Labels, &'a mut Series, Arc<[Stream]>)> {
        let family = families.entry(def.name).or_insert_with(|| Family {
            def,
            streams: view::streams(&self.views, def, is_observed).into(),
            is_observed,
            series: HashMap::new(),
        });
        debug_assert!(family.def == def, "two definitions of {}", def.name);
        let is_over = !family.series.contains_key(labels) && family.series.len() + 1 >= self.series_limit;
        let labels = if is_over { Labels::from([(OVERFLOW_LABEL, "true")]) } else { labels.clone() };
        if family.streams.is_empty() {
            return None;
        }
        let series = family.series.entry(labels.clone()).or_default();
        Some((labels, series, Arc::clone(&family.streams)))
    }
}

/// What the observers of one series say together.
fn combined(def: &Def, observers: &[Observer]) -> Option<f64> {
    let mut numbers = observers.iter().map(|observer| observer()).filter(|value| !value.is_nan());
    if def.kind == Kind::Gauge { numbers.next_back() } else { numbers.reduce(|sum, next| sum + next) }
}

fn value(def: &Def, cells: Option<&Cells>, observed: Option<f64>, way: usize) -> Option<Value> {
    match (cells.and_then(|cells| cells.read(way)), observed) {
        (Some(Value::Number(own)), Some(observed)) if def.kind != Kind::Gauge => {
            Some(Value::Number(own + observed))
        }
        (own, None) => own,
        (_, Some(observed)) => Some(Value::Number(observed)),
    }
}

/// A value in the way that a view wants it.
fn shown(value: Value, stream: &Stream) -> Value {
    let as_number = stream.kind != Kind::Histogram;
    match value {
        Value::Histogram { sum, .. } if as_number => Value::Number(sum),
        Value::Exponential(value) if as_number => Value::Number(value.sum),
        Value::Histogram { bounds, counts, sum, .. } if !stream.with_min_max => {
            Value::Histogram { bounds, counts, sum, min: None, max: None }
        }
        Value::Exponential(value) if !stream.with_min_max => {
            Value::Exponential(Box::new(Exponential { min: None, max: None, ..*value }))
        }
        value => value,
    }
}

/// The series without the labels that a view leaves out. Those that no longer differ become one.
fn joined(series: impl Iterator<Item = SeriesSnapshot>, stream: &Stream) -> Vec<SeriesSnapshot> {
    let Some(keys) = &stream.keys else { return series.collect() };
    let mut joined: BTreeMap<Labels, Value> = BTreeMap::new();
    for SeriesSnapshot { labels, value } in series {
        let kept = labels.iter().filter(|(name, _)| keys.takes(name));
        let kept = kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        match joined.entry(kept) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(mut entry) => entry.get_mut().join(value, stream.kind),
        }
    }
    joined.into_iter().map(|(labels, value)| SeriesSnapshot { labels, value }).collect()
}

impl Value {
    fn join(&mut self, other: Self, kind: Kind) {
        match (self, other) {
            (Self::Number(mine), Self::Number(other)) if kind == Kind::Gauge => *mine = other,
            (Self::Number(mine), Self::Number(other)) => *mine += other,
            (
                Self::Histogram { counts, sum, min, max, .. },
                Self::Histogram { counts: theirs, sum: more, min: less, max: greater, .. },
            ) => {
                counts.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
                *sum += more;
                *min = min.iter().copied().chain(less).reduce(f64::min);
                *max = max.iter().copied().chain(greater).reduce(f64::max);
            }
            (Self::Exponential(mine), Self::Exponential(theirs)) => {
                let size = [&mine.positive, &mine.negative, &theirs.positive, &theirs.negative];
                let size = size.into_iter().map(|side| side.counts.len()).max().unwrap_or(0);
                mine.add(*theirs, size);
            }
            // All series of a metric are of one kind.
            _ => debug_assert!(false, "a metric has two kinds"),
        }
    }
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
mod tests;
