//! The configuration replaced while the real binary runs: nothing acknowledged is lost, addresses stay open, and what
//! cannot be put to work changes nothing.

mod addresses;
mod certificates;
mod held;
mod load;
mod refused;
mod removed;
#[path = "../support/mod.rs"]
mod support;
mod trigger;

use std::fs;
use std::ops::Range;
use support::metrics::Metrics;
use support::stub::Stub;
use support::{Collector, eventually, http1, requests};

/// How many reloads have had that outcome: `success` or `failure`.
fn outcomes(metrics: &Metrics, outcome: &str) -> f64 {
    metrics.sum("otelcol_millrace_reloads", &[("outcome", outcome)])
}

/// Writes another configuration, asks for a reload, and waits until it has had that outcome.
async fn reload(collector: &Collector, text: &str, outcome: &str) {
    let before = outcomes(&collector.metrics().await, outcome);
    collector.setup.reconfigure(text);
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

/// Sends records of these numbers, which are accepted.
async fn hand_in(collector: &Collector, records: Range<u64>) {
    let body = requests::logs_named(records);
    let reply = http1::post(collector.setup.http, "/v1/logs", http1::PROTOBUF, &body).await;
    assert_eq!(reply.expect("an answer").status, 200);
}

/// The records 0 to 39 arrive, and each once.
async fn assert_forty_delivered(stub: &Stub) {
    eventually("each is delivered once", || async {
        let mut ids: Vec<_> = stub.bodies().iter().flat_map(|body| requests::ids(body)).collect();
        ids.sort_unstable();
        if ids == (0..40).collect::<Vec<_>>() { Ok(()) } else { Err(format!("{ids:?}")) }
    })
    .await;
}
