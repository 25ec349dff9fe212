//! What `Script` does to bytes, done to prost structs without any of the library's code.

mod script;

pub use script::Script;

use millrace_wire::edit::Verdict;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, exemplar, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use script::Op;

pub struct Oracle<'s> {
    pub script: &'s Script,
}

const RESOURCE: usize = 0;
const SCOPE: usize = 1;
const SPAN: usize = 2;
const EVENT: usize = 3;
const LINK: usize = 4;
const RECORD: usize = 5;
const METRIC: usize = 6;
const POINT: usize = 7;
const EXEMPLAR: usize = 8;

/// A resource or scope that may be absent, and is made if it is changed.
struct Maybe<'m, T> {
    slot: &'m mut Option<T>,
    value: T,
}

impl<'m, T: Clone + Default + PartialEq> Maybe<'m, T> {
    fn of(slot: &'m mut Option<T>) -> Self {
        let value = slot.clone().unwrap_or_default();
        Self { slot, value }
    }

    fn store(self) {
        if self.slot.is_some() || self.value != T::default() {
            *self.slot = Some(self.value);
        }
    }
}

/// Filters a list in place; says whether that emptied it.
fn filter<T>(list: &mut Vec<T>, mut keep: impl FnMut(&mut T) -> bool) -> bool {
    let before = list.len();
    list.retain_mut(&mut keep);
    before > 0 && list.is_empty()
}

macro_rules! request {
    ($name:ident, $request:ty, $resources:ident, $scopes:ident, $items:ident, $item:ident, $levels:expr) => {
        pub fn $name(&self, mut request: $request) -> $request {
            request.$resources.retain_mut(|resources| {
                let mut resource = Maybe::of(&mut resources.resource);
                let verdict = self.resource(&mut resource.value);
                let mut emptied = verdict == Verdict::Drop;
                if verdict == Verdict::Keep {
                    emptied |= filter(&mut resources.$scopes, |scopes| {
                        let mut scope = Maybe::of(&mut scopes.scope);
                        let verdict = self.scope(&mut scope.value);
                        let mut emptied = verdict == Verdict::Drop;
                        if verdict == Verdict::Keep && $levels.iter().any(|&level| self.script.reach[level]) {
                            emptied |= filter(&mut scopes.$items, |item| {
                                self.$item(item, &mut resource.value, &mut scope.value)
                            });
                        }
                        scope.store();
                        !emptied
                    });
                }
                resource.store();
                !emptied
            });
            request
        }
    };
}

