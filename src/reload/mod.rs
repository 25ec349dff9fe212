//! Reading the configuration again while the process runs, and putting what it says in the place of what runs.
//!
//! One reload at a time; whatever asks for another in the meantime asks for one. The new configuration is read,
//! checked, built, and given its addresses before anything of the old one ends, so that a mistake changes nothing.

mod changes;
mod record;
mod watch;

pub use record::Reloads;
pub use watch::{Files, Occasion};

use crate::cli::Input;
use crate::plan::{Plan, plan};
use crate::run::{invalid, limits};
use crate::telemetry::Served;
use changes::restart_only;
use millrace_engine::graph::Graph;
use millrace_telemetry::config::TelemetryConfig;
use millrace_telemetry::logs::LogGuard;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch as latest};
use tokio::time::timeout;
use watch::Watch;

/// How long reading a configuration may take: files on a network, and pages.
const READING: Duration = Duration::from_secs(60);

/// What runs, and how it is replaced.
pub struct Reloader<'a> {
    input: &'a Input,
    files: Files,
    logs: &'a LogGuard,
    served: &'a Served,
    reloads: Reloads,
    /// What a graph that has been replaced may take to pass on what it holds: as long as stopping.
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    graph: Arc<Graph>,
    telemetry: TelemetryConfig,
    /// Which configuration it is.
    print: u64,
    /// Whether the graph before has ended.
    retired: latest::Receiver<bool>,
    /// Until when it may go on.
    deadline: Instant,
    /// Tells it to be quick about it.
    hurry: latest::Sender<bool>,
}

impl<'a> Reloader<'a> {
    /// Of a process that runs `plan`.
    pub fn new(
        input: &'a Input,
        files: Files,
        plan: &Plan,
        graph: Graph,
        (logs, served): (&'a LogGuard, &'a Served),
        patience: Duration,
    ) -> Self {
        let shared = graph.shared();
        let reloads = Reloads::new(&shared.registry, &shared.health, plan.print);
        let telemetry = plan.telemetry.clone();
        // There was none.
        let (_, retired) = latest::channel(true);
        let (hurry, _) = latest::channel(false);
        let (print, deadline) = (plan.print, Instant::now());
        let state = Mutex::new(State { graph: Arc::new(graph), telemetry, print, retired, deadline, hurry });
        Self { input, files, logs, served, reloads, patience, state }
    }

    /// Reloads whenever that is asked for, for ever.
    pub async fn run(&self, hangup: Option<Signal>) {
        let mut requests = Requests { hangup, watch: self.files.watch() };
        loop {
            requests.next().await;
            match self.reload(&mut requests).await {
                Ok(()) => self.reloads.succeeded(),
                Err(problem) => {
                    self.reloads.failed(&problem);
                    tracing::error!(
                        "the configuration was not replaced; what ran before goes on\n{}",
                        problem.trim_end()
                    );
                }
            }
        }
    }

    /// Stops what runs.
    pub async fn stop(&self, deadline: Instant) {
        let (graph, retired) = {
            let state = self.state();
            state.hurry.send_replace(true);
            (Arc::clone(&state.graph), state.retired.clone())
        };
        graph.stop_beside(deadline, told(retired)).await;
    }

    async fn reload(&self, requests: &mut Requests) -> Result<(), String> {
        let mut plan = self.acceptable().await?;
        while !self.is_settled(plan.print, requests).await {
            plan = self.acceptable().await?;
        }
        let old = Arc::clone(&self.state().graph);
        plan.warn();
        let new = old.successor(&plan.config, &plan.plans).map_err(|error| error.to_string())?;
        let readers = self.served.prepare(&plan.telemetry, new.shared())?;
        new.prepare().await.map_err(|error| error.to_string())?;
        // From here on nothing is expected to fail.
        let limits = limits(&plan.limits);
        new.shared().intake.set_limit(limits.intake_bytes);
        new.shared().work.set_limit(limits.work_bytes);
        self.logs.set_level(plan.telemetry.logs.level);
        let new = Arc::new(new);
        let taken_over = new.take_over(&old, &plan.config).await;
        self.served.replace(readers).await;
        let (built, kept) = new.built_and_kept();
        self.replace(old, &new, plan);
        taken_over.map_err(|error| format!("{error}; everything else of the new configuration works"))?;
        tracing::info!(built, kept, "The new configuration is at work");
        Ok(())
    }

