//! What we serve against what the Go collector serves for the same values. See `goldens/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use millrace_telemetry::catalogue;
use millrace_telemetry::expose::{Options, Selection, render};
use millrace_telemetry::metrics::{FamilySnapshot, SeriesSnapshot, Value};
use millrace_telemetry::{Def, Kind, Labels, Level, Registry};

const UTF8: Option<&str> = Some("text/plain;version=0.0.4;escaping=allow-utf-8");

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn def(name: &str) -> Option<&'static Def> {
    catalogue::all().find(|def| def.name == name)
}

/// A line of the format with quoted names: `name{label="value",…} 1` or `{"name",label="value",…} 1`.
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Line {
    fn parse(line: &str) -> Self {
        let mut rest = line;
        let mut parsed = Self { name: String::new(), labels: Vec::new(), value: 0.0 };
        if !rest.starts_with('{') {
            let end = rest.find(['{', ' ']).expect("a name ends");
            parsed.name = rest[..end].to_owned();
            rest = &rest[end..];
        }
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let word;
                (word, rest) = word_of(rest);
                match rest.strip_prefix('=') {
                    Some(value) => {
                        let (value, after) = word_of(value);
                        parsed.labels.push((word, value));
                        rest = after;
                    }
                    None => parsed.name = word,
                }
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
            rest = &rest[1..];
        }
        parsed.value = rest.trim().parse().expect("a number ends the line");
        parsed
    }
}

/// The word, quoted or not, that `text` starts with, and what follows it.
fn word_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['=', ',', '}']).expect("a word ends");
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut word = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (word, &quoted[at + 1..]),
            '\\' => match chars.next().expect("an escape is two characters").1 {
                'n' => word.push('\n'),
                c => word.push(c),
            },
            c => word.push(c),
        }
    }
    panic!("no closing quote in {text}");
}

/// The state of the collector that a golden with quoted names shows: its metrics and its resource.
fn state(text: &str) -> (Vec<FamilySnapshot>, Labels) {
    let mut families: BTreeMap<&'static str, (&'static Def, Vec<SeriesSnapshot>)> = BTreeMap::new();
    let mut resource = Labels::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).map(Line::parse) {
        let (mut labels, bounds): (Vec<_>, Vec<_>) =
            line.labels.into_iter().partition(|(name, _)| name != "le");
        let labels: Labels = labels.drain(..).collect();
        match line.name.as_str() {
            "target_info" => resource = labels,
            "promhttp_metric_handler_errors_total" => {}
            name => {
                let (def, part) = family_of(name);
                let (_, series) = families.entry(def.name).or_insert((def, Vec::new()));
                if series.last().is_none_or(|last| last.labels != labels) {
                    let value = match def.kind {
                        Kind::Histogram => Value::Histogram {
                            bounds: def.bounds.into(),
                            counts: Vec::new(),
                            sum: 0.0,
                            min: None,
                            max: None,
                        },
                        _ => Value::Number(line.value),
                    };
                    series.push(SeriesSnapshot { labels, value });
                }
                if let Some(Value::Histogram { counts, sum, .. }) =
                    series.last_mut().map(|last| &mut last.value)
                {
                    match part {
                        "_bucket" => {
                            let below: u64 = counts.iter().sum();
                            let bound: f64 = bounds[0].1.parse().expect("a bound is a number");
                            assert_eq!(
                                bound,
                                def.bounds.get(counts.len()).copied().unwrap_or(f64::INFINITY),
                                "{name}"
                            );
                            counts.push(line.value as u64 - below);
                        }
                        "_sum" => *sum = line.value,
                        "_count" => assert_eq!(counts.iter().sum::<u64>(), line.value as u64),
                        _ => panic!("{name} is no part of a histogram"),
                    }
                }
            }
        }
    }
    let families = families.into_values().map(|(def, series)| FamilySnapshot {
        def,
        name: def.name.into(),
        help: def.help.into(),
        kind: def.kind,
        is_observed: false,
        series,
    });
    (families.collect(), resource)
}

