//! The `batch` processor: joins small requests and cuts large ones.
//!
//! As in the Go collector a request is acknowledged as soon as it waits here, in memory. Unlike there, a batch that is
//! refused further on for a while is held and tried again, and intake stalls meanwhile; nothing is dropped for that.
//! Batching behind the exporter's queue (`sending_queue::batch`) keeps the acknowledgement honest and is preferable.

mod config;

pub use config::Config;

use millrace_config::{Duration, Optional};
use millrace_delivery::{Accepted, BatchConfig, Delivery, Exporter, QueueConfig, RetryConfig, Sender, Sizer};
use millrace_engine::component::{BuildError, Context, Factory, ProcessorConfig, Stability};
use millrace_engine::entry::Route;
use millrace_engine::{
    Account, Batch, BoxFuture, Cost, Entry, Failure, Fault, Permit, Reason, Reservation, Stage, Until,
};
use millrace_telemetry::catalogue::processor as catalogue;
use millrace_telemetry::{Labels, UpDown};
use millrace_wire::Signal;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The `batch` processor.
pub const FACTORY: Factory<dyn ProcessorConfig> = Factory {
    name: "batch",
    aliases: &[],
    signals: &[Signal::Traces, Signal::Metrics, Signal::Logs],
    stability: Stability::Beta,
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

/// The first wait before a refused batch is tried again.
const HOLD_MIN: Duration = Duration::from_millis(100);
/// The longest.
const HOLD_MAX: Duration = Duration::from_secs(5);

impl ProcessorConfig for Config {
    fn build(&self, context: Context, signal: Signal, next: Arc<Route>) -> Result<Route, BuildError> {
        let shards = Shards {
            sender: Arc::new(Next(Entry::new(next))),
            account: context.account(signal),
            delivery: self.delivery(),
            signal,
            context,
        };
        Ok(Route::Commit(if self.metadata_keys.is_empty() {
            shards.start()
        } else {
            Arc::new(ByMetadata {
                keys: self.metadata_keys.iter().map(|key| key.to_lowercase()).collect(),
                limit: self.metadata_cardinality_limit,
                open: Mutex::default(),
                cardinality: shards.cardinality(),
                shards,
            })
        }))
    }
}

impl Config {
    /// What the processor is made of: a queue as short as Go's, one consumer, batching, and retrying without end.
    fn delivery(&self) -> Delivery {
        let batch = BatchConfig {
            flush_timeout: self.timeout,
            min_size: match (self.timeout.is_zero(), self.send_batch_size) {
                (true, _) => 0,
                (false, 0) => u64::MAX,
                (false, size) => size,
            },
            max_size: self.send_batch_max_size,
            sizer: Some(Sizer::Items),
        };
        Delivery {
            queue: Optional::On(QueueConfig {
                num_consumers: 1,
                queue_size: u64::MAX,
                sizer: Sizer::Requests,
                block_on_overflow: true,
                wait_for_result: false,
                batch: Optional::On(batch),
            }),
            retry: RetryConfig {
                initial_interval: HOLD_MIN,
                max_interval: HOLD_MAX,
                max_elapsed_time: Duration::ZERO,
                ..RetryConfig::default()
            },
            timeout: std::time::Duration::ZERO,
            destination: Labels::new(),
        }
    }
}

/// What comes after the processor, as a destination.
struct Next(Arc<Entry>);

impl Sender for Next {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async move {
            self.0.submit(batch.clone(), Until::Stored).await?;
            Ok(Accepted::default())
        })
    }
}

/// Makes batchers that share a destination and an account.
struct Shards {
    sender: Arc<Next>,
    account: Arc<Account>,
    delivery: Delivery,
    signal: Signal,
    context: Context,
}

impl Shards {
    fn start(&self) -> Arc<Exporter> {
        let sender = Arc::clone(&self.sender) as Arc<dyn Sender>;
        Exporter::start_batching(&self.context, self.signal, &self.delivery, sender, &self.account)
    }

    fn cardinality(&self) -> UpDown {
        let labels = Labels::new().with("processor", self.context.id.to_string());
        self.context.shared.registry.updown(&catalogue::BATCH_METADATA_CARDINALITY, &labels)
    }
}

/// The values of the metadata keys, in their order; each key may have several, or none.
type Combination = Vec<Vec<Box<str>>>;

/// One batcher for each combination of metadata values. Which one a request goes to shows only when it is there, so
/// room is reserved at commit.
struct ByMetadata {
    keys: Vec<String>,
    limit: usize,
    open: Mutex<HashMap<Combination, Arc<Exporter>>>,
    cardinality: UpDown,
    shards: Shards,
}

impl ByMetadata {
    fn combination(&self, batch: &Batch) -> Combination {
        let origin = batch.pieces().first().map(|piece| &piece.origin);
        let values = |key: &String| {
            let metadata = origin.into_iter().flat_map(|origin| &origin.metadata);
            metadata.filter(|(name, _)| **name == **key).map(|(_, value)| value.clone()).collect()
        };
        self.keys.iter().map(values).collect()
    }

    fn shard(&self, combination: Combination) -> Result<Arc<Exporter>, Failure> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = open.get(&combination) {
            return Ok(Arc::clone(shard));
        }
        if open.len() >= self.limit {
            return Err(Failure::permanent(
                Fault::Sender,
                Reason::TooManyCombinations,
                "too many batcher metadata-value combinations; raise `metadata_cardinality_limit` or drop a key",
            ));
        }
        let shard = self.shards.start();
        open.insert(combination, Arc::clone(&shard));
        self.cardinality.add(1);
        Ok(shard)
    }
}

impl Stage for ByMetadata {
    fn reserve(&self, _: Cost) -> Reservation<'_> {
        Reservation::granted()
    }

    fn commit<'a>(&'a self, _: Permit, batch: Batch, until: Until) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let shard = self.shard(self.combination(&batch))?;
            let permit = shard.reserve(batch.cost()).decided().await?;
            shard.commit(permit, batch, until).await
        })
    }

    fn drain(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let open: Vec<_> =
                self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            for shard in open {
                shard.drain(deadline).await;
            }
        })
    }
}
