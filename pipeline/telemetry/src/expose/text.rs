//! The text formats: Prometheus 0.0.4 and OpenMetrics, written as the Go client library does.

use std::fmt::Write as _;

use super::Family;
use super::accept::{Format, Syntax};
use super::name::{escape, is_plain};
use crate::metrics::{Kind, Labels, Value};

pub(super) struct Text {
    out: String,
    format: Format,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self { out: String::with_capacity(16 * 1024), format }
    }

    pub(super) fn finish(mut self) -> String {
        if self.is_open_metrics() {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    pub(super) fn family(&mut self, family: &Family) {
        let name = escape(&family.name, self.format.escaping);
        let (title, kind) = self.title(&name, family.kind);

        self.out.push_str("# HELP ");
        self.name(title);
        self.out.push(' ');
        self.escaped(&family.help, self.is_open_metrics());
        self.out.push_str("\n# TYPE ");
        self.name(title);
        self.out.push(' ');
        self.out.push_str(kind);
        self.out.push('\n');

        for series in &family.series {
            match &series.value {
                Value::Number(number) => self.sample(&name, &series.labels, None, Sample::Float(*number)),
                Value::Histogram { bounds, counts, sum } => {
                    self.histogram(&name, &series.labels, bounds, counts, *sum);
                }
            }
        }
    }

    /// The name and type that introduce a family. OpenMetrics demands that samples of a counter end in `_total` and
    /// that its title does not; a counter without it is a metric of unknown type there.
    fn title<'a>(&self, name: &'a str, kind: Kind) -> (&'a str, &'static str) {
        match kind {
            Kind::UpDown | Kind::Gauge => (name, "gauge"),
            Kind::Histogram => (name, "histogram"),
            Kind::Counter | Kind::CounterF64 if !self.is_open_metrics() => (name, "counter"),
            Kind::Counter | Kind::CounterF64 => match name.strip_suffix("_total") {
                Some(title) => (title, "counter"),
                None => (name, "unknown"),
            },
        }
    }

    fn histogram(&mut self, name: &str, labels: &Labels, bounds: &[f64], counts: &[u64], sum: f64) {
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (bound, count) in bounds.iter().copied().chain([f64::INFINITY]).zip(counts) {
            total += count;
            self.sample(&bucket, labels, Some(bound), Sample::Count(total));
        }
        self.sample(&format!("{name}_sum"), labels, None, Sample::Float(sum));
        self.sample(&format!("{name}_count"), labels, None, Sample::Count(total));
    }

    fn sample(&mut self, name: &str, labels: &Labels, bound: Option<f64>, sample: Sample) {
        // A name that needs quotes stands between the braces.
        let is_inside = !is_plain(name);
        if !is_inside {
            self.name(name);
        }
        if is_inside || !labels.is_empty() || bound.is_some() {
            let mut separator = '{';
            if is_inside {
                self.out.push(separator);
                self.name(name);
                separator = ',';
            }
            for (label, value) in labels.iter() {
                self.out.push(separator);
                self.name(&escape(label, self.format.escaping));
                self.out.push_str("=\"");
                self.escaped(value, true);
                self.out.push('"');
                separator = ',';
            }
            if let Some(bound) = bound {
                self.out.push(separator);
                self.out.push_str("le=\"");
                self.float(bound);
                self.out.push('"');
            }
            self.out.push('}');
        }
        self.out.push(' ');
        match sample {
            Sample::Float(number) => self.float(number),
            Sample::Count(count) if self.is_open_metrics() => {
                // Writing to a string cannot fail.
                let _ = write!(self.out, "{count}");
            }
            Sample::Count(count) => self.float(count as f64),
        }
        self.out.push('\n');
    }

    fn name(&mut self, name: &str) {
        if is_plain(name) {
            self.out.push_str(name);
        } else {
            self.out.push('"');
            self.escaped(name, true);
            self.out.push('"');
        }
    }

    fn escaped(&mut self, text: &str, with_quotes: bool) {
        for c in text.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if with_quotes => self.out.push_str("\\\""),
                c => self.out.push(c),
            }
        }
    }

    fn float(&mut self, number: f64) {
        let start = self.out.len();
        write_float(&mut self.out, number);
        if self.is_open_metrics() && number.is_finite() && !self.out[start..].contains(['.', 'e']) {
            self.out.push_str(".0");
        }
    }

    fn is_open_metrics(&self) -> bool {
        self.format.syntax != Syntax::Plain
    }
}

#[derive(Clone, Copy)]
enum Sample {
    Float(f64),
    Count(u64),
}

/// The shortest digits that give the number back, with an exponent below 10⁻⁴ and from 10⁶ on, as Go's `%g`.
fn write_float(out: &mut String, number: f64) {
    const EXPONENTS_WITHOUT: std::ops::Range<i32> = -4..6;
    if number.is_nan() {
        out.push_str("NaN");
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 { "+Inf" } else { "-Inf" });
    } else if number == 0.0 {
        out.push('0');
    } else {
        let scientific = format!("{number:e}");
        let (digits, exponent) = scientific.split_once('e').expect("the format has an exponent");
        let exponent: i32 = exponent.parse().expect("the exponent is a small number");
        // Writing to a string cannot fail.
        let _ = if EXPONENTS_WITHOUT.contains(&exponent) {
            write!(out, "{number}")
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs())
        };
    }
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
            write_float(&mut out, number);
            assert_eq!(out, expected);
        }
    }
}
