//! The commands that look at what is kept on disk and decide what becomes of it, while the collector runs and while it
//! is stopped.

use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, requests};
use crate::{assert_delivered, delivered, durable, millrace, refuses, run, send};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};

/// What was acknowledged and is not in this dead letter. Requests that are sent at once are put aside in any order.
fn others(storage: &Path, number: &str, acknowledged: &[u64]) -> Vec<u64> {
    let raw = run(storage, &["dead-letters", "show", "exporter-otlp_http-logs", number, "--raw"]).stdout;
    let ids = requests::ids(&raw);
    assert_eq!(ids.len(), 10, "{ids:?}");
    acknowledged.iter().copied().filter(|id| !ids.contains(id)).collect()
}

/// A collector with a queue on disk whose destination refuses everything for good.
async fn refused() -> (SocketAddr, Stub, Collector) {
    let (setup, destination) = durable("", "");
    let refusing = Stub::start_at(destination, refuses()).await;
    (destination, refusing, setup.start().await)
}

async fn put_aside(collector: &Collector, items: f64) {
    collector
        .metrics_when("all is put aside", |metrics| {
            metrics.sum("otelcol_millrace_dead_letter_items", &[]) == items
                && metrics.sum("otelcol_exporter_queue_size", &[]) == 0.0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_listed_shown_replayed_and_dropped_while_the_collector_runs() {
    let (destination, refusing, collector) = refused().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 3).await;
    put_aside(&collector, 30.0).await;
    collector.assert_balanced().await;

    let (list, ok) = millrace(&storage, &["dead-letters", "list"]);
    assert!(
        ok && list.contains("exporter-otlp_http-logs.dead-letters") && list.contains("rejected"),
        "{list}"
    );
    let (each, _) = millrace(&storage, &["dead-letters", "list", "--each"]);
    let rows: Vec<_> = each.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(rows.len(), 3, "{each}");
    assert!(each.contains("HTTP Status Code 400"), "{each}");
    let number = rows[0][1];
    let (shown, ok) = millrace(&storage, &["dead-letters", "show", "exporter-otlp_http-logs", number]);
    let shown: serde_json::Value =
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert!(ok && shown["items"] == 10 && shown["payload"]["resourceLogs"].is_array(), "{shown}");

    let left = others(&storage, number, &acknowledged);
    let (refused, ok) = millrace(&storage, &["dead-letters", "drop"]);
    assert!(!ok && refused.contains("--all"), "{refused}");
    for wrong in [["--reason", "rejectd"], ["--number", "99"]] {
        for action in ["drop", "replay"] {
            let (text, ok) = millrace(&storage, &[&["dead-letters", action], &wrong[..]].concat());
            let what = format!("no dead letter fits {}, so nothing was done", wrong.join(" "));
            assert!(!ok && text.contains(&what) && text.contains("there are 3 for `rejected`"), "{text}");
        }
    }
    let (dropped, ok) = millrace(&storage, &["dead-letters", "drop", "--number", number]);
    assert!(ok && dropped.contains("1 requests, 10 items dropped"), "{dropped}");

    // What still is not taken is put aside again.
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay"]);
    assert!(ok && replayed.contains("2 requests, 20 items given back"), "{replayed}");
    put_aside(&collector, 20.0).await;
    refusing.leave().await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay", "--reason", "rejected"]);
    assert!(ok && replayed.contains("2 requests, 20 items given back"), "{replayed}");
    assert_delivered(&stub, &left).await;
    assert_eq!(delivered(&stub).len(), 20, "each once");
    collector.assert_balanced().await;
    let (list, _) = millrace(&storage, &["dead-letters", "list"]);
    assert_eq!(list, "no dead letters\n");
    let (text, ok) = millrace(&storage, &["dead-letters", "replay"]);
    assert!(ok && text.contains("0 requests, 0 items given back"), "{text}");
    let (text, ok) = millrace(&storage, &["dead-letters", "replay", "--reason", "rejected"]);
    assert!(!ok && text.contains("there are no dead letters at all"), "{text}");
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    let account = |term| stopped.account(term);
    let came = account("received") + account("dead letters replayed");
    let went = account("delivered") + account("put aside as dead letters") + account("lost");
    assert_eq!((came, went, account("dead letters discarded")), (70, 70, 10), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_outlives_the_process_and_goes_back_into_the_queue_of_a_stopped_one() {
    let (destination, refusing, collector) = refused().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 2).await;
    put_aside(&collector, 20.0).await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    refusing.leave().await;

    let (each, _) = millrace(&storage, &["dead-letters", "list", "--each"]);
    let last = each.lines().last().expect("rows").split_whitespace().nth(1).expect("a number");
    let first = others(&storage, last, &acknowledged);
    let (replayed, ok) =
        millrace(&storage, &["dead-letters", "replay", "exporter-otlp_http-logs", "--limit", "1"]);
    assert!(ok && replayed.contains("1 requests, 10 items put into the queue"), "{replayed}");
    let (list, ok) = millrace(&storage, &["queue", "list"]);
    let row = list.lines().find(|line| line.starts_with("exporter-otlp_http-logs.queue")).expect("a row");
    assert!(ok && row.split_whitespace().nth(1) == Some("1") && row.ends_with("stopped"), "{list}");
    let (dump, ok) = millrace(&storage, &["queue", "dump", "exporter-otlp_http-logs", "--payload"]);
    let line: serde_json::Value =
        serde_json::from_str(&dump).unwrap_or_else(|error| panic!("{error}: {dump}"));
    assert!(ok && line["items"] == 10 && line["payload"]["resourceLogs"].is_array(), "{dump}");
    for action in ["verify", "repair"] {
        let (text, ok) = millrace(&storage, &["queue", action]);
        assert!(ok && text.contains("exporter-otlp_http-logs.queue: sound: 1 requests"), "{text}");
    }
    #[cfg(target_os = "linux")]
    assert_output_counts(&storage, last);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &first).await;
    let (list, _) = millrace(&storage, &["dead-letters", "list", "--each"]);
    assert_eq!(list.lines().count(), 2, "one is left: {list}");
    let (list, _) = millrace(&storage, &["queue", "list"]);
    assert!(list.lines().any(|line| line.ends_with("running")), "{list}");
    let (repaired, ok) = millrace(&storage, &["queue", "repair"]);
    assert!(!ok && repaired.contains("in use by a collector"), "{repaired}");
    collector.assert_balanced().await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_comes_back_after_the_place_where_it_lies_was_configured_anew() {
    let (destination, refusing, collector) = refused().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 2).await;
    put_aside(&collector, 20.0).await;

    let config = fs::read_to_string(&collector.setup.config).expect("the configuration");
    let changed = config.replace("create_directory: true", "create_directory: true, millrace_max_age: 24h");
    assert_ne!(changed, config);
    fs::write(&collector.setup.config, changed).expect("written");
    collector.signal("HUP");
    collector
        .metrics_when("it runs", |metrics| {
            metrics.sum("otelcol_millrace_reloads", &[("outcome", "success")]) == 1.0
        })
        .await;

    refusing.leave().await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay"]);
    assert!(ok && replayed.contains("2 requests, 20 items given back"), "{replayed}");
    assert_delivered(&stub, &acknowledged).await;
    collector.assert_balanced().await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_the_queue_full_is_acknowledged_put_aside_and_given_back() {
    let (setup, destination) = durable("", ", millrace_on_full: dead_letter, sizer: items");
    let config = fs::read_to_string(&setup.config).expect("the configuration");
    fs::write(&setup.config, config.replace("queue_size: 100000", "queue_size: 100")).expect("written");
    let collector = setup.start().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 25).await;
    let metrics = collector.metrics().await;
    assert_eq!(metrics.sum("otelcol_millrace_dead_letter_items", &[]), 150.0);
    assert_eq!(metrics.sum("otelcol_exporter_queue_size", &[]), 100.0);
    collector.assert_balanced().await;
    let log = collector.log();
    assert_eq!(log.matches("the queue is full; putting what arrives aside").count(), 1, "{log}");

    let stub = Stub::start_at(destination, Manner::Keep).await;
    collector
        .metrics_when("the queue is empty", |metrics| metrics.sum("otelcol_exporter_queue_size", &[]) == 0.0)
        .await;
    let (list, ok) = millrace(&storage, &["dead-letters", "list"]);
    assert!(ok && list.contains("queue_full"), "{list}");
    let mut left = 15;
    while left > 0 {
        // The queue has room for ten at once.
        let (replayed, _) =
            millrace(&storage, &["dead-letters", "replay", "--reason", "queue_full", "--limit", "10"]);
        assert!(replayed.contains("items given back"), "{replayed}");
        let given: u64 = replayed.split(' ').find_map(|word| word.parse().ok()).expect("a number");
        left -= given;
        collector
            .metrics_when("it is sent", |metrics| metrics.sum("otelcol_exporter_queue_size", &[]) == 0.0)
            .await;
    }
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(delivered(&stub).len(), 250, "each once");
    let stopped = collector.finish().await;
    assert_eq!((stopped.account("lost"), stopped.account("refused")), (0, 0), "{}", stopped.log);
}

/// What cannot be printed is no success; a reader that has seen enough is no failure.
#[cfg(target_os = "linux")]
fn assert_output_counts(storage: &Path, number: &str) {
    let of = "exporter-otlp_http-logs";
    for arguments in [
        &["queue", "list"][..],
        &["queue", "verify"],
        &["queue", "dump", of],
        &["queue", "dump", of, "--payload"],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--each"],
        &["dead-letters", "show", of, number],
        &["dead-letters", "show", of, number, "--raw"],
    ] {
        let printed_to = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
            command.args(arguments).arg("--directory").arg(storage).stdout(stdout);
            let output = command.output().expect("the binary runs");
            (String::from_utf8(output.stderr).expect("text"), output.status.code())
        };
        let full = fs::File::options().write(true).open("/dev/full").expect("it is there");
        let (said, code) = printed_to(full.into());
        assert!(said.contains("cannot write to the standard output: No space left"), "{arguments:?}: {said}");
        assert_eq!(code, Some(1), "{arguments:?}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert_eq!(printed_to(writer.into()), (String::new(), Some(0)), "{arguments:?}");
    }
}
