//! A reader of what Prometheus scrapes, by the descriptions of its formats and nothing of ours: one family.

use prost::Message;

/// A family and its samples.
#[derive(Debug, Default)]
pub struct Page {
    /// The name that introduces it.
    pub title: String,
    /// What it is, for people.
    pub help: String,
    /// Its type.
    pub kind: String,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// A sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name, with the suffix.
    pub name: String,
    /// The labels, in order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
    /// When.
    pub time_ms: Option<i64>,
}

/// Whether a name needs no quotes.
pub fn is_name(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(start) && name.chars().all(|c| start(c) || c.is_ascii_digit())
}

/// Takes back the escaping `values`.
pub fn unescaped(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::new();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '_' {
            out.push(c);
        } else if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
        } else {
            let (digits, after) = rest.split_once('_')?;
            out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            rest = after;
        }
    }
    Some(out)
}

/// Reads text 0.0.4, or OpenMetrics, with quoted names.
pub fn text(text: &str, is_open_metrics: bool) -> Result<Page, String> {
    let mut page = Page::default();
    let mut lines = text.strip_suffix('\n').ok_or("the last line has no end")?.split('\n');
    if is_open_metrics && lines.next_back() != Some("# EOF") {
        return Err("no EOF".to_owned());
    }
    for line in lines {
        let mut line = Line(line);
        if line.takes("# HELP ") {
            page.title = line.name()?;
            line.expect(" ")?;
            page.help = unquoted(line.0)?;
        } else if line.takes("# TYPE ") {
            if line.name()? != page.title {
                return Err("two titles".to_owned());
            }
            line.expect(" ")?;
            page.kind = line.0.to_owned();
        } else {
            page.samples.push(line.sample(is_open_metrics)?);
        }
    }
    Ok(page)
}

struct Line<'t>(&'t str);

impl Line<'_> {
    fn takes(&mut self, start: &str) -> bool {
        let rest = self.0.strip_prefix(start);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, start: &str) -> Result<(), String> {
        if self.takes(start) { Ok(()) } else { Err(format!("no {start:?} at {:?}", self.0)) }
    }

    fn name(&mut self) -> Result<String, String> {
        if self.0.starts_with('"') {
            return self.quoted();
        }
        let end = self.0.find([' ', '{', '=']).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        self.0 = rest;
        if is_name(name) { Ok(name.to_owned()) } else { Err(format!("{name:?} is no name")) }
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let mut is_escaped = false;
        let end = self.0.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            ends
        });
        let (end, _) = end.ok_or("a quote has no end")?;
        let inner = unquoted(&self.0[..end])?;
        self.0 = &self.0[end + 1..];
        Ok(inner)
    }

    fn sample(mut self, is_open_metrics: bool) -> Result<Sample, String> {
        let mut name = if self.0.starts_with('{') { None } else { Some(self.name()?) };
        let mut labels = Vec::new();
        if self.takes("{") {
            while !self.takes("}") {
                if name.is_some() && !labels.is_empty() || name.is_none() && !labels.is_empty() {
                    self.expect(",")?;
                }
                let key = self.name()?;
                if self.takes("=") {
                    labels.push((key, self.quoted()?));
                } else if name.replace(key).is_some() {
                    return Err("two names".to_owned());
                } else if self.0.starts_with(',') {
                    self.expect(",")?;
                }
            }
        }
        self.expect(" ")?;
        let mut words = self.0.split(' ');
        let number = |word: &str| word.parse::<f64>().map_err(|_| format!("{word:?} is no number"));
        let value = number(words.next().unwrap_or_default())?;
        let time_ms = match words.next() {
            None => None,
            Some(word) if is_open_metrics => Some((number(word)? * 1000.0).round() as i64),
            Some(word) => Some(word.parse().map_err(|_| format!("{word:?} is no time"))?),
        };
        if words.next().is_some() {
            return Err("more on the line".to_owned());
        }
        Ok(Sample { name: name.ok_or("no name")?, labels, value, time_ms })
    }
}

fn unquoted(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match (c, (c == '\\').then(|| chars.next()).flatten()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some(c @ ('\\' | '"'))) => c,
            ('\\', other) => return Err(format!("{other:?} is escaped")),
            (c, _) => c,
        });
    }
    Ok(out)
}

/// Reads `io.prometheus.client.MetricFamily`, after its length.
pub fn protobuf(bytes: &[u8]) -> Result<Page, String> {
    let mut bytes = bytes;
    let family = MetricFamily::decode_length_delimited(&mut bytes).map_err(|error| error.to_string())?;
    if !bytes.is_empty() {
        return Err("more than one family".to_owned());
    }
    let kinds = ["counter", "gauge", "summary", "untyped", "histogram"];
    let kind = kinds.get(family.kind as usize).ok_or("no such type")?;
    let mut page =
        Page { title: family.name, help: family.help, kind: (*kind).to_owned(), samples: Vec::new() };
    for metric in family.metric {
        let labels: Vec<_> = metric.label.into_iter().map(|label| (label.name, label.value)).collect();
        let mut add = |suffix: &str, bound: Option<f64>, value: f64| {
            let mut labels = labels.clone();
            labels.extend(bound.map(|bound| ("le".to_owned(), bound.to_string())));
            let name = format!("{}{suffix}", page.title);
            page.samples.push(Sample { name, labels, value, time_ms: metric.timestamp_ms });
        };
        for number in [metric.gauge, metric.counter, metric.untyped].into_iter().flatten() {
            add("", None, number.value);
        }
        if let Some(histogram) = metric.histogram {
            let last = histogram.bucket.last().map(|bucket| bucket.upper_bound);
            for bucket in &histogram.bucket {
                add("_bucket", Some(bucket.upper_bound), bucket.cumulative_count as f64);
            }
            if last != Some(f64::INFINITY) {
                add("_bucket", Some(f64::INFINITY), histogram.sample_count as f64);
            }
            add("_sum", None, histogram.sample_sum);
            add("_count", None, histogram.sample_count as f64);
        }
    }
    Ok(page)
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Label>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Number>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}