fn family_of(name: &str) -> (&'static Def, &'static str) {
    if let Some(def) = def(name) {
        return (def, "");
    }
    for part in ["_bucket", "_sum", "_count"] {
        if let Some(def) = name.strip_suffix(part).and_then(def) {
            return (def, part);
        }
    }
    panic!("{name} is not in the catalogue");
}

fn assert_same(ours: &str, golden_name: &str) {
    let theirs = golden(golden_name);
    for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "{golden_name}, line {}", number + 1);
    }
    assert_eq!(ours.len(), theirs.len(), "{golden_name}: one is longer");
}

#[test]
fn bare_names_are_served_as_the_go_collector_does_under_every_escaping() {
    let (families, resource) = state(&golden("detailed.utf8.txt"));

    for (escaping, golden_name) in [
        ("allow-utf-8", "detailed.utf8.txt"),
        ("underscores", "detailed.underscores.txt"),
        ("dots", "detailed.dots.txt"),
        ("values", "detailed.values.txt"),
    ] {
        let accept = format!("text/plain;version=0.0.4;escaping={escaping}");
        let (_, text) = render(families.clone(), &resource, &Options::default(), Some(&accept));
        assert_same(&text, golden_name);
    }
}

#[test]
fn names_with_units_types_and_scopes_are_served_as_the_go_collector_does() {
    let (families, resource) = state(&golden("detailed.utf8.txt"));
    let options = Options {
        without_scope_info: false,
        without_units: false,
        without_type_suffix: false,
        with_resource_constant_labels: None,
    };
    let (_, text) = render(families, &resource, &options, None);
    assert_same(&text, "detailed.suffixed.txt");
}

#[test]
fn constant_labels_are_served_as_the_go_collector_does() {
    let (families, resource) = state(&golden("detailed.utf8.txt"));
    let included = ["service.name", "deployment.note"].map(str::to_owned).to_vec();
    let options = Options {
        without_type_suffix: false,
        with_resource_constant_labels: Some(Selection { included, excluded: Vec::new() }),
        ..Options::default()
    };
    let (_, text) = render(families, &resource, &options, None);
    assert_same(&text, "detailed.constant.txt");
}

#[test]
fn excluded_constant_labels_are_left_out() {
    let resource = Labels::from([("a", "1"), ("b", "2"), ("c", "3")]);
    let registry = Registry::with_resource(Level::Basic, resource);
    registry.gauge(&catalogue::process::MEMORY_RSS, &Labels::new()).set(5.0);
    let selection = Selection { included: Vec::new(), excluded: vec!["b".to_owned()] };
    let options = Options { with_resource_constant_labels: Some(selection), ..Options::default() };
    let (_, text) = registry.render_with(&options, None);
    assert!(text.contains("\notelcol_process_memory_rss{a=\"1\",c=\"3\"} 5\n"), "{text}");
}

/// Puts what a golden shows into a registry of that level, through the instruments.
fn registry_of(level: Level, golden_name: &str) -> Registry {
    let (families, resource) = state(&golden(golden_name));
    let registry = Registry::with_resource(level, resource);
    for FamilySnapshot { def, series, .. } in families {
        for SeriesSnapshot { labels, value } in series {
            match (def.kind, value) {
                (Kind::Counter, Value::Number(number)) => registry.counter(def, &labels).add(number as u64),
                (Kind::CounterF64, Value::Number(number)) => registry.counter_f64(def, &labels).add(number),
                (Kind::UpDown, Value::Number(number)) => registry.updown(def, &labels).add(number as i64),
                (Kind::Gauge, Value::Number(number)) => registry.gauge(def, &labels).set(number),
                (Kind::Histogram, Value::Histogram { bounds, counts, .. }) => {
                    let histogram = registry.histogram(def, &labels);
                    for (bucket, count) in counts.into_iter().enumerate() {
                        histogram.record_many(bounds.get(bucket).copied().unwrap_or(f64::MAX), count);
                    }
                }
                (kind, value) => panic!("{}: {value:?} is no {kind:?}", def.name),
            }
        }
    }
    registry
}

