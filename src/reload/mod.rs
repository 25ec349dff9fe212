//! Reading the configuration again while the process runs, and putting what it says in the place of what runs.
//!
//! One reload at a time; whatever asks for another in the meantime asks for one. The new configuration is read,
//! checked, built, and given its addresses before anything of the old one ends, so that a mistake changes nothing.
//! What has been replaced and has something left to send goes on with it beside further reloads.

mod changes;
mod leaving;
mod record;
mod watch;

pub use record::Reloads;
pub use watch::{Files, Occasion};

use crate::cli::Input;
use crate::plan::{Plan, plan};
use crate::run::{invalid, limits};
use crate::telemetry::Served;
use changes::restart_only;
use leaving::{CLOSING, Leaving, are_gone, have_answered, have_fed, let_go, one_too_many};
use millrace_engine::component::BuildError;
use millrace_engine::graph::{Graph, Haste};
use millrace_telemetry::config::TelemetryConfig;
use millrace_telemetry::logs::LogGuard;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch as latest};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{timeout, timeout_at};
use watch::Watch;

/// How long reading a configuration may take: files on a network, and pages.
const READING: Duration = Duration::from_secs(60);

/// How long another configuration waits for what was replaced to pass on what it holds. What takes longer is refused for a
/// while by what comes after, and perhaps that is what the other configuration mends.
const PASSING_ON: Duration = Duration::from_secs(5);

/// What runs, and how it is replaced.
pub struct Reloader<'a> {
    input: &'a Input,
    files: Files,
    logs: &'a LogGuard,
    served: &'a Served,
    reloads: Reloads,
    /// What a graph that has been replaced may take to pass on what it holds: as long as stopping.
    patience: Duration,
    state: Arc<Mutex<State>>,
    /// Held while something is built over what runs.
    building: Arc<tokio::sync::Mutex<()>>,
    /// What is being put in the place of what runs: from there on there is no way back, whoever stops waiting for it.
    change: tokio::sync::Mutex<Option<Change>>,
}

/// Ends when the new graph works and the old one is being retired.
type Change = JoinHandle<Option<Result<(), BuildError>>>;

struct State {
    graph: Arc<Graph>,
    telemetry: TelemetryConfig,
    /// Which configuration it is.
    print: u64,
    /// The graphs before that are not gone yet, the first of them first.
    leaving: Vec<Arc<Leaving>>,
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
        let state = State { graph: Arc::new(graph), telemetry, print: plan.print, leaving: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let (building, change) = Default::default();
        Self { input, files, logs, served, reloads, patience, state, building, change }
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
        if let Some(change) = self.change.lock().await.as_mut() {
            // It would be what runs.
            let _ = timeout_at(deadline.into(), change).await;
        }
        let (graph, leaving) = {
            let state = self.state();
            (Arc::clone(&state.graph), state.leaving.clone())
        };
        leaving.iter().for_each(|leaving| leaving.hurry(Haste::All));
        graph.stop_beside(deadline, have_fed(&leaving), are_gone(&leaving)).await;
    }

    /// Lets go of what ran. What it has on disk is closed; whether it is, as the disk may not answer.
    pub async fn close(self) -> bool {
        // What is being built has what ran, too, and is about to be given up.
        let is_built = timeout(CLOSING, self.building.lock()).await.is_ok();
        let_go(self.state).await && is_built
    }

