//! The `memory_limiter` extension: turns requests away before anything of them is read.
//!
//! It sets the memory budget of the process, as the processor of that name does. The budget refuses whatever does not
//! fit when it arrives; named among a server's `middlewares`, the extension refuses already when there is no room that
//! a usual request would fit in, so that under overload a request costs its head and nothing else.

use millrace_config::Role;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
pub use millrace_engine::memory::Config;
use millrace_engine::{BoxFuture, Budget, Failure, Fault, Gate, Reason};
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Counter, Labels};
use std::sync::Arc;
use std::time::Duration;

/// The room below which there is none: what a small request takes.
const ROOM: u64 = 64 << 10;
/// When to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// The `memory_limiter` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "memory_limiter",
    aliases: &[],
    signals: &[],
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(Limited(millrace_config::decode::<Config>(node, path, diags)?))),
};

/// What is configured has been taken into account when the budget was made.
struct Limited(#[expect(dead_code, reason = "only checked")] Config);

impl ExtensionConfig for Limited {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        let labels = Labels::new().with("extension", context.id.to_string());
        let refused = context.shared.registry.counter(&catalogue::GATE_REFUSED, &labels);
        Ok(Arc::new(MemoryLimiter { budget: context.shared.intake, refused }))
    }

    fn offers(&self) -> &'static [Role] {
        &[Role::ServerMiddleware]
    }
}

struct MemoryLimiter {
    budget: Budget,
    refused: Counter,
}

impl Extension for MemoryLimiter {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn gate(self: Arc<Self>) -> Option<Arc<dyn Gate>> {
        Some(self)
    }
}

impl Gate for MemoryLimiter {
    fn admit(&self) -> Result<(), Failure> {
        // A budget that is smaller than that is full when it is.
        let room = ROOM.min(self.budget.limit() / 8);
        if self.budget.used().saturating_add(room) <= self.budget.limit() {
            return Ok(());
        }
        self.refused.add(1);
        let message = "data refused due to high memory usage";
        Err(Failure::transient(Fault::Us, Reason::OverBudget, message).after(COME_BACK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_refused, context, plan};
    use millrace_engine::Health;

    #[test]
    fn requests_are_turned_away_while_there_is_no_room() {
        let (config, problems) = plan(&FACTORY, "{check_interval: 1s, limit_mib: 1}");
        let config = config.unwrap_or_else(|| panic!("{problems}"));
        let context = context("memory_limiter", &Health::starting());
        let budget = context.shared.intake.clone();
        let gate = config.build(context).expect("it builds").gate().expect("it serves servers");
        assert!(gate.admit().is_ok());
        let held = budget.try_charge(budget.limit() - ROOM).expect("there is room");
        assert!(gate.admit().is_ok(), "what is left is enough");
        let more = budget.try_charge(1).expect("there is room");
        let failure = gate.admit().expect_err("it is not enough any more");
        assert!(failure.is_transient());
        assert_eq!(failure.reason, Reason::OverBudget);
        drop((held, more));
        assert!(gate.admit().is_ok());
    }

    #[test]
    fn its_section_is_that_of_the_processor() {
        let cases =
            [("{}", "must be greater than zero"), ("{limit_mib: 1, check_intreval: 1s}", "did you mean")];
        assert_refused(&FACTORY, &cases);
    }
}
