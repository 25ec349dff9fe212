//! Reading a page of Prometheus text, and doing the sums of the ledger with it.

use std::collections::BTreeMap;
use std::fmt;

/// A page of metrics.
#[derive(Clone)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads a page; panics where it is not Prometheus text.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(sample).collect())
    }

    /// The sum of all samples of that name whose labels include these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|have| have == value);
            sample.name == name && labels.iter().all(has)
        };
        self.0.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// How many requests were refused for that reason: `protobuf`, `json` or `transport`.
    pub fn malformed(&self, reason: &str) -> f64 {
        self.sum("otelcol_millrace_malformed_requests", &[("reason", reason)])
    }

    /// Items that a kind of component (`receiver`, `exporter`) counted under a term of its account.
    pub fn ledger(&self, kind: &str, term: &str) -> f64 {
        self.sum("otelcol_millrace_ledger_items", &[("kind", kind), ("term", term)])
    }

    /// Every account of the ledger whose two sides differ, by its labels.
    pub fn imbalances(&self) -> Vec<(String, f64)> {
        let mut accounts: BTreeMap<String, f64> = BTreeMap::new();
        let mut seen = 0;
        for sample in &self.0 {
            let term = sample.labels.get("term").map(String::as_str);
            let sign = match (sample.name.as_str(), term) {
                ("otelcol_millrace_ledger_items", Some("in" | "created")) => 1.0,
                ("otelcol_millrace_ledger_opening_items", _) => 1.0,
                ("otelcol_millrace_ledger_items" | "otelcol_millrace_ledger_held_items", _) => -1.0,
                _ => continue,
            };
            seen += 1;
            let mut labels = sample.labels.clone();
            labels.remove("term");
            labels.remove("reason");
            *accounts.entry(format!("{labels:?}")).or_default() += sign * sample.value;
        }
        assert!(seen > 0, "the ledger is among the metrics");
        accounts.into_iter().filter(|(_, sum)| *sum != 0.0).collect()
    }
}

/// Only what counts something, which is what one wants to see when a test fails.
impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.iter().filter(|sample| sample.value != 0.0 && !sample.name.ends_with("_bucket"));
        f.debug_map()
            .entries(told.map(|sample| (format!("{}{:?}", sample.name, sample.labels), sample.value)))
            .finish()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a series and a value");
    let value = value.parse().expect("a number");
    let Some((name, rest)) = series.split_once('{') else {
        return Sample { name: series.to_owned(), labels: BTreeMap::new(), value };
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}').expect("labels end");
    while let Some((key, after)) = rest.split_once("=\"") {
        let end = closing_quote(after);
        labels.insert(key.trim_start_matches(',').to_owned(), after[..end].to_owned());
        rest = &after[end + 1..];
    }
    Sample { name: name.to_owned(), labels, value }
}

/// Where the quote is that is not escaped.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    text.bytes()
        .position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })
        .expect("a value ends")
}
