//! What a component gets from the process and what it must give: typed configurations that build themselves.
//!
//! Each component has one [`Factory`] constant; `src/components.rs` of the binary lists them all. A factory decodes
//! the component's YAML into its configuration (reporting every mistake at once), and the configuration builds the
//! component. Building happens inside the runtime, from the back of the graph to the front.

use crate::entry::{Entry, Route};
use crate::extension::{ClientAuth, Gate, Offers, ServerAuth};
use crate::health::Health;
use crate::ledger::{Account, Holder, Ledger};
use crate::openings::Openings;
use crate::stage::{BoxFuture, Stage};
use crate::status::{Components, Instance, Status};
use crate::storage::{Directories, Storage};
use crate::{Budget, Generation, Lasting, Retries, Tasks};
use millrace_config::{ComponentId, Diagnostics, Node, PipelineId, Role, Shape};
use millrace_telemetry::metrics::Registry;
use millrace_telemetry::trace::Instrumentation;
use millrace_wire::Signal;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;

/// What all components of the process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The process's own metrics.
    pub registry: Registry,
    /// Every account.
    pub ledger: Ledger,
    /// What requests are charged to as they arrive.
    pub intake: Budget,
    /// What passing on is charged to (compression, batches being built), apart from the intake so that draining
    /// never starves.
    pub work: Budget,
    /// Supervised tasks.
    pub tasks: Tasks,
    /// The state of the process.
    pub health: Health,
    /// `service.name/version`, as sent in `User-Agent`.
    pub user_agent: Arc<str>,
    /// What extensions offer to other components.
    pub offers: Offers,
    /// The retries that the process may make beside those that its destinations have earned.
    pub retries: Retries,
    /// The directories on disk that this process has for itself.
    pub directories: Directories,
    /// How they are opened, and whatever else is on disks that may hang.
    pub openings: Openings,
    /// What outlives a graph.
    pub lasting: Lasting,
    /// The statuses of components that are built in place of others, until they work.
    pub drafts: Components,
    /// The graphs that the component is part of.
    pub generation: Generation,
    /// The component under the other names of its type, as far as nothing is configured under them: what it has left
    /// behind under one of these is its own.
    pub namesakes: Arc<[ComponentId]>,
}

impl Shared {
    /// What the components of a process share when it starts: budgets of so many bytes, and everything else empty.
    #[must_use]
    pub fn new(registry: Registry, health: &Health, intake: u64, work: u64, user_agent: &str) -> Self {
        let lasting = Lasting::default();
        Self {
            registry,
            ledger: Ledger::default(),
            intake: Budget::new(intake),
            work: Budget::new(work),
            tasks: Tasks::new(health.clone()),
            health: health.clone(),
            user_agent: user_agent.into(),
            offers: Offers::default(),
            retries: Retries::default(),
            directories: Directories::default(),
            openings: Openings::new(health.clone()),
            drafts: health.components().clone(),
            generation: lasting.next_generation(),
            lasting,
            namesakes: Arc::default(),
        }
    }

    /// The same process, for the graph that comes next.
    #[must_use]
    pub fn next(&self) -> Self {
        let (offers, drafts) = (Offers::default(), Components::default());
        let (generation, openings) = (self.lasting.next_generation(), self.openings.limited());
        Self { offers, drafts, generation, openings, ..self.clone() }
    }
}

/// What one component instance is built with.
#[derive(Clone, Debug)]
pub struct Context {
    /// What all components share.
    pub shared: Shared,
    /// `receiver`, `processor`, `connector`, `exporter` or `extension`.
    pub kind: &'static str,
    /// The id as the user wrote it; metric labels and log fields use it.
    pub id: ComponentId,
    /// The pipeline, for processors.
    pub pipeline: Option<PipelineId>,
}

impl Context {
    /// Opens this component's account of one signal.
    #[must_use]
    pub fn account(&self, signal: Signal) -> Arc<Account> {
        self.account_of(self.kind, signal)
    }

    /// Opens an account of its own for what the component keeps beside what passes through it; `kind` says what.
    #[must_use]
    pub fn account_of(&self, kind: &'static str, signal: Signal) -> Arc<Account> {
        let holder = Holder {
            kind,
            component: self.id.to_string(),
            pipeline: self.pipeline.as_ref().map(ToString::to_string),
            signal,
        };
        let account = self.shared.ledger.open(holder);
        crate::expose::account(&self.shared.registry, &account);
        account
    }
}

impl Context {
    /// Where this component says how it is; `signal` where there is an instance for each.
    #[must_use]
    pub fn status(&self, signal: Option<Signal>) -> Status {
        let (id, pipeline) = (self.id.clone(), self.pipeline.clone());
        self.shared.drafts.status(&Instance { kind: self.kind, id, signal, pipeline })
    }
}

impl Context {
    /// Who makes spans that stand for this component, but for the name of the scope.
    #[must_use]
    pub fn instrumentation(&self) -> Instrumentation {
        let attributes = vec![
            ("otelcol.component.id", self.id.to_string().into()),
            ("otelcol.component.kind", self.kind.into()),
        ];
        Instrumentation { attributes, ..Instrumentation::default() }
    }
}

