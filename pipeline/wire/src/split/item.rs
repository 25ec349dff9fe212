//! What a callback is told of an item.

use super::tree::{METRIC, Path, RESOURCE, SCOPE};

/// A span, log record or data point, and what encloses it. All bytes are message bodies, without tag and length, and
/// come from a well-formed payload: `view::Span::over(item.bytes)` and the like read them.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The `Span`, `LogRecord` or data point; for profiles, the whole request.
    pub bytes: &'a [u8],
    /// The `Resource`; empty if there is none.
    pub resource: &'a [u8],
    /// Where `resource` is the same as for the previous item, so is this number: for keys that are computed once.
    pub resource_index: u32,
    /// The `InstrumentationScope`; empty if there is none.
    pub scope: &'a [u8],
    /// Like `resource_index`, for the scope.
    pub scope_index: u32,
    /// The metric of a data point.
    pub metric: Option<ItemMetric<'a>>,
}

/// The metric that a data point belongs to.
#[derive(Debug, Clone, Copy)]
pub struct ItemMetric<'a> {
    /// The `Metric`, with all of its points.
    pub bytes: &'a [u8],
    /// Like [`Item::resource_index`], for the metric.
    pub index: u32,
    /// What the points are.
    pub kind: MetricKind,
}

/// The kinds of metrics, which are the kinds of their data points (gauges and sums share one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// `Gauge`; points are `NumberDataPoint`.
    Gauge,
    /// `Sum`; points are `NumberDataPoint`.
    Sum,
    /// `Histogram`.
    Histogram,
    /// `ExponentialHistogram`.
    ExponentialHistogram,
    /// `Summary`.
    Summary,
}

impl MetricKind {
    /// The kind whose data has that field number in `Metric`.
    pub(crate) fn of_field(number: u32) -> Option<Self> {
        match number {
            5 => Some(Self::Gauge),
            7 => Some(Self::Sum),
            9 => Some(Self::Histogram),
            10 => Some(Self::ExponentialHistogram),
            11 => Some(Self::Summary),
            _ => None,
        }
    }
}

impl<'a> Item<'a> {
    /// What is the same for all items of the container at the end of `path`.
    pub(super) fn template(input: &'a [u8], path: &Path, leaf: usize) -> Self {
        let range = |(start, end): (usize, usize)| &input[start..end];
        let metric = (leaf > METRIC).then(|| MetricKind::of_field(path[leaf].number)).flatten();
        Item {
            bytes: &[],
            resource: range(path[RESOURCE].subject),
            resource_index: path[RESOURCE].id,
            scope: range(path[SCOPE].subject),
            scope_index: path[SCOPE].id,
            metric: metric.map(|kind| ItemMetric {
                bytes: range(path[METRIC].body),
                index: path[METRIC].id,
                kind,
            }),
        }
    }

    /// The single item that an opaque payload is.
    pub(super) fn opaque(bytes: &'a [u8]) -> Self {
        Item { bytes, resource: &[], resource_index: 0, scope: &[], scope_index: 0, metric: None }
    }
}
