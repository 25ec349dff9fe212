//! What the sink knows, and what it does with a request.

use super::Args;
use super::cli::Failure;
use super::throttle::Throttle;
use crate::acked::AckedRange;
use crate::compression::Compression;
use crate::ids::{Slot, scramble};
use crate::ledger::{Ledger, RunTotals, Verdict};
use crate::walk;
use millrace_wire::Signal;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Shared by all connections.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) max_body: usize,
    pub(super) retry_after: Option<Duration>,
    counters: [Counters; 3],
    throttle: Throttle,
    ledger: Option<Mutex<Ledger>>,
    foreign: AtomicU64,
    fail_share: u64,
    failure: Failure,
    fail_after_accept: bool,
    arrivals: AtomicU64,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    items: AtomicU64,
    body_bytes: AtomicU64,
    inflated_bytes: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
}

/// What to answer.
#[derive(Debug)]
pub(super) enum Answer {
    Success,
    /// As `--fail-rate` has it.
    Refuse(Failure),
    /// The sender's fault.
    Malformed(String),
}

/// Totals of one signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct SignalTotals {
    /// Requests answered with success.
    pub requests: u64,
    /// Spans, data points or log records received.
    pub items: u64,
    /// Bytes of bodies as they arrived, without framing.
    pub body_bytes: u64,
    /// Bytes of bodies after inflating.
    pub inflated_bytes: u64,
    /// Requests refused on purpose.
    pub refused: u64,
    /// Requests that could not be inflated or walked.
    pub malformed: u64,
}

/// All totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Spans.
    pub traces: SignalTotals,
    /// Data points.
    pub metrics: SignalTotals,
    /// Log records.
    pub logs: SignalTotals,
    /// With `--check-ids`: items without an identity.
    pub without_identity: u64,
    /// With `--check-ids`: items beyond the memory for identities.
    pub untracked: u64,
    /// With `--check-ids`: per run, at most 16.
    pub runs: Vec<RunTotals>,
}

impl Sink {
    pub(super) fn new(args: &Args) -> Self {
        Self {
            max_body: args.max_body_mib << 20,
            retry_after: (args.retry_after > 0.0).then(|| Duration::from_secs_f64(args.retry_after)),
            counters: Default::default(),
            throttle: Throttle::new(args.rate),
            ledger: args.check_ids.then(|| Mutex::new(Ledger::new(args.ids_memory_mib << 20))),
            foreign: AtomicU64::new(0),
            fail_share: (args.fail_rate * u64::MAX as f64) as u64,
            failure: args.fail_status,
            fail_after_accept: args.fail_after_accept,
            arrivals: AtomicU64::new(0),
        }
    }

    /// Counts a request and says what to answer, when the modelled backend is done with it.
    pub(super) async fn handle(&self, signal: Signal, coding: Compression, body: &[u8]) -> Answer {
        let counters = self.counters(signal);
        let inflated;
        let message = match coding {
            Compression::None => body,
            _ => match coding.decode(body, self.max_body) {
                Ok(decoded) => {
                    inflated = decoded;
                    &inflated
                }
                Err(error) => {
                    counters.malformed.fetch_add(1, Ordering::Relaxed);
                    return Answer::Malformed(format!("could not inflate {} body: {error}", coding.name()));
                }
            },
        };
        let items = match walk::count(signal, message) {
            Ok(items) => items,
            Err(error) => {
                counters.malformed.fetch_add(1, Ordering::Relaxed);
                return Answer::Malformed(format!("could not walk the request: {error}"));
            }
        };
        let refuse = self.is_refused();
        if !refuse || self.fail_after_accept {
            if let Some(ledger) = &self.ledger {
                self.record(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner), signal, message);
            }
            counters.items.fetch_add(items, Ordering::Relaxed);
            counters.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
            counters.inflated_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        }
        self.throttle.pass(items).await;
        if refuse {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            return Answer::Refuse(self.failure);
        }
        counters.requests.fetch_add(1, Ordering::Relaxed);
        Answer::Success
    }

    fn is_refused(&self) -> bool {
        // Spread evenly and the same in every run.
        self.fail_share > 0 && scramble(1 + self.arrivals.fetch_add(1, Ordering::Relaxed)) <= self.fail_share
    }

    fn record(&self, ledger: &mut Ledger, signal: Signal, message: &[u8]) {
        let walked = walk::each_item(signal, message, |item| {
            match Slot::of(message, &item, signal == Signal::Traces).and_then(|slot| slot.read(message)) {
                Some(id) => ledger.record(id),
                None => drop(self.foreign.fetch_add(1, Ordering::Relaxed)),
            }
        });
        debug_assert!(walked.is_ok(), "the count has walked it before");
    }

    fn counters(&self, signal: Signal) -> &Counters {
        match signal {
            Signal::Traces | Signal::Profiles => &self.counters[0],
            Signal::Metrics => &self.counters[1],
            Signal::Logs => &self.counters[2],
        }
    }

    /// See [`Throttle::set`].
    pub(super) fn set_rate(&self, rate: f64) {
        self.throttle.set(rate);
    }

    /// Compares with acknowledged ranges; `None` without `--check-ids`.
    pub(super) fn verify(&self, acked: &[AckedRange]) -> Option<Verdict> {
        Some(self.ledger.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).verify(acked))
    }

    /// All totals at this moment.
    pub(super) fn totals(&self) -> Totals {
        let ledger = self.ledger.as_ref().map(|ledger| ledger.lock().unwrap_or_else(PoisonError::into_inner));
        Totals {
            traces: self.counters[0].totals(),
            metrics: self.counters[1].totals(),
            logs: self.counters[2].totals(),
            without_identity: self.foreign.load(Ordering::Relaxed),
            untracked: ledger.as_ref().map_or(0, |ledger| ledger.untracked()),
            runs: ledger.as_ref().map_or_else(Vec::new, |ledger| ledger.totals()),
        }
    }
}

impl Counters {
    fn totals(&self) -> SignalTotals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SignalTotals {
            requests: load(&self.requests),
            items: load(&self.items),
            body_bytes: load(&self.body_bytes),
            inflated_bytes: load(&self.inflated_bytes),
            refused: load(&self.refused),
            malformed: load(&self.malformed),
        }
    }
}
