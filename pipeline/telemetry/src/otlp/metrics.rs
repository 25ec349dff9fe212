//! Own metrics as OTLP, since the start or since the push before.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::SystemTime;

use millrace_wire::Payload;
use millrace_wire::view::Number;
use millrace_wire::write::{
    Buckets, ExponentialHistogram, Histogram, Metric, Metrics as Writer, Point, PointBody,
    Scope as WireScope, Temporality,
};

use super::{attributes, nanos};
use crate::config::otlp::TemporalityPreference;
use crate::metrics::{Exponential, FamilySnapshot, Kind, Labels, Registry, Scope, Side, Value};

/// The metrics of a registry for one destination, which may want to know only what is new.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    preference: TemporalityPreference,
    /// What the destination has had, of what it is told the difference of.
    known: Baseline,
}

/// What has been collected: to be sent, and to be remembered once it is.
#[derive(Debug)]
pub struct Collected {
    /// The request; of no items if there is nothing to say.
    pub payload: Payload,
    next: Baseline,
}

#[derive(Debug, Clone, Default)]
struct Baseline {
    at: Option<SystemTime>,
    values: HashMap<(Cow<'static, str>, Labels), Value>,
}

impl Metrics {
    /// Of a destination that has been told nothing yet.
    #[must_use]
    pub fn new(registry: Registry, preference: TemporalityPreference) -> Self {
        Self { registry, preference, known: Baseline::default() }
    }

    /// Everything there is to say now.
    #[must_use]
    pub fn collect(&self) -> Collected {
        let now = SystemTime::now();
        let mut next = Baseline { at: Some(now), values: HashMap::new() };
        let mut families = self.registry.snapshot();
        for family in families.iter_mut().filter(|family| self.is_delta(family)) {
            for series in &mut family.series {
                let key = (family.name.clone(), series.labels.clone());
                let since = self.known.values.get(&key).map(|known| since(&series.value, known));
                let value = since.unwrap_or_else(|| series.value.clone());
                next.values.insert(key, std::mem::replace(&mut series.value, value));
            }
        }
        let started = self.registry.started();
        let times = Times { started, before: self.known.at.unwrap_or(started), now };
        Collected { payload: self.write(&families, times), next }
    }

    /// The destination has been told.
    pub fn sent(&mut self, collected: Collected) {
        self.known = collected.next;
    }

    fn is_delta(&self, family: &FamilySnapshot) -> bool {
        let grows = family.kind.is_monotonic() || family.kind == Kind::Histogram;
        match self.preference {
            TemporalityPreference::Cumulative => false,
            TemporalityPreference::Delta => grows,
            TemporalityPreference::LowMemory => grows && !family.is_observed,
        }
    }

    fn write(&self, families: &[FamilySnapshot], times: Times) -> Payload {
        let mut scopes: Vec<Scope> = families.iter().map(|family| family.def.scope).collect();
        scopes.sort_by_key(|scope| (scope.name, scope.version));
        scopes.dedup();
        let resource = self.registry.resource();
        Writer::build(|out| {
            if families.is_empty() {
                return;
            }
            out.resource(attributes::schema_url(resource), |out| attributes::resource(resource, out));
            for scope in scopes {
                let Scope { name, version, schema_url } = scope;
                out.scope(WireScope { name, version, schema_url }, |_| {});
                for family in families.iter().filter(|family| family.def.scope == scope) {
                    self.family(out, family, times);
                }
            }
        })
    }

    fn family(&self, out: &mut Writer, family: &FamilySnapshot, times: Times) {
        let help = format!("{}{}", family.help, family.def.stability.suffix());
        let metric = Metric { name: &family.name, description: &help, unit: family.def.unit };
        let (start, temporality) = if self.is_delta(family) {
            (times.before, Temporality::Delta)
        } else {
            (times.started, Temporality::Cumulative)
        };
        let point = Point { start_ns: nanos(start), time_ns: nanos(times.now), ..Point::default() };
        let numbers = |points: &mut millrace_wire::write::NumberPoints<'_>| {
            for series in &family.series {
                if let Value::Number(value) = series.value {
                    points.point(point, number(family, value), |body| labels(body, &series.labels));
                }
            }
        };
        match family.kind {
            Kind::Counter | Kind::CounterF64 => drop(out.counter(metric, temporality, numbers)),
            Kind::UpDown => drop(out.up_down_counter(metric, temporality, numbers)),
            Kind::Gauge => drop(out.gauge(metric, numbers)),
            Kind::Histogram => histograms(out, metric, temporality, family, point),
        };
    }
}

