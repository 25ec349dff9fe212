//! The configuration replaced while the real binary runs: nothing acknowledged is lost, addresses stay open, and what
//! cannot be put to work changes nothing.

mod addresses;
mod certificates;
mod load;
mod refused;
mod removed;
#[path = "../support/mod.rs"]
mod support;
mod trigger;

use std::fs;
use support::metrics::Metrics;
use support::{Collector, http1, requests};

/// How many reloads have had that outcome: `success` or `failure`.
fn outcomes(metrics: &Metrics, outcome: &str) -> f64 {
    metrics.sum("otelcol_millrace_reloads", &[("outcome", outcome)])
}

/// Writes another configuration, asks for a reload, and waits until it has had that outcome.
async fn reload(collector: &Collector, text: &str, outcome: &str) {
    let before = outcomes(&collector.metrics().await, outcome);
    fs::write(&collector.setup.config, text).expect("written");
    collector.signal("HUP");
    collector.metrics_when("the reload", |metrics| outcomes(metrics, outcome) > before).await;
}

/// The configuration as it is in the file now.
fn text(collector: &Collector) -> String {
    fs::read_to_string(&collector.setup.config).expect("a configuration")
}

async fn post(collector: &Collector) -> u16 {
    let log = requests::logs(1);
    let reply = http1::post(collector.setup.http, "/v1/logs", http1::PROTOBUF, &log).await;
    reply.expect("an answer").status
}
