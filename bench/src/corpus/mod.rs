//! Pre-encoded requests that look like production telemetry, with the offsets at which each item keeps its identity.
//!
//! Shapes follow what instrumented services send: one resource of eight attributes, two scopes; spans of about 700
//! bytes (some twelve attributes, 1.5 events, a status), log records of about 320 bytes, data points of about 260
//! (a third of them histograms). Built once from a seed; the hot path only overwrites identities.

mod logs;
mod metrics;
mod text;
mod traces;

use crate::ids::{ItemId, Slot};
use crate::walk;
use millrace_wire::Signal;

/// Consecutive spans of a request that share a trace.
pub const SPANS_PER_TRACE: usize = 10;

/// One encoded request, ready to be given identities.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

impl Template {
    /// Builds a request of exactly `items` items. Different seeds give different text and sizes.
    #[must_use]
    pub fn build(signal: Signal, items: usize, seed: u64) -> Self {
        let mut random = text::Random::new(seed);
        let mut bytes = Vec::with_capacity(items * 800 + 1024);
        match signal {
            Signal::Metrics => metrics::request(&mut bytes, items, &mut random),
            Signal::Logs => logs::request(&mut bytes, items, &mut random),
            Signal::Traces | Signal::Profiles => traces::request(&mut bytes, items, &mut random),
        }
        let mut slots = Vec::with_capacity(items);
        walk::each_item(signal, &bytes, |item| {
            let slot = Slot::of(&bytes, &item, signal == Signal::Traces);
            slots.push(slot.expect("the corpus gives every item an identity"));
        })
        .expect("the corpus writes well-formed requests");
        Self { bytes, slots }
    }

    /// The encoded request, with whatever identities it was built with.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many items it carries.
    #[must_use]
    pub fn items(&self) -> usize {
        self.slots.len()
    }

    /// Gives the items in `request` (a copy of [`Template::bytes`]) the sequences `first`, `first + 1`, and so on.
    pub fn stamp(&self, request: &mut [u8], run: u64, first: u64) {
        for (index, slot) in self.slots.iter().enumerate() {
            let leader = first + (index - index % SPANS_PER_TRACE) as u64;
            slot.write(request, ItemId { run, sequence: first + index as u64 }, leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use prost::Message;
    use std::collections::HashSet;

    fn stamped(signal: Signal, items: usize, first: u64) -> Vec<u8> {
        let template = Template::build(signal, items, 3);
        let mut bytes = template.bytes().to_vec();
        template.stamp(&mut bytes, 0xabcd, first);
        assert_eq!(walk::count(signal, &bytes), Ok(items as u64));
        bytes
    }

    #[test]
    fn another_decoder_agrees_about_spans_and_their_identities() {
        let bytes = stamped(Signal::Traces, 100, 501);

        let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        let resource = &request.resource_spans[0];
        assert_eq!(resource.resource.as_ref().unwrap().attributes.len(), 8);
        assert_eq!(resource.scope_spans.len(), 2);
        let spans: Vec<_> = resource.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
        assert_eq!(spans.len(), 100);
        let ids: HashSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
        assert_eq!(ids.len(), 100, "span ids are distinct");
        let traces: HashSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
        assert_eq!(traces.len(), 100 / SPANS_PER_TRACE);
        for span in &spans {
            let sequence = crate::ids::unscramble(u64::from_be_bytes(span.span_id[..].try_into().unwrap()));
            assert!((501..601).contains(&sequence));
            assert!(span.parent_span_id.is_empty() || ids.contains(&span.parent_span_id));
        }
        assert_eq!(request.encode_to_vec(), bytes, "the encoding is the canonical one");
    }

    #[test]
    fn another_decoder_agrees_about_logs() {
        let bytes = stamped(Signal::Logs, 100, 1);
        let request = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        let records: usize =
            request.resource_logs[0].scope_logs.iter().map(|scope| scope.log_records.len()).sum();
        assert_eq!(records, 100);
        assert_eq!(request.encode_to_vec(), bytes);
    }

    #[test]
    fn another_decoder_agrees_about_data_points() {
        let bytes = stamped(Signal::Metrics, 100, 1);
        let request = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        let mut histograms = 0;
        let mut points = 0;
        for metric in request.resource_metrics[0].scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            match metric.data.as_ref().unwrap() {
                Data::Gauge(gauge) => points += gauge.data_points.len(),
                Data::Sum(sum) => points += sum.data_points.len(),
                Data::Histogram(histogram) => {
                    points += histogram.data_points.len();
                    histograms += histogram.data_points.len();
                }
                other => panic!("the corpus has no {other:?}"),
            }
        }
        assert_eq!(points, 100);
        assert!((25..=45).contains(&histograms), "about a third are histograms: {histograms}");
        assert_eq!(request.encode_to_vec(), bytes);
    }

    #[test]
    fn items_have_the_sizes_that_the_comparisons_quote() {
        let sizes = [Signal::Traces, Signal::Logs, Signal::Metrics].map(|signal| {
            let total: usize = (0..8).map(|seed| Template::build(signal, 1000, seed).bytes().len()).sum();
            total / 8000
        });
        for (size, expected) in sizes.into_iter().zip([708, 324, 261_usize]) {
            assert!(size.abs_diff(expected) * 20 <= expected, "{sizes:?} bytes per span, record, point");
        }
    }

    #[test]
    fn odd_sizes_are_exact_and_identities_read_back() {
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            for items in [1, 7, 13] {
                let bytes = stamped(signal, items, 1000);
                let mut seen = Vec::new();
                walk::each_item(signal, &bytes, |item| {
                    let slot = Slot::of(&bytes, &item, signal == Signal::Traces).unwrap();
                    seen.push(slot.read(&bytes).unwrap());
                })
                .unwrap();
                let expected: Vec<_> =
                    (0..items as u64).map(|index| ItemId { run: 0xabcd, sequence: 1000 + index }).collect();
                assert_eq!(seen, expected);
            }
        }
    }
}
