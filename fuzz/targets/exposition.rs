//! What is served to Prometheus: names are translated to ones it can read, and what is written is read back by a
//! reader of our own making that shares nothing with the writer (`src/scrape.rs`), in the format that was negotiated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_formats::prometheus::names::{Names, Strategy, Suffix};
use millrace_formats::prometheus::{
    Bucket, Escaping, Exposition, Family, Format, Histogram, Kind, Offer, OpenMetrics, Syntax, Value, escape,
    negotiate,
};
use millrace_fuzz::scrape::{self, Page, Sample};

/// What separates the parts of an input.
const SEPARATOR: char = '\u{1}';
const OFFER: Offer = Offer { open_metrics: OpenMetrics::IfPreferred, protobuf: true };
const KINDS: [Kind; 4] = [Kind::Gauge, Kind::Counter, Kind::Unknown, Kind::Histogram];

fuzz_target!(|text: &str| {
    let mut parts = text.split(SEPARATOR);
    let mut part = || parts.next().unwrap_or_default();
    let (accept, name, help, number, time) = (part(), part(), part(), part(), part());
    translate(name, help);

    let format = negotiate(Some(accept), OFFER);
    assert_eq!(negotiate(Some(format.content_type()), OFFER), format, "what is served is accepted");

    let number: f64 = number.parse().unwrap_or(number.len() as f64 - 3.5);
    let time: Option<i64> = time.parse().ok();
    let rest: Vec<_> = parts.collect();
    let labels: Vec<_> = rest.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let kind = KINDS[help.len() % KINDS.len()];

    let bucket = [Bucket { upper_bound: number, cumulative: 3 }];
    let buckets = if number.is_finite() { &bucket[..] } else { &[] };
    let value = match kind {
        Kind::Counter => Value::Counter { value: number, created_ns: None, exemplar: None },
        Kind::Histogram => {
            Value::Histogram(Histogram { count: 5, sum: number, buckets, ..Histogram::default() })
        }
        _ => Value::Number(number),
    };
    let mut out = Exposition::new(format);
    out.family(Family { name, help, kind });
    out.sample(labels.iter().copied(), time, &value);
    let out = out.finish();

    let page = match format.syntax {
        Syntax::Protobuf => scrape::protobuf(&out),
        _ => scrape::text(std::str::from_utf8(&out).expect("text"), format.syntax != Syntax::Plain),
    };
    let page = page.unwrap_or_else(|problem| panic!("{problem}: {}", String::from_utf8_lossy(&out)));
    compare(&page, format, kind, name, help, &labels, time, number);
});

#[expect(clippy::too_many_arguments, reason = "all that was put in")]
fn compare(
    page: &Page,
    format: Format,
    kind: Kind,
    name: &str,
    help: &str,
    labels: &[(&str, &str)],
    time: Option<i64>,
    number: f64,
) {
    let name = read_name(name, format.escaping);
    let is_open_metrics = matches!(format.syntax, Syntax::OpenMetrics001 | Syntax::OpenMetrics100);
    let title = name.strip_suffix("_total").filter(|_| is_open_metrics && kind == Kind::Counter);
    let expected_kind = match kind {
        Kind::Counter if is_open_metrics && title.is_none() => "unknown",
        Kind::Unknown if is_open_metrics => "unknown",
        kind => kind.name(),
    };
    assert_eq!((page.title.as_str(), page.kind.as_str()), (title.unwrap_or(&name), expected_kind));
    assert_eq!(page.help, help);

    let own: Vec<_> =
        labels.iter().map(|(name, value)| (read_name(name, format.escaping), (*value).to_owned())).collect();
    // Every sample, and the bound of the bucket that it counts.
    let sample = |suffix: &str, bound: Option<f64>, value: f64| {
        (Sample { name: format!("{name}{suffix}"), labels: own.clone(), value, time_ms: time }, bound)
    };
    let mut expected = Vec::new();
    if kind == Kind::Histogram {
        if number.is_finite() {
            expected.push(sample("_bucket", Some(number), 3.0));
        }
        expected.push(sample("_bucket", Some(f64::INFINITY), 5.0));
        expected.push(sample("_sum", None, number));
        expected.push(sample("_count", None, 5.0));
    } else {
        expected.push(sample("", None, number));
    }
    assert_eq!(page.samples.len(), expected.len());
    for (found, (expected, bound)) in page.samples.iter().zip(expected) {
        let mut labels = found.labels.clone();
        if let Some(bound) = bound {
            let (le, shown) = labels.pop().expect("a bucket has a bound");
            assert!(le == "le" && shown.parse() == Ok(bound), "{le} {shown} for {bound}");
        }
        assert_eq!((&found.name, labels), (&expected.name, expected.labels));
        assert!(same(found.value, expected.value), "{} for {}", found.value, expected.value);
        let (found, expected) = (found.time_ms, expected.time_ms);
        let is_near = || {
            // OpenMetrics has seconds, as doubles.
            let error = found.unwrap_or_default().abs_diff(expected.unwrap_or_default());
            is_open_metrics && error <= expected.unwrap_or_default().unsigned_abs() >> 50
        };
        assert!(
            found == expected || found.is_some() && expected.is_some() && is_near(),
            "{found:?} {expected:?}"
        );
    }
}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

/// The name that a reader finds: with the escaping that loses nothing, what is escaped must give the name back.
fn read_name(name: &str, escaping: Escaping) -> String {
    let shown = escape(name, escaping).into_owned();
    match escaping {
        Escaping::AllowUtf8 => assert_eq!(shown, name),
        _ if name.is_empty() => {}
        _ => assert!(scrape::is_name(&shown), "{shown}"),
    }
    if escaping == Escaping::Values && shown != name {
        assert_eq!(scrape::unescaped(&shown).as_deref(), Some(name), "{shown}");
    }
    shown
}

fn translate(name: &str, unit: &str) {
    for strategy in Strategy::ALL {
        let names = Names::new(strategy, "ns");
        let escapes = !matches!(strategy, Strategy::NoTranslation | Strategy::NoUtf8EscapingWithSuffixes);
        for suffix in [Suffix::Total, Suffix::Ratio, Suffix::None] {
            if let Ok(metric) = names.metric(name, unit, suffix) {
                assert!(!metric.is_empty() && (!escapes || scrape::is_name(&metric)), "{metric}");
            }
        }
        if let Ok(label) = names.label(name) {
            assert!(!escapes || scrape::is_name(&label) && !label.contains(':'), "{label}");
        }
    }
}
