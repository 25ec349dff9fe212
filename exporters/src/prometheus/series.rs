//! One series: what it is called, and what its data points have come to.

use super::exponential::Exponential;
use super::refusal::Refusal;
use millrace_formats::prometheus::{Exemplar, Kind};
use millrace_wire::view::{self, HistogramPoint, Number, NumberPoint, SummaryPoint};
use std::cmp::Ordering;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Instant;

/// Of the exemplars of one data point, so many of the latest are kept.
pub(super) const EXEMPLARS_MAX: usize = 64;

/// What is served of a metric besides its series.
#[derive(Debug)]
pub(super) struct Family {
    pub name: String,
    pub help: String,
    pub kind: Kind,
}

impl Family {
    /// Its memory, and that of the place where it is found by its name.
    pub(super) fn bytes(&self) -> usize {
        2 * (size_of::<Self>() + self.name.len()) + self.help.len()
    }
}

/// What tells a series from all others.
#[derive(Debug)]
pub(super) struct Identity {
    pub family: Arc<Family>,
    /// Sorted by name.
    pub labels: Box<[Label]>,
}

/// Name and value of a label.
pub(super) type Label = (Box<str>, Box<str>);

impl Identity {
    /// Its memory.
    pub(super) fn bytes(&self) -> usize {
        let texts = |(name, value): &Label| size_of::<Label>() + name.len() + value.len();
        size_of::<Self>() + self.labels.iter().map(texts).sum::<usize>()
    }

    /// The order in which the Go client library shows the series of a family.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let values = |one: &Self, two: &Self| {
            let both = one.labels.iter().zip(&two.labels);
            both.map(|((_, a), (_, b))| a.cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        self.labels.len().cmp(&other.labels.len()).then_with(|| values(self, other))
    }
}

/// A series that is served.
#[derive(Debug)]
pub(super) struct Series {
    pub identity: Arc<Identity>,
    pub state: State,
    /// When a data point last changed it.
    pub updated: Instant,
    /// What it is counted with.
    pub bytes: usize,
}

/// What the data points of a series have come to. Scrapes share the large ones with it for as long as they take.
#[derive(Debug, Clone)]
pub(super) enum State {
    Number(NumberState),
    Histogram(Arc<HistogramState>),
    Exponential(Arc<Exponential>),
    Summary(Arc<SummaryState>),
}

/// Of a gauge or a sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberState {
    pub value: Number,
    pub start_ns: u64,
    pub time_ns: u64,
    pub exemplar: Option<Exemplar>,
}

/// Of a histogram with fixed bounds.
#[derive(Debug, Clone, Default)]
pub(super) struct HistogramState {
    pub start_ns: u64,
    pub time_ns: u64,
    pub count: u64,
    pub sum: f64,
    pub bounds: Vec<f64>,
    pub counts: Vec<u64>,
    pub exemplars: Vec<Exemplar>,
}

/// Of a summary.
#[derive(Debug, Clone, Default)]
pub(super) struct SummaryState {
    pub start_ns: u64,
    pub time_ns: u64,
    pub count: u64,
    pub sum: f64,
    /// Ascending; of equal ones the last.
    pub quantiles: Vec<(f64, f64)>,
}

