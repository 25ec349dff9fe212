//! The `nop` exporter: takes everything and does nothing with it.
//!
//! For measuring what comes before it, and for pipelines that exist for the sake of a connector or a receiver.

use millrace_config::Validate;
use millrace_engine::component::{BuildError, Context, ExporterConfig, Factory, Stability};
use millrace_engine::ledger::Term;
use millrace_engine::{Account, Batch, BoxFuture, Cost, Failure, Permit, Reservation, Stage, Status, Until};
use millrace_wire::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

/// The `nop` exporter.
pub const FACTORY: Factory<dyn ExporterConfig> = Factory {
    name: "nop",
    aliases: &[],
    signals: &Signal::ALL,
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

/// There is nothing to configure.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Validate for Config {}

impl ExporterConfig for Config {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        Ok(Arc::new(Nop { account: context.account(signal), status: context.status(Some(signal)) }))
    }
}

/// Keeps its account and nothing else: as in Go, it has none of an exporter's metrics.
struct Nop {
    account: Arc<Account>,
    status: Status,
}

impl Stage for Nop {
    fn reserve(&self, _cost: Cost) -> Reservation<'_> {
        Reservation::granted()
    }

    fn commit<'a>(
        &'a self,
        _permit: Permit,
        batch: Batch,
        _until: Until,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let cost = batch.cost();
        self.account.record(Term::In, cost);
        self.account.record(Term::Out, cost);
        self.status.works();
        Box::pin(ready(Ok(())))
    }

    fn drain(&self, _deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, commit, config, context, log, outcome, plan};

    #[tokio::test]
    async fn everything_counts_as_delivered() {
        let context = context("nop");
        let stage = config(&FACTORY, "{}").build(context.clone(), Signal::Logs).expect("it builds");
        commit(&*stage, batch([log("one"), log("two")])).await.expect("taken");
        assert_eq!(outcome(&context), (2, 0));
    }

    #[test]
    fn there_is_nothing_to_configure() {
        let (config, problems) = plan(&FACTORY, "{sending_queue: {}}");
        assert!(config.is_none() && problems.contains("unknown key `sending_queue`"), "{problems}");
    }
}
