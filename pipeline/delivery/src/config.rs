//! The keys `sending_queue`, `retry_on_failure` and `timeout`, with the Go collector's names, defaults and rules.

use crate::StatusCodes;
use millrace_config::encode::ABSENT;
use millrace_config::schema::{NOT_YET, STATUS};
use millrace_config::{Checker, Duration, Optional, Validate};
use millrace_engine::Cost;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::HashSet;

/// What the size of a queue or a batch is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sizer {
    /// Requests as they were handed in.
    Requests,
    /// Spans, data points or log records.
    Items,
    /// Encoded bytes, uncompressed.
    Bytes,
}

impl Sizer {
    /// The size of one request of that cost.
    #[must_use]
    pub fn of(self, cost: Cost) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Items => cost.items,
            Self::Bytes => cost.bytes,
        }
    }
}

/// `sending_queue`: requests wait here, in memory, for the destination.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// How many sends are under way at once.
    pub num_consumers: usize,
    /// The room, in units of `sizer`; what is being sent counts too.
    pub queue_size: u64,
    /// The unit of `queue_size`.
    pub sizer: Sizer,
    /// Wait for room instead of refusing.
    pub block_on_overflow: bool,
    /// Answer only when the destination has.
    pub wait_for_result: bool,
    /// Join small requests and cut large ones before sending.
    pub batch: Optional<BatchConfig>,
    /// The extension that keeps the queue on disk.
    pub storage: NoStorage,
    /// Send less at once while the destination refuses or does not answer, instead of always `num_consumers`.
    ///
    /// Go: has no such key, and always sends as much.
    pub millrace_adaptive_concurrency: bool,
}

/// `sending_queue::storage`, which is refused by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoStorage;

impl<'de> Deserialize<'de> for NoStorage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Taking the value makes the error point at it; without a value it is as good as not there.
        match Option::<IgnoredAny>::deserialize(deserializer)? {
            None => Ok(Self),
            Some(_) => Err(D::Error::custom(
                "queues on disk are not supported yet\nremove `storage` to queue in memory: what waits when the process is \
                 killed is gone then; or set `wait_for_result: true`, so that senders keep what has not been delivered",
            )),
        }
    }
}

impl Serialize for NoStorage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit_struct(ABSENT)
    }
}

impl JsonSchema for NoStorage {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NoStorage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "null", STATUS: NOT_YET })
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            num_consumers: 10,
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            batch: Optional::Off,
            storage: NoStorage,
            millrace_adaptive_concurrency: true,
        }
    }
}

impl Validate for QueueConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.num_consumers == 0 {
            at.error("num_consumers", "must be at least 1");
        }
        if self.queue_size == 0 {
            at.error("queue_size", "must be at least 1");
        }
        at.nested("batch", &self.batch);
        if let Some(batch) = self.batch.as_option()
            && batch.effective_sizer(self.sizer) == self.sizer
            && batch.min_size > self.queue_size
        {
            at.error("queue_size", "must be at least `batch::min_size`, or a batch could never fill");
        }
    }
}

/// `sending_queue::batch`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// How long the first request of a batch waits for others.
    pub flush_timeout: Duration,
    /// A batch of at least this size is sent at once.
    pub min_size: u64,
    /// No batch is larger; 0 means no limit.
    pub max_size: u64,
    /// The unit of both; the queue's own unless that counts requests, then items.
    ///
    /// Go: the same, though its default is told as `items`.
    pub sizer: Option<Sizer>,
    /// What is never joined.
    pub partition: PartitionConfig,
}

/// `sending_queue::batch::partition`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PartitionConfig {
    /// Requests are batched apart by the values of these client metadata keys.
    pub metadata_keys: Vec<String>,
}

impl Validate for PartitionConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        let mut seen = HashSet::new();
        for key in self.metadata_keys.iter().map(|key| key.to_lowercase()) {
            if seen.contains(&key) {
                at.error(
                    "metadata_keys",
                    format!("duplicate entry in metadata_keys: \"{key}\" (case-insensitive)\nremove one of the two"),
                );
            }
            seen.insert(key);
        }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            min_size: 8192,
            max_size: 0,
            sizer: None,
            partition: PartitionConfig::default(),
        }
    }
}

impl BatchConfig {
    /// The unit of `min_size` and `max_size` in a queue that counts in `queue`.
    #[must_use]
    pub fn effective_sizer(&self, queue: Sizer) -> Sizer {
        match (self.sizer, queue) {
            (Some(sizer), _) => sizer,
            (None, Sizer::Requests) => Sizer::Items,
            (None, sizer) => sizer,
        }
    }
}

impl Validate for BatchConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.flush_timeout.is_zero() {
            at.error("flush_timeout", "must be longer than zero");
        }
        if self.max_size > 0 && self.max_size < self.min_size {
            at.error("max_size", "must be 0 (no limit) or at least `min_size`");
        }
        if self.sizer == Some(Sizer::Requests) {
            at.error("sizer", "must be `items` or `bytes`: batches are made of requests");
        }
        at.nested("partition", &self.partition);
    }
}

/// `retry_on_failure`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Off: one attempt.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Duration,
    /// Waits vary by up to this share in both directions, so that senders do not come back together.
    pub randomization_factor: f64,
    /// Each wait is this many times the last.
    pub multiplier: f64,
    /// No wait is longer, unless the destination asks for more.
    pub max_interval: Duration,
    /// Give up after this long; 0 means never.
    pub max_elapsed_time: Duration,
    /// Which answers are worth another attempt, where that is to be other than what OTLP says.
    ///
    /// Go: has no such key.
    pub millrace_status_codes: StatusCodes,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
            millrace_status_codes: StatusCodes::default(),
        }
    }
}

impl Validate for RetryConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if !(0.0..=1.0).contains(&self.randomization_factor) {
            at.error("randomization_factor", "must be between 0 and 1");
        }
        if self.multiplier < 0.0 {
            at.error("multiplier", "must not be negative");
        }
        if !self.max_elapsed_time.is_zero() {
            if self.max_elapsed_time < self.initial_interval {
                at.error(
                    "max_elapsed_time",
                    "must not be less than `initial_interval`\nraise it; 0 is without end",
                );
            }
            if self.max_elapsed_time < self.max_interval {
                at.error("max_elapsed_time", "must not be less than `max_interval`\nraise it, or lower `max_interval`; 0 is without end");
            }
        }
        at.nested("millrace_status_codes", &self.millrace_status_codes);
    }
}

/// The keys that most exporters share: `timeout`, `sending_queue` and `retry_on_failure`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// The limit for one attempt; 0 means none.
    pub timeout: Duration,
    /// Requests wait here for the destination.
    pub sending_queue: Optional<QueueConfig>,
    /// When to try again.
    pub retry_on_failure: RetryConfig,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            sending_queue: Optional::On(QueueConfig::default()),
            retry_on_failure: RetryConfig::default(),
        }
    }
}

impl Validate for DeliveryConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("sending_queue", &self.sending_queue);
        at.nested("retry_on_failure", &self.retry_on_failure);
    }
}