/// A data point, and how it relates to those before.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point<'a> {
    Gauge(NumberPoint<'a>),
    Sum(NumberPoint<'a>, Temporality),
    Histogram(HistogramPoint<'a>, Temporality),
    Exponential(view::ExponentialPoint<'a>, Temporality),
    Summary(SummaryPoint<'a>),
}

/// Whether values are added up by the sender or here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporality {
    Cumulative,
    Delta,
}

impl Temporality {
    pub(super) fn read(temporality: i32) -> Result<Self, Refusal> {
        match temporality {
            view::CUMULATIVE => Ok(Self::Cumulative),
            view::DELTA => Ok(Self::Delta),
            _ => Err(Refusal::Unsupported),
        }
    }
}

impl<'a> Point<'a> {
    pub(super) fn attributes(self) -> view::Attributes<'a> {
        match self {
            Self::Gauge(point) | Self::Sum(point, _) => point.attributes(),
            Self::Histogram(point, _) => point.attributes(),
            Self::Exponential(point, _) => point.attributes(),
            Self::Summary(point) => point.attributes(),
        }
    }

    /// Whether it says that the series has ended.
    pub(super) fn is_stale_marker(self) -> bool {
        const NO_RECORDED_VALUE: u32 = 1;
        let flags = match self {
            Self::Gauge(point) | Self::Sum(point, _) => point.flags(),
            Self::Histogram(point, _) => point.flags(),
            Self::Exponential(point, _) => point.flags(),
            Self::Summary(point) => point.flags(),
        };
        flags & NO_RECORDED_VALUE != 0
    }
}

impl State {
    /// The state after the first data point.
    pub(super) fn first(point: Point<'_>) -> Result<Self, Refusal> {
        Ok(match point {
            Point::Gauge(point) | Point::Sum(point, _) => Self::Number(NumberState::read(point)),
            Point::Histogram(point, _) => {
                let mut state = HistogramState::default();
                state.read(point)?;
                Self::Histogram(Arc::new(state))
            }
            Point::Exponential(point, _) => Self::Exponential(Arc::new(Exponential::read(point)?)),
            Point::Summary(point) => {
                let mut state = SummaryState::default();
                state.read(point);
                Self::Summary(Arc::new(state))
            }
        })
    }

    /// The state after a further one.
    pub(super) fn update(&mut self, point: Point<'_>) -> Result<(), Refusal> {
        match (self, point) {
            (Self::Number(state), Point::Gauge(point)) => state.replace(point),
            (Self::Number(state), Point::Sum(point, temporality)) => state.add(point, temporality),
            (Self::Histogram(state), Point::Histogram(point, temporality)) => {
                Arc::make_mut(state).add(point, temporality)
            }
            (Self::Exponential(state), Point::Exponential(point, temporality)) => {
                let next = state.after(point, temporality)?;
                *state = Arc::new(next);
                Ok(())
            }
            (Self::Summary(state), Point::Summary(point)) => {
                in_order(point.time_ns(), state.time_ns)?;
                Arc::make_mut(state).read(point);
                Ok(())
            }
            // The type of the data is part of what a series is found by.
            _ => Err(Refusal::TypeConflict),
        }
    }

    /// Its memory beside its own place.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Histogram(state) => {
                let HistogramState { bounds, counts, exemplars, .. } = &**state;
                size_of::<HistogramState>()
                    + size_of::<u64>() * (bounds.len() + counts.len())
                    + size_of::<Exemplar>() * exemplars.len()
            }
            Self::Exponential(state) => state.bytes(),
            Self::Summary(state) => {
                size_of::<SummaryState>() + size_of::<(f64, f64)>() * state.quantiles.len()
            }
        }
    }
}

/// A data point older than what is served has been overtaken.
pub(super) fn in_order(time_ns: u64, served_ns: u64) -> Result<(), Refusal> {
    if time_ns < served_ns { Err(Refusal::OutOfOrder) } else { Ok(()) }
}

impl NumberState {
    fn read(point: NumberPoint<'_>) -> Self {
        Self {
            value: point.value().unwrap_or(Number::Int(0)),
            start_ns: point.start_ns(),
            time_ns: point.time_ns(),
            exemplar: exemplars(point.exemplars()).last(),
        }
    }

    fn replace(&mut self, point: NumberPoint<'_>) -> Result<(), Refusal> {
        in_order(point.time_ns(), self.time_ns)?;
        *self = Self::read(point);
        Ok(())
    }

