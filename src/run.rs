//! Running a configuration: build, start, wait, drain, account; alone or beside a companion.

use crate::cli::Input;
use crate::plan::{Plan, plan};
use crate::reload::{Files, Occasion, Reloader, hangups};
use crate::telemetry::{Made, Pushing, Served};
use millrace_engine::component::Shared;
use millrace_engine::graph::Graph;
use millrace_engine::health::State;
use millrace_engine::ledger::Closing;
use millrace_engine::{Health, Tasks, host};
use millrace_processors::memory_limiter::Limits;
use millrace_telemetry::Registry;
use millrace_telemetry::logs::LogGuard;
use millrace_telemetry::metrics::DEFAULT_SERIES_LIMIT;
use millrace_telemetry::trace::Tracer;
use std::num::NonZero;
use std::pin::pin;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Without a memory limiter, telemetry may take this share of the memory there is.
const DEFAULT_SHARE: u64 = 2;
/// What is assumed where the memory cannot be told.
const DEFAULT_MEMORY: u64 = 1 << 30;
/// How long the last log lines may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it ended because it was told to, and had the time it needed.
    pub is_clean: bool,
    /// The account of everything.
    pub closing: Closing,
}

/// Runs a configuration until it is told to stop.
pub fn run(input: &Input, watch_config: bool, shutdown_timeout: Duration) -> ExitCode {
    let started = Instant::now();
    let files = Files::new(watch_config);
    let plan = match plan(files.read(input, Occasion::Start), input.gates) {
        Ok(plan) => plan.noting(&input.notices),
        Err(problems) => return crate::cli::fail(&invalid(&problems)),
    };
    let source = Some((input, files));
    let companion = async |_, stopping: oneshot::Receiver<()>| drop(stopping.await);
    match accompanied(&plan, source, started, shutdown_timeout, companion) {
        Ok(Outcome { is_clean: true, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => crate::cli::fail(&problem),
    }
}

/// How mistakes in a configuration are introduced where it was to be run.
pub fn invalid(problems: &str) -> String {
    format!("invalid configuration\n{problems}")
}

/// Runs a configuration with a companion beside it, which starts when everything is ready. When the companion is
/// done, the run is stopped; when the run is to stop for another reason, the companion is told by the receiver it got
/// (resolved or not: it may also just be dropped) and is waited for, so that what it sends is still taken in.
///
/// `source` is where the configuration can be read again, if it is to be.
///
/// # Errors
/// Why it could not start.
pub fn accompanied(
    plan: &Plan,
    source: Option<(&Input, Files)>,
    started: Instant,
    shutdown_timeout: Duration,
    companion: impl AsyncFnOnce(Shared, oneshot::Receiver<()>),
) -> Result<Outcome, String> {
    let config = &plan.telemetry;
    let resource = config.resource.resource("millrace", env!("CARGO_PKG_VERSION"));
    let views = config.metrics.views.clone();
    let registry = Registry::build(config.metrics.level, resource, views, DEFAULT_SERIES_LIMIT);
    let (tracer, spans) = Tracer::new(&config.traces, &registry);
    registry.trace_with(tracer);
    let mut logs = millrace_telemetry::logs::install(&config.logs, &registry.resource().labels, &registry)
        .map_err(|error| format!("cannot set up logging: {error}"))?;
    let made = Made { records: logs.take_records(), spans };
    let runtime = runtime().map_err(|error| format!("cannot start the runtime: {error}"))?;
    let serving = serve(plan, source, registry, (made, &logs), started, shutdown_timeout, companion);
    let outcome = runtime.block_on(serving);
    // Whatever still runs has been cut off by the drain's deadline.
    runtime.shutdown_background();
    // What cannot be written within that time is counted as dropped by the writer itself.
    let _ = logs.flush(FLUSH_TIMEOUT);
    outcome
}

/// One worker per core that the cgroup grants; with one core, no hand-over between threads.
fn runtime() -> std::io::Result<Runtime> {
    let workers = available_parallelism().map_or(1, NonZero::get);
    if workers == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().worker_threads(workers).thread_name("worker").enable_all().build()
}

async fn serve(
    plan: &Plan,
    source: Option<(&Input, Files)>,
    registry: Registry,
    (made, logs): (Made, &LogGuard),
    started: Instant,
    shutdown_timeout: Duration,
    companion: impl AsyncFnOnce(Shared, oneshot::Receiver<()>),
) -> Result<Outcome, String> {
    // Before anything else, so that it does not end the process.
    let hangup = source.as_ref().and_then(|_| hangups());
    for warning in plan.warnings.lines().filter(|line| !line.is_empty()) {
        tracing::warn!("{warning}");
    }
    let shared = shared(plan, registry);
    let budget_bytes = shared.intake.limit();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), budget_bytes, "Starting millrace...");
    let pushing = Pushing::start(&plan.telemetry, made, &shared).inspect_err(cannot_start)?;
    let served = Served::start(&plan.telemetry, &shared, started).inspect_err(cannot_start)?;
    let graph = start(plan, &shared).await.inspect_err(cannot_start)?;
    shared.health.advance(State::Ready);
    let startup_ms = started.elapsed().as_millis() as u64;
    tracing::info!(startup_ms, "Everything is ready. Begin running and processing data.");

    let (input, files) =
        source.map_or_else(|| (Input::default(), Files::default()), |(input, files)| (input.clone(), files));
    let reloader = Reloader::new(&input, files, plan, graph, (logs, &served), shutdown_timeout);
    let (tell, told) = oneshot::channel();
    let mut companion = pin!(shared.tasks.watch("companion", companion(shared.clone(), told)));
    let (was_told, is_alone) = tokio::select! {
        // Signals are listened for before the companion tells anybody how to stop it.
        biased;
        was_told = wait(&shared.tasks) => (was_told, false),
        done = &mut companion => (done.is_some(), true),
        () = reloader.run(hangup) => (false, false),
    };
    let deadline = Instant::now() + shutdown_timeout;
    tracing::info!(timeout_s = shutdown_timeout.as_secs_f64(), "Starting shutdown...");
    let stop = async {
        if !is_alone {
            // A companion that is already on its way out does not listen.
            let _ = tell.send(());
            let _ = tokio::time::timeout_at(deadline.into(), companion).await;
        }
        shared.health.advance(State::Draining);
        reloader.stop(deadline).await;
    };
    let had_time = tokio::select! {
        () = stop => true,
        signal = signalled() => {
            tracing::warn!(signal, "Received another signal: not waiting any longer");
            false
        }
    };
    let closing = close(&shared);
    // Not before, so that what was said until now is sent as well.
    if let Some(pushing) = pushing {
        pushing.stop().await;
    }
    drop(reloader);
    served.stop().await;
    Ok(Outcome { is_clean: was_told && had_time, closing })
}

