//! A new configuration while things are on disk: its limits are at work, and what is kept is neither lost nor counted
//! twice, whoever goes through it meanwhile.

use crate::support::http1::{Connection, PROTOBUF};
use crate::support::metrics::Metrics;
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, Stopped, eventually, free_port, requests};
use crate::{
    CONFIG, assert_delivered, delivered, durable, has_room, millrace, queue_is_empty, refuses, reload, send,
    send_more, under_another_id,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// What a destination says that is down for a while.
pub const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

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
    let log = collector.has_said("stays as it was until the next start").await;
    assert!(log.contains("fsync"), "{log}");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    has_room(&collector).await;
    assert_eq!(collector.finish().await.account("lost"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smaller_queue_whose_oldest_give_way_has_room_at_once_and_the_log_says_so() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 100).await;
    let smaller = |config: &str| {
        config
            .replace("queue_size: 100000", "queue_size: 60, millrace_on_full: drop_oldest, num_consumers: 1")
    };
    reload(&collector, smaller).await;
    // Nothing arrives meanwhile.
    collector
        .metrics_when("as many as have room are left", |metrics| {
            metrics.sum("otelcol_exporter_queue_size", &[]) <= 60.0
        })
        .await;
    let evicted = [("signal", "logs"), ("reason", "evicted")];
    let evicted = collector.metrics().await.sum("otelcol_millrace_storage_lost_requests", &evicted);
    assert_eq!(evicted, 40.0);
    collector.has_said_times("dropping the oldest requests to make room", 1).await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    eventually("the rest is delivered", || async {
        let delivered: BTreeSet<_> = delivered(&stub).into_iter().collect();
        if delivered.len() >= 600 { Ok(()) } else { Err(delivered.len().to_string()) }
    })
    .await;
    assert!(delivered(&stub).iter().all(|id| acknowledged.contains(id)));
    assert_eq!(collector.finish().await.account("lost"), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_goes_and_comes_back_counts_what_it_left_on_disk_once() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 50).await;
    reload(&collector, under_another_id).await;
    let is_gone = |metrics: &Metrics| {
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

/// The directory there was first is used again, and what was left in the other one stays there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_one_directory_while_another_is_used_is_counted_once() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 50).await;
    let held = |metrics: &Metrics| {
        metrics.sum("otelcol_millrace_ledger_held_items", &[("component", "otlp_http"), ("signal", "logs")])
    };
    for (round, from, to) in
        [(0, "/storage'", "/other'"), (1, "/other'", "/storage'"), (2, "/storage'", "/other'")]
    {
        reload(&collector, |config| config.replace(from, to)).await;
        // What has been there before is open until the graph before has ended.
        let folder = collector.setup.folder.path().join(from.trim_matches(['/', '\'']));
        eventually("it has let go of the directory", || async {
            let (said, ok) = millrace(&folder, &["queue", "verify"]);
            if ok { Ok(()) } else { Err(said) }
        })
        .await;
        let first = 50 + round * 10;
        send_more(&collector, first..first + 10).await;
        let metrics = collector.metrics().await;
        assert_eq!(held(&metrics), (500 + (round + 1) * 100) as f64, "round {round}: {metrics:?}");
    }
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("received"), stopped.account("kept on disk")), (800, 800), "{}", stopped.log);
    let closing = stopped.log.rsplit_once("Shutdown complete: ").expect("a closing account").1;
    assert!(!closing.contains("found on disk"), "none was there when it started: {closing}");

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    let in_other = (500..600).chain(700..800).collect::<Vec<_>>();
    assert_delivered(&stub, &in_other).await;
    reload(&collector, |config| config.replace("/other'", "/storage'")).await;
    assert_delivered(&stub, &acknowledged).await;
    assert_delivered(&stub, &(600..700).collect::<Vec<_>>()).await;
    let stopped = collector.finish().await;
    assert_eq!(
        (stopped.account("found on disk"), stopped.account("kept on disk")),
        (800, 0),
        "{}",
        stopped.log
    );
    assert_eq!(delivered(&stub).len(), 800, "each once");
}

