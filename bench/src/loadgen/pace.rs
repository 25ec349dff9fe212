//! When requests start.
//!
//! In the open loop, request `n` is due at `start + n × interval`; workers take the next due time and wait for it, so
//! a slow answer delays only what no other worker is free to send. Latency counts from the time due.

use super::Args;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Hands out turns to workers.
#[derive(Debug)]
pub(super) struct Pacer {
    pub(super) start: Instant,
    pub(super) end: Option<Instant>,
    /// Turns that no worker was free to take in time.
    pub(super) skipped: AtomicU64,
    interval: Option<Duration>,
    max_lag: Duration,
    limit: u64,
    next: AtomicU64,
    stop: CancellationToken,
}

/// Permission to send one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) ordinal: u64,
    pub(super) due: Instant,
}

impl Pacer {
    pub(super) fn new(args: &Args, start: Instant, stop: CancellationToken) -> Self {
        let per_request = |rate: f64| Duration::from_secs_f64(args.items_per_request as f64 / rate);
        Self {
            start,
            end: Some(start + Duration::from_secs_f64(args.duration)),
            skipped: AtomicU64::new(0),
            interval: args.rate.map(per_request),
            max_lag: Duration::from_secs_f64(args.max_lag),
            limit: args.requests.unwrap_or(u64::MAX),
            next: AtomicU64::new(0),
            stop,
        }
    }

    /// The next turn, when it is due; `None` when there are no more.
    pub(super) async fn turn(&self) -> Option<Turn> {
        loop {
            let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            let due = match self.interval {
                // The product is taken in nanoseconds so that the rate does not drift with rounding.
                Some(interval) => self.start + Duration::from_nanos(interval.as_nanos() as u64 * ordinal),
                None => now,
            };
            if ordinal >= self.limit || self.end.is_some_and(|end| due >= end) || self.stop.is_cancelled() {
                return None;
            }
            if due > now {
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    () = self.stop.cancelled() => return None,
                }
            } else if now - due > self.max_lag {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            return Some(Turn { ordinal, due });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn pacer(options: &[&str], start: Instant) -> Pacer {
        let args = Args::parse_from(["millrace-loadgen"].iter().chain(options));
        Pacer::new(&args, start, CancellationToken::new())
    }

    #[tokio::test]
    async fn turns_that_come_too_late_are_skipped_and_counted() {
        // given: 1000 requests a second that should have begun three seconds ago, and one second of lag allowed
        let start = Instant::now() - Duration::from_secs(3);
        let pacer = pacer(&["--rate", "100000", "--duration", "60", "--max-lag", "1"], start);

        let turn = pacer.turn().await.unwrap();

        let skipped = pacer.skipped.load(Ordering::Relaxed);
        assert_eq!(turn.ordinal, skipped);
        // And what has gone by since, the turn of the last millisecond included.
        let most = start.elapsed().as_millis() as u64 - 1000 + 1;
        assert!((2000..=most).contains(&skipped), "about two seconds' worth are gone: {skipped} of {most}");
        assert_eq!(turn.due, start + Duration::from_millis(skipped));
    }

    #[tokio::test]
    async fn a_count_ends_the_run() {
        let pacer = pacer(&["--requests", "2"], Instant::now());
        assert_eq!(pacer.turn().await.unwrap().ordinal, 0);
        assert_eq!(pacer.turn().await.unwrap().ordinal, 1);
        assert!(pacer.turn().await.is_none());
    }
}
