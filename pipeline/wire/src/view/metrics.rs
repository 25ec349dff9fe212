//! Metrics of the five kinds (`metrics.proto`).

use super::field::Field;
use super::{
    Attributes, ExponentialPoint, HistogramPoint, NumberPoint, Repeated, Resource, Scope, SummaryPoint, Text,
    payload_view, views,
};
use crate::Signal;

/// `AGGREGATION_TEMPORALITY_DELTA`.
pub const DELTA: i32 = 1;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
pub const CUMULATIVE: i32 = 2;

views! {
    /// An export request of metrics.
    Metrics;
    /// A `ResourceMetrics`.
    ResourceMetrics;
    /// A `ScopeMetrics`.
    ScopeMetrics;
    /// A `Metric`.
    Metric;
    /// A `Gauge`.
    Gauge;
    /// A `Sum`.
    Sum;
    /// A `Histogram`.
    Histogram;
    /// An `ExponentialHistogram`.
    ExponentialHistogram;
    /// A `Summary`.
    Summary;
}
payload_view!(Metrics, Signal::Metrics);

impl<'a> Metrics<'a> {
    /// `resource_metrics`.
    #[must_use]
    pub fn resource_metrics(self) -> Repeated<'a, ResourceMetrics<'a>> {
        self.message.repeated(1)
    }
}

impl<'a> ResourceMetrics<'a> {
    /// `resource`.
    #[must_use]
    pub fn resource(self) -> Resource<'a> {
        self.message.message(1)
    }

    /// `scope_metrics`.
    #[must_use]
    pub fn scope_metrics(self) -> Repeated<'a, ScopeMetrics<'a>> {
        self.message.repeated(2)
    }

    /// `schema_url`, of the resource.
    #[must_use]
    pub fn schema_url(self) -> Text<'a> {
        self.message.text(3)
    }
}

impl<'a> ScopeMetrics<'a> {
    /// `scope`.
    #[must_use]
    pub fn scope(self) -> Scope<'a> {
        self.message.message(1)
    }

    /// `metrics`.
    #[must_use]
    pub fn metrics(self) -> Repeated<'a, Metric<'a>> {
        self.message.repeated(2)
    }

    /// `schema_url`, of the scope and its metrics.
    #[must_use]
    pub fn schema_url(self) -> Text<'a> {
        self.message.text(3)
    }
}

/// The data of a metric, by kind.
#[derive(Debug, Clone, Copy)]
pub enum MetricData<'a> {
    /// `gauge`.
    Gauge(Gauge<'a>),
    /// `sum`.
    Sum(Sum<'a>),
    /// `histogram`.
    Histogram(Histogram<'a>),
    /// `exponential_histogram`.
    ExponentialHistogram(ExponentialHistogram<'a>),
    /// `summary`.
    Summary(Summary<'a>),
}

impl MetricData<'_> {
    /// How many data points there are, counted by walking them.
    #[must_use]
    pub fn point_count(self) -> usize {
        match self {
            Self::Gauge(gauge) => gauge.data_points().count(),
            Self::Sum(sum) => sum.data_points().count(),
            Self::Histogram(histogram) => histogram.data_points().count(),
            Self::ExponentialHistogram(histogram) => histogram.data_points().count(),
            Self::Summary(summary) => summary.data_points().count(),
        }
    }

    /// The aggregation temporality; `None` for gauges and summaries, which have none.
    #[must_use]
    pub fn temporality(self) -> Option<i32> {
        match self {
            Self::Gauge(_) | Self::Summary(_) => None,
            Self::Sum(sum) => Some(sum.temporality()),
            Self::Histogram(histogram) => Some(histogram.temporality()),
            Self::ExponentialHistogram(histogram) => Some(histogram.temporality()),
        }
    }
}

impl<'a> Metric<'a> {
    /// `name`.
    #[must_use]
    pub fn name(self) -> Text<'a> {
        self.message.text(1)
    }

    /// `description`.
    #[must_use]
    pub fn description(self) -> Text<'a> {
        self.message.text(2)
    }

    /// `unit`, in the notation of UCUM.
    #[must_use]
    pub fn unit(self) -> Text<'a> {
        self.message.text(3)
    }

    /// `metadata`.
    #[must_use]
    pub fn metadata(self) -> Attributes<'a> {
        Attributes::within(self.message, 12)
    }

    /// The data points and what they mean; `None` for a metric without data (or of a kind yet unknown).
    #[must_use]
    pub fn data(self) -> Option<MetricData<'a>> {
        let mut data = None;
        for field in self.message.fields() {
            data = match field {
                (5, Field::Len(body)) => Some(MetricData::Gauge(Gauge::over(body))),
                (7, Field::Len(body)) => Some(MetricData::Sum(Sum::over(body))),
                (9, Field::Len(body)) => Some(MetricData::Histogram(Histogram::over(body))),
                (10, Field::Len(body)) => {
                    Some(MetricData::ExponentialHistogram(ExponentialHistogram::over(body)))
                }
                (11, Field::Len(body)) => Some(MetricData::Summary(Summary::over(body))),
                _ => data,
            };
        }
        data
    }
}

impl<'a> Gauge<'a> {
    /// `data_points`.
    #[must_use]
    pub fn data_points(self) -> Repeated<'a, NumberPoint<'a>> {
        self.message.repeated(1)
    }
}

impl<'a> Sum<'a> {
    /// `data_points`.
    #[must_use]
    pub fn data_points(self) -> Repeated<'a, NumberPoint<'a>> {
        self.message.repeated(1)
    }

    /// `aggregation_temporality`; see [`DELTA`] and [`CUMULATIVE`].
    #[must_use]
    pub fn temporality(self) -> i32 {
        self.message.varint(2) as i32
    }

    /// `is_monotonic`.
    #[must_use]
    pub fn is_monotonic(self) -> bool {
        self.message.varint(3) != 0
    }
}

impl<'a> Histogram<'a> {
    /// `data_points`.
    #[must_use]
    pub fn data_points(self) -> Repeated<'a, HistogramPoint<'a>> {
        self.message.repeated(1)
    }

    /// `aggregation_temporality`; see [`DELTA`] and [`CUMULATIVE`].
    #[must_use]
    pub fn temporality(self) -> i32 {
        self.message.varint(2) as i32
    }
}

impl<'a> ExponentialHistogram<'a> {
    /// `data_points`.
    #[must_use]
    pub fn data_points(self) -> Repeated<'a, ExponentialPoint<'a>> {
        self.message.repeated(1)
    }

    /// `aggregation_temporality`; see [`DELTA`] and [`CUMULATIVE`].
    #[must_use]
    pub fn temporality(self) -> i32 {
        self.message.varint(2) as i32
    }
}

impl<'a> Summary<'a> {
    /// `data_points`.
    #[must_use]
    pub fn data_points(self) -> Repeated<'a, SummaryPoint<'a>> {
        self.message.repeated(1)
    }
}
