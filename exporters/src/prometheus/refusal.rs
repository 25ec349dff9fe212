//! Why a data point is not served.

use std::fmt;

/// Why a data point is not served. A closed set: each is a label value of the metric that counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many series as there may be.
    TooManySeries,
    /// Series take as much memory as they may.
    TooManyBytes,
    /// It would have more labels than a series may have.
    TooManyLabels,
    /// So many of its request's series have been refused that no further one is looked at.
    TooManyRefused,
    /// The process's memory budget is used up.
    OverBudget,
    /// The metric is served already, as one of another type, or would be read as part of another one.
    TypeConflict,
    /// Another series has the same name and labels.
    Duplicate,
    /// Nothing but underscores would be left of the name, or of a label's, or the label is Prometheus' own.
    Name,
    /// A kind of metric that Prometheus does not have: sums by delta that may fall, an unknown temporality, buckets
    /// wider or more than native histograms can have.
    Unsupported,
    /// A histogram's buckets are not in order, or do not add up to its count.
    Inconsistent,
    /// Older than what is served.
    OutOfOrder,
    /// A histogram by delta that begins in the middle of what has been added up already.
    Misaligned,
}

impl Refusal {
    pub(super) const ALL: [Self; 12] = [
        Self::TooManySeries,
        Self::TooManyBytes,
        Self::TooManyLabels,
        Self::TooManyRefused,
        Self::OverBudget,
        Self::TypeConflict,
        Self::Duplicate,
        Self::Name,
        Self::Unsupported,
        Self::Inconsistent,
        Self::OutOfOrder,
        Self::Misaligned,
    ];

    /// The label value.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TooManySeries => "too_many_series",
            Self::TooManyBytes => "too_many_bytes",
            Self::TooManyLabels => "too_many_labels",
            Self::TooManyRefused => "too_many_refused",
            Self::OverBudget => "over_budget",
            Self::TypeConflict => "type_conflict",
            Self::Duplicate => "duplicate",
            Self::Name => "name",
            Self::Unsupported => "unsupported",
            Self::Inconsistent => "inconsistent",
            Self::OutOfOrder => "out_of_order",
            Self::Misaligned => "misaligned",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManySeries => "there are as many series as `max_series` allows",
            Self::TooManyBytes => "series take as much memory as `max_series_mib` allows",
            Self::TooManyLabels => "it would have more than 1,000 labels",
            Self::TooManyRefused => "too many new series of its request have been refused before it",
            Self::OverBudget => "the memory budget is used up",
            Self::TypeConflict => "a metric of that name and another type is served already",
            Self::Duplicate => "another series has the same name and labels",
            Self::Name => "its name, or that of a label, cannot be translated",
            Self::Unsupported => "Prometheus has no such metric: a sum by delta that may fall, an unknown temporality, too wide or too many buckets",
            Self::Inconsistent => "its buckets are out of order or do not add up to its count",
            Self::OutOfOrder => "it is older than what is served",
            Self::Misaligned => "it begins in the middle of what has been added up",
        })
    }
}
