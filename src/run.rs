//! Running a configuration: build, start, wait, drain, account.

use crate::metrics::Served;
use crate::plan::{Plan, plan};
use millrace_engine::component::Shared;
use millrace_engine::graph::Graph;
use millrace_engine::health::State;
use millrace_engine::{Budget, Health, Ledger, Tasks, host};
use millrace_processors::memory_limiter::Limits;
use millrace_telemetry::Registry;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// Without a memory limiter, telemetry may take this share of the memory there is.
const DEFAULT_SHARE: u64 = 2;
/// What is assumed where the memory cannot be told.
const DEFAULT_MEMORY: u64 = 1 << 30;
/// How long the last log lines may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a configuration until it is told to stop.
pub fn run(uri: &str, shutdown_timeout: Duration) -> ExitCode {
    let started = Instant::now();
    let plan = match plan(uri) {
        Ok(plan) => plan,
        Err(problems) => return crate::cli::fail(&format!("invalid configuration\n{problems}")),
    };
    let resource = plan.telemetry.resource.labels("millrace", env!("CARGO_PKG_VERSION"));
    let registry = Registry::with_resource(plan.telemetry.metrics.level, resource.clone());
    let logs = match millrace_telemetry::logs::install(&plan.telemetry.logs, &resource, &registry) {
        Ok(logs) => logs,
        Err(error) => return crate::cli::fail(&format!("cannot set up logging: {error}")),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return crate::cli::fail(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(serve(&plan, registry, started, shutdown_timeout));
    // Whatever still runs has been cut off by the drain's deadline.
    runtime.shutdown_background();
    // What cannot be written within that time is counted as dropped by the writer itself.
    let _ = logs.flush(FLUSH_TIMEOUT);
    code
}

/// One worker per core that the cgroup grants; with one core, no hand-over between threads.
fn runtime() -> std::io::Result<Runtime> {
    let workers = available_parallelism().map_or(1, NonZero::get);
    if workers == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().worker_threads(workers).thread_name("worker").enable_all().build()
}

async fn serve(plan: &Plan, registry: Registry, started: Instant, shutdown_timeout: Duration) -> ExitCode {
    for warning in plan.warnings.lines().filter(|line| !line.is_empty()) {
        tracing::warn!("{warning}");
    }
    let limits = limits(&plan.limits);
    let health = Health::starting();
    let shared = Shared {
        registry,
        ledger: Ledger::default(),
        intake: Budget::new(limits.intake_bytes),
        work: Budget::new(limits.work_bytes),
        tasks: Tasks::new(health.clone()),
        health: health.clone(),
        user_agent: user_agent().into(),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), budget_bytes = limits.intake_bytes, "Starting millrace...");
    let served = match Served::start(&plan.telemetry, &shared, started) {
        Ok(served) => served,
        Err(problem) => return failed(&problem),
    };
    let graph = match start(plan, &shared).await {
        Ok(graph) => graph,
        Err(problem) => return failed(&problem),
    };
    health.advance(State::Ready);
    let startup_ms = started.elapsed().as_millis() as u64;
    tracing::info!(startup_ms, "Everything is ready. Begin running and processing data.");
    let code = wait(&shared.tasks).await;
    health.advance(State::Draining);
    tracing::info!(timeout_s = shutdown_timeout.as_secs_f64(), "Starting shutdown...");
    graph.stop(Instant::now() + shutdown_timeout).await;
    served.stop().await;
    account(&shared);
    code
}

async fn start(plan: &Plan, shared: &Shared) -> Result<Graph, String> {
    let graph = Graph::build(&plan.config, &plan.plans, shared).map_err(|error| error.to_string())?;
    graph.start().await.map_err(|error| error.to_string())?;
    Ok(graph)
}

/// Returns when the process is to stop: cleanly on a signal, with an error when a task has panicked.
async fn wait(tasks: &Tasks) -> ExitCode {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => tracing::info!(signal = "SIGTERM", "Received signal from OS"),
        _ = tokio::signal::ctrl_c() => tracing::info!(signal = "SIGINT", "Received signal from OS"),
        () = tasks.failed() => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Says what became of everything.
fn account(shared: &Shared) {
    let closing = shared.ledger.closing();
    if closing.lost > 0 || !closing.imbalances.is_empty() {
        tracing::warn!("Shutdown complete: {closing}");
    } else {
        tracing::info!("Shutdown complete: {closing}");
    }
}

fn failed(problem: &str) -> ExitCode {
    tracing::error!(error = problem, "cannot start");
    crate::cli::fail(problem)
}

/// The strictest of the configured limits, or a share of the memory there is.
fn limits(configured: &[Limits]) -> Limits {
    let strictest = configured.iter().copied().min_by_key(|limits| limits.intake_bytes);
    strictest.unwrap_or_else(|| Limits::of(host::memory_bytes().unwrap_or(DEFAULT_MEMORY) / DEFAULT_SHARE))
}

fn user_agent() -> String {
    format!("Millrace/{} ({}/{})", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}
