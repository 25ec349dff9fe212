//! The `batch` processor: joins small requests and cuts large ones.
//!
//! As in the Go collector a request is acknowledged as soon as it waits here, in memory. Unlike there, a batch that is
//! refused further on for a while is held and tried again, and intake stalls meanwhile: what waits here stays charged
//! to the memory budget. Batching behind the exporter's queue (`sending_queue::batch`) keeps the acknowledgement honest
//! and is preferable.

mod by_metadata;
mod config;

pub use config::Config;

use by_metadata::ByMetadata;
use millrace_config::Optional;
use millrace_delivery::{BatchConfig, BatchNames, Exporter, QueueConfig, Sizer};
use millrace_engine::component::{BuildError, Context, Factory, ProcessorConfig, Stability};
use millrace_engine::entry::Route;
use millrace_engine::{Account, Batch, BoxFuture, Cost, Entry, Failure, Permit, Reservation, Stage, Until};
use millrace_telemetry::catalogue::processor as catalogue;
use millrace_telemetry::{Labels, UpDown};
use millrace_wire::Signal;
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// The `batch` processor.
pub const FACTORY: Factory<dyn ProcessorConfig> = Factory {
    name: "batch",
    aliases: &[],
    signals: &Signal::ALL,
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ProcessorConfig for Config {
    fn build(&self, context: Context, signal: Signal, next: Arc<Route>) -> Result<Route, BuildError> {
        let shards = Shards {
            next: Entry::new(next),
            account: context.account(signal),
            queue: self.queue(),
            signal,
            context,
        };
        Ok(Route::Commit(if self.metadata_keys.is_empty() {
            let mut cardinality = shards.cardinality();
            cardinality.grow();
            Arc::new(Single { shard: shards.start(), _cardinality: cardinality })
        } else {
            Arc::new(ByMetadata::new(self, shards))
        }))
    }
}

impl Config {
    /// What the processor is made of: a queue in which everything waits to be batched, and one consumer, so that
    /// batches keep their order. It is bounded by the budget to which every request in it is charged.
    fn queue(&self) -> QueueConfig {
        let at_once = self.timeout.is_zero() || self.send_batch_size == 0;
        let batch = BatchConfig {
            flush_timeout: self.timeout,
            min_size: if at_once { 0 } else { self.send_batch_size },
            max_size: self.send_batch_max_size,
            sizer: Some(Sizer::Items),
            ..BatchConfig::default()
        };
        QueueConfig {
            num_consumers: 1,
            queue_size: u64::MAX,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            batch: Optional::On(batch),
            ..QueueConfig::default()
        }
    }
}

/// Makes batchers that share what comes after them and an account.
struct Shards {
    next: Arc<Entry>,
    account: Arc<Account>,
    queue: QueueConfig,
    signal: Signal,
    context: Context,
}

impl Shards {
    fn start(&self) -> Arc<Exporter> {
        let Self { context, signal, queue, next, account } = self;
        let started = Exporter::into_pipeline(context, *signal, queue, next, account, BatchNames::Batch);
        started.expect("only queues on disk can fail to start")
    }

    fn cardinality(&self) -> Cardinality {
        let labels = Labels::new().with("processor", self.context.id.to_string());
        let series = self.context.shared.registry.updown(&catalogue::BATCH_METADATA_CARDINALITY, &labels);
        Cardinality { series, shards: 0 }
    }
}

/// How many shards there are, for the metric.
struct Cardinality {
    series: UpDown,
    shards: i64,
}

impl Cardinality {
    fn grow(&mut self) {
        self.shards += 1;
        self.series.add(1);
    }
}

impl Drop for Cardinality {
    fn drop(&mut self) {
        self.series.add(-self.shards);
    }
}

/// One batcher for everything.
struct Single {
    shard: Arc<Exporter>,
    _cardinality: Cardinality,
}

impl Stage for Single {
    fn reserve(&self, cost: Cost) -> Reservation<'_> {
        self.shard.reserve(cost)
    }

    fn reserve_copies(&self, cost: Cost, copies: u32) -> Reservation<'_> {
        self.shard.reserve_copies(cost, copies)
    }

    fn commit<'a>(
        &'a self,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.shard.commit(permit, batch, until)
    }

    fn hand_over(&self, successor: &Arc<dyn Stage>) {
        if let Some(heir) = successor.as_any().and_then(|any| any.downcast_ref::<Self>()) {
            self.shard.hand_over_to(&heir.shard);
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn metadata(&self) -> Vec<String> {
        self.shard.metadata()
    }

    fn drain(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        self.shard.drain(deadline)
    }
}
