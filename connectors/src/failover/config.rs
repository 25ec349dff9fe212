//! The section `connectors::failover`.

use millrace_config::{Checker, Duration, Optional, PipelineId, Validate};
use millrace_delivery::QueueConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where requests go, and when those places are tried again that have failed.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Pipelines, the first choice first. All of one level get a copy.
    pub priority_levels: Vec<Vec<String>>,
    /// How long after a failure the levels above are tried again.
    pub retry_interval: Duration,
    /// Requests wait here in memory; off unless the key is present.
    pub sending_queue: Optional<QueueConfig>,
    /// Without effect, as in the Go collector, which no longer uses it.
    pub retry_gap: Duration,
    /// Without effect, as in the Go collector, which no longer uses it.
    pub max_retries: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            priority_levels: Vec::new(),
            retry_interval: Duration::from_secs(600),
            sending_queue: Optional::Off,
            retry_gap: Duration::from_secs(0),
            max_retries: 0,
        }
    }
}

impl Config {
    /// The levels, as pipelines; what is none has been refused.
    pub(super) fn levels(&self) -> Vec<Vec<PipelineId>> {
        let parsed = |level: &Vec<String>| level.iter().filter_map(|id| id.parse().ok()).collect();
        self.priority_levels.iter().map(parsed).collect()
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.priority_levels.is_empty() {
            at.error(
                "priority_levels",
                "no pipelines are defined in the priority list\nfor example [[traces/first], [traces/second]]",
            );
        }
        let mut seen = std::collections::HashSet::new();
        for level in &self.priority_levels {
            if level.is_empty() {
                at.error("priority_levels", "a level without pipelines would lose everything; remove it");
            }
            for id in level {
                match id.parse::<PipelineId>() {
                    Err(error) => at.error(
                        "priority_levels",
                        format!("`{id}` is no pipeline: {error}\nwrite its id, such as traces/first"),
                    ),
                    Ok(parsed) => {
                        if !seen.insert(parsed) {
                            at.warning(
                                "priority_levels",
                                format!("`{id}` is listed twice\nremove one of the two"),
                            );
                        }
                    }
                }
            }
        }
        if self.retry_interval.is_zero() {
            at.error("retry_interval", "must be longer than zero");
        }
        // Their defaults say nothing, and are what `print-config` writes.
        let written = [("retry_gap", !self.retry_gap.is_zero()), ("max_retries", self.max_retries != 0)];
        for (key, says_something) in written {
            if at.is_set(key) && says_something {
                at.warning(key, "has no effect any more\nremove it; `retry_interval` alone says when levels are tried again");
            }
        }
        at.nested("sending_queue", &self.sending_queue);
    }
}
