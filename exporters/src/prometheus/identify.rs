//! Which series a data point belongs to, and what that is called.
//!
//! Series are found by 128 bits of a hash over what tells them apart, under a seed that nobody outside knows; names
//! and labels are made only of the first data point of a series.

use super::refusal::Refusal;
use super::series::Label;
use millrace_formats::go::Plain;
use millrace_formats::prometheus::Kind;
use millrace_formats::prometheus::names::{Names, Suffix, join_labels};
use millrace_wire::view::{Attributes, Metric, MetricData, Resource, Scope, Text, Value};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The most labels of a series. Each new series is named anew, scope and resource included: without a limit, a few
/// kilobytes of attributes and as many data points would keep a worker busy for seconds.
const LABELS_MAX: usize = 1000;

const SERVICE_NAME: &[u8] = b"service.name";
const SERVICE_NAMESPACE: &[u8] = b"service.namespace";
const SERVICE_INSTANCE_ID: &[u8] = b"service.instance.id";

/// What a series is found by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

impl Key {
    fn of(bytes: &[u8]) -> Self {
        static SEED: OnceLock<u64> = OnceLock::new();
        let seed = *SEED.get_or_init(|| RandomState::new().build_hasher().finish());
        Self(xxh3_128_with_seed(bytes, seed))
    }

    /// What a name and labels look like to whoever scrapes them.
    pub(super) fn of_output(name: &str, labels: &[Label]) -> Self {
        let texts = labels.iter().flat_map(|(name, value)| [&**name, &**value]);
        let mut bytes = Vec::with_capacity(256);
        for text in [name].into_iter().chain(texts) {
            put(&mut bytes, text.as_bytes());
        }
        Self::of(&bytes)
    }

    /// Together with another, in this order.
    fn then(self, other: Self) -> Self {
        let mut both = [0; 32];
        both[..16].copy_from_slice(&self.0.to_le_bytes());
        both[16..].copy_from_slice(&other.0.to_le_bytes());
        Self::of(&both)
    }

    /// Which of `count` shards it lies in.
    pub(super) fn shard(self, count: usize) -> usize {
        (self.0 >> 64) as usize % count
    }
}

/// Appends a text so that what follows cannot be taken for a part of it.
fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text);
}

/// What a new series is called.
#[derive(Debug)]
pub(super) struct Found {
    pub name: String,
    pub help: String,
    pub kind: Kind,
    /// Sorted by name.
    pub labels: Box<[Label]>,
}

impl Found {
    pub(super) fn output(&self) -> Key {
        Key::of_output(&self.name, &self.labels)
    }
}

/// The rules of one exporter.
#[derive(Debug)]
pub(super) struct Rules {
    pub names: Names,
    pub const_labels: BTreeMap<String, String>,
    pub with_scope: bool,
    pub with_resource: bool,
    /// Of the resource's attributes, those that `job` and `instance` are made of are no labels besides.
    pub without_service: bool,
}

impl Rules {
    /// Whether an attribute of the resource becomes a label.
    fn is_label(&self, key: Text<'_>) -> bool {
        self.with_resource && !(self.without_service && identifies(key))
    }
}

/// Whether an attribute of a resource is a part of `job` or `instance`.
fn identifies(key: Text<'_>) -> bool {
    [SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE_ID].contains(&key.as_bytes())
}

/// A resource, and what it adds to its series.
pub(super) struct Source<'a> {
    resource: Resource<'a>,
    pub job: Option<String>,
    pub instance: Option<String>,
    /// The names of its attributes that become labels of its series.
    keys: HashSet<Text<'a>>,
    /// Those attributes, once a new series has asked for them.
    named: OnceCell<Vec<Named>>,
    key: Key,
}

impl<'a> Source<'a> {
    pub(super) fn of(rules: &Rules, resource: Resource<'a>, scratch: &mut Vec<u8>) -> Self {
        let [name, namespace, instance] =
            resource.attributes().get_each([SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE_ID]);
        let job = name.map(|name| match namespace {
            Some(namespace) => format!("{}/{}", Plain(namespace), Plain(name)),
            None => Plain(name).to_string(),
        });
        let instance = instance.map(|instance| Plain(instance).to_string());
        scratch.clear();
        for text in [&job, &instance] {
            // What is absent differs from what is empty.
            scratch.push(u8::from(text.is_some()));
            put(scratch, text.as_deref().unwrap_or_default().as_bytes());
        }
        let mut key = Key::of(scratch);
        let mut keys = HashSet::new();
        if rules.with_resource {
            key = key.then(hash(resource.attributes(), |key| rules.is_label(key), scratch));
            let labels = resource.attributes().iter().filter(|entry| rules.is_label(entry.key()));
            keys.extend(labels.map(|entry| entry.key()));
        }
        Self { resource, job, instance, keys, named: OnceCell::new(), key }
    }

    /// Its attributes that become labels, in order.
    fn named(&self, rules: &Rules) -> &[Named] {
        self.named.get_or_init(|| named(rules, self.resource.attributes(), |key| rules.is_label(key)))
    }

