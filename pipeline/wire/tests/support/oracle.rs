//! What prost makes of a request.

use millrace_wire::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;

/// A request that prost could read.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Encoded again. Unlike the structs, it compares equal to itself when it holds a NaN.
    pub again: Vec<u8>,
    /// Spans, data points or log records.
    pub items: u32,
}

/// Reads a request with prost; nothing for what prost refuses. Not for profiles.
pub fn oracle(signal: Signal, bytes: &[u8]) -> Option<Decoded> {
    match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(bytes).ok()?;
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            let items = scopes.map(|scope| scope.spans.len()).sum::<usize>() as u32;
            Some(Decoded { again: request.encode_to_vec(), items })
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(bytes).ok()?;
            let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
            let items = scopes.map(|scope| scope.log_records.len()).sum::<usize>() as u32;
            Some(Decoded { again: request.encode_to_vec(), items })
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(bytes).ok()?;
            let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
            let points = |data: &Data| match data {
                Data::Gauge(gauge) => gauge.data_points.len(),
                Data::Sum(sum) => sum.data_points.len(),
                Data::Histogram(histogram) => histogram.data_points.len(),
                Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
                Data::Summary(summary) => summary.data_points.len(),
            };
            let metrics = scopes.flat_map(|scope| &scope.metrics);
            let items = metrics.filter_map(|metric| metric.data.as_ref()).map(points).sum::<usize>() as u32;
            Some(Decoded { again: request.encode_to_vec(), items })
        }
        Signal::Profiles => unreachable!("profiles are opaque"),
    }
}
