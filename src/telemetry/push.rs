//! Pushing own metrics, log records and spans.

use super::destination::Destination;
use millrace_engine::component::Shared;
use millrace_telemetry::Registry;
use millrace_telemetry::buffer::Outlet;
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::config::{Periodic, Resource, TelemetryConfig};
use millrace_telemetry::logs::{Record, mute_records_of_this_thread};
use millrace_telemetry::otlp::{self, Metrics};
use millrace_telemetry::trace::Finished;
use millrace_telemetry::{Counter, Labels, warn_sparingly};
use millrace_wire::{Payload, Signal};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// The wait after a first failure, and the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long everything may take that is still to be sent when the process ends.
const LAST_PUSH: Duration = Duration::from_secs(5);

/// What pushes; stopped at the end.
pub struct Pushing {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

/// What is to be pushed but metrics, which are asked for when it is time.
#[derive(Default)]
pub struct Made {
    /// Log records.
    pub records: Vec<Outlet<Arc<Record>>>,
    /// Spans.
    pub spans: Vec<Outlet<Arc<Finished>>>,
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

impl Pushing {
    /// Starts to push everything that is configured to be; `None` if nothing is.
    ///
    /// # Errors
    /// What stands in the way: a certificate that cannot be read, a thread that cannot be started.
    pub fn start(config: &TelemetryConfig, made: Made, shared: &Shared) -> Result<Option<Self>, String> {
        if config.metrics.periodic().next().is_none() && made.records.is_empty() && made.spans.is_empty() {
            return Ok(None);
        }
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (config, shared) = (config.clone(), shared.clone());
        let run = move || {
            mute_records_of_this_thread();
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error.to_string()))),
            };
            runtime.block_on(async {
                let work = match works(&config, made, &shared, &stopping) {
                    Ok(work) => work,
                    Err(problem) => return drop(tell.send(Err(problem))),
                };
                // Whoever started the thread waits for this.
                let _ = tell.send(Ok(()));
                let tasks = tokio::task::LocalSet::new();
                for work in work {
                    tasks.spawn_local(work);
                }
                tasks.await;
            });
            // Nobody waits if the process is in a hurry.
            let _ = end.send(());
        };
        let thread = std::thread::Builder::new().name("telemetry".to_owned()).spawn(run);
        thread.map_err(|error| format!("cannot start the thread that sends own telemetry: {error}"))?;
        told.recv().map_err(|_| "the thread that sends own telemetry ended at once".to_owned())??;
        Ok(Some(Self { stop, ended }))
    }

    /// Sends what there still is, within a limit.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if timeout(LAST_PUSH + Duration::from_secs(1), self.ended).await.is_err() {
            tracing::warn!("own telemetry could not be sent in time");
        }
    }
}

/// Everything there is to do, one piece of work for each destination.
fn works(
    config: &TelemetryConfig,
    made: Made,
    shared: &Shared,
    stopping: &watch::Receiver<bool>,
) -> Result<Vec<Work>, String> {
    let resource = Arc::new(shared.registry.resource().clone());
    let mut works: Vec<Work> = Vec::new();
    for reader in config.metrics.periodic() {
        let target = reader.exporter.otlp.as_ref().and_then(|otlp| otlp.target());
        let destination = Destination::new(target, Signal::Metrics, shared)?;
        let preference = reader.exporter.otlp.as_ref().and_then(|otlp| otlp.temporality_preference);
        let metrics = Metrics::new(shared.registry.clone(), preference.unwrap_or_default());
        let counts = Counts::new(&shared.registry, Signal::Metrics);
        let work = push_metrics(reader.clone(), metrics, destination, counts, stopping.clone());
        works.push(Box::pin(work));
    }
    for outlet in made.records {
        let destination = destination(&outlet, Signal::Logs, shared)?;
        let counts = Counts::new(&shared.registry, Signal::Logs);
        works.push(Box::pin(empty(
            outlet,
            otlp::logs,
            Arc::clone(&resource),
            destination,
            counts,
            stopping.clone(),
        )));
    }
    for outlet in made.spans {
        let destination = destination(&outlet, Signal::Traces, shared)?;
        let counts = Counts::new(&shared.registry, Signal::Traces);
        works.push(Box::pin(empty(
            outlet,
            otlp::spans,
            Arc::clone(&resource),
            destination,
            counts,
            stopping.clone(),
        )));
    }
    Ok(works)
}

