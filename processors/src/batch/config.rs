//! The section `processors::batch`.

use millrace_config::{Checker, Duration, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The batch processor's configuration.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A batch of at least this many items is sent at once; 0 sends every request at once.
    pub send_batch_size: u64,
    /// How long the first request of a batch waits for others; 0 sends every request at once.
    pub timeout: Duration,
    /// No batch is larger; 0 means no limit.
    pub send_batch_max_size: u64,
    /// Requests are batched apart by the values of these client metadata keys.
    pub metadata_keys: Vec<String>,
    /// The most combinations of those values; what would make one more is refused for good. 0 means no limit.
    pub metadata_cardinality_limit: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            send_batch_size: 8192,
            timeout: Duration::from_millis(200),
            send_batch_max_size: 0,
            metadata_keys: Vec::new(),
            metadata_cardinality_limit: 1000,
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.send_batch_max_size > 0 && self.send_batch_max_size < self.send_batch_size {
            at.error(
                "send_batch_max_size",
                "send_batch_max_size must be greater or equal to send_batch_size",
            );
        }
        let mut seen = HashSet::new();
        for key in &self.metadata_keys {
            if !seen.insert(key.to_lowercase()) {
                at.error(
                    "metadata_keys",
                    format!(
                        "duplicate entry in metadata_keys: \"{}\" (case-insensitive)\nremove one of the two",
                        key.to_lowercase()
                    ),
                );
            }
        }
    }
}
