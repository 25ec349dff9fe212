//! The data points of metrics, and their exemplars (`metrics.proto`).

use super::{Attributes, Number, PackedDoubles, PackedFixed64, PackedVarints, Repeated, views};

views! {
    /// A `NumberDataPoint`, of a gauge or a sum.
    NumberPoint;
    /// A `HistogramDataPoint`.
    HistogramPoint;
    /// An `ExponentialHistogramDataPoint`.
    ExponentialPoint;
    /// The `Buckets` of an exponential histogram's data point.
    Buckets;
    /// A `SummaryDataPoint`.
    SummaryPoint;
    /// A `ValueAtQuantile`.
    QuantileValue;
    /// An `Exemplar`.
    Exemplar;
}

impl<'a> NumberPoint<'a> {
    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 7)
    }

    /// `start_time_unix_nano`; 0 if unknown.
    #[must_use]
    pub fn start_ns(self) -> u64 {
        self.message.fixed64(2).unwrap_or_default()
    }

    /// `time_unix_nano`.
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.message.fixed64(3).unwrap_or_default()
    }

    /// `as_int` or `as_double`; `None` if there is neither.
    #[must_use]
    pub fn value(self) -> Option<Number> {
        Number::read(self.message, 4)
    }

    /// `exemplars`.
    #[must_use]
    pub fn exemplars(self) -> Repeated<'a, Exemplar<'a>> {
        self.message.repeated(5)
    }

    /// `flags`; bit 0 says that no value was recorded.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.message.varint(8) as u32
    }
}

impl<'a> HistogramPoint<'a> {
    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 9)
    }

    /// `start_time_unix_nano`; 0 if unknown.
    #[must_use]
    pub fn start_ns(self) -> u64 {
        self.message.fixed64(2).unwrap_or_default()
    }

    /// `time_unix_nano`.
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.message.fixed64(3).unwrap_or_default()
    }

    /// `count`: how many measurements were summed up.
    #[must_use]
    pub fn count(self) -> u64 {
        self.message.fixed64(4).unwrap_or_default()
    }

    /// `sum`; presence is kept.
    #[must_use]
    pub fn sum(self) -> Option<f64> {
        self.message.double(5)
    }

    /// `bucket_counts`: one more than the bounds, or none at all.
    #[must_use]
    pub fn bucket_counts(self) -> PackedFixed64<'a> {
        PackedFixed64::over(self.message.len(6).unwrap_or_default())
    }

    /// `explicit_bounds`: the inclusive upper bounds of all buckets but the last.
    #[must_use]
    pub fn explicit_bounds(self) -> PackedDoubles<'a> {
        PackedDoubles::over(self.message.len(7).unwrap_or_default())
    }

    /// `exemplars`.
    #[must_use]
    pub fn exemplars(self) -> Repeated<'a, Exemplar<'a>> {
        self.message.repeated(8)
    }

    /// `flags`; bit 0 says that no value was recorded.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.message.varint(10) as u32
    }

    /// `min`; presence is kept.
    #[must_use]
    pub fn min(self) -> Option<f64> {
        self.message.double(11)
    }

    /// `max`; presence is kept.
    #[must_use]
    pub fn max(self) -> Option<f64> {
        self.message.double(12)
    }
}