impl Oracle<'_> {
    request!(
        traces,
        ExportTraceServiceRequest,
        resource_spans,
        scope_spans,
        spans,
        span,
        [SPAN, EVENT, LINK]
    );
    request!(logs, ExportLogsServiceRequest, resource_logs, scope_logs, log_records, record, [RECORD]);
    request!(
        metrics,
        ExportMetricsServiceRequest,
        resource_metrics,
        scope_metrics,
        metrics,
        metric,
        [METRIC, POINT, EXEMPLAR]
    );

    fn visits(&self, level: usize) -> bool {
        self.script.reach[level]
    }

    fn resource(&self, resource: &mut Resource) -> Verdict {
        if !self.visits(RESOURCE) {
            return Verdict::Keep;
        }
        let verdict = self.script.verdict(resource.dropped_attributes_count.into());
        self.apply(&mut resource.attributes);
        resource.dropped_attributes_count = 0;
        verdict
    }

    fn scope(&self, scope: &mut InstrumentationScope) -> Verdict {
        if !self.visits(SCOPE) {
            return Verdict::Keep;
        }
        let verdict = self.script.verdict(scope.dropped_attributes_count.into());
        self.apply(&mut scope.attributes);
        scope.version = "edited".to_owned();
        verdict
    }

    fn span(&self, span: &mut Span, resource: &mut Resource, _: &mut InstrumentationScope) -> bool {
        let mut verdict = Verdict::Keep;
        if self.visits(SPAN) {
            verdict = self.script.verdict(span.start_time_unix_nano);
            self.apply(&mut span.attributes);
            upsert(&mut resource.attributes, "last.kind", Value::IntValue(span.kind.into()));
            span.name.push('!');
            span.status = Some(Status { code: 2, message: "bad".to_owned() });
            span.kind = -3;
            span.span_id = vec![9; 8];
            span.trace_state.clear();
        }
        if verdict == Verdict::Keep {
            // In the order of the wire events and links may be mixed, but links do not touch the span.
            let mut dropped_counts = Vec::new();
            if self.visits(EVENT) {
                span.events.retain_mut(|event| {
                    let verdict = self.script.verdict(event.time_unix_nano);
                    self.apply(&mut event.attributes);
                    event.time_unix_nano = 77;
                    dropped_counts.push(event.dropped_attributes_count);
                    verdict != Verdict::Drop
                });
            }
            for count in dropped_counts {
                upsert(&mut span.attributes, "from.event", Value::IntValue(count.into()));
            }
            if self.visits(LINK) {
                span.links.retain_mut(|link| {
                    let verdict = self.script.verdict(link.flags.into());
                    self.apply(&mut link.attributes);
                    link.trace_id.clear();
                    verdict != Verdict::Drop
                });
            }
        }
        verdict != Verdict::Drop
    }

    fn record(&self, record: &mut LogRecord, _: &mut Resource, scope: &mut InstrumentationScope) -> bool {
        let verdict = self.script.verdict(record.time_unix_nano);
        self.apply(&mut record.attributes);
        insert(&mut scope.attributes, "severity", Value::IntValue(record.severity_number.into()));
        record.severity_text = "WARN".to_owned();
        let values = [Value::StringValue("new".to_owned()), Value::DoubleValue(1.5)];
        let values = values.map(|value| AnyValue { value: Some(value) }).to_vec();
        record.body = Some(AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) });
        verdict != Verdict::Drop
    }

    fn metric(&self, metric: &mut Metric, _: &mut Resource, scope: &mut InstrumentationScope) -> bool {
        let mut verdict = Verdict::Keep;
        if self.visits(METRIC) {
            verdict = self.script.verdict(metric.name.len() as u64);
            self.apply(&mut metric.metadata);
            metric.unit = "s".to_owned();
            match &mut metric.data {
                Some(Data::Sum(sum)) => (sum.aggregation_temporality, sum.is_monotonic) = (2, true),
                Some(Data::Histogram(data)) => data.aggregation_temporality = 2,
                Some(Data::ExponentialHistogram(data)) => data.aggregation_temporality = 2,
                _ => {}
            }
        }
        let mut emptied = false;
        if verdict == Verdict::Keep && (self.visits(POINT) || self.visits(EXEMPLAR)) {
            let mut touched = false;
            let mut visit =
                |time: u64, attributes: &mut Vec<KeyValue>, exemplars: Option<&mut Vec<Exemplar>>| {
                    let mut verdict = Verdict::Keep;
                    if self.visits(POINT) {
                        touched = true;
                        verdict = self.script.verdict(time);
                        self.apply(attributes);
                    }
                    if let (Verdict::Keep, Some(exemplars)) = (verdict, exemplars) {
                        self.exemplars(exemplars, attributes);
                    }
                    verdict != Verdict::Drop
                };
            let set = self.visits(POINT);
            emptied = match &mut metric.data {
                Some(Data::Gauge(data)) => filter(&mut data.data_points, |point| {
                    set_number(set, &mut point.value, &mut point.flags);
                    visit(point.time_unix_nano, &mut point.attributes, Some(&mut point.exemplars))
                }),
                Some(Data::Sum(data)) => filter(&mut data.data_points, |point| {
                    set_number(set, &mut point.value, &mut point.flags);
                    visit(point.time_unix_nano, &mut point.attributes, Some(&mut point.exemplars))
                }),
                Some(Data::Histogram(data)) => filter(&mut data.data_points, |point| {
                    if set {
                        (point.count, point.max, point.flags) = (11, Some(0.0), 1);
                    }
                    visit(point.time_unix_nano, &mut point.attributes, Some(&mut point.exemplars))
                }),
                Some(Data::ExponentialHistogram(data)) => filter(&mut data.data_points, |point| {
                    if set {
                        (point.count, point.max, point.flags) = (11, Some(0.0), 1);
                    }
                    visit(point.time_unix_nano, &mut point.attributes, Some(&mut point.exemplars))
                }),
                Some(Data::Summary(data)) => filter(&mut data.data_points, |point| {
                    if set {
                        (point.count, point.sum, point.flags) = (11, 0.25, 1);
                    }
                    visit(point.time_unix_nano, &mut point.attributes, None)
                }),
                None => false,
            };
            if touched {
                metric.description = "has points".to_owned();
                scope.name = "of points".to_owned();
            }
        }
        verdict != Verdict::Drop && !emptied
    }

    fn exemplars(&self, exemplars: &mut Vec<Exemplar>, point: &mut Vec<KeyValue>) {
        if !self.visits(EXEMPLAR) {
            return;
        }
        exemplars.retain_mut(|exemplar| {
            let verdict = self.script.verdict(exemplar.time_unix_nano);
            self.apply(&mut exemplar.filtered_attributes);
            exemplar.value = Some(exemplar::Value::AsDouble(-0.5));
            insert(point, "exemplars", Value::BoolValue(true));
            verdict != Verdict::Drop
        });
    }

    fn apply(&self, list: &mut Vec<KeyValue>) {
        for op in &self.script.ops {
            match op {
                Op::Insert(key, value) => insert(list, key, Value::IntValue(*value)),
                Op::Update(key, value) => {
                    let is_there = list.iter().any(|entry| entry.key == *key);
                    if is_there {
                        upsert(list, key, Value::StringValue(value.clone()));
                    }
                }
                Op::Upsert(key, value) => upsert(list, key, Value::IntValue(*value)),
                Op::Remove(key) => list.retain(|entry| entry.key != *key),
                Op::Rename(from, to) => rename(list, from, to),
                Op::Copy(from, to) => {
                    let source = list.iter().find(|entry| entry.key == *from).cloned();
                    if let Some(source) = source {
                        put(list, to, &source.value.unwrap_or_default());
                    }
                }
            }
        }
    }
}