    /// What `target_info` is kept by: the target, and all of its attributes. `None` unless it has a job and an instance.
    pub(super) fn target(&self, scratch: &mut Vec<u8>) -> Option<(Key, Key)> {
        let (Some(job), Some(instance)) = (&self.job, &self.instance) else { return None };
        if job.is_empty() || instance.is_empty() {
            return None;
        }
        scratch.clear();
        put(scratch, job.as_bytes());
        put(scratch, instance.as_bytes());
        let target = Key::of(scratch);
        Some((target, hash(self.resource.attributes(), |_| true, scratch)))
    }

    /// The labels of `target_info`. An attribute whose name cannot be translated is left out.
    pub(super) fn target_labels(&self, names: &Names) -> Box<[Label]> {
        let mut labels = Vec::new();
        for (key, value) in sorted(self.resource.attributes(), |key| !identifies(key)) {
            if let Ok(name) = names.label(&key)
                && !name.starts_with("__")
            {
                labels.push((name.into_owned(), value));
            }
        }
        join_labels(&mut labels);
        let own = [("instance", &self.instance), ("job", &self.job)];
        for (name, value) in own {
            labels.retain(|(taken, _)| taken != name);
            labels.extend(value.as_ref().map(|value| (name.to_owned(), value.clone())));
        }
        finished(labels)
    }
}

/// A scope under its resource, and what both add to their series.
pub(super) struct Origin<'a, 's> {
    rules: &'s Rules,
    source: &'s Source<'a>,
    scope: Scope<'a>,
    schema_url: Text<'a>,
    key: Key,
    /// How many labels its series get from the scope and the resource.
    given: usize,
    /// The labels that are not attributes, once a new series has asked for them.
    own: OnceCell<Own>,
}

/// Labels that are not attributes.
struct Own {
    labels: Vec<(String, String)>,
    names: HashSet<String>,
}

impl<'a, 's> Origin<'a, 's> {
    pub(super) fn of(
        rules: &'s Rules,
        source: &'s Source<'a>,
        (scope, schema_url): (Scope<'a>, Text<'a>),
        scratch: &mut Vec<u8>,
    ) -> Self {
        let key = scope_key(rules, scope, schema_url, scratch);
        let of_scope = if rules.with_scope { scope.attributes().iter().count() } else { 0 };
        let of_resource = if rules.with_resource { source.resource.attributes().iter().count() } else { 0 };
        let given = of_scope + of_resource;
        Self { rules, source, scope, schema_url, key, given, own: OnceCell::new() }
    }

    /// The labels that are not attributes. Of equal names the first holds.
    fn own(&self) -> &Own {
        self.own.get_or_init(|| {
            let mut own = Own { labels: Vec::new(), names: HashSet::new() };
            let mut add = |name: &str, value: String| {
                if own.names.insert(name.to_owned()) {
                    own.labels.push((name.to_owned(), value));
                }
            };
            for (name, value) in &self.rules.const_labels {
                add(name, value.clone());
            }
            for (name, value) in [("job", &self.source.job), ("instance", &self.source.instance)] {
                if let Some(value) = value {
                    add(name, value.clone());
                }
            }
            if self.rules.with_scope {
                add("otel_scope_name", self.scope.name().to_string());
                add("otel_scope_version", self.scope.version().to_string());
                add("otel_scope_schema_url", self.schema_url.to_string());
                let is_told =
                    |key: Text<'_>| ["name", "version", "schema_url"].iter().any(|told| key == *told);
                for (key, value) in sorted(self.scope.attributes(), |key| !is_told(key)) {
                    if let Ok(name) = self.rules.names.label(&format!("otel_scope_{key}")) {
                        add(&name, value);
                    }
                }
            }
            own
        })
    }
}

/// A metric under its resource and scope.
pub(super) struct Subject<'a, 's> {
    origin: &'s Origin<'a, 's>,
    metric: Metric<'a>,
    data: MetricData<'a>,
    key: Key,
}

/// The part of the key that is the scope's.
fn scope_key(rules: &Rules, scope: Scope<'_>, schema_url: Text<'_>, scratch: &mut Vec<u8>) -> Key {
    if !rules.with_scope {
        return Key::default();
    }
    scratch.clear();
    for text in [scope.name(), scope.version(), schema_url] {
        put(scratch, &text);
    }
    Key::of(scratch).then(hash(scope.attributes(), |_| true, scratch))
}

impl<'a, 's> Subject<'a, 's> {
    pub(super) fn of(
        origin: &'s Origin<'a, 's>,
        (metric, data): (Metric<'a>, MetricData<'a>),
        scratch: &mut Vec<u8>,
    ) -> Self {
        scratch.clear();
        put(scratch, &metric.name());
        scratch.push(match data {
            MetricData::Gauge(_) => 0,
            MetricData::Sum(sum) => 1 + u8::from(sum.is_monotonic()),
            MetricData::Histogram(_) => 3,
            MetricData::ExponentialHistogram(_) => 4,
            MetricData::Summary(_) => 5,
        });
        let key = Key::of(scratch).then(origin.key).then(origin.source.key);
        Self { origin, metric, data, key }
    }

