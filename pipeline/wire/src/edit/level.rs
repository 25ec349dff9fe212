//! The kinds of messages that can be edited, and their fields.

use super::field::{
    Bool, Count, Double, Enum, Field, Fixed32, Fixed64, Id, OptionalDouble, OptionalValue, StatusType,
    TextType,
};

mod sealed {
    pub trait Sealed {}
}

/// A kind of message that can be edited.
pub trait Level: sealed::Sealed {}

/// A kind of message that has attributes.
pub trait Attributed: Level {
    /// The field number of the attributes; by [`MetricKind`](crate::split::MetricKind) for data
    /// points, the same for all else.
    #[doc(hidden)]
    const ATTRIBUTES: [u8; 5];
}

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident $([$($attributes:literal)+])? {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $($number:literal)+;)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}

            impl sealed::Sealed for $name {}
            impl Level for $name {}
            $(impl Attributed for $name {
                const ATTRIBUTES: [u8; 5] = numbers(&[$($attributes),+]);
            })?

            impl $name {
                $($(#[$field_doc])* pub const $field: Field<Self, $type> = Field::new(numbers(&[$($number),+]));)*
            }
        )*
    };
}

/// One number for all, or one for each [`MetricKind`](crate::split::MetricKind), in its order; 0 where there is none.
const fn numbers(given: &[u8]) -> [u8; 5] {
    match *given {
        [all] => [all; 5],
        [gauge, sum, histogram, exponential, summary] => [gauge, sum, histogram, exponential, summary],
        _ => panic!("one number, or one for each kind of metric"),
    }
}

levels! {
    /// `Resource`.
    Resource [1] {
        /// `dropped_attributes_count`.
        DROPPED_ATTRIBUTES: Count = 2;
    }
    /// `InstrumentationScope`.
    Scope [3] {
        /// `name`.
        NAME: TextType = 1;
        /// `version`.
        VERSION: TextType = 2;
        /// `dropped_attributes_count`.
        DROPPED_ATTRIBUTES: Count = 4;
    }
    /// `Span`.
    Span [9] {
        /// `trace_id`.
        TRACE_ID: Id<16> = 1;
        /// `span_id`.
        SPAN_ID: Id<8> = 2;
        /// `trace_state`.
        TRACE_STATE: TextType = 3;
        /// `parent_span_id`.
        PARENT_SPAN_ID: Id<8> = 4;
        /// `name`.
        NAME: TextType = 5;
        /// `kind`.
        KIND: Enum = 6;
        /// `start_time_unix_nano`.
        START_NS: Fixed64 = 7;
        /// `end_time_unix_nano`.
        END_NS: Fixed64 = 8;
        /// `dropped_attributes_count`.
        DROPPED_ATTRIBUTES: Count = 10;
        /// `dropped_events_count`.
        DROPPED_EVENTS: Count = 12;
        /// `dropped_links_count`.
        DROPPED_LINKS: Count = 14;
        /// `status`.
        STATUS: StatusType = 15;
        /// `flags`.
        FLAGS: Fixed32 = 16;
    }
    /// `Span.Event`.
    Event [3] {
        /// `time_unix_nano`.
        TIME_NS: Fixed64 = 1;
        /// `name`.
        NAME: TextType = 2;
        /// `dropped_attributes_count`.
        DROPPED_ATTRIBUTES: Count = 4;
    }
    /// `Span.Link`.
    Link [4] {
        /// `trace_id`.
        TRACE_ID: Id<16> = 1;
        /// `span_id`.
        SPAN_ID: Id<8> = 2;
        /// `trace_state`.
        TRACE_STATE: TextType = 3;
        /// `dropped_attributes_count`.
        DROPPED_ATTRIBUTES: Count = 5;
        /// `flags`.
        FLAGS: Fixed32 = 6;
    }
    /// `LogRecord`.
    LogRecord [6] {
        /// `time_unix_nano`.
        TIME_NS: Fixed64 = 1;
        /// `severity_number`.
        SEVERITY_NUMBER: Enum = 2;
        /// `severity_text`.
        SEVERITY_TEXT: TextType = 3;
        /// `body`.
        BODY: OptionalValue = 5;
        /// `dropped_attributes_count`.
        DROPPED_ATTRIBUTES: Count = 7;
        /// `flags`.
        FLAGS: Fixed32 = 8;
        /// `trace_id`.
        TRACE_ID: Id<16> = 9;
        /// `span_id`.
        SPAN_ID: Id<8> = 10;
        /// `observed_time_unix_nano`.
        OBSERVED_NS: Fixed64 = 11;
        /// `event_name`.
        EVENT_NAME: TextType = 12;
    }
    /// `Metric`; its attributes are what the protocol calls metadata.
    Metric [12] {
        /// `name`.
        NAME: TextType = 1;
        /// `description`.
        DESCRIPTION: TextType = 2;
        /// `unit`.
        UNIT: TextType = 3;
    }
    /// What a metric has besides its points, by kind: `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram`, `Summary`.
    Data {
        /// `aggregation_temporality`, of sums and both kinds of histograms.
        TEMPORALITY: Enum = 0 2 2 2 0;
        /// `is_monotonic`, of sums.
        IS_MONOTONIC: Bool = 0 3 0 0 0;
    }
    /// A data point of any kind. A field that a kind has not reads as its default and cannot be set.
    Point [7 7 9 1 7] {
        /// `start_time_unix_nano`.
        START_NS: Fixed64 = 2;
        /// `time_unix_nano`.
        TIME_NS: Fixed64 = 3;
        /// `flags`.
        FLAGS: Count = 8 8 10 10 8;
        /// `count`.
        COUNT: Fixed64 = 0 0 4 4 4;
        /// `sum` of histograms.
        SUM: OptionalDouble = 0 0 5 5 0;
        /// `sum` of summaries.
        SUMMARY_SUM: Double = 0 0 0 0 5;
        /// `min`.
        MIN: OptionalDouble = 0 0 11 12 0;
        /// `max`.
        MAX: OptionalDouble = 0 0 12 13 0;
        /// `zero_count`.
        ZERO_COUNT: Fixed64 = 0 0 0 7 0;
        /// `zero_threshold`.
        ZERO_THRESHOLD: Double = 0 0 0 14 0;
    }
    /// `Exemplar`; its attributes are its `filtered_attributes`.
    Exemplar [7] {
        /// `time_unix_nano`.
        TIME_NS: Fixed64 = 2;
        /// `span_id`.
        SPAN_ID: Id<8> = 4;
        /// `trace_id`.
        TRACE_ID: Id<16> = 5;
    }
}
