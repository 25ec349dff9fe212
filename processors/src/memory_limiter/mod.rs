//! The `memory_limiter` processor: sets the memory budget of the process.
//!
//! In the Go collector it looks at the heap now and then, after requests have been decoded. Here it is a limit on bytes
//! that is charged as requests arrive, at the receivers' door: what it refuses was never kept. In the pipeline there is
//! nothing left to do but count.

pub use millrace_engine::memory::{Config, Limits};

use millrace_engine::component::{BuildError, Context, Factory, ProcessorConfig, Stability};
use millrace_engine::entry::Route;
use millrace_engine::{Batch, Failure, Transform};
use millrace_telemetry::catalogue::processor as catalogue;
use millrace_telemetry::{Counter, Labels};
use millrace_wire::Signal;
use std::sync::Arc;

/// The `memory_limiter` processor.
pub const FACTORY: Factory<dyn ProcessorConfig> = Factory {
    name: "memory_limiter",
    aliases: &[],
    signals: &Signal::ALL,
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(Counting(millrace_config::decode::<Config>(node, path, diags)?))),
};

/// What is configured has been taken into account when the budget was made.
#[derive(Debug, Clone, Default)]
pub struct Counting(pub Config);

impl ProcessorConfig for Counting {
    fn build(&self, context: Context, signal: Signal, next: Arc<Route>) -> Result<Route, BuildError> {
        let registry = &context.shared.registry;
        let labels = Labels::new().with("processor", context.id.to_string());
        let limiter = MemoryLimiter {
            accepted: registry.counter(catalogue::MEMORY_LIMITER_ACCEPTED.of(signal), &labels),
        };
        Ok(Route::Apply(Arc::new(limiter), next))
    }
}

struct MemoryLimiter {
    accepted: Counter,
}

impl Transform for MemoryLimiter {
    fn apply(&self, batch: Batch) -> Result<Option<Batch>, Failure> {
        self.accepted.add(batch.cost().items);
        Ok(Some(batch))
    }
}