#[derive(Clone, Copy)]
struct Times {
    started: SystemTime,
    before: SystemTime,
    now: SystemTime,
}

fn histograms(
    out: &mut Writer,
    metric: Metric<'_>,
    temporality: Temporality,
    family: &FamilySnapshot,
    point: Point,
) {
    let is_exponential =
        matches!(family.series.first().map(|series| &series.value), Some(Value::Exponential(_)));
    if is_exponential {
        out.exponential_histogram(metric, temporality, |points| {
            for series in &family.series {
                let Value::Exponential(value) = &series.value else { continue };
                let side = |side: &'_ Side| -> (i32, Vec<u64>) { (side.offset, side.counts.clone()) };
                let (positive, negative) = (side(&value.positive), side(&value.negative));
                let value = ExponentialHistogram {
                    count: value.count,
                    sum: Some(value.sum),
                    min: value.min,
                    max: value.max,
                    scale: value.scale,
                    zero_count: value.zero_count,
                    zero_threshold: 0.0,
                    positive: Buckets { offset: positive.0, counts: &positive.1 },
                    negative: Buckets { offset: negative.0, counts: &negative.1 },
                };
                points.point(point, value, |body| labels(body, &series.labels));
            }
        });
        return;
    }
    out.histogram(metric, temporality, |points| {
        for series in &family.series {
            let Value::Histogram { bounds, counts, sum, min, max } = &series.value else { continue };
            let value = Histogram {
                count: counts.iter().sum(),
                sum: Some(*sum),
                min: *min,
                max: *max,
                bucket_counts: counts,
                explicit_bounds: bounds,
            };
            points.point(point, value, |body| labels(body, &series.labels));
        }
    });
}

fn labels(body: &mut PointBody<'_>, labels: &Labels) {
    for (name, value) in labels.iter() {
        body.attr(name, attributes::typed(name, value));
    }
}

/// Whole numbers but for time, whatever the value is just now: a series does not change its type.
fn number(family: &FamilySnapshot, value: f64) -> Number {
    let is_whole = family.kind != Kind::CounterF64 && !matches!(family.def.unit, "s" | "1");
    if is_whole { Number::Int(value as i64) } else { Number::Double(value) }
}