fn shared(plan: &Plan, registry: Registry) -> Shared {
    let limits = limits(&plan.limits);
    let (intake, work) = (limits.intake_bytes, limits.work_bytes);
    Shared::new(registry, &Health::starting(), intake, work, &user_agent())
}

async fn start(plan: &Plan, shared: &Shared) -> Result<Graph, String> {
    let graph = Graph::build(&plan.config, &plan.plans, shared).map_err(|error| error.to_string())?;
    graph.prepare().await.map_err(|error| error.to_string())?;
    graph.start().await.map_err(|error| error.to_string())?;
    Ok(graph)
}

/// Returns when the process is to stop, and whether that is because it was told to: the other reason is a panic.
async fn wait(tasks: &Tasks) -> bool {
    tokio::select! {
        signal = signalled() => {
            tracing::info!(signal, "Received signal from OS");
            true
        }
        () = tasks.failed() => false,
    }
}

/// Waits for a signal that asks the process to stop.
async fn signalled() -> &'static str {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => "SIGTERM",
        _ = tokio::signal::ctrl_c() => "SIGINT",
    }
}

/// Says what became of everything.
fn close(shared: &Shared) -> Closing {
    let closing = shared.ledger.closing();
    if closing.lost > 0 || !closing.imbalances.is_empty() {
        tracing::warn!("Shutdown complete: {closing}");
    } else {
        tracing::info!("Shutdown complete: {closing}");
    }
    closing
}

fn cannot_start(problem: &String) {
    tracing::error!(error = problem, "cannot start");
}

/// The strictest of the configured limits, or a share of the memory there is.
pub fn limits(configured: &[Limits]) -> Limits {
    let strictest = configured.iter().copied().min_by_key(|limits| limits.intake_bytes);
    strictest.unwrap_or_else(|| Limits::of(host::memory_bytes().unwrap_or(DEFAULT_MEMORY) / DEFAULT_SHARE))
}

fn user_agent() -> String {
    format!("Millrace/{} ({}/{})", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}