    async fn reload(&self, requests: &mut Requests) -> Result<(), String> {
        let mut plan = self.acceptable().await?;
        while !self.is_settled(plan.print, requests).await {
            plan = self.acceptable().await?;
        }
        let old = Arc::clone(&self.state().graph);
        plan.warn();
        let (new, plan) = self.successor(Arc::clone(&old), plan).await?;
        let readers = self.served.prepare(&plan.telemetry, new.shared())?;
        new.prepare().await.map_err(|error| error.to_string())?;
        // From here on nothing is expected to fail.
        let limits = limits(&plan.limits);
        new.shared().intake.set_limit(limits.intake_bytes);
        new.shared().work.set_limit(limits.work_bytes);
        self.logs.set_level(plan.telemetry.logs.level);
        let new = Arc::new(new);
        let (built, kept) = new.built_and_kept();
        let (print, tasks) = (plan.print, new.shared().tasks.clone());
        let change = replace(Arc::clone(&self.state), old, new, plan, self.patience);
        let taken_over = self.through(tasks.spawn("reload", change)).await;
        self.reloads.loaded(print);
        self.served.replace(readers).await;
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

    /// Waits until what runs may be replaced: requests under way in the graphs before have been answered, what they hold has
    /// been passed on, or does not let itself be, and there are not too many of them. Not so if the configuration is to be
    /// read once more. Whoever wants another one than what runs may be about to mend it: what stands in the way is told to
    /// be quick then, and goes on beside that one if it cannot be. Nobody's data is given up for a mistake, or for being
    /// asked twice.
    async fn is_settled(&self, print: u64, requests: &mut Requests) -> bool {
        let (leaving, is_other) = {
            let state = self.state();
            (state.leaving.clone(), state.print != print)
        };
        if let Some(feeding) = leaving.iter().rfind(|leaving| leaving.feeds()) {
            let seconds_left = feeding.left().as_secs();
            if !is_other {
                tracing::info!(
                    seconds_left,
                    "The configuration is the one that is at work. What it has replaced still passes on what it holds; \
                     it is put to work anew after that, unless another one is there sooner"
                );
                return select! {
                    () = have_fed(&leaving) => true,
                    () = requests.next() => false,
                };
            }
            tracing::info!(
                seconds_left,
                "What was replaced still passes on what it holds to what works now. It is told to be quick, as another \
                 configuration waits"
            );
            leaving.iter().for_each(|leaving| leaving.hurry(Haste::Feeding));
            have_answered(&leaving).await;
            if timeout(PASSING_ON, have_fed(&leaving)).await.is_err() {
                tracing::info!(
                    "What was replaced cannot pass on now what it holds. It goes on with that beside the next configuration"
                );
            }
        }
        if let Some(first) = one_too_many(&leaving) {
            tracing::warn!(
                seconds_left = first.left().as_secs(),
                "Too many configurations that have been replaced have something left to send. The first is given one \
                 last attempt, as another configuration waits"
            );
            first.hurry(Haste::All);
            are_gone(&leaving[..1]).await;
        }
        true
    }

    /// The graph that is to take the place of `old`, built off the workers: that opens what is on disk, and waits for the
    /// disk, but not for one that hangs ([`Openings`](millrace_engine::Openings)).
    async fn successor(&self, old: Arc<Graph>, plan: Plan) -> Result<(Graph, Plan), String> {
        let building = Arc::clone(&self.building).lock_owned().await;
        let build = move || {
            let built = old.successor(&plan.config, &plan.plans).map(|new| (new, plan));
            // Who waits for it to be over may be about to close what runs.
            drop(old);
            drop(building);
            built
        };
        match spawn_blocking(build).await {
            Ok(built) => built.map_err(|error| error.to_string()),
            Err(_) => Err("building it panicked; this is a bug".to_owned()),
        }
    }

    /// Waits until something is done that has to be, also if nobody waits for it any more.
    async fn through(&self, change: Change) -> Result<(), String> {
        let mut slot = self.change.lock().await;
        let changed = slot.insert(change).await;
        *slot = None;
        match changed {
            Ok(Some(replaced)) => replaced.map_err(|error| error.to_string()),
            Ok(None) | Err(_) => Err("putting it to work panicked; this is a bug".to_owned()),
        }
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
            Err(_) => Err(format!(
                "the configuration could not be read within {READING:?}; see to the disks and servers that it, and the \
                 files that it names, are on"
            )),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// Puts a graph in the place of another, which ends in its own time.
///
/// # Errors
/// The first component that could not start. The others work.
async fn replace(
    state: Arc<Mutex<State>>,
    before: Arc<Graph>,
    new: Arc<Graph>,
    plan: Plan,
    patience: Duration,
) -> Result<(), BuildError> {
    let started = new.take_over(&before, &plan.config).await;
    let shared = new.shared().clone();
    let (leaving, retire) = {
        let mut state = locked(&state);
        // What was left first comes first.
        state.leaving.iter().rev().for_each(|leaving| new.take_from(&leaving.destinations));
        let (leaving, retire) = Leaving::new(before, &new, patience, &state.leaving);
        state.graph = new;
        state.telemetry = plan.telemetry;
        state.print = plan.print;
        state.leaving.push(Arc::clone(&leaving));
        (leaving, retire)
    };
    drop(shared.tasks.clone().spawn("retire", async move {
        let gone = retire.await;
        shared.ledger.close_unused();
        let mut state = locked(&state);
        state.leaving.retain(|other| !Arc::ptr_eq(other, &leaving));
        let is_left = |labels: &_| state.leaving.iter().any(|leaving| leaving.destinations.have(labels));
        shared.registry.forget(|labels| state.graph.lacks(labels) && !is_left(labels));
        drop(gone);
    }));
    started
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until it is so, or whoever would say it is gone: a graph that panics while it is retired has ended as well.
async fn told<T>(mut whether: latest::Receiver<T>, is_so: impl FnMut(&T) -> bool) {
    let _ = whether.wait_for(is_so).await;
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
