//! The account that a run gives of itself.

use super::Args;
use super::source::Source;
use super::worker::{Seen, Tally};
use crate::acked::AckedRange;
use crate::histogram::Quantiles;
use millrace_wire::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Requests and the items in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Counted {
    pub requests: u64,
    pub items: u64,
}

/// How often a refusal was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCode {
    /// Requests (for failures) or attempts (for retries).
    pub count: u64,
    /// One of the messages that came with it.
    pub example: String,
}

/// The result of a run. `offered = acked + partly_rejected + failed + abandoned`, in requests and in items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `traces`, `metrics` or `logs`.
    pub signal: String,
    /// `grpc` or `http`.
    pub protocol: String,
    /// Where it went.
    pub endpoint: String,
    /// The identity of the run.
    pub run_id: String,
    /// From start to the last acknowledgement, warm-up included.
    pub seconds: f64,
    /// Sent at least once.
    pub offered: Counted,
    /// Acknowledged in full.
    pub acked: Counted,
    /// Acknowledged with `partial_success`.
    pub partly_rejected: Counted,
    /// What `partial_success` said was rejected.
    pub rejected_items: u64,
    /// Given up after a permanent refusal or too many attempts, by code.
    pub failed: BTreeMap<String, FailedCode>,
    /// Attempts that were refused and sent again, by code.
    pub retried: BTreeMap<String, FailedCode>,
    /// Open when the grace period ended.
    pub abandoned: Counted,
    /// Open loop: requests never sent because no worker was free in time.
    pub skipped: Counted,
    /// Bytes of bodies sent, compressed, retries included.
    pub body_bytes: u64,
    /// Acknowledged after the warm-up, per second.
    pub items_per_second: f64,
    /// From the time due (open loop) or first sent to the acknowledgement, retries and waits included, milliseconds.
    pub latency_ms: Quantiles,
    /// Of the successful attempt alone, milliseconds.
    pub attempt_latency_ms: Quantiles,
}

/// Turns the sum of the workers' tallies into the report and the acknowledged ranges.
pub(super) fn conclude(
    args: &Args,
    source: &Source,
    tally: Tally,
    skipped: u64,
    start: Instant,
) -> (Report, Vec<AckedRange>) {
    let items = source.items();
    let counted = |requests: u64| Counted { requests, items: requests * items };
    let whole = tally.last_ack.map_or(Duration::ZERO, |last| last - start);
    let measured = whole.saturating_sub(Duration::from_secs_f64(args.warmup)).as_secs_f64();
    let report = Report {
        signal: Signal::from(args.signal).name().into(),
        protocol: args.protocol.name().into(),
        endpoint: args.endpoint().to_string(),
        run_id: format!("{:016x}", source.run),
        seconds: whole.as_secs_f64(),
        offered: counted(tally.offered),
        acked: counted(tally.acked),
        partly_rejected: counted(tally.partial),
        rejected_items: tally.rejected_items,
        failed: named(tally.failed),
        retried: named(tally.retried),
        abandoned: counted(tally.abandoned),
        skipped: counted(skipped),
        body_bytes: tally.body_bytes,
        items_per_second: if measured > 0.0 { (tally.measured * items) as f64 / measured } else { 0.0 },
        latency_ms: tally.latency.quantiles(),
        attempt_latency_ms: tally.attempt_latency.quantiles(),
    };
    (report, tally.acked_ranges.merged(source.run))
}

fn named(codes: BTreeMap<String, Seen>) -> BTreeMap<String, FailedCode> {
    codes
        .into_iter()
        .map(|(code, seen)| (code, FailedCode { count: seen.requests, example: seen.example }))
        .collect()
}

impl Report {
    /// Whether every request offered was acknowledged in full.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.acked.requests == self.offered.requests
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} over {} to {}, run {}", self.signal, self.protocol, self.endpoint, self.run_id)?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, counted: Counted| {
            writeln!(f, "  {name:<16}{:>12} items {:>10} requests", counted.items, counted.requests)
        };
        line(f, "offered", self.offered)?;
        line(f, "acknowledged", self.acked)?;
        for (name, counted) in [
            ("partly rejected", self.partly_rejected),
            ("abandoned", self.abandoned),
            ("skipped", self.skipped),
        ] {
            if counted.requests > 0 {
                line(f, name, counted)?;
            }
        }
        for (name, codes) in [("failed", &self.failed), ("retried", &self.retried)] {
            for (code, seen) in codes {
                writeln!(f, "  {name:<16}{:>12} times {code}: {}", seen.count, seen.example)?;
            }
        }
        let per_item = self.body_bytes as f64 / self.offered.items.max(1) as f64;
        writeln!(
            f,
            "  throughput      {:>12.0} items/s, {per_item:.0} body bytes per item offered",
            self.items_per_second
        )?;
        for (name, q) in [("latency", self.latency_ms), ("  of one attempt", self.attempt_latency_ms)] {
            writeln!(
                f,
                "  {name:<16}p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
                q.p50, q.p90, q.p99, q.p999, q.max
            )?;
        }
        Ok(())
    }
}
