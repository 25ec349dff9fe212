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
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Without a memory limiter, telemetry may take this share of the memory there is.
const DEFAULT_SHARE: u64 = 2;
/// What is assumed where the memory cannot be told.
const DEFAULT_MEMORY: u64 = 1 << 30;
/// Sent for a write beyond the limit for the size of files. It has this number on every platform that this runs on.
const SIGXFSZ: i32 = 25;
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
    // First of all, so that it does not end the process: whoever changes files may say so at any time.
    let (runtime, hangup) = match runtime() {
        Ok(runtime) => {
            let hangup = runtime.block_on(async { hangups() });
            (runtime, hangup)
        }
        Err(problem) => return crate::cli::fail(&problem),
    };
    let files = Files::new(watch_config);
    let plan = match plan(files.read(input, Occasion::Start), input.gates) {
        Ok(plan) => plan.noting(&input.notices),
        Err(problems) => return crate::cli::fail(&invalid(&problems)),
    };
    let source = Some(Source { input, files, hangup });
    let companion = async |_, stopping: oneshot::Receiver<()>| drop(stopping.await);
    match accompanied(runtime, &plan, source, (started, shutdown_timeout), companion) {
        Ok(Outcome { is_clean: true, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => crate::cli::fail(&problem),
    }
}

/// Where the configuration can be read again.
pub struct Source<'a> {
    input: &'a Input,
    files: Files,
    hangup: Option<Signal>,
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
    runtime: Runtime,
    plan: &Plan,
    source: Option<Source<'_>>,
    times: (Instant, Duration),
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
    let serving = serve(plan, source, registry, (made, &logs), times, companion);
    let outcome = runtime.block_on(serving);
    // Whatever still runs has been cut off by the drain's deadline.
    runtime.shutdown_background();
    // What cannot be written within that time is counted as dropped by the writer itself.
    let _ = logs.flush(FLUSH_TIMEOUT);
    outcome
}

/// What a collector runs on, with as many files and connections as it may have. One worker per core that the cgroup
/// grants; with one core, no hand-over between threads.
///
/// # Errors
/// Why the system does not let it start.
pub fn runtime() -> Result<Runtime, String> {
    if let Err(error) = crate::open_files::allow() {
        crate::cli::remark(&format!(
            "The limit on open files stays as it is, as it cannot be raised: {error}"
        ));
    }
    let workers = available_parallelism().map_or(1, NonZero::get);
    let runtime = match workers {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(workers).thread_name("worker").enable_all().build(),
    };
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(async { let_large_files_be_errors() });
    Ok(runtime)
}

/// A write beyond the limit for the size of files (`ulimit -f`) is to fail, and not to end the process: being listened
/// for once, the signal does nothing any more.
fn let_large_files_be_errors() {
    let _ = signal(SignalKind::from_raw(SIGXFSZ));
}

async fn serve(
    plan: &Plan,
    source: Option<Source<'_>>,
    registry: Registry,
    (made, logs): (Made, &LogGuard),
    (started, shutdown_timeout): (Instant, Duration),
    companion: impl AsyncFnOnce(Shared, oneshot::Receiver<()>),
) -> Result<Outcome, String> {
    plan.warn();
    // Until it listens for them, signals end it. But the first process, as which it runs in a container, is sent none that
    // it does not listen for: there it ends when it has started.
    let early = (std::process::id() == 1).then(Signals::from_now_on);
    let shared = shared(plan, registry);
    let budget_bytes = shared.intake.limit();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), budget_bytes, "Starting millrace...");
    let pushing = Pushing::start(&plan.telemetry, made, &shared).inspect_err(cannot_start)?;
    let served = Served::start(&plan.telemetry, &shared, started).inspect_err(cannot_start)?;
    let graph = prepared(plan, &shared).await.inspect_err(cannot_start)?;
    // Before anything is taken in, which would be gone. Until then there is nothing that needs time for an end.
    let mut signals = early.unwrap_or_else(Signals::from_now_on);
    graph.start().await.map_err(|error| error.to_string()).inspect_err(cannot_start)?;
    shared.health.advance(State::Ready);
    let startup_ms = started.elapsed().as_millis() as u64;
    tracing::info!(startup_ms, "Everything is ready. Begin running and processing data.");

    let (input, files, hangup) = match source {
        Some(Source { input, files, hangup }) => (input.clone(), files, hangup),
        None => (Input::default(), Files::default(), None),
    };
    let reloader = Reloader::new(&input, files, plan, graph, (logs, &served), shutdown_timeout);
    let (tell, told) = oneshot::channel();
    let mut companion = pin!(shared.tasks.watch("companion", companion(shared.clone(), told)));
    let (was_told, is_alone) = tokio::select! {
        biased;
        was_told = wait(&shared.tasks, &mut signals) => (was_told, false),
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
        signal = signals.next() => {
            tracing::warn!(signal, "Received another signal: not waiting any longer");
            false
        }
    };
    let closing = close(&shared);
    // Not before, so that what was said until now is sent as well.
    if let Some(pushing) = pushing {
        pushing.stop().await;
    }
    let is_closed = reloader.close().await;
    if !is_closed {
        tracing::warn!(
            "the disk does not answer: not waiting for it any longer. What was said to be kept on it is there if it was \
             written to; what has been delivered last may be sent again after the next start"
        );
    }
    served.stop().await;
    Ok(Outcome { is_clean: was_told && had_time && is_closed, closing })
}

fn shared(plan: &Plan, registry: Registry) -> Shared {
    let limits = limits(&plan.limits);
    let (intake, work) = (limits.intake_bytes, limits.work_bytes);
    Shared::new(registry, &Health::starting(), intake, work, &user_agent())
}

async fn prepared(plan: &Plan, shared: &Shared) -> Result<Graph, String> {
    let graph = Graph::build(&plan.config, &plan.plans, shared).map_err(|error| error.to_string())?;
    graph.prepare().await.map_err(|error| error.to_string())?;
    Ok(graph)
}

/// Returns when the process is to stop, and whether that is because it was told to: the other reason is a panic.
async fn wait(tasks: &Tasks, signals: &mut Signals) -> bool {
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "Received signal from OS");
            true
        }
        () = tasks.failed() => false,
    }
}

/// The signals that ask for an end in order. Without this they end the process.
struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl Signals {
    fn from_now_on() -> Self {
        Self {
            terminate: signal(SignalKind::terminate()).ok(),
            interrupt: signal(SignalKind::interrupt()).ok(),
        }
    }

    /// Waits for the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.terminate) => "SIGTERM",
            () = received(&mut self.interrupt) => "SIGINT",
        }
    }
}

/// Never, where the system does not let it be listened for.
async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Says what became of everything.
fn close(shared: &Shared) -> Closing {
    let closing = shared.ledger.closing();
    if closing.is_alarming() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_write_beyond_the_limit_for_files_is_an_error_and_no_end() {
        let _runtime = runtime().expect("it starts");
        // It is this process that would end.
        let limited = Command::new("kill").args(["-s", "XFSZ", &std::process::id().to_string()]).status();
        assert!(limited.expect("it runs").success());
    }
}
