//! The keys `sending_queue`, `retry_on_failure` and `timeout`, with the Go collector's names, defaults and rules.

use crate::StatusCodes;
use millrace_config::{Checker, ComponentId, Duration, Optional, Role, Validate};
use millrace_engine::Cost;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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

/// `sending_queue`: requests wait here, in memory or on disk, for the destination.
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
    /// The extension that keeps the queue on disk (`file_storage`); without it the queue is in memory.
    pub storage: Option<ComponentId>,
    /// What becomes of new requests when there is no room on disk.
    ///
    /// Go: has no such key, and refuses.
    pub millrace_on_full: OnFull,
    /// What cannot be delivered is put aside with its reason, instead of being dropped. Needs a `storage`.
    ///
    /// Go: has no such key, and drops it.
    pub millrace_dead_letters: DeadLettersConfig,
    /// Send less at once while the destination refuses or does not answer, instead of always `num_consumers`.
    ///
    /// Go: has no such key, and always sends as much.
    pub millrace_adaptive_concurrency: bool,
}

/// `sending_queue::millrace_dead_letters`: where what cannot be delivered is put aside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLettersConfig {
    /// Put aside what cannot be delivered. Without a `storage` there is nowhere to put it.
    pub enabled: bool,
    /// The most bytes on disk for each signal; the oldest make room for new ones.
    pub max_size: u64,
    /// What is older is dropped, and counted; 0 keeps it until there is no room.
    pub max_age: Duration,
}

/// The smallest store of dead letters: a few of the smallest segments.
const DEAD_LETTERS_MIN: u64 = 1 << 20;

impl Default for DeadLettersConfig {
    fn default() -> Self {
        Self { enabled: true, max_size: 64 << 20, max_age: Duration::from_secs(0) }
    }
}

impl Validate for DeadLettersConfig {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.max_size < DEAD_LETTERS_MIN {
            at.error(
                "max_size",
                "must be at least 1048576 (1 MiB)\nset `enabled: false` to drop what cannot be delivered",
            );
        }
    }
}

/// What becomes of new requests when there is no room in a queue on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// They are refused, and whoever sends them is told to try again.
    #[default]
    Refuse,
    /// The oldest ones are dropped, and counted as lost, so that the newest are kept.
    DropOldest,
    /// They are put aside among the dead letters, and acknowledged. When these are full as well, they are refused; none
    /// makes room for another.
    DeadLetter,
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
            storage: None,
            millrace_on_full: OnFull::Refuse,
            millrace_dead_letters: DeadLettersConfig::default(),
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
        match &self.storage {
            Some(id) => {
                at.wants_extension("storage", id, Role::Storage);
                if self.wait_for_result {
                    at.error(
                        "wait_for_result",
                        "is not supported with a queue on disk (`storage`)\nsay `wait_for_result: false`: what is acknowledged is on disk",
                    );
                }
            }
            None if self.millrace_on_full != OnFull::Refuse => {
                at.error("millrace_on_full", "is for queues on disk\nname a `storage`, or remove it");
            }
            None => {}
        }
        if self.millrace_on_full == OnFull::DeadLetter && !self.millrace_dead_letters.enabled {
            at.error(
                "millrace_on_full",
                "`dead_letter` needs the dead letters, which are switched off\nset `millrace_dead_letters::enabled: true`, or say `refuse` or `drop_oldest`",
            );
        }
        // What says nothing but the defaults may have been printed by `print-config`.
        let letters = &self.millrace_dead_letters;
        if self.storage.is_none() && letters.enabled && *letters != DeadLettersConfig::default() {
            at.warning(
                "millrace_dead_letters",
                "has no effect with a queue in memory: what cannot be delivered is dropped, and counted\nname a `storage` to have it put aside, or remove it",
            );
        }
        at.nested("millrace_dead_letters", &self.millrace_dead_letters);
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
    /// Give up after this long; 0 means never. 5 minutes where nothing is said, and never where the queue is on disk
    /// (`sending_queue::storage`).
    ///
    /// Go: 5 minutes, also where the queue is on disk. What is there has been acknowledged, and is kept until it is
    /// delivered or the disk is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_elapsed_time: Option<Duration>,
    /// Which answers are worth another attempt, where that is to be other than what OTLP says.
    ///
    /// Go: has no such key.
    pub millrace_status_codes: StatusCodes,
}

/// When retrying ends unless the configuration or the disk says otherwise.
pub const MAX_ELAPSED_TIME: Duration = Duration::from_secs(300);

impl RetryConfig {
    /// How long is tried; zero is for ever.
    pub(crate) fn limit(&self) -> std::time::Duration {
        self.max_elapsed_time.unwrap_or(MAX_ELAPSED_TIME).get()
    }

    /// The same for what is on disk: nothing is given up unless somebody says so.
    pub(crate) fn on_disk(self) -> Self {
        Self { max_elapsed_time: Some(self.max_elapsed_time.unwrap_or(Duration::ZERO)), ..self }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: None,
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
        let max_elapsed_time = self.max_elapsed_time.unwrap_or(MAX_ELAPSED_TIME);
        if !max_elapsed_time.is_zero() {
            if max_elapsed_time < self.initial_interval {
                at.error(
                    "max_elapsed_time",
                    "must not be less than `initial_interval`\nraise it; 0 is without end",
                );
            }
            if max_elapsed_time < self.max_interval {
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