    /// What begins where the last one ended is added; anything else starts anew.
    fn add(&mut self, point: NumberPoint<'_>, temporality: Temporality) -> Result<(), Refusal> {
        let before = *self;
        self.replace(point)?;
        if temporality == Temporality::Delta && self.start_ns == before.time_ns {
            self.start_ns = before.start_ns;
            self.value = match (before.value, self.value) {
                (Number::Int(a), Number::Int(b)) => Number::Int(a.wrapping_add(b)),
                (a, b) => Number::Double(a.to_f64() + b.to_f64()),
            };
        }
        Ok(())
    }
}

impl HistogramState {
    fn read(&mut self, point: HistogramPoint<'_>) -> Result<(), Refusal> {
        if !point.explicit_bounds().is_sorted_by(|a, b| a < b) || point.explicit_bounds().any(f64::is_nan) {
            return Err(Refusal::Inconsistent);
        }
        self.start_ns = point.start_ns();
        self.time_ns = point.time_ns();
        self.count = point.count();
        self.sum = point.sum().unwrap_or_default();
        self.bounds.clear();
        self.bounds.extend(point.explicit_bounds());
        self.counts.clear();
        self.counts.extend(point.bucket_counts());
        self.exemplars.clear();
        self.exemplars.extend(latest(point.exemplars()));
        Ok(())
    }

    fn add(&mut self, point: HistogramPoint<'_>, temporality: Temporality) -> Result<(), Refusal> {
        let (start_ns, time_ns) = (point.start_ns(), point.time_ns());
        match temporality {
            Temporality::Cumulative => in_order(time_ns, self.time_ns)?,
            Temporality::Delta if start_ns == self.time_ns => return self.accumulate(point),
            // It begins in the middle of what has been added, or leaves a gap.
            Temporality::Delta if start_ns < self.time_ns => return Err(Refusal::Misaligned),
            Temporality::Delta => {}
        }
        self.read(point)
    }

    /// Adds what begins where the last one ended. Counts by other bounds cannot be added: they take the place.
    fn accumulate(&mut self, point: HistogramPoint<'_>) -> Result<(), Refusal> {
        let same_bounds = self.bounds.iter().copied().eq(point.explicit_bounds());
        let start_ns = self.start_ns;
        if same_bounds {
            let (count, sum) = (self.count, self.sum);
            let counts = std::mem::take(&mut self.counts);
            self.read(point)?;
            self.count = self.count.saturating_add(count);
            self.sum += sum;
            for (total, before) in self.counts.iter_mut().zip(counts) {
                *total = total.saturating_add(before);
            }
        } else {
            self.read(point)?;
        }
        self.start_ns = start_ns;
        Ok(())
    }
}

impl SummaryState {
    fn read(&mut self, point: SummaryPoint<'_>) {
        self.start_ns = point.start_ns();
        self.time_ns = point.time_ns();
        self.count = point.count();
        self.sum = point.sum();
        self.quantiles.clear();
        self.quantiles.extend(point.quantile_values().map(|at| (at.quantile(), at.value())));
        // Stable, so that of equal quantiles the last one given comes first when reversed.
        self.quantiles.reverse();
        self.quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.quantiles.dedup_by(|a, b| a.0 == b.0);
    }
}

pub(super) fn exemplars<'a>(
    exemplars: impl Iterator<Item = view::Exemplar<'a>>,
) -> impl Iterator<Item = Exemplar> {
    exemplars.map(|exemplar| Exemplar {
        value: exemplar.value().map_or(0.0, Number::to_f64),
        time_ns: exemplar.time_ns(),
        trace_id: exemplar.trace_id().filter(|id| *id != [0; 16]),
        span_id: exemplar.span_id().filter(|id| *id != [0; 8]),
    })
}

/// The last ones, in order.
pub(super) fn latest<'a>(
    all: impl Iterator<Item = view::Exemplar<'a>> + Clone,
) -> impl Iterator<Item = Exemplar> {
    let count = all.clone().count();
    exemplars(all.skip(count.saturating_sub(EXEMPLARS_MAX)))
}