    /// The configuration as it is now, if it can take the place of the one that runs.
    async fn acceptable(&self) -> Result<Plan, String> {
        let plan = self.read().await?;
        let telemetry = self.state().telemetry.clone();
        restart_only(&telemetry, &plan.telemetry)?;
        Ok(plan)
    }

    /// Waits until the graph before has left nothing behind, which is when another may be replaced; not so if the
    /// configuration is to be read once more. Whoever wants another one than what runs may be about to mend it: the
    /// graph before is told to be quick then. Nobody's data is given up for a mistake, or for being asked twice.
    async fn is_settled(&self, print: u64, requests: &mut Requests) -> bool {
        let (retired, left, is_other) = {
            let state = self.state();
            let left = state.deadline.saturating_duration_since(Instant::now());
            (state.retired.clone(), left, state.print != print)
        };
        if *retired.borrow() {
            return true;
        }
        if !is_other {
            tracing::info!(
                seconds_left = left.as_secs(),
                "The configuration is the one that is at work. What it has replaced still passes on what it holds; \
                 it is put to work anew after that, unless another one is there sooner"
            );
            return select! {
                () = told(retired) => true,
                () = requests.next() => false,
            };
        }
        tracing::info!(
            seconds_left = left.as_secs(),
            "What was replaced last still passes on what it holds. It is given one last attempt, as another \
             configuration waits"
        );
        self.state().hurry.send_replace(true);
        told(retired).await;
        true
    }

    /// Puts a graph in the place of another, which ends in its own time. Nobody else may have that one any more: what it
    /// has is closed when it has ended.
    fn replace(&self, before: Arc<Graph>, new: &Arc<Graph>, plan: Plan) {
        let after = Arc::clone(new);
        let deadline = Instant::now() + self.patience;
        let shared = new.shared().clone();
        let (done, retired) = latest::channel(false);
        let (tell, hurry) = latest::channel(false);
        let mut state = self.state();
        state.graph = Arc::clone(new);
        state.telemetry = plan.telemetry;
        state.print = plan.print;
        state.retired = retired;
        state.deadline = deadline;
        state.hurry = tell;
        drop(state);
        drop(shared.tasks.clone().spawn("retire", async move {
            before.retire(&after, deadline, told(hurry)).await;
            drop(before);
            shared.ledger.close_unused();
            shared.registry.forget(|labels| after.lacks(labels));
            done.send_replace(true);
        }));
        self.reloads.loaded(plan.print);
    }

    /// Reads and checks the configuration, off the workers. What does not let itself be read is left behind.
    async fn read(&self) -> Result<Plan, String> {
        let (tell, told) = oneshot::channel();
        let (input, files) = (self.input.clone(), self.files.clone());
        let read = move || {
            // Nobody waits if it took too long.
            let _ = tell.send(plan(files.read(&input, Occasion::Reload), input.gates));
        };
        std::thread::Builder::new()
            .name("configuration".to_owned())
            .spawn(read)
            .map_err(|error| format!("cannot start a thread to read the configuration: {error}"))?;
        match timeout(READING, told).await {
            Ok(Ok(plan)) => plan.map_err(|problems| invalid(&problems)),
            Ok(Err(_)) => Err("reading the configuration panicked; this is a bug".to_owned()),
            Err(_) => Err(format!("the configuration could not be read within {READING:?}")),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until it is so, or whoever would say it is gone: a graph that panics while it is retired has ended as well.
async fn told(mut whether: latest::Receiver<bool>) {
    let _ = whether.wait_for(|is_so| *is_so).await;
}

/// Takes note of SIGHUP from now on. Without that it ends the process.
pub fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup()).ok()
}

/// What asks for a reload. Nothing is missed by whoever stops waiting for the next one.
struct Requests {
    hangup: Option<Signal>,
    watch: Watch,
}

impl Requests {
    async fn next(&mut self) {
        let why = select! {
            () = hung_up(&mut self.hangup) => "SIGHUP",
            () = self.watch.changed() => "the configuration has changed",
        };
        tracing::info!(why, "Reading the configuration again");
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}
