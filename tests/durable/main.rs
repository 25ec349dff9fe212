//! Queues on disk in the real binary: what was acknowledged is delivered, whatever happens to the process in between.
//!
//! What was acknowledged is known by the ids that its senders gave it, and what was delivered by those that a
//! destination finds in the bytes it is sent.

mod dead_letters;
mod faults;
mod kills;
mod memory;
mod metadata;
mod names;
mod place;
mod reloads;
#[path = "../support/mod.rs"]
mod support;
mod takers;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output};
use support::http1::{self, Connection, PROTOBUF};
use support::metrics::Metrics;
use support::stub::{Manner, Stub};
use support::{Collector, Setup, eventually, free_port, requests};

/// A receiver, a queue on disk, and a destination. `{storage}` and `{queue}` are further keys of both.
const CONFIG: &str = "extensions:
  file_storage: {directory: '{folder}/storage', create_directory: true{storage}}
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:{grpc}}
      http: {endpoint: 127.0.0.1:{http}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 64}
exporters:
  otlp_http:
    endpoint: http://{destination}
    compression: none
    sending_queue: {storage: file_storage, queue_size: 100000{queue}}
    retry_on_failure: {initial_interval: 20ms, max_interval: 50ms}
service:
  extensions: [file_storage]
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    logs: {receivers: [otlp], processors: [memory_limiter], exporters: [otlp_http]}
    traces: {receivers: [otlp], processors: [memory_limiter], exporters: [otlp_http]}
";

/// Another one that is to use the same directory; `keys` are further ones of its storage.
fn in_the_same_directory(storage: &Path, keys: &str) -> Setup {
    let config = CONFIG.replace("{destination}", "127.0.0.1:1").replace("{queue}", "");
    let config = config.replace("{folder}/storage", storage.to_str().expect("a path in UTF-8"));
    Setup::of(&config.replace("{storage}", keys))
}

/// A collector to be set up, and where it sends to; nobody is there yet.
fn durable(storage: &str, queue: &str) -> (Setup, SocketAddr) {
    let destination = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = CONFIG.replace("{destination}", &destination.to_string());
    (Setup::of(&config.replace("{storage}", storage).replace("{queue}", queue)), destination)
}

/// Sends requests of ten records until one is not taken; the ids that were acknowledged.
async fn send_until_refused(to: SocketAddr, ids: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let Ok(mut connection) = Connection::open(to).await else { return acknowledged };
    for first in ids {
        let body = requests::logs_named(first..first + 10);
        let reply = connection.post("/v1/logs", PROTOBUF, &body).await;
        if !reply.is_ok_and(|reply| reply.status == 200) {
            break;
        }
        acknowledged.extend(first..first + 10);
    }
    acknowledged
}

/// The same with so many requests, all of which are taken.
async fn send(collector: &Collector, requests: u64) -> Vec<u64> {
    send_more(collector, 0..requests).await
}

/// The same with those of these numbers.
async fn send_more(collector: &Collector, requests: Range<u64>) -> Vec<u64> {
    let count = requests.end - requests.start;
    let acknowledged = send_until_refused(collector.setup.http, requests.map(|request| request * 10)).await;
    assert_eq!(acknowledged.len() as u64, count * 10, "all are taken");
    acknowledged
}

/// Has the configuration read again, and waits until that has come to this end.
async fn reloaded(collector: &Collector, outcome: &str) {
    let so_far = |metrics: &Metrics| metrics.sum("otelcol_millrace_reloads", &[("outcome", outcome)]);
    let before = so_far(&collector.metrics().await);
    collector.signal("HUP");
    collector.metrics_when("it has read it", |metrics| so_far(metrics) > before).await;
}

/// Puts another configuration to work.
async fn reload(collector: &Collector, change: impl FnOnce(&str) -> String) {
    let config = fs::read_to_string(&collector.setup.config).expect("the configuration");
    let changed = change(&config);
    assert_ne!(changed, config);
    collector.setup.reconfigure(&changed);
    reloaded(collector, "success").await;
}

/// The same configuration with another exporter in the place of the one that has the queue.
fn under_another_id(config: &str) -> String {
    config.replace("  otlp_http:", "  otlp_http/other:").replace("[otlp_http]", "[otlp_http/other]")
}

/// Waits until everything that waited has been sent, and what became of it is written down.
async fn queue_is_empty(collector: &Collector) {
    collector
        .metrics_when("the queue is empty", |metrics| metrics.sum("otelcol_exporter_queue_size", &[]) == 0.0)
        .await;
}

/// Waits until it takes requests again: what is done with is removed from the disk by a thread of its own.
async fn has_room(collector: &Collector) {
    eventually("there is room", || async {
        let reply = http1::post(collector.setup.http, "/v1/logs", PROTOBUF, &requests::logs(1)).await;
        let reply = reply.expect("an answer");
        if reply.status == 200 { Ok(()) } else { Err(reply.words()) }
    })
    .await;
}

/// A destination that refuses for good, and says why in a `google.rpc.Status`.
fn refuses() -> Manner {
    Manner::Answer(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-protobuf\r\ncontent-length: 67\r\n\r\n\
         \x12\x41not like it: its first record does not say which service it is of",
    )
}

/// Runs a command on the directory.
fn run(storage: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(arguments).arg("--directory").arg(storage);
    command.output().expect("the binary runs")
}

/// The same; what it printed, and whether it says that all went well.
fn millrace(storage: &Path, arguments: &[&str]) -> (String, bool) {
    let output = run(storage, arguments);
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("text"), output.status.success())
}

/// The ids that a destination has been sent, as often as it was.
fn delivered(stub: &Stub) -> Vec<u64> {
    stub.bodies().iter().flat_map(|body| requests::ids(body)).collect()
}

/// Waits until a destination has everything that was acknowledged.
async fn assert_delivered(stub: &Stub, acknowledged: &[u64]) {
    let acknowledged: BTreeSet<_> = acknowledged.iter().copied().collect();
    eventually("all that was acknowledged is delivered", || async {
        let delivered: BTreeSet<_> = delivered(stub).into_iter().collect();
        let missing: Vec<_> = acknowledged.difference(&delivered).take(10).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    })
    .await;
}
