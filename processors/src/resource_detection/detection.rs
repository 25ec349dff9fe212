//! Asking all detectors, with retries and time limits.

use super::attributes::Attributes;
use super::config::{Config, Retry};
use super::detectors::{Kind, Surroundings};
use futures_util::future::join_all;
use millrace_engine::component::Context;
use millrace_telemetry::catalogue::processor as catalogue;
use millrace_telemetry::{Labels, Registry};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// A wait without an end, for time limits that are not set.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The shortest wait between two attempts, whatever is configured: the service is not ours.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// What is needed to ask.
pub(super) struct Detection {
    config: Config,
    surroundings: Surroundings,
    processor: String,
    registry: Registry,
}

impl Detection {
    pub(super) fn new(config: &Config, context: &Context, surroundings: Surroundings) -> Self {
        Self {
            config: config.clone(),
            surroundings,
            processor: context.id.to_string(),
            registry: context.shared.registry.clone(),
        }
    }

    /// Asks all detectors at once; those named first take precedence.
    ///
    /// # Errors
    /// Any of them failed for as long as it was asked.
    pub(super) async fn run(&self) -> Result<Attributes, String> {
        let asked = self.config.kinds().map(|kind| self.detector(kind));
        let mut found = Attributes::default();
        let mut failures = Vec::new();
        for (kind, answer) in self.config.kinds().zip(join_all(asked).await) {
            match answer {
                Ok(attributes) => found.add(attributes),
                Err(error) => failures.push(format!("detector `{}`: {error}", kind.name())),
            }
        }
        if failures.is_empty() { Ok(found) } else { Err(failures.join("; ")) }
    }

    async fn detector(&self, kind: Kind) -> Result<Attributes, String> {
        let started = Instant::now();
        let limit = self.limit();
        let mut latest = None;
        let answer = timeout(limit, self.attempts(kind, &mut latest)).await.unwrap_or_else(|_| {
            Err(latest
                .unwrap_or_else(|| format!("no answer within {limit:?}; raise `timeout` if it is slow")))
        });
        self.record(kind, started.elapsed(), answer.is_ok());
        answer
    }

    /// The limit for all attempts.
    fn limit(&self) -> Duration {
        let Config { retry, timeout, .. } = &self.config;
        let elapsed = retry.max_elapsed_time.get();
        let mut limits = [elapsed, timeout.get()].into_iter();
        limits.find(|limit| !limit.is_zero()).unwrap_or(FOREVER)
    }

    async fn attempts(&self, kind: Kind, latest: &mut Option<String>) -> Result<Attributes, String> {
        let one = self.config.timeout.get();
        let one = if one.is_zero() { FOREVER } else { one };
        let mut wait = self.config.retry.initial_interval.get();
        loop {
            let asked = timeout(one, kind.detect(&self.config, &self.surroundings)).await;
            let error = match asked {
                Ok(Ok(attributes)) => return Ok(attributes),
                Ok(Err(error)) => error,
                Err(_) => format!("no answer within {one:?}"),
            };
            let Retry { enabled, multiplier, max_interval, randomization_factor, .. } = &self.config.retry;
            if !enabled {
                return Err(error);
            }
            tracing::warn!(
                otelcol.component.id = self.processor,
                otelcol.component.kind = "processor",
                detector = kind.name(),
                error,
                "failed to detect resource, will retry"
            );
            *latest = Some(error);
            let random = 1.0 + randomization_factor * (2.0 * fastrand::f64() - 1.0);
            sleep(times(wait, random).max(WAIT_MIN)).await;
            wait = times(wait, *multiplier).min(max_interval.get());
        }
    }

    fn record(&self, kind: Kind, elapsed: Duration, worked: bool) {
        let outcome = if worked { "success" } else { "failure" };
        let labels = Labels::new().with("detector", kind.name()).with("outcome", outcome);
        self.registry.counter(&catalogue::DETECTION_RESULTS, &labels).add(1);
        self.registry.histogram(&catalogue::DETECTION_DURATION, &labels).record(elapsed.as_secs_f64());
    }
}

/// As long as a wait can be.
fn times(wait: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(FOREVER)
}
