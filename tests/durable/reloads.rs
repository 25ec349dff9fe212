//! A new configuration while things are on disk: its limits are at work, and what is kept is neither lost nor counted
//! twice, whoever goes through it meanwhile.

use crate::support::http1::{Connection, PROTOBUF};
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, eventually, free_port, requests};
use crate::{CONFIG, assert_delivered, delivered, durable, millrace, refuses, send};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// What a destination says that is down for a while.
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Puts another configuration to work.
async fn reload(collector: &Collector, change: impl FnOnce(&str) -> String) {
    let done = |metrics: &crate::support::metrics::Metrics| {
        metrics.sum("otelcol_millrace_reloads", &[("outcome", "success")])
    };
    let before = done(&collector.metrics().await);
    let config = fs::read_to_string(&collector.setup.config).expect("the configuration");
    let changed = change(&config);
    assert_ne!(changed, config);
    fs::write(&collector.setup.config, changed).expect("written");
    collector.signal("HUP");
    collector.metrics_when("it is at work", |metrics| done(metrics) > before).await;
}

/// Sends requests of five hundred records until one is refused; the ids of those that were taken.
async fn fill(collector: &Collector, from: u64) -> Vec<u64> {
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    let mut acknowledged = Vec::new();
    loop {
        let first = from + acknowledged.len() as u64;
        let body = requests::logs_named(first..first + 500);
        let reply = connection.post("/v1/logs", PROTOBUF, &body).await.expect("an answer");
        if reply.status != 200 {
            assert_eq!(reply.status, 503, "{}", reply.words());
            return acknowledged;
        }
        acknowledged.extend(first..first + 500);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_the_storage_are_at_work_and_what_is_not_is_said() {
    let (setup, destination) = durable(", max_size: 1048576", "");
    let collector = setup.start().await;
    let mut acknowledged = fill(&collector, 0).await;
    reload(&collector, |config| config.replace("max_size: 1048576", "max_size: 4194304")).await;
    let limit = collector.metrics().await.sum("otelcol_millrace_storage_limit", &[("signal", "logs")]);
    assert_eq!(limit, f64::from(4 << 20));
    let more = fill(&collector, acknowledged.len() as u64).await;
    assert!(more.len() > acknowledged.len(), "{} and then {}", acknowledged.len(), more.len());
    acknowledged.extend(more);
    assert!(!collector.log().contains("fsync"), "{}", collector.log());
    reload(&collector, |config| config.replace("max_size: 4194304", "max_size: 4194304, fsync: false")).await;
    let log = collector.log();
    assert!(log.contains("stays as it was until the next start") && log.contains("fsync"), "{log}");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(collector.finish().await.account("lost"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_goes_and_comes_back_counts_what_it_left_on_disk_once() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 50).await;
    let rename = |config: &str| {
        config.replace("  otlp_http:", "  otlp_http/other:").replace("[otlp_http]", "[otlp_http/other]")
    };
    reload(&collector, rename).await;
    let is_gone = |metrics: &crate::support::metrics::Metrics| {
        metrics.sum("otelcol_millrace_ledger_held_items", &[("component", "otlp_http")]) == 0.0
    };
    collector.metrics_when("the exporter is gone", is_gone).await;
    eventually("the log says what stays", || async {
        let log = collector.log();
        let said = log.lines().find(|line| line.contains("stays on disk"));
        let says_all = |line: &&str| line.contains("\"requests\": 50") && line.contains("\"items\": 500");
        said.filter(says_all).map(|_| ()).ok_or(log.clone())
    })
    .await;
    let storage = collector.setup.folder.path().join("storage");
    let (list, ok) = millrace(&storage, &["queue", "list"]);
    let row = list.lines().find(|line| line.starts_with("exporter-otlp_http-logs.queue")).expect("a row");
    assert!(ok && row.split_whitespace().nth(1) == Some("50"), "{list}");
    let back = |config: &str| config.replace("otlp_http/other", "otlp_http");
    reload(&collector, back).await;
    collector
        .metrics_when("it has found what is there", |metrics| {
            metrics.sum("otelcol_millrace_ledger_opening_items", &[("component", "otlp_http")]) == 500.0
        })
        .await;
    reload(&collector, |config| config.replace("queue_size: 100000", "queue_size: 50000")).await;
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.log.matches("stays on disk").count(), 1, "it was gone once: {}", stopped.log);
    assert_eq!((stopped.account("received"), stopped.account("kept on disk")), (500, 500), "{}", stopped.log);
    assert!(!stopped.log.contains("found on disk, "), "none was there when it started: {}", stopped.log);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(collector.finish().await.account("found on disk"), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_given_back_and_dropped_while_the_configuration_changes() {
    let (setup, destination) = durable("", "");
    let refusing = Stub::start_at(destination, refuses()).await;
    let collector = Arc::new(setup.start().await);
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 40).await;
    collector
        .metrics_when("all is put aside", |metrics| {
            metrics.sum("otelcol_millrace_dead_letter_items", &[]) == 400.0
                && metrics.sum("otelcol_exporter_queue_size", &[]) == 0.0
        })
        .await;
    refusing.leave().await;
    let stub = Stub::start_at(destination, Manner::Keep).await;

    let over = Arc::new(AtomicBool::new(false));
    let reloads = Arc::new(AtomicUsize::new(0));
    let (changing, end, count) = (Arc::clone(&collector), Arc::clone(&over), Arc::clone(&reloads));
    let changes = tokio::spawn(async move {
        while !end.load(SeqCst) {
            let sizes =
                [("queue_size: 100000", "queue_size: 50000"), ("queue_size: 50000", "queue_size: 100000")];
            let (old, new) = sizes[count.load(SeqCst) % 2];
            reload(&changing, |config| config.replace(old, new)).await;
            count.fetch_add(1, SeqCst);
        }
    });
    let mut dropped = 0;
    for round in 0.. {
        // Five commands at most from one reload to the next, so that they meet all of its stages.
        eventually("another reload", || async {
            if reloads.load(SeqCst) * 5 >= round { Ok(()) } else { Err(format!("none for command {round}")) }
        })
        .await;
        let storage = storage.clone();
        let action = if round % 4 == 3 { "drop" } else { "replay" };
        let command = ["dead-letters", action, "exporter-otlp_http-logs", "--limit", "1"];
        let (said, ok) =
            tokio::task::spawn_blocking(move || millrace(&storage, &command)).await.expect("no panic");
        assert!(ok, "{said}");
        if said.contains(" 0 requests") {
            break;
        }
        assert!(said.contains("1 requests, 10 items"), "{said}");
        dropped += if round % 4 == 3 { 10 } else { 0 };
        assert!(round < 100, "{said}");
    }
    over.store(true, SeqCst);
    changes.await.expect("no panic");

    collector
        .metrics_when("the queue is empty", |metrics| metrics.sum("otelcol_exporter_queue_size", &[]) == 0.0)
        .await;
    assert_eq!(dropped, 100);
    let found = delivered(&stub);
    let unique: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!((found.len(), unique.len()), (300, 300), "each once");
    assert!(unique.is_subset(&acknowledged.iter().copied().collect()));
    let collector = Arc::into_inner(collector).expect("nobody else has it");
    collector.assert_balanced().await;
    collector.stopped_by("TERM").await.assert_clean();
}

/// As one does while the destination is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_memory_when_the_queue_gets_a_storage_is_on_disk_from_then_on() {
    let destination = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = CONFIG.replace("{destination}", &destination.to_string());
    let config = config.replace("{storage}", "").replace("{queue}", "");
    let in_memory = config.replace("storage: file_storage, ", "");
    assert_ne!(in_memory, config);
    let stub = Stub::start_at(destination, Manner::Answer(UNAVAILABLE)).await;
    let collector = Setup::of(&in_memory).start().await;
    let acknowledged = send(&collector, 50).await;
    reload(&collector, |config| config.replace("{queue_size:", "{storage: file_storage, queue_size:")).await;
    eventually("all of it is on disk", || async {
        let log = collector.log();
        if log.contains("has been handed over to the queue on disk") { Ok(()) } else { Err(log) }
    })
    .await;
    let size = |metrics: &crate::support::metrics::Metrics| metrics.sum("otelcol_exporter_queue_size", &[]);
    collector.metrics_when("it is in line there", |metrics| size(metrics) == 50.0).await;
    collector.assert_balanced().await;
    assert_eq!(collector.metrics().await.ledger("exporter", "in"), 500.0, "counted once");
    let setup = collector.stopped_by("KILL").await.setup;
    drop(stub);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = setup.start().await;
    assert_delivered(&stub, &acknowledged).await;
    collector.metrics_when("nothing is left", |metrics| size(metrics) == 0.0).await;
    assert_eq!(delivered(&stub).len(), acknowledged.len(), "each once");
    assert_eq!(collector.finish().await.account("lost"), 0);
}
