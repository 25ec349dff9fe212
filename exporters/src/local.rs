//! What the exporters that stay on this machine have in common.

use millrace_config::Optional;
use millrace_delivery::{Delivery, QueueConfig, RetryConfig};
use millrace_telemetry::Labels;
use std::time::Duration;

/// One attempt without a time limit: a local write either works or does not, and whoever sent the request hears which.
pub(crate) fn delivery(queue: Optional<QueueConfig>) -> Delivery {
    let retry = RetryConfig { enabled: false, ..RetryConfig::default() };
    Delivery { queue, retry, timeout: Duration::ZERO, destination: Labels::new(), metadata: Vec::new() }
}
