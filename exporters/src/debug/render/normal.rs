//! Verbosity `normal`: a line per resource, scope and item.

use super::metric_points::{Bucket, exponential_buckets};
use super::next;
use super::number::{Fixed, Id};
use millrace_formats::go::{Plain, Shortest};
use millrace_wire::view::{
    Attributes, ExponentialPoint, HistogramPoint, Logs, MetricData, Metrics, Number, NumberPoint, Resource,
    Scope, SummaryPoint, Text, Traces,
};
use std::fmt::{self, Display, Formatter, Write};

pub(super) fn traces(out: &mut dyn Write, traces: Traces<'_>, resources: &mut usize) -> fmt::Result {
    for group in traces.resource_spans() {
        resource_line(out, "ResourceTraces", next(resources), group.schema_url(), group.resource())?;
        for (index, group) in group.scope_spans().enumerate() {
            scope_line(out, "ScopeTraces", index, group.scope(), group.schema_url())?;
            for span in group.spans() {
                let (trace_id, span_id) = (Id(span.trace_id_bytes()), Id(span.span_id_bytes()));
                writeln!(out, "{} {trace_id} {span_id}{}", span.name(), Spaced(span.attributes()))?;
            }
        }
    }
    Ok(())
}

pub(super) fn logs(out: &mut dyn Write, logs: Logs<'_>, resources: &mut usize) -> fmt::Result {
    for group in logs.resource_logs() {
        resource_line(out, "ResourceLog", next(resources), group.schema_url(), group.resource())?;
        for (index, group) in group.scope_logs().enumerate() {
            scope_line(out, "ScopeLog", index, group.scope(), group.schema_url())?;
            for record in group.log_records() {
                writeln!(out, "{} {}", Plain(record.body()), Joined(record.attributes(), " "))?;
            }
        }
    }
    Ok(())
}

pub(super) fn metrics(out: &mut dyn Write, metrics: Metrics<'_>, resources: &mut usize) -> fmt::Result {
    for group in metrics.resource_metrics() {
        resource_line(out, "ResourceMetrics", next(resources), group.schema_url(), group.resource())?;
        for (index, group) in group.scope_metrics().enumerate() {
            scope_line(out, "ScopeMetrics", index, group.scope(), group.schema_url())?;
            for metric in group.metrics() {
                metric_lines(out, metric.name(), metric.data())?;
            }
        }
    }
    Ok(())
}

fn resource_line(
    out: &mut dyn Write,
    title: &str,
    index: usize,
    schema_url: Text<'_>,
    resource: Resource<'_>,
) -> fmt::Result {
    write!(out, "{title} #{index}")?;
    if !schema_url.is_empty() {
        write!(out, " [{schema_url}]")?;
    }
    writeln!(out, "{}", Spaced(resource.attributes()))
}

fn scope_line(
    out: &mut dyn Write,
    title: &str,
    index: usize,
    scope: Scope<'_>,
    schema_url: Text<'_>,
) -> fmt::Result {
    write!(out, "{title} #{index}")?;
    if !scope.name().is_empty() || !scope.version().is_empty() {
        write!(out, " {}", scope.name())?;
    }
    if !scope.version().is_empty() {
        write!(out, "@{}", scope.version())?;
    }
    if !schema_url.is_empty() {
        write!(out, " [{schema_url}]")?;
    }
    writeln!(out, "{}", Spaced(scope.attributes()))
}

fn metric_lines(out: &mut dyn Write, name: Text<'_>, data: Option<MetricData<'_>>) -> fmt::Result {
    match data {
        None => Ok(()),
        Some(MetricData::Gauge(gauge)) => {
            gauge.data_points().try_for_each(|point| number_line(out, name, point))
        }
        Some(MetricData::Sum(sum)) => sum.data_points().try_for_each(|point| number_line(out, name, point)),
        Some(MetricData::Histogram(histogram)) => {
            histogram.data_points().try_for_each(|point| histogram_line(out, name, point))
        }
        Some(MetricData::ExponentialHistogram(histogram)) => {
            histogram.data_points().try_for_each(|point| exponential_line(out, name, point))
        }
        Some(MetricData::Summary(summary)) => {
            summary.data_points().try_for_each(|point| summary_line(out, name, point))
        }
    }
}

fn number_line(out: &mut dyn Write, name: Text<'_>, point: NumberPoint<'_>) -> fmt::Result {
    write!(out, "{name}{{{}}} ", Joined(point.attributes(), ","))?;
    match point.value() {
        Some(Number::Int(value)) => writeln!(out, "{value}"),
        Some(Number::Double(value)) => writeln!(out, "{}", Shortest(value)),
        None => writeln!(out),
    }
}

fn histogram_line(out: &mut dyn Write, name: Text<'_>, point: HistogramPoint<'_>) -> fmt::Result {
    write!(out, "{name}{{{}}} count={}", Joined(point.attributes(), ","), point.count())?;
    optional(out, [("sum", point.sum()), ("min", point.min()), ("max", point.max())])?;
    let mut bounds = point.explicit_bounds();
    for count in point.bucket_counts() {
        match bounds.next() {
            Some(bound) => write!(out, " le{}={count}", Shortest(bound))?,
            None => write!(out, " {count}")?,
        }
    }
    writeln!(out)
}

fn exponential_line(out: &mut dyn Write, name: Text<'_>, point: ExponentialPoint<'_>) -> fmt::Result {
    write!(out, "{name}{{{}}} count={}", Joined(point.attributes(), ","), point.count())?;
    optional(out, [("sum", point.sum()), ("min", point.min()), ("max", point.max())])?;
    for bucket in exponential_buckets(point) {
        match bucket {
            Bucket::Negative { upper, count, .. } | Bucket::Positive { upper, count, .. } => {
                write!(out, " le{}={count}", Shortest(upper))?;
            }
            Bucket::Zero { count } => write!(out, " zero={count}")?,
        }
    }
    writeln!(out)
}

fn summary_line(out: &mut dyn Write, name: Text<'_>, point: SummaryPoint<'_>) -> fmt::Result {
    let (count, sum) = (point.count(), Fixed(point.sum()));
    write!(out, "{name}{{{}}} count={count} sum={sum}", Joined(point.attributes(), ","))?;
    for at in point.quantile_values() {
        write!(out, " q{}={}", Shortest(at.quantile()), Shortest(at.value()))?;
    }
    writeln!(out)
}

fn optional(out: &mut dyn Write, values: [(&str, Option<f64>); 3]) -> fmt::Result {
    values
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .try_for_each(|(name, value)| write!(out, " {name}={}", Shortest(value)))
}

/// Attributes as `key=value`, with something between them.
struct Joined<'a>(Attributes<'a>, &'static str);

impl Display for Joined<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.0.iter().enumerate() {
            let separator = if index > 0 { self.1 } else { "" };
            write!(f, "{separator}{}={}", entry.key(), Plain(entry.value()))?;
        }
        Ok(())
    }
}

/// Attributes as `key=value`, with a space before each.
struct Spaced<'a>(Attributes<'a>);

impl Display for Spaced<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|entry| write!(f, " {}={}", entry.key(), Plain(entry.value())))
    }
}
