//! The messages of OTLP as straight code, one function each.
//!
//! The functions are written out by a macro from a list like the `.proto` file's. Each reads tags and dispatches on
//! the whole tag (number and wire type at once), which is one byte for all fields but one. A field that is not in the
//! list goes to [`Walk::other`]. One bit per field number says what has been seen, and so, at the end of a message,
//! whether a singular field was repeated.
//!
//! `depth` is how many levels are still allowed, the message itself included.

use super::Problem;
use super::walk::{Walk, bit_of};
use crate::cursor::WireError;

/// The bit of a field that may occur only once, by its arity in the list below.
macro_rules! single_bit {
    (each $tag:literal) => {
        0
    };
    ($arity:ident $tag:literal) => {
        1 << ($tag >> 3)
    };
}

/// The bit of a member of the message's oneof.
macro_rules! oneof_bit {
    (oneof $tag:literal) => {
        1 << ($tag >> 3)
    };
    ($arity:ident $tag:literal) => {
        0
    };
}

/// The tag that an element of a packed field has outside of a run; 0 for other fields.
macro_rules! unpacked_tag {
    (packed $tag:literal fixed64) => {
        $tag & !7 | 1
    };
    (packed $tag:literal uint64) => {
        $tag & !7
    };
    ($arity:ident $tag:literal $kind:ident) => {
        0
    };
}

/// Reads the payload of a field.
macro_rules! payload {
    ($walk:ident, $rest:ident, $depth:ident, packed fixed64) => {
        if $walk.payload(&mut $rest)?.len() % 8 != 0 {
            return Err(WireError::Truncated.into());
        }
    };
    ($walk:ident, $rest:ident, $depth:ident, packed uint64) => {
        let mut run = $walk.payload(&mut $rest)?;
        while !run.is_empty() {
            $walk.varint(&mut run)?;
        }
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident message $message:ident) => {
        let body = $walk.payload(&mut $rest)?;
        $walk.$message(body, $depth)?;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident item $message:ident) => {
        let body = $walk.payload(&mut $rest)?;
        $walk.items += 1;
        $walk.$message(body, $depth)?;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident text) => {
        let text = $walk.payload(&mut $rest)?;
        $walk.text(text)?;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident bytes) => {
        $walk.payload(&mut $rest)?;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident trace_id) => {
        let id = $walk.payload(&mut $rest)?;
        if id.len() != 16 && !id.is_empty() {
            return Err(Problem::IdLength);
        }
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident span_id) => {
        let id = $walk.payload(&mut $rest)?;
        if id.len() != 8 && !id.is_empty() {
            return Err(Problem::IdLength);
        }
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident fixed64) => {
        (_, $rest) = $rest.split_first_chunk::<8>().ok_or(WireError::Truncated)?;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident fixed32) => {
        (_, $rest) = $rest.split_first_chunk::<4>().ok_or(WireError::Truncated)?;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident uint64) => {
        $walk.varint(&mut $rest)?;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident uint32) => {
        let value = $walk.varint(&mut $rest)?;
        $walk.odd |= value > u64::from(u32::MAX);
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident int32) => {
        let value = $walk.varint(&mut $rest)?;
        $walk.odd |= i64::from(value as i32) as u64 != value;
    };
    ($walk:ident, $rest:ident, $depth:ident, $arity:ident bool) => {
        let value = $walk.varint(&mut $rest)?;
        $walk.odd |= value > 1;
    };
}

