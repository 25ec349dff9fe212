//! Queues on disk in the real binary: what was acknowledged is delivered, whatever happens to the process in between.
//!
//! What was acknowledged is known by the ids that its senders gave it, and what was delivered by those that a
//! destination finds in the bytes it is sent.

mod dead_letters;
mod faults;
mod kills;
mod names;
mod place;
mod reloads;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use support::http1::{Connection, PROTOBUF};
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
    timeout: 1s
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
    let acknowledged =
        send_until_refused(collector.setup.http, (0..requests).map(|request| request * 10)).await;
    assert_eq!(acknowledged.len() as u64, requests * 10, "all are taken");
    acknowledged
}

/// A destination that refuses for good.
fn refuses() -> Manner {
    Manner::Answer(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\nnot like it",
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
