//! Exposition: the registry as text for Prometheus.
//!
//! Byte for byte what the Go collector serves for the same values: the same names, order, escaping and numbers, and
//! the same answer to an `Accept` header. One thing is more: a client that accepts OpenMetrics and no plain text is
//! given OpenMetrics, where the Go collector sends it plain text. Sample names are the same in both.

use crate::metrics::{Def, Exponential, FamilySnapshot, Kind, Labels, Registry, SeriesSnapshot, Value};
use millrace_formats::prometheus::names::{Names, Strategy, Suffix};
use millrace_formats::prometheus::{self as format, Bucket, Histogram, Offer, OpenMetrics, Text, negotiate};

/// What is served beside plain text.
const OFFER: Offer = Offer { open_metrics: OpenMetrics::IfNothingElse, protobuf: false };

/// What a `pull` reader with a `prometheus` exporter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Leaves out the labels that say who defines a metric.
    pub without_scope_info: bool,
    /// Leaves out units in names, if [`without_type_suffix`](Self::without_type_suffix) is set too.
    ///
    /// The Go collector, from 0.152 on, knows two styles only: bare names if both are set, and otherwise names with
    /// unit and `_total`. So do we.
    pub without_units: bool,
    /// Leaves out `_total` in names of counters, if [`without_units`](Self::without_units) is set too.
    pub without_type_suffix: bool,
    /// Which attributes of the resource are labels of every series; none if absent.
    pub with_resource_constant_labels: Option<Selection>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            without_scope_info: true,
            without_units: true,
            without_type_suffix: true,
            with_resource_constant_labels: None,
        }
    }
}

impl Options {
    const fn with_suffixes(&self) -> bool {
        !(self.without_units && self.without_type_suffix)
    }
}

/// Chooses by name: what is excluded is out; of the rest, all if `included` is empty, else what it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names that are taken; all if empty.
    pub included: Vec<String>,
    /// Names that are not taken.
    pub excluded: Vec<String>,
}

impl Selection {
    /// Whether it takes that one.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let names = |list: &[String]| list.iter().any(|listed| listed == name);
        !names(&self.excluded) && (self.included.is_empty() || names(&self.included))
    }
}

impl Registry {
    /// All metrics as text with default options. See [`render`].
    #[must_use]
    pub fn render(&self, accept: Option<&str>) -> (&'static str, String) {
        self.render_with(&Options::default(), accept)
    }

    /// All metrics as text. See [`render`].
    #[must_use]
    pub fn render_with(&self, options: &Options, accept: Option<&str>) -> (&'static str, String) {
        render(self.snapshot(), &self.resource().labels, options, accept)
    }
}

