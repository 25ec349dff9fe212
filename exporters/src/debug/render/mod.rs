//! What the debug exporter says about a batch, in the words of the Go collector's.
//!
//! Three texts, one per `verbosity`: [`basic`] counts, [`normal`] takes a line per item, [`detailed`] leaves nothing
//! out. Several payloads are shown as the one request that they would be if laid end to end: numbering runs on.
//!
//! The texts equal those of the Go collector v0.159 byte for byte, trailing spaces included; files under `testdata`
//! hold what it wrote for what it was sent. Two things differ, for a reason: text that is not UTF-8 shows U+FFFD
//! where Go passes the bytes on, and profiles, which are opaque here, are counted and not shown.
//!
//! Bounds of exponential buckets are computed as Go computes them on x86-64, so they neither depend on our C library
//! nor equal Go's in the last digit on other machines.

mod detailed;
mod metric_points;
mod normal;
mod number;
mod value;

#[cfg(test)]
mod tests;

use millrace_wire::view::{Request, resource_profiles};
use millrace_wire::{Payload, Signal};
use std::fmt::{self, Write};

/// The counts that every verbosity begins with, for a log line: a message and its fields.
///
/// Displays as the Go exporter prints it with `use_internal_logger: false`: `Traces`, a tab, and the fields in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    signal: Signal,
    resources: u64,
    metrics: u64,
    items: u64,
}

impl Counts {
    /// The message of the log line: `Traces`, `Metrics`, `Logs` or `Profiles`.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self.signal {
            Signal::Traces => "Traces",
            Signal::Metrics => "Metrics",
            Signal::Logs => "Logs",
            Signal::Profiles => "Profiles",
        }
    }

    /// The fields of the log line, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let fields = match self.signal {
            Signal::Traces => [Some(("resource spans", self.resources)), None, Some(("spans", self.items))],
            Signal::Metrics => [
                Some(("resource metrics", self.resources)),
                Some(("metrics", self.metrics)),
                Some(("data points", self.items)),
            ],
            Signal::Logs => {
                [Some(("resource logs", self.resources)), None, Some(("log records", self.items))]
            }
            Signal::Profiles => {
                [Some(("resource profiles", self.resources)), None, Some(("sample records", self.items))]
            }
        };
        fields.into_iter().flatten()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{{", self.message())?;
        for (index, (name, count)) in self.fields().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}\"{name}\": {count}")?;
        }
        f.write_char('}')
    }
}

/// Counts what is in a batch of that signal. Payloads of other signals are not in it.
pub fn basic<'a>(signal: Signal, payloads: impl IntoIterator<Item = &'a Payload>) -> Counts {
    let mut counts = Counts { signal, resources: 0, metrics: 0, items: 0 };
    for payload in payloads.into_iter().filter(|payload| payload.signal() == signal) {
        counts.items += u64::from(payload.items());
        counts.resources += match Request::of(payload) {
            Request::Traces(traces) => traces.resource_spans().count() as u64,
            Request::Logs(logs) => logs.resource_logs().count() as u64,
            Request::Metrics(metrics) => {
                let scopes = metrics.resource_metrics().flat_map(|resource| resource.scope_metrics());
                counts.metrics += scopes.map(|scope| scope.metrics().count() as u64).sum::<u64>();
                metrics.resource_metrics().count() as u64
            }
            Request::Profiles(request) => resource_profiles(request) as u64,
        };
    }
    counts
}

/// Writes a line for every resource, scope and item, each ended by a line feed. Nothing for profiles.
///
/// # Errors
/// Only what `out` gives.
pub fn normal<'a>(payloads: impl IntoIterator<Item = &'a Payload>, out: &mut dyn Write) -> fmt::Result {
    let mut resources = 0;
    for payload in payloads {
        match Request::of(payload) {
            Request::Traces(traces) => normal::traces(out, traces, &mut resources)?,
            Request::Metrics(metrics) => normal::metrics(out, metrics, &mut resources)?,
            Request::Logs(logs) => normal::logs(out, logs, &mut resources)?,
            Request::Profiles(_) => {}
        }
    }
    Ok(())
}

/// Writes everything there is, a line per field, each ended by a line feed. Nothing for profiles.
///
/// # Errors
/// Only what `out` gives.
pub fn detailed<'a>(payloads: impl IntoIterator<Item = &'a Payload>, out: &mut dyn Write) -> fmt::Result {
    let mut resources = 0;
    for payload in payloads {
        match Request::of(payload) {
            Request::Traces(traces) => detailed::traces(out, traces, &mut resources)?,
            Request::Metrics(metrics) => detailed::metrics(out, metrics, &mut resources)?,
            Request::Logs(logs) => detailed::logs(out, logs, &mut resources)?,
            Request::Profiles(_) => {}
        }
    }
    Ok(())
}

/// The next number of a running count.
fn next(count: &mut usize) -> usize {
    *count += 1;
    *count - 1
}