/// A component could not be built or started.
#[derive(Debug, Error)]
#[error("{kind} `{id}`: {problem}")]
pub struct BuildError {
    /// `receiver`, `processor`, …
    pub kind: &'static str,
    /// The component's id.
    pub id: String,
    /// What went wrong and what to do.
    pub problem: String,
}

impl Context {
    /// An error of this component.
    pub fn error(&self, problem: impl fmt::Display) -> BuildError {
        BuildError { kind: self.kind, id: self.id.to_string(), problem: problem.to_string() }
    }
}

/// How far a component can be relied on, as the `components` command lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// Complete for its scope and tested against real peers.
    Beta,
    /// Works, and may change.
    Alpha,
}

/// One kind of component: its names, what it takes, and how its YAML becomes a configuration.
pub struct Factory<C: ?Sized> {
    /// The present name.
    pub name: &'static str,
    /// Older names that are still accepted, with a warning.
    pub aliases: &'static [&'static str],
    /// The signals it handles.
    pub signals: &'static [Signal],
    /// How far it can be relied on.
    pub stability: Stability,
    /// What the component's section looks like: its keys, their meaning and defaults.
    pub schema: Shape,
    /// Decodes and checks the component's section.
    pub plan: fn(&Node, &str, &mut Diagnostics) -> Option<Box<C>>,
}

impl<C: ?Sized> fmt::Debug for Factory<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factory").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where a receiver hands in what it received, by signal; `None` where no pipeline takes it.
#[derive(Debug, Clone, Default)]
pub struct Outputs([Option<Arc<Entry>>; 4]);

impl Outputs {
    /// Sets the way in for a signal.
    pub fn set(&mut self, signal: Signal, entry: Arc<Entry>) {
        self.0[signal as usize] = Some(entry);
    }

    /// The way in for a signal.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<&Arc<Entry>> {
        self.0[signal as usize].as_ref()
    }
}

/// The configuration of a receiver.
pub trait ReceiverConfig: Send + Sync {
    /// Builds the receiver without listening yet. One instance serves all signals.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    fn build(&self, context: Context, outputs: Outputs) -> Result<Arc<dyn Receiver>, BuildError>;
}

/// Something that brings telemetry in.
pub trait Receiver: Send + Sync {
    /// Gets hold of whatever it needs (addresses, certificates) without taking anything in yet. On a reload the graph
    /// before this one is still at work, and stays so if this fails.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    fn prepare(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async { Ok(()) })
    }

    /// Starts to listen or to fetch. Returns when requests are welcome. After [`Receiver::prepare`] this is not
    /// expected to fail.
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>>;

    /// Takes nothing new, and returns when every request under way has been answered, or at `deadline`.
    fn stop(&self, deadline: Instant) -> BoxFuture<'_, ()>;
}

/// The configuration of a processor; one instance is built for each pipeline.
pub trait ProcessorConfig: Send + Sync {
    /// Puts the processor in front of `next`: either as a transform, `Route::Apply`, or as a stage that owns the
    /// way to `next`, `Route::Commit`.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    fn build(&self, context: Context, signal: Signal, next: Arc<Route>) -> Result<Route, BuildError>;
}

/// The configuration of a connector, which is an exporter to the pipelines before it and a receiver to those after.
pub trait ConnectorConfig: Send + Sync {
    /// The way into the connector for `signal`, given every pipeline (of any signal) that it feeds.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    fn build(
        &self,
        context: Context,
        signal: Signal,
        outputs: Vec<(PipelineId, Arc<Route>)>,
    ) -> Result<Arc<Route>, BuildError>;
}

/// The configuration of an exporter; one instance is built for each signal.
pub trait ExporterConfig: Send + Sync {
    /// Builds the exporter.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError>;
}

/// The configuration of an extension.
pub trait ExtensionConfig: Send + Sync {
    /// Builds the extension without starting it.
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError>;

    /// What the extension can do for other components, so that references to it can be checked before anything runs.
    fn offers(&self) -> &'static [Role] {
        &[]
    }
}

/// Something beside the pipelines.
pub trait Extension: Send + Sync {
    /// Gets hold of whatever it needs, as [`Receiver::prepare`].
    ///
    /// # Errors
    /// What stands in the way, and what to do.
    fn prepare(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async { Ok(()) })
    }

    /// Starts it; runs before any pipeline does.
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>>;

    /// Stops it; runs after every pipeline has.
    fn stop(&self) -> BoxFuture<'_, ()>;

    /// What decides who may send to a server, if it can.
    fn server_auth(self: Arc<Self>) -> Option<Arc<dyn ServerAuth>> {
        None
    }

    /// What says to a destination who sends, if it can.
    fn client_auth(self: Arc<Self>) -> Option<Arc<dyn ClientAuth>> {
        None
    }

    /// What turns requests away before they are read, if it can.
    fn gate(self: Arc<Self>) -> Option<Arc<dyn Gate>> {
        None
    }

    /// What gives components places on disk, if it can.
    fn storage(self: Arc<Self>) -> Option<Arc<dyn Storage>> {
        None
    }
}