fn destination<T>(outlet: &Outlet<T>, signal: Signal, shared: &Shared) -> Result<Destination, String> {
    let target = outlet.exporter.otlp.as_ref().and_then(|otlp| otlp.target());
    Destination::new(target, signal, shared)
}

/// What is counted of pushing one signal.
struct Counts {
    sent: Counter,
    failures: Counter,
    failed: Counter,
    cut_off: Counter,
}

impl Counts {
    fn new(registry: &Registry, signal: Signal) -> Self {
        let labels = Labels::from([("signal", signal.name())]);
        let dropped = |reason: &'static str| {
            registry.counter(&catalogue::OWN_TELEMETRY_DROPPED, &labels.clone().with("reason", reason))
        };
        Self {
            sent: registry.counter(&catalogue::OWN_TELEMETRY_SENT, &labels),
            failures: registry.counter(&catalogue::OWN_TELEMETRY_FAILURES, &labels),
            failed: dropped("send_failed"),
            cut_off: dropped("shutting_down"),
        }
    }

    fn failure(&self, signal: Signal, error: &str) {
        self.failures.add(1);
        warn_sparingly!(signal = signal.name(), error, "sending own telemetry failed");
    }
}

/// Collects and sends every so often, and once more at the end. What did not arrive is in what is sent next: metrics
/// count from the start, or from what the destination has had.
async fn push_metrics(
    reader: Periodic,
    mut metrics: Metrics,
    destination: Destination,
    counts: Counts,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ticks = interval(reader.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, when there is nothing to say yet.
    ticks.tick().await;
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            _ = stopping.wait_for(|stopping| *stopping) => true,
        };
        let collected = metrics.collect();
        let items = u64::from(collected.payload.items());
        if items > 0 {
            let limit = if is_last { reader.timeout().min(LAST_PUSH) } else { reader.timeout() };
            match timeout(limit, destination.send(&collected.payload)).await {
                Ok(Ok(())) => {
                    counts.sent.add(items);
                    metrics.sent(collected);
                }
                Ok(Err(refusal)) => counts.failure(Signal::Metrics, &refusal.message),
                Err(_) => counts.failure(Signal::Metrics, "it took too long"),
            }
        }
        if is_last {
            return;
        }
    }
}

/// Sends what a processor's buffer holds, when it is time or there is enough.
async fn empty<T>(
    outlet: Outlet<T>,
    encode: impl Fn(&Resource, &[T]) -> Payload,
    resource: Arc<Resource>,
    destination: Destination,
    counts: Counts,
    mut stopping: watch::Receiver<bool>,
) {
    let Outlet { schedule, buffer, .. } = outlet;
    let mut is_last = false;
    while !is_last {
        is_last = tokio::select! {
            () = sleep(schedule.delay), if !schedule.delay.is_zero() => false,
            () = buffer.filled() => false,
            _ = stopping.wait_for(|stopping| *stopping) => true,
        };
        let end = Instant::now() + LAST_PUSH;
        while !buffer.is_empty() {
            let items = buffer.take(schedule.batch);
            let payload = encode(&resource, &items);
            let count = items.len() as u64;
            drop(items);
            let limit =
                if is_last { end.saturating_duration_since(Instant::now()) } else { schedule.export_timeout };
            let sending = deliver(&payload, &destination, &counts);
            let sent = tokio::select! {
                sent = timeout(limit, sending) => sent.unwrap_or(false),
                // What is under way when the process is to end has as long as what is sent then.
                () = overdue(&mut stopping), if !is_last => false,
            };
            match sent {
                true => counts.sent.add(count),
                false if is_last || *stopping.borrow() => counts.cut_off.add(count),
                false => counts.failed.add(count),
            }
        }
    }
}

async fn overdue(stopping: &mut watch::Receiver<bool>) {
    // An error says that nobody is left to stop anything, so stop as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    sleep(LAST_PUSH).await;
}

/// Tries until the destination takes it, or says that it never will.
async fn deliver(payload: &Payload, destination: &Destination, counts: &Counts) -> bool {
    let mut wait = RETRY_MIN;
    loop {
        let Err(refusal) = destination.send(payload).await else { return true };
        counts.failure(payload.signal(), &refusal.message);
        if !refusal.may_pass {
            return false;
        }
        sleep(refusal.delay.unwrap_or(wait).min(RETRY_MAX)).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}
