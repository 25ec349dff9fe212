//! The `failover` connector: requests go to the first level of pipelines that takes them.
//!
//! A level is asked for room on all of its branches before any of them keeps anything. What it refuses goes on to the
//! next. A level that fails in a way that may pass is left alone for a while; one that refuses a single request for good
//! is not.

mod config;
mod selector;

#[cfg(test)]
mod tests;

pub use config::Config;

use millrace_config::PipelineId;
use millrace_delivery::{BatchNames, Exporter};
use millrace_engine::component::{BuildError, ConnectorConfig, Context, Factory, Stability};
use millrace_engine::entry::{Admission, Route};
use millrace_engine::ledger::Term;
use millrace_engine::{
    Account, Batch, BoxFuture, Cost, Entry, Failure, Fault, Permit, Reason, Reservation, Stage, Until,
};
use millrace_telemetry::catalogue::connector as catalogue;
use millrace_telemetry::{Counter, Labels, Registration};
use millrace_wire::Signal;
use selector::Selector;
use std::sync::Arc;
use std::time::Instant;

/// The `failover` connector.
pub const FACTORY: Factory<dyn ConnectorConfig> = Factory {
    name: "failover",
    aliases: &[],
    signals: &[Signal::Traces, Signal::Metrics, Signal::Logs],
    stability: Stability::Alpha,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ConnectorConfig for Config {
    fn build(
        &self,
        context: Context,
        signal: Signal,
        outputs: Vec<(PipelineId, Arc<Route>)>,
    ) -> Result<Arc<Route>, BuildError> {
        let levels = self.entries(&context, signal, &outputs)?;
        let account = context.account(signal);
        let queue = self.sending_queue.as_option();
        let failover = Arc::new(Failover::new(
            self,
            &context,
            signal,
            levels,
            match queue {
                // The queue in front of it keeps the account.
                Some(_) => None,
                None => Some(Arc::clone(&account)),
            },
        ));
        let stage: Arc<dyn Stage> = match queue {
            Some(queue) => {
                let next = Entry::new(Arc::new(Route::Commit(failover)));
                Exporter::into_pipeline(&context, signal, queue, &next, &account, BatchNames::Unnamed)?
            }
            None => failover,
        };
        Ok(Arc::new(Route::Commit(stage)))
    }
}

impl Config {
    /// The ways into the levels.
    fn entries(
        &self,
        context: &Context,
        signal: Signal,
        outputs: &[(PipelineId, Arc<Route>)],
    ) -> Result<Vec<Arc<Entry>>, BuildError> {
        let levels = self.levels();
        for (unused, _) in
            outputs.iter().filter(|(id, _)| !levels.iter().flatten().any(|listed| listed == id))
        {
            tracing::warn!(
                connector = %context.id,
                pipeline = %unused,
                "the pipeline is on no level and gets nothing; add it to `priority_levels`"
            );
        }
        let route = |id: &PipelineId| {
            let found = outputs.iter().find(|(output, _)| output == id && output.signal == signal);
            found.map(|(_, route)| Arc::clone(route)).ok_or_else(|| {
                context.error(format!(
                    "`priority_levels` lists `{id}`, which is no {signal} pipeline with `{}` among its receivers; add it \
                     there, or use a connector for each signal",
                    context.id
                ))
            })
        };
        let entry = |level: &Vec<PipelineId>| {
            let routes = level.iter().map(route).collect::<Result<Vec<_>, _>>()?;
            Ok(Entry::new(Arc::new(Route::Fan(routes))))
        };
        levels.iter().map(entry).collect()
    }
}

/// The stage.
struct Failover {
    name: String,
    levels: Vec<Arc<Entry>>,
    selector: Arc<Selector>,
    account: Option<Arc<Account>>,
    switches: Counter,
    _visible: Registration,
}

/// Room on a level.
struct Admitted {
    level: usize,
    admission: Admission,
}

impl Failover {
    fn new(
        config: &Config,
        context: &Context,
        signal: Signal,
        levels: Vec<Arc<Entry>>,
        account: Option<Arc<Account>>,
    ) -> Self {
        let selector = Arc::new(Selector::new(levels.len(), config.retry_interval.get()));
        let registry = &context.shared.registry;
        let labels = Labels::new().with("connector", context.id.to_string());
        let observed = Arc::downgrade(&selector);
        let active = move || {
            let current = observed.upgrade().and_then(|selector| selector.current());
            current.map_or(-1.0, |level| level as f64)
        };
        let visible = registry.observe(&catalogue::FAILOVER_ACTIVE_LEVEL, &labels, active);
        let switches = registry.counter(&catalogue::FAILOVER_SWITCHES, &labels.with("signal", signal.name()));
        Self { name: context.id.to_string(), levels, selector, account, switches, _visible: visible }
    }

    /// Room on the first level that has some.
    async fn admit(&self, cost: Cost, copies: u32) -> Result<Permit, Failure> {
        let mut refusal = None;
        for level in self.selector.first(now)..self.levels.len() {
            match self.levels[level].admit_copies(cost, copies).await {
                Ok(admissions) => {
                    let carried = admissions.into_iter().map(|admission| Admitted { level, admission });
                    return Ok(Permit::carrying(carried));
                }
                Err(failure) => self.refused(level, failure, &mut refusal)?,
            }
        }
        Err(no_level(refusal))
    }

    /// Commits to the level that has room, and to those below it if that fails.
    async fn pass_on(&self, admitted: Admitted, batch: Batch, until: Until) -> Result<(), Failure> {
        let Admitted { mut level, admission } = admitted;
        let mut refusal = None;
        let mut result = self.levels[level].submit_admitted(admission, batch.clone(), until).await;
        loop {
            match result {
                Ok(()) => {
                    if self.selector.taken(level) {
                        tracing::info!(connector = self.name, level, "a level takes requests again");
                    }
                    return Ok(());
                }
                Err(failure) => self.refused(level, failure, &mut refusal)?,
            }
            level += 1;
            let Some(next) = self.levels.get(level) else { return Err(no_level(refusal)) };
            result = next.submit(batch.clone(), until).await;
        }
    }

    /// Notes that a level has refused a request.
    ///
    /// # Errors
    /// What every level would refuse is not offered to the next.
    fn refused(&self, level: usize, failure: Failure, refusal: &mut Option<Failure>) -> Result<(), Failure> {
        if failure.fault == Fault::Sender {
            return Err(failure);
        }
        if failure.is_transient() && self.selector.failed(level, now()) {
            self.switches.add(1);
            tracing::warn!(connector = self.name, level, error = %failure, "a level fails; turning to the next");
        }
        *refusal = Some(match refusal.take() {
            Some(earlier) => earlier.worse(failure),
            None => failure,
        });
        Ok(())
    }
}

/// What the sender hears when no level takes its request.
fn no_level(refusal: Option<Failure>) -> Failure {
    let Some(failure) = refusal else {
        return Failure::permanent(Fault::Us, Reason::Internal, "there is no level to try; this is a bug");
    };
    Failure { message: format!("every level refuses: {}", failure.message).into(), ..failure }
}

impl Stage for Failover {
    fn reserve(&self, cost: Cost) -> Reservation<'_> {
        self.reserve_copies(cost, 1)
    }

    fn reserve_copies(&self, cost: Cost, copies: u32) -> Reservation<'_> {
        Reservation::Later(Box::pin(self.admit(cost, copies)))
    }

    fn commit<'a>(
        &'a self,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(admitted) = permit.into_carried::<Admitted>() else {
                let message = "a permit of another component; this is a bug";
                return Err(Failure::permanent(Fault::Us, Reason::Internal, message));
            };
            let passing = self.account.as_deref().map(|account| Passing::enter(account, batch.cost()));
            let result = self.pass_on(admitted, batch, until).await;
            if let Some(passing) = passing {
                passing.leave(if result.is_ok() { Term::Out } else { Term::Refused });
            }
            result
        })
    }

    fn metadata(&self) -> Vec<String> {
        self.levels.iter().flat_map(|level| level.metadata()).collect()
    }

    fn drain(&self, _deadline: Instant) -> BoxFuture<'_, ()> {
        // It holds nothing: whoever handed something in waits for the answer.
        Box::pin(async {})
    }
}

/// A request on its way through, in the account.
struct Passing<'a> {
    account: &'a Account,
    cost: Cost,
    term: Term,
    _held: millrace_engine::ledger::Held<&'a Account>,
}

impl<'a> Passing<'a> {
    fn enter(account: &'a Account, cost: Cost) -> Self {
        account.record(Term::In, cost);
        // Whoever gives up half-way has the request still.
        Self { account, cost, term: Term::Refused, _held: account.hold(cost) }
    }

    fn leave(mut self, term: Term) {
        self.term = term;
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.account.record(self.term, self.cost);
    }
}

/// The clock of the runtime, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
