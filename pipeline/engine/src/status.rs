//! How each component is, for health checks: the Go collector's component status.
//!
//! A component that goes on as before writes nothing: what is told at every request is compared with a byte that all
//! workers only read.

use crate::failure::{Failure, Fault};
use millrace_config::{ComponentId, Config, PipelineId};
use millrace_wire::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Condition {
    /// Being built and started.
    Starting,
    /// At work.
    Ok,
    /// What it does fails at present, and may work again by itself: the destination cannot be reached.
    RecoverableError,
    /// What it does fails until somebody does something: the destination does not accept its credentials.
    PermanentError,
    /// The process is about to end because of it.
    FatalError,
    /// Passing on what it holds.
    Stopping,
    /// Done.
    Stopped,
}

/// One built component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// `receiver`, `processor`, …
    pub kind: &'static str,
    /// Its id.
    pub id: ComponentId,
    /// The signal, where there is an instance for each.
    pub signal: Option<Signal>,
    /// The pipeline, where there is an instance for each.
    pub pipeline: Option<PipelineId>,
}

/// When a component came to be as it is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// How it is.
    pub condition: Condition,
    /// Since when, for durations.
    pub since: Instant,
    /// Since when, for people.
    pub since_at: SystemTime,
    /// The error that made it so.
    pub error: Option<Arc<str>>,
}

impl Event {
    fn now(condition: Condition, error: Option<Arc<str>>) -> Self {
        Self { condition, since: Instant::now(), since_at: SystemTime::now(), error }
    }
}

/// The condition of one component; clones share it.
#[derive(Clone)]
pub struct Status(Arc<Cell>);

struct Cell {
    /// The condition of `event`, for those who only compare.
    condition: AtomicU8,
    event: Mutex<Event>,
}

impl Status {
    fn starting() -> Self {
        let event = Mutex::new(Event::now(Condition::Starting, None));
        Self(Arc::new(Cell { condition: AtomicU8::new(Condition::Starting as u8), event }))
    }

    /// It works. Costs a comparison unless that is new.
    pub fn works(&self) {
        if !self.is(Condition::Ok) {
            self.set(Condition::Ok, None);
        }
    }

    /// It cannot do its work, for a reason of this process's own that may pass.
    pub fn fails(&self, error: &str) {
        if !self.is(Condition::RecoverableError) {
            self.set(Condition::RecoverableError, Some(error.into()));
        }
    }

    /// It failed at `failure`. Says something about the component only if the destination is at fault and not the
    /// request: it cannot be reached or is overwhelmed, or it does not know us.
    pub fn failed(&self, failure: &Failure) {
        const UNIMPLEMENTED: u8 = 12;
        const PERMISSION_DENIED: u8 = 7;
        const UNAUTHENTICATED: u8 = 16;
        let condition = match (failure.fault, failure.is_transient(), failure.grpc_code) {
            (Fault::Destination, true, _) => Condition::RecoverableError,
            (Fault::Destination, _, Some(UNIMPLEMENTED | PERMISSION_DENIED | UNAUTHENTICATED)) => {
                Condition::PermanentError
            }
            _ => return,
        };
        if !self.is(condition) {
            self.set(condition, Some(failure.message.as_ref().into()));
        }
    }

    /// How it is now.
    #[must_use]
    pub fn event(&self) -> Event {
        self.locked().clone()
    }

    fn is(&self, condition: Condition) -> bool {
        self.0.condition.load(Relaxed) == condition as u8
    }

    /// What is on its way out, or has ended, does not come back.
    fn set(&self, condition: Condition, error: Option<Arc<str>>) {
        let mut event = self.locked();
        if event.condition != condition
            && (condition >= Condition::Stopping || event.condition < Condition::Stopping)
        {
            *event = Event::now(condition, error);
            self.0.condition.store(condition as u8, Relaxed);
        }
    }

    /// It runs, and has not been found at fault in the meantime.
    fn started(&self) {
        if self.is(Condition::Starting) {
            self.set(Condition::Ok, None);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Event> {
        self.0.event.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event().fmt(f)
    }
}

/// The components of a pipeline, or the extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The pipeline; `None` for the extensions.
    pub pipeline: Option<PipelineId>,
    /// What it consists of, in the order of the configuration.
    pub members: Vec<Instance>,
}

/// The components of the process and how each is; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Components(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    statuses: Mutex<BTreeMap<Instance, Status>>,
    groups: Mutex<Arc<Vec<Group>>>,
}

impl Components {
    /// The status of an instance, which is starting if it was not known.
    #[must_use]
    pub fn status(&self, instance: &Instance) -> Status {
        let mut statuses = self.statuses();
        statuses.entry(instance.clone()).or_insert_with(Status::starting).clone()
    }

    /// Makes known which components a configuration has. Those that it no longer has are forgotten.
    pub fn declare(&self, config: &Config) {
        let groups = groups(config);
        let members = || groups.iter().flat_map(|group| &group.members);
        let mut statuses = self.statuses();
        statuses.retain(|known, _| members().any(|member| member == known));
        for member in members() {
            statuses.entry(member.clone()).or_insert_with(Status::starting);
        }
        drop(statuses);
        *self.0.groups.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(groups);
    }

