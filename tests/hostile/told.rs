//! What is lost after it has been acknowledged, and what is refused, is said in the log: with the Go collector's texts
//! and fields, so that what watches for them finds them.

use crate::support::http1::{PROTOBUF, post};
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, eventually, free_port, requests};
use std::net::SocketAddr;
use std::time::Instant;

const REFUSES: Manner =
    Manner::Answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");

/// Logs as JSON: one object a line.
async fn start(exporter: &str, processors: &str) -> Collector {
    let setup = Setup::to(exporter);
    let config = std::fs::read_to_string(&setup.config).expect("a configuration");
    let config = config.replace("  telemetry:\n", "  telemetry:\n    logs: {encoding: json}\n");
    let config = match processors {
        "" => config,
        more => config
            .replace("processors:\n", "processors:\n  batch: {timeout: 10ms}\n")
            .replace("[memory_limiter]", &format!("[memory_limiter{more}]")),
    };
    std::fs::write(&setup.config, config).expect("written");
    setup.start().await
}

async fn send(collector: &Collector, records: usize) -> u16 {
    let reply = post(collector.setup.http, "/v1/logs", PROTOBUF, &requests::logs(records)).await;
    reply.expect("an answer").status
}

/// The first line with this message, when it is there.
async fn line(collector: &Collector, message: &str) -> serde_json::Value {
    eventually(message, || async {
        let log = collector.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines
            .find(|line| line["msg"].as_str().is_some_and(|text| text.starts_with(message)))
            .ok_or(log.clone())
    })
    .await
}

fn assert_of(line: &serde_json::Value, level: &str, component: &str, kind: &str) {
    assert_eq!(line["level"], level, "{line}");
    assert_eq!(line["otelcol.component.id"], component, "{line}");
    assert_eq!(line["otelcol.component.kind"], kind, "{line}");
    assert_eq!(line["otelcol.signal"], "logs", "{line}");
}

fn to(address: SocketAddr, more: &str) -> String {
    format!("otlp_http: {{endpoint: 'http://{address}', compression: none{more}}}")
}

#[tokio::test]
async fn what_the_destination_refuses_for_good_is_said() {
    for queue in ["", ", sending_queue: {batch: {flush_timeout: 10ms}}"] {
        let stub = Stub::start(REFUSES).await;
        let collector = start(&to(stub.address, queue), "").await;
        assert_eq!(send(&collector, 7).await, 200);
        let line = line(&collector, "Exporting failed. Dropping data.").await;
        assert_of(&line, "error", "otlp_http", "exporter");
        assert_eq!(line["dropped_items"], 7, "{line}");
        assert!(line["error"].as_str().is_some_and(|error| error.contains("400")), "{line}");
        assert_eq!(collector.stopped_by("TERM").await.account("lost"), 7);
    }
}

#[tokio::test]
async fn what_was_tried_for_too_long_is_said_and_so_is_each_attempt() {
    let retry = ", retry_on_failure: {initial_interval: 50ms, max_interval: 100ms, max_elapsed_time: 300ms}";
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let collector = start(&to(nobody, retry), "").await;
    assert_eq!(send(&collector, 3).await, 200);
    let retrying = line(&collector, "Exporting failed. Will retry the request after interval.").await;
    assert_of(&retrying, "info", "otlp_http", "exporter");
    assert!(retrying["interval"].is_string() && retrying["error"].is_string(), "{retrying}");
    let dropping = line(&collector, "Exporting failed. Dropping data.").await;
    assert!(
        dropping["error"].as_str().is_some_and(|error| error.contains("no more retries left")),
        "{dropping}"
    );
    assert_eq!(dropping["dropped_items"], 3, "{dropping}");
    assert_eq!(collector.stopped_by("TERM").await.account("lost"), 3);
}

#[tokio::test]
async fn what_a_batch_processor_has_taken_and_cannot_hand_on_is_said() {
    let stub = Stub::start(REFUSES).await;
    let collector = start(&to(stub.address, ", sending_queue: {enabled: false}"), ", batch").await;
    assert_eq!(send(&collector, 7).await, 200);
    let line_of_batch = line(&collector, "Sender failed").await;
    assert_of(&line_of_batch, "warn", "batch", "processor");
    assert_eq!(line_of_batch["dropped_items"], 7, "{line_of_batch}");
    let rejecting = line(&collector, "Exporting failed. Rejecting data.").await;
    assert_of(&rejecting, "error", "otlp_http", "exporter");
    assert_eq!(rejecting["rejected_items"], 7, "{rejecting}");
    assert_eq!(collector.stopped_by("TERM").await.account("lost"), 7);
}

#[tokio::test]
async fn a_full_queue_is_said_once_in_a_while_and_not_for_each_request() {
    for storage in ["", ", storage: file_storage"] {
        let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let exporter = to(nobody, &format!(", sending_queue: {{queue_size: 2{storage}}}"));
        let setup = Setup::to(&exporter);
        let config = std::fs::read_to_string(&setup.config).expect("a configuration");
        let config = if storage.is_empty() {
            config
        } else {
            config
                .replace("exporters:\n", "extensions: {file_storage: {directory: '{folder}/q', create_directory: true}}\nexporters:\n")
                .replace("service:\n", "service:\n  extensions: [file_storage]\n")
                .replace("{folder}", setup.folder.path().to_str().expect("a path"))
        };
        let config = config.replace("  telemetry:\n", "  telemetry:\n    logs: {encoding: json}\n");
        std::fs::write(&setup.config, config).expect("written");
        let collector = setup.start().await;
        let (begun, mut refused) = (Instant::now(), 0);
        while refused < 50 {
            refused += u32::from(send(&collector, 1).await == 503);
        }
        let said = line(&collector, "Exporting failed. Rejecting data.").await;
        assert_of(&said, "error", "otlp_http", "exporter");
        assert!(
            said["error"].as_str().is_some_and(|error| error.contains("sending queue is full")),
            "{said}"
        );
        assert_eq!(said["rejected_items"], 1, "{said}");
        // One for each ten seconds.
        let most = 1 + begun.elapsed().as_secs() / 10;
        let stopped = collector.stopped_by("TERM").await;
        stopped.assert_clean();
        let lines = stopped.log.matches("Rejecting data.").count() as u64;
        assert!(lines <= most, "{lines} lines for {refused} requests: {}", stopped.log);
    }
}

#[tokio::test]
async fn a_warning_is_one_record_with_all_of_its_lines() {
    let collector = start("otlphttp: {endpoint: 'http://127.0.0.1:1'}", "").await;
    let log = collector.log();
    // Of a last line a part may have been written.
    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let records = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    let records: Vec<serde_json::Value> = records.collect();
    let of = |wanted: &str| {
        let is_of =
            |record: &&serde_json::Value| record["msg"].as_str().is_some_and(|text| text.contains(wanted));
        records.iter().filter(is_of).collect::<Vec<_>>()
    };
    let warning = of("otlp_http");
    assert_eq!(warning.len(), 1, "{log}");
    assert_eq!(warning[0]["level"], "warn", "{log}");
    assert_eq!(of("config.yaml:"), warning, "the place is in the same record: {log}");
    assert_eq!(of("^^^"), warning, "and so is what the excerpt points at: {log}");
    collector.finish().await;
}
