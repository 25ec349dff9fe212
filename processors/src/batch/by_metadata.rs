//! `metadata_keys`: requests are batched apart by what their clients said.

use super::{Cardinality, Config, Shards};
use futures_util::future::join_all;
use millrace_delivery::Exporter;
use millrace_delivery::partition::{Combination, Keys};
use millrace_engine::{Batch, BoxFuture, Cost, Failure, Fault, Permit, Reason, Reservation, Stage, Until};
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// gRPC's `INTERNAL`, with which the Go collector answers.
const INTERNAL: u8 = 13;

/// One batcher for each combination of metadata values. Which one a request goes to shows only when it is there, so
/// room is reserved at commit; these batchers always have room.
pub(super) struct ByMetadata {
    keys: Keys,
    /// The most combinations; 0 is no limit.
    limit: usize,
    open: Mutex<Open>,
    shards: Shards,
}

struct Open {
    shards: HashMap<Combination, Arc<Exporter>>,
    cardinality: Cardinality,
    closed: bool,
}

impl ByMetadata {
    pub(super) fn new(config: &Config, shards: Shards) -> Self {
        let cardinality = shards.cardinality();
        Self {
            keys: Keys::new(&config.metadata_keys),
            limit: config.metadata_cardinality_limit as usize,
            open: Mutex::new(Open { shards: HashMap::new(), cardinality, closed: false }),
            shards,
        }
    }

    /// A batcher for each group; all or none.
    fn shards(&self, groups: &[(Combination, Batch)]) -> Result<Vec<Arc<Exporter>>, Failure> {
        let mut open = self.open();
        if open.closed {
            return Err(Failure::transient(
                Fault::Us,
                Reason::ShuttingDown,
                "the collector is shutting down",
            ));
        }
        let new: HashSet<_> = groups
            .iter()
            .map(|(combination, _)| combination)
            .filter(|combination| !open.shards.contains_key(*combination))
            .collect();
        if self.limit > 0 && open.shards.len() + new.len() > self.limit && !new.is_empty() {
            return Err(Failure::permanent(
                Fault::Sender,
                Reason::TooManyCombinations,
                "too many batcher metadata-value combinations; raise `metadata_cardinality_limit` or drop a key",
            )
            .with_grpc_code(INTERNAL));
        }
        for combination in new {
            open.shards.insert(combination.clone(), self.shards.start());
            open.cardinality.grow();
        }
        Ok(groups.iter().map(|(combination, _)| Arc::clone(&open.shards[combination])).collect())
    }

    /// The batcher of a combination that an earlier one has: there is one even beyond the limit.
    fn shard(&self, combination: &Combination) -> Arc<Exporter> {
        let mut open = self.open();
        if let Some(shard) = open.shards.get(combination) {
            return Arc::clone(shard);
        }
        let shard = self.shards.start();
        open.shards.insert(combination.clone(), Arc::clone(&shard));
        open.cardinality.grow();
        shard
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage for ByMetadata {
    fn reserve(&self, _: Cost) -> Reservation<'_> {
        Reservation::granted()
    }

    fn commit<'a>(&'a self, _: Permit, batch: Batch, until: Until) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let groups = self.keys.divide(batch);
            let shards = self.shards(&groups)?;
            let commits = shards.into_iter().zip(groups).map(|(shard, (_, batch))| async move {
                let permit = shard.reserve(batch.cost()).decided().await?;
                shard.commit(permit, batch, until).await
            });
            let results = join_all(commits).await;
            results.into_iter().filter_map(Result::err).reduce(Failure::worse).map_or(Ok(()), Err)
        })
    }

    fn hand_over(&self, successor: &Arc<dyn Stage>) {
        let heir = successor.as_any().and_then(|any| any.downcast_ref::<Self>());
        let Some(heir) = heir.filter(|heir| heir.keys == self.keys) else { return };
        for (combination, shard) in &self.open().shards {
            shard.hand_over_to(&heir.shard(combination));
        }
    }

    fn metadata(&self) -> Vec<String> {
        let own = self.keys.names().map(str::to_owned);
        own.chain(self.shards.next.metadata()).collect()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn drain(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let shards: Vec<_> = {
                let mut open = self.open();
                open.closed = true;
                open.shards.values().cloned().collect()
            };
            join_all(shards.iter().map(|shard| shard.drain(deadline))).await;
        })
    }
}