    /// How many labels the series of a data point with these attributes has, at most.
    pub(super) fn label_count(&self, attributes: Attributes<'_>) -> usize {
        self.origin.given + attributes.iter().count()
    }

    /// What the series of a data point with these attributes is found by.
    pub(super) fn key(&self, attributes: Attributes<'_>, scratch: &mut Vec<u8>) -> Key {
        self.key.then(hash(attributes, |key| !self.is_overridden(key), scratch))
    }

    /// Whether an attribute of the resource takes the place of a data point's.
    fn is_overridden(&self, key: Text<'_>) -> bool {
        self.origin.source.keys.contains(&key)
    }

    /// What that series is called.
    pub(super) fn found(&self, attributes: Attributes<'_>) -> Result<Found, Refusal> {
        if self.label_count(attributes) > LABELS_MAX {
            return Err(Refusal::TooManyLabels);
        }
        let kind = match self.data {
            MetricData::Sum(sum) if sum.is_monotonic() => Kind::Counter,
            MetricData::Gauge(_) | MetricData::Sum(_) => Kind::Gauge,
            MetricData::Histogram(_) | MetricData::ExponentialHistogram(_) => Kind::Histogram,
            MetricData::Summary(_) => Kind::Summary,
        };
        let suffix = match (kind, self.data) {
            (Kind::Counter, _) => Suffix::Total,
            (_, MetricData::Gauge(_)) => Suffix::Ratio,
            _ => Suffix::None,
        };
        let (name, unit) = (self.metric.name().to_str_lossy(), self.metric.unit().to_str_lossy());
        let name = self.origin.rules.names.metric(&name, &unit, suffix).map_err(|_| Refusal::Name)?;
        if name.is_empty() {
            return Err(Refusal::Name);
        }
        let labels = self.labels(attributes, kind)?;
        Ok(Found { name, help: self.metric.description().to_string(), kind, labels })
    }

    fn labels(&self, attributes: Attributes<'_>, kind: Kind) -> Result<Box<[Label]>, Refusal> {
        let Origin { rules, source, .. } = self.origin;
        let own = self.origin.own();
        let of_point = named(rules, attributes, |key| !self.is_overridden(key));
        let mut all: Vec<&Named> = of_point.iter().chain(source.named(rules)).collect();
        all.sort_by(|a, b| (&a.key, &a.value).cmp(&(&b.key, &b.value)));
        let mut labels = Vec::with_capacity(all.len() + own.labels.len());
        for Named { name, value, .. } in all {
            let name = name.as_deref().ok_or(Refusal::Name)?;
            let is_part = matches!((kind, name), (Kind::Histogram, "le") | (Kind::Summary, "quantile"));
            if name.starts_with("__") || is_part {
                return Err(Refusal::Name);
            }
            let name = match own.names.contains(name) {
                // As Prometheus does with labels of its own.
                true => format!("exported_{name}"),
                false => name.to_owned(),
            };
            labels.push((name, value.clone()));
        }
        join_labels(&mut labels);
        labels.extend(own.labels.iter().cloned());
        Ok(finished(labels))
    }
}

/// An attribute that becomes a label.
struct Named {
    key: String,
    /// None if it cannot be translated.
    name: Option<String>,
    value: String,
}

fn named(rules: &Rules, attributes: Attributes<'_>, takes: impl Fn(Text<'_>) -> bool) -> Vec<Named> {
    let name = |key: &str| rules.names.label(key).ok().map(Cow::into_owned);
    let sorted = sorted(attributes, takes).into_iter();
    sorted.map(|(key, value)| Named { name: name(&key), key, value }).collect()
}

/// Attributes by their names.
fn sorted(attributes: Attributes<'_>, takes: impl Fn(Text<'_>) -> bool) -> Vec<(String, String)> {
    let taken = attributes.iter().filter(|entry| takes(entry.key()));
    let mut sorted: Vec<_> =
        taken.map(|entry| (entry.key().to_string(), Plain(entry.value()).to_string())).collect();
    sorted.sort();
    sorted
}

fn finished(mut labels: Vec<(String, String)>) -> Box<[Label]> {
    labels.sort();
    labels.into_iter().map(|(name, value)| (name.into_boxed_str(), value.into_boxed_str())).collect()
}

/// A hash of attributes that does not depend on their order.
fn hash(attributes: Attributes<'_>, takes: impl Fn(Text<'_>) -> bool, scratch: &mut Vec<u8>) -> Key {
    let mut sum = 0u128;
    for entry in attributes {
        if takes(entry.key()) {
            scratch.clear();
            put(scratch, &entry.key());
            put_value(scratch, entry.value());
            sum = sum.wrapping_add(Key::of(scratch).0);
        }
    }
    Key(sum)
}

/// The value as it will be read in a label, since that is what tells series apart.
fn put_value(scratch: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Text(text) => scratch.extend_from_slice(&text),
        value => {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", Plain(value));
            scratch.extend_from_slice(text.as_bytes());
        }
    }
}