#[test]
fn a_registry_serves_what_was_recorded_as_the_go_collector_does() {
    let without_sums = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("_sum"))
            .fold(String::new(), |text, line| text + line + "\n")
    };
    for (level, golden_name) in [
        (Level::Basic, "basic.utf8.txt"),
        (Level::Normal, "normal.utf8.txt"),
        (Level::Detailed, "detailed.utf8.txt"),
    ] {
        let (content_type, text) = registry_of(level, golden_name).render(UTF8);
        assert_eq!(without_sums(&text), without_sums(&golden(golden_name)), "{golden_name}");
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8");
    }
}

#[test]
fn levels_leave_out_what_the_go_collector_leaves_out() {
    let titles =
        |text: &str| text.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect();
    for (level, golden_name) in [(Level::Basic, "basic.utf8.txt"), (Level::Normal, "normal.utf8.txt")] {
        let ours: Vec<String> = titles(&registry_of(level, "detailed.utf8.txt").render(UTF8).1);
        let theirs: Vec<String> = titles(&golden(golden_name));
        assert_eq!(ours, theirs, "{golden_name}");
    }
}

#[test]
fn open_metrics_has_the_same_samples_and_an_end() {
    let registry = Registry::with_resource(Level::Basic, Labels::from([("service.name", "it's \"me\"")]));
    let labels = Labels::from([("exporter", "a")]);
    registry.counter(catalogue::exporter::SENT.of(millrace_wire::Signal::Traces), &labels).add(3);
    registry.gauge(&catalogue::process::MEMORY_RSS, &Labels::new()).set(4096.0);

    let (content_type, text) = registry.render(Some("application/openmetrics-text;version=1.0.0"));

    assert_eq!(
        content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    );
    let expected = r#"# HELP otelcol_exporter_sent_spans Number of spans successfully sent to destination. [Alpha]
# TYPE otelcol_exporter_sent_spans unknown
otelcol_exporter_sent_spans{exporter="a"} 3.0
# HELP otelcol_process_memory_rss Total physical memory (resident set size) [Alpha]
# TYPE otelcol_process_memory_rss gauge
otelcol_process_memory_rss 4096.0
# HELP promhttp_metric_handler_errors Total number of internal errors encountered by the promhttp metric handler.
# TYPE promhttp_metric_handler_errors counter
promhttp_metric_handler_errors_total{cause="encoding"} 0.0
promhttp_metric_handler_errors_total{cause="gathering"} 0.0
# HELP target_info Target metadata
# TYPE target_info gauge
target_info{service_name="it's \"me\""} 1.0
# EOF
"#;
    assert_eq!(text, expected);
}

#[test]
fn no_two_metrics_of_the_catalogue_are_exposed_under_one_name() {
    let registry = Registry::new(Level::Detailed);
    for def in catalogue::all() {
        match def.kind {
            Kind::Counter => registry.counter(def, &Labels::new()).add(0),
            Kind::CounterF64 => registry.counter_f64(def, &Labels::new()).add(0.0),
            Kind::UpDown => registry.updown(def, &Labels::new()).add(0),
            Kind::Gauge => registry.gauge(def, &Labels::new()).set(0.0),
            Kind::Histogram => registry.histogram(def, &Labels::new()).record(0.0),
        }
    }
    for without in [true, false] {
        let options = Options { without_units: without, without_type_suffix: without, ..Options::default() };
        let (_, text) = registry.render_with(&options, None);
        let mut titles: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = titles.len();
        assert_eq!(count, catalogue::all().count() + 2);
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), count);
    }
}
