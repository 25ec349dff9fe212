//! The `queue_batch` processor: a sending queue with batching in the middle of a pipeline, which takes the place of the
//! `batch` processor.
//!
//! By default whoever hands something in waits until what comes after has taken the batch that it went into, and hears
//! what became of it. Nothing is acknowledged that only waits here.

use millrace_config::{Checker, Diagnostics, Node, Validate, decode_over};
use millrace_delivery::{BatchNames, Exporter, QueueConfig};
use millrace_engine::Entry;
use millrace_engine::component::{BuildError, Context, Factory, ProcessorConfig, Stability};
use millrace_engine::entry::Route;
use millrace_wire::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is other than in an exporter's `sending_queue`.
const DEFAULTS: &str =
    "{num_consumers: 1, queue_size: 10, block_on_overflow: true, wait_for_result: true, batch: {}}";

/// The `queue_batch` processor.
pub const FACTORY: Factory<dyn ProcessorConfig> = Factory {
    name: "queue_batch",
    aliases: &["queuebatch"],
    signals: &Signal::ALL,
    stability: Stability::Alpha,
    schema: millrace_config::Shape::over::<Config>(DEFAULTS),
    plan: |node, path, diags| Some(Box::new(decode_over::<Config>(DEFAULTS, node, path, diags)?)),
};

/// The section `processors::queue_batch`: the keys of `sending_queue`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Config(QueueConfig);

/// The queue of such a section, if it is one.
#[must_use]
pub fn queue(section: &Node) -> Option<QueueConfig> {
    let config = decode_over::<Config>(DEFAULTS, section, "", &mut Diagnostics::new());
    config.map(|Config(queue)| queue)
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        self.0.validate(at);
    }
}

impl ProcessorConfig for Config {
    fn build(&self, context: Context, signal: Signal, next: Arc<Route>) -> Result<Route, BuildError> {
        let account = context.account(signal);
        let next = Entry::new(next);
        let names = BatchNames::QueueBatch;
        Ok(Route::Commit(Exporter::into_pipeline(&context, signal, &self.0, &next, &account, names)?))
    }
}