impl<'a> ExponentialPoint<'a> {
    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 1)
    }

    /// `start_time_unix_nano`; 0 if unknown.
    #[must_use]
    pub fn start_ns(self) -> u64 {
        self.message.fixed64(2).unwrap_or_default()
    }

    /// `time_unix_nano`.
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.message.fixed64(3).unwrap_or_default()
    }

    /// `count`: how many measurements were summed up.
    #[must_use]
    pub fn count(self) -> u64 {
        self.message.fixed64(4).unwrap_or_default()
    }

    /// `sum`; presence is kept.
    #[must_use]
    pub fn sum(self) -> Option<f64> {
        self.message.double(5)
    }

    /// `scale`: bucket bounds are powers of 2^(2^-scale).
    #[must_use]
    pub fn scale(self) -> i32 {
        self.message.sint32(6)
    }

    /// `zero_count`: measurements no farther from zero than the threshold.
    #[must_use]
    pub fn zero_count(self) -> u64 {
        self.message.fixed64(7).unwrap_or_default()
    }

    /// `positive`; an absent one has no buckets.
    #[must_use]
    pub fn positive(self) -> Buckets<'a> {
        self.message.message(8)
    }

    /// `negative`; an absent one has no buckets.
    #[must_use]
    pub fn negative(self) -> Buckets<'a> {
        self.message.message(9)
    }

    /// `flags`; bit 0 says that no value was recorded.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.message.varint(10) as u32
    }

    /// `exemplars`.
    #[must_use]
    pub fn exemplars(self) -> Repeated<'a, Exemplar<'a>> {
        self.message.repeated(11)
    }

    /// `min`; presence is kept.
    #[must_use]
    pub fn min(self) -> Option<f64> {
        self.message.double(12)
    }

    /// `max`; presence is kept.
    #[must_use]
    pub fn max(self) -> Option<f64> {
        self.message.double(13)
    }

    /// `zero_threshold`.
    #[must_use]
    pub fn zero_threshold(self) -> f64 {
        self.message.double(14).unwrap_or_default()
    }
}

impl<'a> Buckets<'a> {
    /// `offset`: the index of the first bucket.
    #[must_use]
    pub fn offset(self) -> i32 {
        self.message.sint32(1)
    }

    /// `bucket_counts`, from the first bucket on.
    #[must_use]
    pub fn bucket_counts(self) -> PackedVarints<'a> {
        PackedVarints::over(self.message.len(2).unwrap_or_default())
    }
}

impl<'a> SummaryPoint<'a> {
    /// `attributes`.
    #[must_use]
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 7)
    }

    /// `start_time_unix_nano`; 0 if unknown.
    #[must_use]
    pub fn start_ns(self) -> u64 {
        self.message.fixed64(2).unwrap_or_default()
    }

    /// `time_unix_nano`.
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.message.fixed64(3).unwrap_or_default()
    }

    /// `count`: how many measurements were summed up.
    #[must_use]
    pub fn count(self) -> u64 {
        self.message.fixed64(4).unwrap_or_default()
    }

    /// `sum`.
    #[must_use]
    pub fn sum(self) -> f64 {
        self.message.double(5).unwrap_or_default()
    }

    /// `quantile_values`.
    #[must_use]
    pub fn quantile_values(self) -> Repeated<'a, QuantileValue<'a>> {
        self.message.repeated(6)
    }

    /// `flags`; bit 0 says that no value was recorded.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.message.varint(8) as u32
    }
}

impl QuantileValue<'_> {
    /// `quantile`, from 0 to 1.
    #[must_use]
    pub fn quantile(self) -> f64 {
        self.message.double(1).unwrap_or_default()
    }

    /// `value`.
    #[must_use]
    pub fn value(self) -> f64 {
        self.message.double(2).unwrap_or_default()
    }
}

impl<'a> Exemplar<'a> {
    /// `filtered_attributes`.
    #[must_use]
    pub fn filtered_attributes(self) -> Attributes<'a> {
        Attributes::within(self.message, 7)
    }

    /// `time_unix_nano`.
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.message.fixed64(2).unwrap_or_default()
    }

    /// `as_int` or `as_double`; `None` if there is neither.
    #[must_use]
    pub fn value(self) -> Option<Number> {
        Number::read(self.message, 3)
    }

    /// The bytes of `span_id`; empty outside of a span.
    #[must_use]
    pub fn span_id_bytes(self) -> &'a [u8] {
        self.message.len(4).unwrap_or_default()
    }

    /// The span id, if it has eight bytes.
    #[must_use]
    pub fn span_id(self) -> Option<[u8; 8]> {
        self.span_id_bytes().try_into().ok()
    }

    /// The bytes of `trace_id`; empty outside of a trace.
    #[must_use]
    pub fn trace_id_bytes(self) -> &'a [u8] {
        self.message.len(5).unwrap_or_default()
    }

    /// The trace id, if it has sixteen bytes.
    #[must_use]
    pub fn trace_id(self) -> Option<[u8; 16]> {
        self.trace_id_bytes().try_into().ok()
    }
}
