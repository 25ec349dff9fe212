//! One request in flight: take a turn, send, retry what may be retried, count the end.

use super::Args;
use super::outcome::{Outcome, Refusal};
use super::pace::{Pacer, Turn};
use super::source::Source;
use super::{grpc, http1};
use crate::acked;
use crate::histogram::Histogram;
use crate::ids::scramble;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Distinct failure codes that are told apart.
const MAX_CODES: usize = 64;

/// How a worker reaches the collector.
#[derive(Debug)]
pub(super) enum Link {
    Grpc(Arc<grpc::Connection>),
    Http(Box<http1::Connection>),
}

/// Sends one request after another.
#[derive(Debug)]
pub(super) struct Worker {
    source: Arc<Source>,
    pacer: Arc<Pacer>,
    abort: CancellationToken,
    link: Link,
    measure_from: Instant,
    timeout: Duration,
    backoff: Duration,
    max_attempts: u32,
    tally: Tally,
}

/// How often a code was seen, and an example of its message.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) example: String,
}

/// What became of a worker's requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) offered: u64,
    pub(super) acked: u64,
    pub(super) partial: u64,
    pub(super) rejected_items: u64,
    pub(super) failed: BTreeMap<String, Seen>,
    pub(super) retried: BTreeMap<String, Seen>,
    pub(super) abandoned: u64,
    pub(super) body_bytes: u64,
    /// Acknowledged after the warm-up.
    pub(super) measured: u64,
    pub(super) last_ack: Option<Instant>,
    pub(super) latency: Histogram,
    pub(super) attempt_latency: Histogram,
    pub(super) acked_ranges: acked::Collector,
}

enum End {
    Acked { rejected: u64, attempt: Duration },
    Failed(Refusal),
    Abandoned,
}

impl Worker {
    pub(super) fn new(
        args: &Args,
        source: Arc<Source>,
        pacer: Arc<Pacer>,
        abort: CancellationToken,
        link: Link,
    ) -> Self {
        Self {
            measure_from: pacer.start + Duration::from_secs_f64(args.warmup),
            source,
            pacer,
            abort,
            link,
            timeout: Duration::from_secs_f64(args.timeout),
            backoff: Duration::from_millis(args.backoff.max(1)),
            max_attempts: args.max_attempts,
            tally: Tally::default(),
        }
    }

    pub(super) async fn run(mut self) -> Tally {
        let items = self.source.items();
        while let Some(turn) = self.pacer.turn().await {
            let body = self.source.body(turn.ordinal);
            let first = body.first;
            self.tally.offered += 1;
            let end = self.deliver(&body.bytes, turn).await;
            self.source.give_back(body);
            self.count(end, turn, first, items);
        }
        self.tally
    }

    async fn deliver(&mut self, body: &Bytes, turn: Turn) -> End {
        let mut backoff = self.backoff;
        for attempt in 1.. {
            let began = Instant::now();
            self.tally.body_bytes += body.len() as u64;
            let abort = self.abort.clone();
            let outcome = tokio::select! {
                outcome = self.attempt(body.clone()) => outcome,
                () = abort.cancelled() => return End::Abandoned,
            };
            let refusal = match outcome {
                Outcome::Acked { rejected } => return End::Acked { rejected, attempt: began.elapsed() },
                Outcome::Refused(refusal) => refusal,
            };
            if !refusal.is_retryable || attempt >= self.max_attempts {
                return End::Failed(refusal);
            }
            // What the server asks for is a floor; up to half on top keeps refused senders from returning together.
            let floor = refusal.retry_after.unwrap_or_default().max(backoff);
            let jitter = scramble(turn.ordinal << 8 | u64::from(attempt)) as f64 / u64::MAX as f64;
            note(&mut self.tally.retried, refusal);
            tokio::select! {
                () = tokio::time::sleep(floor.mul_f64(1.0 + jitter / 2.0)) => {}
                () = abort.cancelled() => return End::Abandoned,
            }
            backoff = backoff.mul_f64(1.5).min(MAX_BACKOFF);
        }
        unreachable!("the attempts are bounded by max_attempts")
    }

    async fn attempt(&mut self, body: Bytes) -> Outcome {
        let timeout = self.timeout;
        let answer = async {
            match &mut self.link {
                Link::Grpc(connection) => connection.attempt(body).await,
                Link::Http(connection) => connection.attempt(body).await,
            }
        };
        if let Ok(outcome) = tokio::time::timeout(timeout, answer).await {
            return outcome;
        }
        if let Link::Http(connection) = &mut self.link {
            connection.close();
        }
        Outcome::Refused(Refusal::timeout())
    }

    fn count(&mut self, end: End, turn: Turn, first: u64, items: u64) {
        let tally = &mut self.tally;
        match end {
            End::Acked { rejected: 0, attempt } => {
                tally.acked += 1;
                tally.acked_ranges.add(first, items);
                tally.last_ack = Some(Instant::now());
                if turn.due >= self.measure_from {
                    tally.measured += 1;
                    tally.latency.record(turn.due.elapsed());
                    tally.attempt_latency.record(attempt);
                }
            }
            // Which of its items were kept is not said, so the request proves nothing.
            End::Acked { rejected, .. } => {
                tally.partial += 1;
                tally.rejected_items += rejected;
            }
            End::Failed(refusal) => note(&mut tally.failed, refusal),
            End::Abandoned => tally.abandoned += 1,
        }
    }
}

impl Tally {
    pub(super) fn absorb(&mut self, other: Self) {
        self.offered += other.offered;
        self.acked += other.acked;
        self.partial += other.partial;
        self.rejected_items += other.rejected_items;
        merge(&mut self.failed, other.failed);
        merge(&mut self.retried, other.retried);
        self.abandoned += other.abandoned;
        self.body_bytes += other.body_bytes;
        self.measured += other.measured;
        self.last_ack = self.last_ack.max(other.last_ack);
        self.latency.absorb(&other.latency);
        self.attempt_latency.absorb(&other.attempt_latency);
        self.acked_ranges.absorb(other.acked_ranges);
    }
}

fn note(codes: &mut BTreeMap<String, Seen>, refusal: Refusal) {
    let code = if codes.len() >= MAX_CODES && !codes.contains_key(&refusal.code) {
        "other".into()
    } else {
        refusal.code
    };
    let seen = codes.entry(code).or_default();
    seen.requests += 1;
    if seen.example.is_empty() {
        seen.example = refusal.message;
    }
}

fn merge(into: &mut BTreeMap<String, Seen>, from: BTreeMap<String, Seen>) {
    for (code, seen) in from {
        let mine = into.entry(code).or_default();
        mine.requests += seen.requests;
        if mine.example.is_empty() {
            mine.example = seen.example;
        }
    }
}
