//! Reading well-formed OTLP without decoding it.
//!
//! A view is a `Copy` cursor over the bytes of one message: making one costs nothing, it allocates nothing and caches
//! nothing, and it lives as long as the bytes do. Every field of every message of the three structured signals has an
//! accessor, named as in the `.proto` files, with units last (`start_ns`).
//!
//! Each accessor walks the top level of its message up to its field (a tag and a hop per field passed, not per byte).
//! What many callers need at once is gathered in one pass by [`Span::head`] and [`Attributes::get_each`].
//!
//! # What is taken for granted
//! The bytes are those of a [`Payload`] or of a message in one, as `payload` spells out: the structure
//! is sound; a singular field occurs at most once, and so does a member of a oneof; packed scalars lie in one packed
//! run; fields come in any order and unknown ones may be among them. Should that not hold after all, nothing here
//! panics in a release build: one of several singular fields is read, and a walk ends where it can no longer follow
//! the bytes (debug builds assert).
//!
//! # What is not decided here
//! Text is bytes ([`Text`]): invalid UTF-8 may be let through by configuration. Enums are plain numbers, because the
//! protocol asks that unknown ones be kept. Absent messages read as empty ones.

mod common;
mod field;
mod logs;
mod metrics;
mod packed;
mod points;
mod text;
mod traces;

pub use common::{Array, Attributes, EntityRef, KeyValue, Number, Resource, Scope, Value};
pub use field::{Repeated, View};
pub use logs::{LogRecord, Logs, ResourceLogs, ScopeLogs};
pub use metrics::{
    CUMULATIVE, DELTA, ExponentialHistogram, Gauge, Histogram, Metric, MetricData, Metrics, ResourceMetrics,
    ScopeMetrics, Sum, Summary,
};
pub use packed::{PackedDoubles, PackedFixed64, PackedVarints};
pub use points::{
    Buckets, Exemplar, ExponentialPoint, HistogramPoint, NumberPoint, QuantileValue, SummaryPoint,
};
pub use text::Text;
pub use traces::{Event, Link, ResourceSpans, ScopeSpans, Span, SpanHead, Status, Traces};

use crate::{Payload, Signal};

/// A payload, seen as what it carries.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// Spans.
    Traces(Traces<'a>),
    /// Data points.
    Metrics(Metrics<'a>),
    /// Log records.
    Logs(Logs<'a>),
    /// Profiles are opaque: one encoded request whose inside is not known to be sound.
    Profiles(&'a [u8]),
}

/// How many `resource_profiles` a profiles request has.
#[must_use]
pub fn resource_profiles(request: &[u8]) -> usize {
    let fields = field::Message(request).fields();
    fields.filter(|field| matches!(field, (1, field::Field::Len(_)))).count()
}

impl<'a> Request<'a> {
    /// The view that fits the payload's signal.
    #[must_use]
    pub fn of(payload: &'a Payload) -> Self {
        let bytes = payload.bytes();
        match payload.signal() {
            Signal::Traces => Self::Traces(Traces::over(bytes)),
            Signal::Metrics => Self::Metrics(Metrics::over(bytes)),
            Signal::Logs => Self::Logs(Logs::over(bytes)),
            Signal::Profiles => Self::Profiles(bytes),
        }
    }
}

/// Declares view types: a struct around the bytes of one message, and how to make it and take it apart.
macro_rules! views {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, Default)]
            pub struct $name<'a> {
                message: $crate::view::field::Message<'a>,
            }

            impl<'a> $name<'a> {
                /// Reads the body of one such message (without its tag and length), which must be well-formed.
                #[inline]
                #[must_use]
                pub fn over(bytes: &'a [u8]) -> Self {
                    Self { message: $crate::view::field::Message(bytes) }
                }

                /// The body of the message, as it came in.
                #[inline]
                #[must_use]
                pub fn bytes(self) -> &'a [u8] {
                    self.message.0
                }
            }

            impl<'a> $crate::view::field::View<'a> for $name<'a> {
                #[inline]
                fn over(bytes: &'a [u8]) -> Self {
                    Self::over(bytes)
                }
            }
        )*
    };
}
use views;

/// Declares the view of a whole payload of one signal.
macro_rules! payload_view {
    ($name:ident, $signal:expr) => {
        impl<'a> $name<'a> {
            /// Views a payload; `None` if it carries another signal.
            #[must_use]
            pub fn of(payload: &'a $crate::Payload) -> Option<Self> {
                (payload.signal() == $signal).then(|| Self::over(payload.bytes()))
            }
        }
    };
}
use payload_view;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_payload_is_seen_as_its_own_signal_only() {
        let mut bytes = Vec::new();
        crate::writer::put_len_field(&mut bytes, 1, b"");
        for signal in Signal::ALL {
            let payload = Payload::vouched(signal, 0, Bytes::copy_from_slice(&bytes));
            assert_eq!(Traces::of(&payload).is_some(), signal == Signal::Traces);
            assert_eq!(Metrics::of(&payload).is_some(), signal == Signal::Metrics);
            assert_eq!(Logs::of(&payload).is_some(), signal == Signal::Logs);
            let (seen, resources) = match Request::of(&payload) {
                Request::Traces(traces) => (Signal::Traces, traces.resource_spans().count()),
                Request::Metrics(metrics) => (Signal::Metrics, metrics.resource_metrics().count()),
                Request::Logs(logs) => (Signal::Logs, logs.resource_logs().count()),
                Request::Profiles(opaque) => (Signal::Profiles, opaque.len() / bytes.len()),
            };
            assert_eq!((seen, resources), (signal, 1));
        }
    }
}
