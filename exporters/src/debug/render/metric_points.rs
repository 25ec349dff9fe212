//! The data points of metrics in verbosity `detailed`, and the buckets of exponential histograms in both.

use super::detailed::attributes;
use super::number::{Bounds, Fixed, Id, Time};
use millrace_wire::view::{
    Exemplar, ExponentialPoint, HistogramPoint, MetricData, Number, NumberPoint, Repeated, SummaryPoint,
};
use std::fmt::{self, Write};

/// A bucket of an exponential histogram, bounds as on the number line.
pub(super) enum Bucket {
    Negative { lower: f64, upper: f64, count: u64 },
    Zero { count: u64 },
    Positive { lower: f64, upper: f64, count: u64 },
}

/// The buckets in the order of the number line; the zero bucket only if something is in it. They are made one by one: a
/// request says each with one byte.
pub(super) fn exponential_buckets(point: ExponentialPoint<'_>) -> impl Iterator<Item = Bucket> {
    let bounds = Bounds::at_scale(point.scale());
    let (negative, positive) = (point.negative(), point.positive());
    let positions = (0..negative.bucket_counts().count()).rev();
    let below = positions.zip(negative.bucket_counts().rev()).map(move |(position, count)| {
        let lower = -bounds.upper(negative.offset(), position);
        let upper = -bounds.lower(negative.offset(), position);
        Bucket::Negative { lower, upper, count }
    });
    let zero = Some(point.zero_count()).filter(|count| *count != 0).map(|count| Bucket::Zero { count });
    let above = positive.bucket_counts().enumerate().map(move |(position, count)| {
        let lower = bounds.lower(positive.offset(), position);
        let upper = bounds.upper(positive.offset(), position);
        Bucket::Positive { lower, upper, count }
    });
    below.chain(zero).chain(above)
}

/// What follows a metric's descriptor.
pub(super) fn metric_data(out: &mut dyn Write, data: Option<MetricData<'_>>) -> fmt::Result {
    if let Some(MetricData::Sum(sum)) = data {
        writeln!(out, "     -> IsMonotonic: {}", sum.is_monotonic())?;
    }
    if let Some(temporality) = data.and_then(MetricData::temporality) {
        let name = match temporality {
            0 => "Unspecified",
            1 => "Delta",
            2 => "Cumulative",
            _ => "",
        };
        writeln!(out, "     -> AggregationTemporality: {name}")?;
    }
    match data {
        None => Ok(()),
        Some(MetricData::Gauge(gauge)) => number_points(out, gauge.data_points()),
        Some(MetricData::Sum(sum)) => number_points(out, sum.data_points()),
        Some(MetricData::Histogram(histogram)) => {
            let mut points = histogram.data_points().enumerate();
            points.try_for_each(|(index, point)| histogram_point(out, index, point))
        }
        Some(MetricData::ExponentialHistogram(histogram)) => {
            let mut points = histogram.data_points().enumerate();
            points.try_for_each(|(index, point)| exponential_point(out, index, point))
        }
        Some(MetricData::Summary(summary)) => {
            let mut points = summary.data_points().enumerate();
            points.try_for_each(|(index, point)| summary_point(out, index, point))
        }
    }
}

fn number_points<'a>(out: &mut dyn Write, points: Repeated<'a, NumberPoint<'a>>) -> fmt::Result {
    for (index, point) in points.enumerate() {
        writeln!(out, "NumberDataPoints #{index}")?;
        attributes(out, "Data point attributes", "", point.attributes())?;
        times(out, point.start_ns(), point.time_ns())?;
        number(out, "", point.value())?;
        exemplars(out, point.exemplars())?;
    }
    Ok(())
}