/// What was added since `known`. A series that was taken away and came back counts from nothing.
fn since(value: &Value, known: &Value) -> Value {
    match (value, known) {
        (Value::Number(now), Value::Number(before)) if now >= before => Value::Number(now - before),
        (
            Value::Histogram { bounds, counts, sum, .. },
            Value::Histogram { counts: before, sum: sum_before, .. },
        ) if counts.len() == before.len() && counts.iter().zip(before).all(|(now, before)| now >= before) => {
            Value::Histogram {
                bounds: bounds.clone(),
                counts: counts.iter().zip(before).map(|(now, before)| now - before).collect(),
                sum: sum - sum_before,
                // They are of all the time.
                min: None,
                max: None,
            }
        }
        (Value::Exponential(now), Value::Exponential(before)) if now.count >= before.count => {
            let since: Exponential = now.since(before);
            Value::Exponential(Box::new(since))
        }
        (value, _) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Def, Level};
    use std::collections::BTreeMap;

    static SENT: Def = Def::counter("sent", "Number sent.", "{item}");
    static TIMES: Def = Def::histogram("times", "", "s").with_bounds(&[1.0]);
    static UPTIME: Def = Def::counter_f64("uptime", "", "s");

    fn json(collected: &Collected) -> serde_json::Value {
        let mut text = Vec::new();
        millrace_wire::json::to_json(&collected.payload, &mut text).expect("it is JSON");
        serde_json::from_slice(&text).expect("it is JSON")
    }

    /// The points of a metric.
    fn points(collected: &Collected, name: &str) -> Vec<serde_json::Value> {
        let json = json(collected);
        let scopes = json["resourceMetrics"][0]["scopeMetrics"].as_array().cloned().unwrap_or_default();
        let metrics =
            scopes.iter().flat_map(|scope| scope["metrics"].as_array().cloned().unwrap_or_default());
        let metric = metrics.into_iter().find(|metric| metric["name"] == name).expect("the metric");
        let kinds = ["sum", "gauge", "histogram"];
        let data = kinds.into_iter().find_map(|kind| metric.get(kind)).expect("data");
        data["dataPoints"].as_array().expect("points").clone()
    }

    #[test]
    fn everything_is_said_in_the_words_of_the_definitions() {
        let attributes = BTreeMap::from([
            ("service.name".to_owned(), "millrace".into()),
            ("n".to_owned(), serde_json::json!(3)),
            ("l".to_owned(), serde_json::json!(["a", true])),
        ]);
        let resource = crate::config::Resource::new(attributes, String::new());
        let registry = Registry::with_resource(Level::Basic, resource);
        let labels =
            Labels::from([("exporter", "otlp"), ("server.port", "4317"), ("error.permanent", "true")]);
        registry.counter(&SENT, &labels).add(3);
        let collected = Metrics::new(registry, TemporalityPreference::Cumulative).collect();

        let json = json(&collected);
        let resource = &json["resourceMetrics"][0];
        assert_eq!(resource["schemaUrl"], SCHEMA);
        let expected = serde_json::json!([
            {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"boolValue": true}]}}},
            {"key": "n", "value": {"intValue": "3"}},
            {"key": "service.name", "value": {"stringValue": "millrace"}},
        ]);
        assert_eq!(resource["resource"]["attributes"], expected);
        let metric = &resource["scopeMetrics"][0]["metrics"][0];
        assert_eq!(metric["description"], "Number sent. [Alpha]");
        assert_eq!(metric["unit"], "{item}");
        assert_eq!(metric["sum"]["aggregationTemporality"], 2);
        let point = &metric["sum"]["dataPoints"][0];
        assert_eq!(point["asInt"], "3");
        let expected = serde_json::json!([
            {"key": "error.permanent", "value": {"boolValue": true}},
            {"key": "exporter", "value": {"stringValue": "otlp"}},
            {"key": "server.port", "value": {"intValue": "4317"}},
        ]);
        assert_eq!(point["attributes"], expected);
    }

    const SCHEMA: &str = super::super::SCHEMA_URL;

    #[test]
    fn a_destination_that_wants_differences_gets_what_it_has_not_had() {
        let registry = Registry::new(Level::Basic);
        let (sent, times) =
            (registry.counter(&SENT, &Labels::new()), registry.histogram(&TIMES, &Labels::new()));
        let mut metrics = Metrics::new(registry, TemporalityPreference::Delta);
        sent.add(3);
        times.record(0.5);
        let first = metrics.collect();
        assert_eq!(points(&first, "sent")[0]["asInt"], "3");
        metrics.sent(first);

        sent.add(2);
        times.record(4.0);
        let lost = metrics.collect();
        assert_eq!(points(&lost, "sent")[0]["asInt"], "2");
        drop(lost);

        sent.add(1);
        let again = metrics.collect();
        assert_eq!(points(&again, "sent")[0]["asInt"], "3", "what did not arrive is said again");
        let histogram = &points(&again, "times")[0];
        assert_eq!((histogram["count"].as_str(), histogram["sum"].as_f64()), (Some("1"), Some(4.0)));
        assert_eq!(histogram["bucketCounts"], serde_json::json!(["0", "1"]));
        assert!(histogram.get("min").is_none());
    }

    #[test]
    fn what_is_observed_counts_from_the_start_for_low_memory() {
        let registry = Registry::new(Level::Basic);
        let _kept = registry.observe(&UPTIME, &Labels::new(), || 7.5);
        registry.counter(&SENT, &Labels::new()).add(1);
        let mut metrics = Metrics::new(registry, TemporalityPreference::LowMemory);
        let first = metrics.collect();
        metrics.sent(first);
        let second = metrics.collect();
        assert_eq!(points(&second, "uptime")[0]["asDouble"], 7.5);
        // A whole zero is left out of JSON nowhere: points always have a value.
        assert_eq!(points(&second, "sent")[0]["asInt"], "0");
    }
}
