//! The text formats: Prometheus 0.0.4 and OpenMetrics, written as the Go client library does.

use super::exposition::{Exemplar, Family, Histogram, Kind, Native, Summary, Value};
use super::{Format, Syntax, escape, is_plain};
use crate::go::Shortest;
use std::fmt::Write as _;
use std::mem;

/// Text under way.
#[derive(Debug)]
pub struct Text {
    out: String,
    format: Format,
    /// The name of the family that samples belong to, escaped.
    name: String,
    /// The labels of the sample under way, each after a comma.
    labels: String,
}

impl Text {
    /// An empty text.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { out: String::with_capacity(16 << 10), format, name: String::new(), labels: String::new() }
    }

    /// Ends it; what has not been taken.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.is_open_metrics() {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// Takes what there is.
    pub fn take(&mut self) -> String {
        mem::take(&mut self.out)
    }

    /// How much that would be.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Begins a family.
    pub fn family(&mut self, family: Family<'_>) {
        self.name = escape(family.name, self.format.escaping).into_owned();
        let (title, kind) = self.title(family.kind);
        let title = title.to_owned();

        self.out.push_str("# HELP ");
        put_name(&mut self.out, &title);
        self.out.push(' ');
        let with_quotes = self.is_open_metrics();
        put_escaped(&mut self.out, family.help, with_quotes);
        self.out.push_str("\n# TYPE ");
        put_name(&mut self.out, &title);
        self.out.push(' ');
        self.out.push_str(kind);
        self.out.push('\n');
    }

    /// The name and type that introduce a family. OpenMetrics demands that samples of a counter end in `_total` and
    /// that its title does not; a counter without it is a metric of unknown type there.
    fn title(&self, kind: Kind) -> (&str, &'static str) {
        match kind {
            Kind::Counter if self.is_open_metrics() => match self.name.strip_suffix("_total") {
                Some(title) => (title, "counter"),
                None => (&self.name, "unknown"),
            },
            Kind::Unknown if self.is_open_metrics() => (&self.name, "unknown"),
            kind => (&self.name, kind.name()),
        }
    }

    /// Adds a sample to the family.
    pub fn sample<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        timestamp_ms: Option<i64>,
        value: &Value<'_>,
    ) {
        self.labels.clear();
        for (name, value) in labels {
            self.labels.push(',');
            put_label(&mut self.labels, &escape(name, self.format.escaping), value);
        }
        match value {
            Value::Number(number) => self.line("", None, Number::Float(*number), timestamp_ms, None),
            Value::Counter { value, exemplar, .. } => {
                self.line("", None, Number::Float(*value), timestamp_ms, exemplar.as_ref());
            }
            Value::Histogram(histogram) => self.histogram(histogram, timestamp_ms),
            Value::Native(native) => self.native(native, timestamp_ms),
            Value::Summary(summary) => self.summary(summary, timestamp_ms),
        }
    }

    fn histogram(&mut self, histogram: &Histogram<'_>, timestamp_ms: Option<i64>) {
        let Histogram { count, sum, buckets, exemplars, .. } = *histogram;
        let mut below = f64::NEG_INFINITY;
        let infinite = (f64::INFINITY, count);
        let has_infinite = buckets.last().is_some_and(|bucket| bucket.upper_bound == f64::INFINITY);
        let buckets = buckets.iter().map(|bucket| (bucket.upper_bound, bucket.cumulative));
        for (bound, cumulative) in buckets.chain((!has_infinite).then_some(infinite)) {
            let exemplar = exemplars.iter().rfind(|exemplar| within(exemplar.value, below, bound));
            let bucket = Some(("le", bound));
            self.line("_bucket", bucket, Number::Count(cumulative), timestamp_ms, exemplar);
            below = bound;
        }
        self.line("_sum", None, Number::Float(sum), timestamp_ms, None);
        self.line("_count", None, Number::Count(count), timestamp_ms, None);
    }

    /// Text has no native buckets: what remains is one that holds everything.
    fn native(&mut self, native: &Native<'_>, timestamp_ms: Option<i64>) {
        let Native { count, sum, .. } = *native;
        self.histogram(&Histogram { count, sum, ..Histogram::default() }, timestamp_ms);
    }

    fn summary(&mut self, summary: &Summary<'_>, timestamp_ms: Option<i64>) {
        for (quantile, value) in summary.quantiles {
            self.line("", Some(("quantile", *quantile)), Number::Float(*value), timestamp_ms, None);
        }
        self.line("_sum", None, Number::Float(summary.sum), timestamp_ms, None);
        self.line("_count", None, Number::Count(summary.count), timestamp_ms, None);
    }

    fn line(
        &mut self,
        suffix: &str,
        label: Option<(&str, f64)>,
        number: Number,
        timestamp_ms: Option<i64>,
        exemplar: Option<&Exemplar>,
    ) {
        // A name that needs quotes stands between the braces.
        let start = if is_plain(&self.name) {
            self.out.push_str(&self.name);
            self.out.push_str(suffix);
            self.out.len()
        } else {
            let start = self.out.len();
            self.out.push_str(",\"");
            put_escaped(&mut self.out, &self.name, true);
            self.out.push_str(suffix);
            self.out.push('"');
            start
        };
        self.out.push_str(&self.labels);
        if let Some((name, value)) = label {
            let _ = write!(self.out, ",{name}=\"");
            self.float(value);
            self.out.push('"');
        }
        if self.out.len() > start {
            self.out.replace_range(start..=start, "{");
            self.out.push('}');
        }
        self.out.push(' ');
        self.number(number);
        if let Some(timestamp_ms) = timestamp_ms {
            self.out.push(' ');
            if self.is_open_metrics() {
                self.float(timestamp_ms as f64 / 1000.0);
            } else {
                let _ = write!(self.out, "{timestamp_ms}");
            }
        }
        if self.is_open_metrics()
            && let Some(exemplar) = exemplar
        {
            self.exemplar(exemplar);
        }
        self.out.push('\n');
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let mut separator = " # {";
        for (name, value) in exemplar.labels() {
            self.out.push_str(separator);
            put_label(&mut self.out, name, &value);
            separator = ",";
        }
        // The Go client library leaves out those without labels, as they lead nowhere.
        if separator == "," {
            self.out.push_str("} ");
            self.float(exemplar.value);
            self.out.push(' ');
            self.float(exemplar.time_ns as f64 / 1e9);
        }
    }

    fn number(&mut self, number: Number) {
        match number {
            Number::Count(count) if self.is_open_metrics() => {
                // Writing to a string cannot fail.
                let _ = write!(self.out, "{count}");
            }
            Number::Count(count) => self.float(count as f64),
            Number::Float(number) => self.float(number),
        }
    }

    fn float(&mut self, number: f64) {
        let start = self.out.len();
        put_float(&mut self.out, number);
        if self.is_open_metrics() && number.is_finite() && !self.out[start..].contains(['.', 'e']) {
            self.out.push_str(".0");
        }
    }

    fn is_open_metrics(&self) -> bool {
        matches!(self.format.syntax, Syntax::OpenMetrics001 | Syntax::OpenMetrics100)
    }
}