fn histogram_point(out: &mut dyn Write, index: usize, point: HistogramPoint<'_>) -> fmt::Result {
    writeln!(out, "HistogramDataPoints #{index}")?;
    attributes(out, "Data point attributes", "", point.attributes())?;
    times(out, point.start_ns(), point.time_ns())?;
    writeln!(out, "Count: {}", point.count())?;
    optional(out, [("Sum", point.sum()), ("Min", point.min()), ("Max", point.max())])?;
    for (index, bound) in point.explicit_bounds().enumerate() {
        writeln!(out, "ExplicitBounds #{index}: {}", Fixed(bound))?;
    }
    for (index, count) in point.bucket_counts().enumerate() {
        writeln!(out, "Buckets #{index}, Count: {count}")?;
    }
    exemplars(out, point.exemplars())
}

fn exponential_point(out: &mut dyn Write, index: usize, point: ExponentialPoint<'_>) -> fmt::Result {
    writeln!(out, "ExponentialHistogramDataPoints #{index}")?;
    attributes(out, "Data point attributes", "", point.attributes())?;
    times(out, point.start_ns(), point.time_ns())?;
    writeln!(out, "Count: {}", point.count())?;
    optional(out, [("Sum", point.sum()), ("Min", point.min()), ("Max", point.max())])?;
    for bucket in exponential_buckets(point) {
        match bucket {
            Bucket::Negative { lower, upper, count } => {
                writeln!(out, "Bucket [{}, {}), Count: {count}", Fixed(lower), Fixed(upper))?;
            }
            Bucket::Zero { count } => writeln!(out, "Bucket [0, 0], Count: {count}")?,
            Bucket::Positive { lower, upper, count } => {
                writeln!(out, "Bucket ({}, {}], Count: {count}", Fixed(lower), Fixed(upper))?;
            }
        }
    }
    exemplars(out, point.exemplars())
}

fn summary_point(out: &mut dyn Write, index: usize, point: SummaryPoint<'_>) -> fmt::Result {
    writeln!(out, "SummaryDataPoints #{index}")?;
    attributes(out, "Data point attributes", "", point.attributes())?;
    times(out, point.start_ns(), point.time_ns())?;
    writeln!(out, "Count: {}\nSum: {}", point.count(), Fixed(point.sum()))?;
    for (index, at) in point.quantile_values().enumerate() {
        let (quantile, value) = (Fixed(at.quantile()), Fixed(at.value()));
        writeln!(out, "QuantileValue #{index}: Quantile {quantile}, Value {value}")?;
    }
    Ok(())
}

fn times(out: &mut dyn Write, start_ns: u64, time_ns: u64) -> fmt::Result {
    writeln!(out, "StartTimestamp: {}\nTimestamp: {}", Time(start_ns), Time(time_ns))
}

fn number(out: &mut dyn Write, indent: &str, value: Option<Number>) -> fmt::Result {
    match value {
        Some(Number::Int(value)) => writeln!(out, "{indent}Value: {value}"),
        Some(Number::Double(value)) => writeln!(out, "{indent}Value: {}", Fixed(value)),
        None => Ok(()),
    }
}

fn optional(out: &mut dyn Write, values: [(&str, Option<f64>); 3]) -> fmt::Result {
    for (name, value) in values {
        if let Some(value) = value {
            writeln!(out, "{name}: {}", Fixed(value))?;
        }
    }
    Ok(())
}

fn exemplars<'a>(out: &mut dyn Write, exemplars: Repeated<'a, Exemplar<'a>>) -> fmt::Result {
    for (index, exemplar) in exemplars.enumerate() {
        if index == 0 {
            writeln!(out, "Exemplars:")?;
        }
        writeln!(out, "Exemplar #{index}")?;
        writeln!(out, "     -> Trace ID: {}", Id(exemplar.trace_id_bytes()))?;
        writeln!(out, "     -> Span ID: {}", Id(exemplar.span_id_bytes()))?;
        writeln!(out, "     -> Timestamp: {}", Time(exemplar.time_ns()))?;
        number(out, "     -> ", exemplar.value())?;
        attributes(out, "     -> FilteredAttributes", "     ", exemplar.filtered_attributes())?;
    }
    Ok(())
}