fn set_number(set: bool, value: &mut Option<number_data_point::Value>, flags: &mut u32) {
    if set {
        *value = Some(number_data_point::Value::AsInt(5));
        *flags = 1;
    }
}

fn insert(list: &mut Vec<KeyValue>, key: &str, value: Value) {
    if !list.iter().any(|entry| entry.key == key) {
        upsert(list, key, value);
    }
}

fn upsert(list: &mut Vec<KeyValue>, key: &str, value: Value) {
    put(list, key, &AnyValue { value: Some(value) });
}

fn put(list: &mut Vec<KeyValue>, key: &str, value: &AnyValue) {
    let entry = || KeyValue { key: key.to_owned(), value: Some(value.clone()), ..Default::default() };
    if !list.iter().any(|entry| entry.key == key) {
        list.push(entry());
        return;
    }
    for old in list.iter_mut().filter(|old| old.key == key) {
        *old = entry();
    }
}

fn rename(list: &mut Vec<KeyValue>, from: &str, to: &str) {
    let Some(at) = list.iter().position(|entry| entry.key == from) else {
        return;
    };
    if from == to {
        return;
    }
    let value = Some(list[at].value.clone().unwrap_or_default());
    list[at] = KeyValue { key: to.to_owned(), value, ..Default::default() };
    let mut nth = 0;
    list.retain(|entry| {
        nth += 1;
        nth - 1 == at || (entry.key != from && entry.key != to)
    });
}