/// As when the old name of its type is corrected while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_under_another_name_of_the_type_is_counted_once() {
    let (setup, _) = durable("", "");
    let collector = setup.start().await;
    send(&collector, 50).await;
    // Gone, and back under the other name.
    reload(&collector, |config| {
        config.replace("[otlp_http]", "[nop]").replace("exporters:\n", "exporters:\n  nop:\n")
    })
    .await;
    let is_gone = |metrics: &Metrics| {
        metrics.sum("otelcol_millrace_ledger_held_items", &[("component", "otlp_http")]) == 0.0
    };
    collector.metrics_when("the exporter is gone", is_gone).await;
    reload(&collector, |config| config.replace("[nop]", "[otlphttp]").replace("  otlp_http:", "  otlphttp:"))
        .await;
    collector
        .metrics_when("it has found what is there", |metrics| {
            metrics.sum("otelcol_millrace_ledger_held_items", &[("component", "otlphttp")]) == 500.0
        })
        .await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("kept on disk"), 500, "{}", stopped.log);
    let closing = stopped.log.rsplit_once("Shutdown complete: ").expect("a closing account").1;
    assert!(!closing.contains("found on disk"), "none was there when it started: {closing}");
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

    queue_is_empty(&collector).await;
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
    let size = |metrics: &Metrics| metrics.sum("otelcol_exporter_queue_size", &[]);
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

/// A collector with fifty requests in memory that gets a queue on disk for twenty, and is told to stop.
async fn moved_into_a_small_queue(keys: &str) -> (Stopped, SocketAddr, Vec<u64>) {
    let destination = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = CONFIG.replace("{destination}", &destination.to_string());
    let in_memory =
        config.replace("storage: file_storage, ", "").replace("{storage}", "").replace("{queue}", "");
    let collector = Setup::of(&in_memory).start().await;
    let acknowledged = send(&collector, 50).await;
    let small = format!("{{storage: file_storage, queue_size: 20, {keys}}}");
    reload(&collector, |config| config.replace("{queue_size: 100000}", &small)).await;
    let size =
        |metrics: &Metrics| metrics.sum("otelcol_millrace_ledger_held_items", &[("component", "otlp_http")]);
    collector.metrics_when("nothing is held twice", |metrics| size(metrics) <= 500.0).await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("received"), 500, "{}", stopped.log);
    (stopped, destination, acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_when_the_queue_gets_a_storage_is_put_aside_and_comes_back() {
    for keys in ["millrace_on_full: dead_letter", "millrace_on_full: refuse"] {
        let (stopped, destination, acknowledged) = moved_into_a_small_queue(keys).await;
        let account = |term| stopped.account(term);
        assert_eq!(
            (account("kept on disk"), account("put aside as dead letters"), account("lost")),
            (200, 300, 0),
            "{}",
            stopped.log
        );
        let stub = Stub::start_at(destination, Manner::Keep).await;
        let collector = stopped.setup.start().await;
        queue_is_empty(&collector).await;
        let storage = collector.setup.folder.path().join("storage");
        eventually("all of it is given back", || async {
            let (said, ok) =
                millrace(&storage, &["dead-letters", "replay", "exporter-otlp_http-logs", "--limit", "10"]);
            if ok && said.contains(" 0 requests") { Ok(()) } else { Err(said) }
        })
        .await;
        assert_delivered(&stub, &acknowledged).await;
        assert_eq!(delivered(&stub).len(), 500, "each once");
        assert_eq!(collector.finish().await.account("lost"), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_when_the_queue_gets_a_storage_is_counted_by_what_it_is_lost_by() {
    // What is being sent is not dropped: where that is all that is there, what comes has its last attempt instead.
    let evicted = &["evicted", "unreachable"][..];
    for (on_full, reasons) in [("refuse", &["unreachable"][..]), ("drop_oldest", evicted)] {
        let keys = format!("millrace_on_full: {on_full}, millrace_dead_letters: {{enabled: false}}");
        let (stopped, destination, _) = moved_into_a_small_queue(&keys).await;
        assert_eq!((stopped.account("kept on disk"), stopped.account("lost")), (200, 300), "{}", stopped.log);
        let told = reasons.iter().filter(|reason| stopped.log.contains(&format!("0 {reason}")));
        assert_eq!(told.map(|reason| stopped.account(reason)).sum::<u64>(), 300, "{}", stopped.log);
        let stub = Stub::start_at(destination, Manner::Keep).await;
        let collector = stopped.setup.start().await;
        eventually("what is there is delivered", || async {
            let found = delivered(&stub).len();
            if found == 200 { Ok(()) } else { Err(format!("{found}\n{}\n{}", stopped.log, collector.log())) }
        })
        .await;
        assert_eq!(collector.finish().await.account("found on disk"), 200);
    }
}