/// The value of `Content-Type` and the text, for a request whose `Accept` header is `accept`.
///
/// Besides `families` the text holds `target_info`, made from `resource`, and the error counters of the Go
/// collector's handler, which are 0: nothing here can fail.
#[must_use]
pub fn render(
    families: Vec<FamilySnapshot>,
    resource: &Labels,
    options: &Options,
    accept: Option<&str>,
) -> (&'static str, String) {
    let format = negotiate(accept, OFFER);
    let constant: Labels = match &options.with_resource_constant_labels {
        Some(selection) => resource
            .iter()
            .filter(|(name, _)| selection.takes(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        None => Labels::new(),
    };
    let mut families: Vec<Family> =
        families.into_iter().map(|family| Family::new(family, options, &constant)).collect();
    families.push(target_info(resource));
    families.push(handler_errors());
    families.sort_by(|a, b| a.name.cmp(&b.name));

    let mut out = Text::new(format);
    for family in &families {
        family.write(&mut out);
    }
    (format.content_type(), out.finish())
}

/// A metric as it is exposed, before escaping.
struct Family {
    name: String,
    help: String,
    kind: Kind,
    /// Sorted as the Go client library does: by number of labels, then by their values.
    series: Vec<SeriesSnapshot>,
}

impl Family {
    fn new(snapshot: FamilySnapshot, options: &Options, constant: &Labels) -> Self {
        let FamilySnapshot { def, name, help, kind, mut series, .. } = snapshot;
        for one in &mut series {
            add_labels(&mut one.labels, def, options, constant);
        }
        series.sort_by(|a, b| {
            a.labels.len().cmp(&b.labels.len()).then_with(|| {
                let (a, b) =
                    (a.labels.iter().map(|(_, value)| value), b.labels.iter().map(|(_, value)| value));
                a.cmp(b)
            })
        });
        let name =
            if options.with_suffixes() { with_suffixes(&name, kind, def.unit) } else { name.into_owned() };
        Self { name, help: format!("{help}{}", def.stability.suffix()), kind, series }
    }

    fn write(&self, out: &mut Text) {
        let kind = match self.kind {
            Kind::Counter | Kind::CounterF64 => format::Kind::Counter,
            Kind::UpDown | Kind::Gauge => format::Kind::Gauge,
            Kind::Histogram => format::Kind::Histogram,
        };
        out.family(format::Family { name: &self.name, help: &self.help, kind });
        for SeriesSnapshot { labels, value } in &self.series {
            let mut sample = |value| out.sample(labels.iter(), None, &value);
            match value {
                Value::Number(number) => sample(format::Value::Number(*number)),
                // In text a native histogram has its count and sum.
                Value::Exponential(value) => {
                    let Exponential { count, sum, .. } = **value;
                    sample(format::Value::Histogram(Histogram { count, sum, ..Histogram::default() }));
                }
                Value::Histogram { bounds, counts, sum, .. } => {
                    let mut count = 0;
                    let mut bucket = |(upper_bound, in_it): (&f64, &u64)| {
                        count += in_it;
                        Bucket { upper_bound: *upper_bound, cumulative: count }
                    };
                    let buckets: Vec<_> =
                        bounds.iter().chain(&[f64::INFINITY]).zip(counts).map(&mut bucket).collect();
                    let histogram = Histogram { count, sum: *sum, buckets: &buckets, ..Histogram::default() };
                    sample(format::Value::Histogram(histogram));
                }
            }
        }
    }
}

/// The name with the suffixes that Prometheus users expect: the unit in plural, then `_total` for counters or `_ratio`
/// for gauges without dimension. What else is in it stays as it is.
fn with_suffixes(name: &str, kind: Kind, unit: &str) -> String {
    let suffix = match kind {
        Kind::Counter | Kind::CounterF64 => Suffix::Total,
        Kind::Gauge | Kind::UpDown => Suffix::Ratio,
        Kind::Histogram => Suffix::None,
    };
    let names = Names::new(Strategy::NoUtf8EscapingWithSuffixes, "");
    names.metric(name, unit, suffix).unwrap_or_else(|_| name.to_owned())
}

fn add_labels(labels: &mut Labels, def: &Def, options: &Options, constant: &Labels) {
    let mut add = |name: &str, value: &str| {
        if labels.get(name).is_none() {
            labels.set(name.to_owned(), value.to_owned());
        }
    };
    constant.iter().for_each(|(name, value)| add(name, value));
    if !options.without_scope_info {
        add("otel_scope_name", def.scope.name);
        add("otel_scope_version", def.scope.version);
        add("otel_scope_schema_url", def.scope.schema_url);
    }
}

fn target_info(resource: &Labels) -> Family {
    Family {
        name: "target_info".to_owned(),
        help: "Target metadata".to_owned(),
        kind: Kind::Gauge,
        series: vec![SeriesSnapshot { labels: resource.clone(), value: Value::Number(1.0) }],
    }
}

fn handler_errors() -> Family {
    let series = ["encoding", "gathering"]
        .map(|cause| SeriesSnapshot { labels: Labels::from([("cause", cause)]), value: Value::Number(0.0) });
    Family {
        name: "promhttp_metric_handler_errors_total".to_owned(),
        help: "Total number of internal errors encountered by the promhttp metric handler.".to_owned(),
        kind: Kind::Counter,
        series: series.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_follow_unit_and_type() {
        let cases = [
            (Def::counter("a_accepted_spans", "", "{span}"), "a_accepted_spans_total"),
            (Def::counter("a_bytes", "", "By"), "a_bytes_total"),
            (Def::counter("a_total", "", "By"), "a_bytes_total"),
            (Def::counter_f64("a_seconds", "", "s"), "a_seconds_total"),
            (Def::gauge("memory_rss", "", "By"), "memory_rss_bytes"),
            (Def::gauge("use", "", "1"), "use_ratio"),
            (Def::gauge("speed", "", "By/s"), "speed_bytes_per_second"),
            (Def::gauge("speed", "", "{item}/s"), "speed_per_second"),
            (Def::gauge("speed_per_second", "", "By/s"), "speed_bytes_per_second"),
            (Def::histogram("http.server.request.duration", "", "s"), "http.server.request.duration_seconds"),
            (Def::updown("queue", "", ""), "queue"),
        ];
        for (def, expected) in cases {
            assert_eq!(with_suffixes(def.name, def.kind, def.unit), expected);
        }
    }
}