macro_rules! messages {
    ($($(#[$attribute:meta])* $name:ident { $($tag:literal $field:ident: $arity:ident $kind:ident $($inner:ident)?,)* })*) => {
        impl Walk {
            $(
                $(#[$attribute])*
                pub(super) fn $name(&mut self, bytes: &[u8], depth: u32) -> Result<(), Problem> {
                    const KNOWN: u32 = 0 $(| 1 << ($tag >> 3))*;
                    const SINGLE: u32 = 0 $(| single_bit!($arity $tag))*;
                    const ONEOF: u32 = 0 $(| oneof_bit!($arity $tag))*;
                    const UNPACKED: &[u32] = &[$(unpacked_tag!($arity $tag $kind)),*];
                    let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
                    let mut rest = bytes;
                    let mut seen = 0u32;
                    let mut again = 0u32;
                    while !rest.is_empty() {
                        let tag = self.tag(&mut rest)?;
                        let bit = bit_of(tag);
                        again |= seen & bit;
                        seen |= bit;
                        match tag {
                            $($tag => { payload!(self, rest, depth, $arity $kind $($inner)?); })*
                            _ => self.other(tag, &mut rest, depth, KNOWN, UNPACKED)?,
                        }
                    }
                    self.odd |= is_odd(seen, again, SINGLE, ONEOF);
                    Ok(())
                }
            )*
        }
    };
}

/// Whether a singular field has been seen again, or several members of the oneof.
#[inline(always)]
fn is_odd(seen: u32, again: u32, single: u32, oneof: u32) -> bool {
    let members = seen & oneof;
    again & single != 0 || members & members.wrapping_sub(1) != 0
}

messages! {
    resource_spans {
        0x0a resource: single message resource,
        0x12 scope_spans: each message scope_spans,
        0x1a schema_url: single text,
    }
    scope_spans {
        0x0a scope: single message scope,
        0x12 spans: each item span,
        0x1a schema_url: single text,
    }
    span {
        0x0a trace_id: single trace_id,
        0x12 span_id: single span_id,
        0x1a trace_state: single text,
        0x22 parent_span_id: single span_id,
        0x2a name: single text,
        0x30 kind: single int32,
        0x39 start_time_unix_nano: single fixed64,
        0x41 end_time_unix_nano: single fixed64,
        0x4a attributes: each message key_value,
        0x50 dropped_attributes_count: single uint32,
        0x5a events: each message event,
        0x60 dropped_events_count: single uint32,
        0x6a links: each message link,
        0x70 dropped_links_count: single uint32,
        0x7a status: single message status,
        0x85 flags: single fixed32,
    }
    event {
        0x09 time_unix_nano: single fixed64,
        0x12 name: single text,
        0x1a attributes: each message key_value,
        0x20 dropped_attributes_count: single uint32,
    }
    link {
        0x0a trace_id: single trace_id,
        0x12 span_id: single span_id,
        0x1a trace_state: single text,
        0x22 attributes: each message key_value,
        0x28 dropped_attributes_count: single uint32,
        0x35 flags: single fixed32,
    }
    status {
        0x12 message: single text,
        0x18 code: single int32,
    }

    resource_logs {
        0x0a resource: single message resource,
        0x12 scope_logs: each message scope_logs,
        0x1a schema_url: single text,
    }
    scope_logs {
        0x0a scope: single message scope,
        0x12 log_records: each item log_record,
        0x1a schema_url: single text,
    }
    log_record {
        0x09 time_unix_nano: single fixed64,
        0x10 severity_number: single int32,
        0x1a severity_text: single text,
        0x2a body: single message any_value,
        0x32 attributes: each message key_value,
        0x38 dropped_attributes_count: single uint32,
        0x45 flags: single fixed32,
        0x4a trace_id: single trace_id,
        0x52 span_id: single span_id,
        0x59 observed_time_unix_nano: single fixed64,
        0x62 event_name: single text,
    }

    resource_metrics {
        0x0a resource: single message resource,
        0x12 scope_metrics: each message scope_metrics,
        0x1a schema_url: single text,
    }
    scope_metrics {
        0x0a scope: single message scope,
        0x12 metrics: each message metric,
        0x1a schema_url: single text,
    }
    metric {
        0x0a name: single text,
        0x12 description: single text,
        0x1a unit: single text,
        0x2a gauge: oneof message gauge,
        0x3a sum: oneof message sum,
        0x4a histogram: oneof message histogram,
        0x52 exponential_histogram: oneof message exponential_histogram,
        0x5a summary: oneof message summary,
        0x62 metadata: each message key_value,
    }
    gauge {
        0x0a data_points: each item number_point,
    }
    sum {
        0x0a data_points: each item number_point,
        0x10 aggregation_temporality: single int32,
        0x18 is_monotonic: single bool,
    }
    histogram {
        0x0a data_points: each item histogram_point,
        0x10 aggregation_temporality: single int32,
    }
    exponential_histogram {
        0x0a data_points: each item exponential_point,
        0x10 aggregation_temporality: single int32,
    }
    summary {
        0x0a data_points: each item summary_point,
    }
    number_point {
        0x11 start_time_unix_nano: single fixed64,
        0x19 time_unix_nano: single fixed64,
        0x21 as_double: oneof fixed64,
        0x2a exemplars: each message exemplar,
        0x31 as_int: oneof fixed64,
        0x3a attributes: each message key_value,
        0x40 flags: single uint32,
    }
    histogram_point {
        0x11 start_time_unix_nano: single fixed64,
        0x19 time_unix_nano: single fixed64,
        0x21 count: single fixed64,
        0x29 sum: single fixed64,
        0x32 bucket_counts: packed fixed64,
        0x3a explicit_bounds: packed fixed64,
        0x42 exemplars: each message exemplar,
        0x4a attributes: each message key_value,
        0x50 flags: single uint32,
        0x59 min: single fixed64,
        0x61 max: single fixed64,
    }
    exponential_point {
        0x0a attributes: each message key_value,
        0x11 start_time_unix_nano: single fixed64,
        0x19 time_unix_nano: single fixed64,
        0x21 count: single fixed64,
        0x29 sum: single fixed64,
        0x30 scale: single uint32,
        0x39 zero_count: single fixed64,
        0x42 positive: single message buckets,
        0x4a negative: single message buckets,
        0x50 flags: single uint32,
        0x5a exemplars: each message exemplar,
        0x61 min: single fixed64,
        0x69 max: single fixed64,
        0x71 zero_threshold: single fixed64,
    }
    buckets {
        0x08 offset: single uint32,
        0x12 bucket_counts: packed uint64,
    }
    summary_point {
        0x11 start_time_unix_nano: single fixed64,
        0x19 time_unix_nano: single fixed64,
        0x21 count: single fixed64,
        0x29 sum: single fixed64,
        0x32 quantile_values: each message value_at_quantile,
        0x3a attributes: each message key_value,
        0x40 flags: single uint32,
    }
    value_at_quantile {
        0x09 quantile: single fixed64,
        0x11 value: single fixed64,
    }
    exemplar {
        0x11 time_unix_nano: single fixed64,
        0x19 as_double: oneof fixed64,
        0x22 span_id: single span_id,
        0x2a trace_id: single trace_id,
        0x31 as_int: oneof fixed64,
        0x3a filtered_attributes: each message key_value,
    }

    resource {
        0x0a attributes: each message key_value,
        0x10 dropped_attributes_count: single uint32,
        0x1a entity_refs: each message entity_ref,
    }
    entity_ref {
        0x0a schema_url: single text,
        0x12 entity_type: single text,
        0x1a id_keys: each text,
        0x22 description_keys: each text,
    }
    scope {
        0x0a name: single text,
        0x12 version: single text,
        0x1a attributes: each message key_value,
        0x20 dropped_attributes_count: single uint32,
    }
    #[inline(never)]
    any_key_value {
        0x0a key: single text,
        0x12 value: single message any_value,
        0x18 key_strindex: single int32,
    }
    any_value {
        0x0a string_value: oneof text,
        0x10 bool_value: oneof bool,
        0x18 int_value: oneof uint64,
        0x21 double_value: oneof fixed64,
        0x2a array_value: oneof message array_value,
        0x32 kvlist_value: oneof message kvlist_value,
        0x3a bytes_value: oneof bytes,
        0x40 string_value_strindex: oneof int32,
    }
    array_value {
        0x0a values: each message any_value,
    }
    kvlist_value {
        0x0a values: each message key_value,
    }
}