/// Whether a bucket is the first whose bound is no less than the value. What is no number is in the last.
pub(super) fn within(value: f64, below: f64, bound: f64) -> bool {
    if value.is_nan() {
        bound == f64::INFINITY
    } else {
        (value > below || below == f64::NEG_INFINITY) && value <= bound
    }
}

#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Count(u64),
}

fn put_label(out: &mut String, name: &str, value: &str) {
    put_name(out, name);
    out.push_str("=\"");
    put_escaped(out, value, true);
    out.push('"');
}

fn put_name(out: &mut String, name: &str) {
    if is_plain(name) {
        out.push_str(name);
    } else {
        out.push('"');
        put_escaped(out, name, true);
        out.push('"');
    }
}

fn put_escaped(out: &mut String, text: &str, with_quotes: bool) {
    let special = |c: char| matches!(c, '\\' | '\n') || (c == '"' && with_quotes);
    let mut rest = text;
    while let Some(at) = rest.find(special) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            _ => "\\\"",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// The shortest digits that give the number back, with an exponent below 10⁻⁴ and from 10⁶ on, as Go's `%g`.
fn put_float(out: &mut String, number: f64) {
    const WITHOUT_EXPONENT: f64 = 1e6;
    // Writing to a string cannot fail.
    let _ = if number.abs() < WITHOUT_EXPONENT && number.fract() == 0.0 {
        write!(out, "{}", number as i64)
    } else {
        write!(out, "{}", Shortest(number))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.1, "0.1"),
            (100_000.0, "100000"),
            (999_999.5, "999999.5"),
            (1_000_000.0, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (36_491_264.0, "3.6491264e+07"),
            (0.0001, "0.0001"),
            (0.000_056_523_999_999_999_996, "5.6523999999999996e-05"),
            (5.35393388, "5.35393388"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (number, expected) in cases {
            let mut out = String::new();
            put_float(&mut out, number);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn special_characters_are_escaped_where_they_would_end_something() {
        let mut out = String::new();
        put_escaped(&mut out, "a\\b\n\"c\"é", true);
        assert_eq!(out, "a\\\\b\\n\\\"c\\\"é");
        out.clear();
        put_escaped(&mut out, "a\\b\n\"c\"", false);
        assert_eq!(out, "a\\\\b\\n\"c\"");
    }
}