    /// Makes known which components a configuration has that is put in the place of another: those in `kept` go on as
    /// they are, the others begin as `drafts` has them.
    pub(crate) fn replace(&self, config: &Config, drafts: &Self, kept: &BTreeSet<Instance>) {
        let groups = groups(config);
        let mut statuses = self.statuses();
        let before = std::mem::take(&mut *statuses);
        for member in groups.iter().flat_map(|group| &group.members) {
            let status = match before.get(member).filter(|_| kept.contains(member)) {
                Some(status) => status.clone(),
                None => drafts.status(member),
            };
            statuses.insert(member.clone(), status);
        }
        drop(statuses);
        *self.0.groups.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(groups);
    }

    /// The pipelines and the extensions.
    #[must_use]
    pub fn groups(&self) -> Arc<Vec<Group>> {
        Arc::clone(&self.0.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was starting among those that `of` selects is at work.
    pub(crate) fn started(&self, of: impl Fn(&Instance) -> bool) {
        self.statuses().iter().filter(|(instance, _)| of(instance)).for_each(|(_, status)| status.started());
    }

    /// Those that `of` selects are passing on what they hold.
    pub(crate) fn stopping(&self, of: impl Fn(&Instance) -> bool) {
        self.set(Condition::Stopping, of);
    }

    /// Those that `of` selects have ended.
    pub(crate) fn stopped(&self, of: impl Fn(&Instance) -> bool) {
        self.set(Condition::Stopped, of);
    }

    fn set(&self, condition: Condition, of: impl Fn(&Instance) -> bool) {
        let statuses = self.statuses();
        statuses
            .iter()
            .filter(|(instance, _)| of(instance))
            .for_each(|(_, status)| status.set(condition, None));
    }

    fn statuses(&self) -> MutexGuard<'_, BTreeMap<Instance, Status>> {
        self.0.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each pipeline consists of, and the extensions.
fn groups(config: &Config) -> Vec<Group> {
    let extensions = config.service.extensions.iter();
    let extensions = extensions.map(|one| Instance {
        kind: "extension",
        id: one.id.clone(),
        signal: None,
        pipeline: None,
    });
    let extensions = Group { pipeline: None, members: extensions.collect() };
    let pipelines = config.service.pipelines.values().map(|pipeline| {
        let instance = |kind, id: &ComponentId| {
            let kind = if config.connectors.contains_key(id) { "connector" } else { kind };
            // One receiver serves all signals, and a connector is known by its id alone.
            let signal = (kind == "exporter").then_some(pipeline.id.signal);
            let pipeline = (kind == "processor").then(|| pipeline.id.clone());
            Instance { kind, id: id.clone(), signal, pipeline }
        };
        let receivers = pipeline.receivers.iter().map(|one| instance("receiver", &one.id));
        let processors = pipeline.processors.iter().map(|one| instance("processor", &one.id));
        let exporters = pipeline.exporters.iter().map(|one| instance("exporter", &one.id));
        let members = receivers.chain(processors).chain(exporters).collect();
        Group { pipeline: Some(pipeline.id.clone()), members }
    });
    std::iter::once(extensions).chain(pipelines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Reason;

    fn unreachable() -> Failure {
        Failure::transient(Fault::Destination, Reason::Unreachable, "connection refused")
    }

    fn condition(status: &Status) -> Condition {
        status.event().condition
    }

    #[test]
    fn a_destination_that_cannot_be_reached_is_told_until_it_can() {
        let status = Status::starting();
        status.works();
        assert_eq!(condition(&status), Condition::Ok);
        status.failed(&unreachable());
        let first = status.event();
        assert_eq!(first.condition, Condition::RecoverableError);
        assert_eq!(first.error.as_deref(), Some("connection refused"));
        status.failed(&unreachable());
        assert_eq!(status.event(), first, "the first failure says since when");
        status.works();
        assert_eq!((condition(&status), status.event().error), (Condition::Ok, None));
    }

    #[test]
    fn what_is_wrong_with_a_request_says_nothing_of_the_component() {
        let status = Status::starting();
        status.works();
        status.failed(&Failure::permanent(Fault::Sender, Reason::Malformed, "malformed"));
        status.failed(&Failure::permanent(Fault::Destination, Reason::TooLarge, "too large"));
        status.failed(&Failure::transient(Fault::Us, Reason::QueueFull, "full"));
        assert_eq!(condition(&status), Condition::Ok);
        let denied = Failure::permanent(Fault::Destination, Reason::Rejected, "who are you?");
        status.failed(&denied.with_grpc_code(16));
        assert_eq!(condition(&status), Condition::PermanentError);
    }

    #[test]
    fn what_has_stopped_does_not_come_back() {
        let status = Status::starting();
        status.set(Condition::Stopping, None);
        status.works();
        status.failed(&unreachable());
        assert_eq!(condition(&status), Condition::Stopping);
        status.set(Condition::Stopped, None);
        status.works();
        assert_eq!(condition(&status), Condition::Stopped);
    }
}
