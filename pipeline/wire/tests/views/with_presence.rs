//! Views read an absent message as an empty one; this makes prost structs say the same, to compare the two.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Exemplar;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;

pub trait WithPresence {
    /// Fills in every absent singular message.
    fn with_presence(&mut self);
}

impl WithPresence for AnyValue {
    fn with_presence(&mut self) {
        match &mut self.value {
            Some(Value::ArrayValue(array)) => array.values.with_presence(),
            Some(Value::KvlistValue(list)) => list.values.with_presence(),
            _ => {}
        }
    }
}

impl WithPresence for KeyValue {
    fn with_presence(&mut self) {
        self.value.get_or_insert_default().with_presence();
    }
}

impl WithPresence for Exemplar {
    fn with_presence(&mut self) {
        self.filtered_attributes.with_presence();
    }
}

impl<T: WithPresence> WithPresence for Vec<T> {
    fn with_presence(&mut self) {
        self.iter_mut().for_each(T::with_presence);
    }
}

impl WithPresence for Option<Resource> {
    fn with_presence(&mut self) {
        self.get_or_insert_default().attributes.with_presence();
    }
}

impl WithPresence for Option<InstrumentationScope> {
    fn with_presence(&mut self) {
        self.get_or_insert_default().attributes.with_presence();
    }
}

impl WithPresence for ExportTraceServiceRequest {
    fn with_presence(&mut self) {
        for resource_spans in &mut self.resource_spans {
            resource_spans.resource.with_presence();
            for scope_spans in &mut resource_spans.scope_spans {
                scope_spans.scope.with_presence();
                for span in &mut scope_spans.spans {
                    span.attributes.with_presence();
                    span.events.iter_mut().for_each(|event| event.attributes.with_presence());
                    span.links.iter_mut().for_each(|link| link.attributes.with_presence());
                    span.status.get_or_insert_default();
                }
            }
        }
    }
}

impl WithPresence for ExportLogsServiceRequest {
    fn with_presence(&mut self) {
        for resource_logs in &mut self.resource_logs {
            resource_logs.resource.with_presence();
            for scope_logs in &mut resource_logs.scope_logs {
                scope_logs.scope.with_presence();
                for record in &mut scope_logs.log_records {
                    record.attributes.with_presence();
                    record.body.get_or_insert_default().with_presence();
                }
            }
        }
    }
}

impl WithPresence for ExportMetricsServiceRequest {
    fn with_presence(&mut self) {
        for resource_metrics in &mut self.resource_metrics {
            resource_metrics.resource.with_presence();
            for scope_metrics in &mut resource_metrics.scope_metrics {
                scope_metrics.scope.with_presence();
                for metric in &mut scope_metrics.metrics {
                    metric.metadata.with_presence();
                    metric.data.iter_mut().for_each(Data::with_presence);
                }
            }
        }
    }
}

impl WithPresence for Data {
    fn with_presence(&mut self) {
        match self {
            Self::Gauge(gauge) => gauge.data_points.iter_mut().for_each(|point| {
                point.attributes.with_presence();
                point.exemplars.with_presence();
            }),
            Self::Sum(sum) => sum.data_points.iter_mut().for_each(|point| {
                point.attributes.with_presence();
                point.exemplars.with_presence();
            }),
            Self::Histogram(histogram) => histogram.data_points.iter_mut().for_each(|point| {
                point.attributes.with_presence();
                point.exemplars.with_presence();
            }),
            Self::ExponentialHistogram(histogram) => histogram.data_points.iter_mut().for_each(|point| {
                point.attributes.with_presence();
                point.exemplars.with_presence();
                point.positive.get_or_insert_default();
                point.negative.get_or_insert_default();
            }),
            Self::Summary(summary) => {
                summary.data_points.iter_mut().for_each(|point| point.attributes.with_presence());
            }
        }
    }
}
