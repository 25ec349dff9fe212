//! The commands that look at what is kept on disk and decide what becomes of it, while the collector runs and while it
//! is stopped.

use crate::support::http1::{Connection, PROTOBUF};
use crate::support::metrics::Metrics;
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, eventually, requests};
use crate::{
    assert_delivered, delivered, durable, millrace, queue_is_empty, refuses, reload, run, send,
    send_until_refused, under_another_id,
};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};

/// The term of those in the account of an exporter.
const PUT_ASIDE: &[(&str, &str)] = &[("kind", "exporter"), ("term", "dead_lettered")];

/// What was acknowledged and is not in this dead letter. Requests that are sent at once are put aside in any order.
fn others(storage: &Path, number: &str, acknowledged: &[u64]) -> Vec<u64> {
    let raw = run(storage, &["dead-letters", "show", "exporter-otlp_http-logs", number, "--raw"]).stdout;
    let ids = requests::ids(&raw);
    assert_eq!(ids.len(), 10, "{ids:?}");
    acknowledged.iter().copied().filter(|id| !ids.contains(id)).collect()
}

/// A collector with a queue on disk whose destination refuses everything for good.
async fn refused() -> (SocketAddr, Stub, Collector) {
    refused_by(refuses()).await
}

/// The same in a manner of its own.
async fn refused_by(manner: Manner) -> (SocketAddr, Stub, Collector) {
    let (setup, destination) = durable("", "");
    let refusing = Stub::start_at(destination, manner).await;
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
    let said =
        "HTTP Status Code 400, Message=not like it: its first record does not say which service it is of";
    assert!(each.lines().skip(1).all(|row| row.contains(said)), "{each}");
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
    // What is there is dropped, and what is not is named.
    let some = ["--number", "98", "--number", number, "--number", "99", "--reason", "rejected"];
    let (dropped, ok) = millrace(&storage, &[&["dead-letters", "drop"], &some[..]].concat());
    assert!(dropped.contains("1 requests, 10 items dropped"), "{dropped}");
    let what = "no dead letter fits --reason rejected --number 98 --number 99\n";
    assert!(!ok && dropped.contains(what), "{dropped}");

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
    // As backends refuse that are no OTLP servers.
    let in_its_own_words = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
                            content-length: 28\r\n\r\ninvalid timestamp\nin line 3\n";
    let (destination, refusing, collector) = refused_by(Manner::Answer(in_its_own_words)).await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 2).await;
    put_aside(&collector, 20.0).await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    refusing.leave().await;

    let (each, _) = millrace(&storage, &["dead-letters", "list", "--each"]);
    let said = "HTTP Status Code 400, Message=invalid timestamp in line 3";
    assert!(each.lines().skip(1).all(|row| row.ends_with(said)), "{each}");
    let last = each.lines().last().expect("rows").split_whitespace().nth(1).expect("a number");
    let first = others(&storage, last, &acknowledged);
    let (replayed, ok) =
        millrace(&storage, &["dead-letters", "replay", "exporter-otlp_http-logs", "--limit", "1"]);
    assert!(ok && replayed.contains("1 requests, 10 items put into the queue"), "{replayed}");
    let (list, ok) = millrace(&storage, &["queue", "list", "exporter-otlp_http-logs"]);
    let rows: Vec<_> = list.lines().skip(1).collect();
    assert!(ok && rows.len() == 1 && rows[0].starts_with("exporter-otlp_http-logs.queue"), "{list}");
    assert!(rows[0].split_whitespace().nth(1) == Some("1") && rows[0].ends_with("stopped"), "{list}");
    let (dump, ok) = millrace(&storage, &["queue", "dump", "exporter-otlp_http-logs", "--payload"]);
    let line: serde_json::Value =
        serde_json::from_str(&dump).unwrap_or_else(|error| panic!("{error}: {dump}"));
    assert!(ok && line["items"] == 10 && line["payload"]["resourceLogs"].is_array(), "{dump}");
    let (text, ok) = millrace(&storage, &["queue", "dump", "exporter-otlp_http-logs", "--number", "99"]);
    assert!(!ok && text.contains("no request 99 waits in it"), "{text}");
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

#[tokio::test]
async fn commands_leave_alone_what_no_collector_has_made() {
    let there = tempfile::tempdir().expect("a folder");
    let storage = there.path().join("storage");
    let elsewhere = there.path().join("elsewhere");
    for folder in ["exporter-a-logs.queue", ".queue", "notes.queue", "exporter-a\u{1b}[2J-logs.queue"] {
        fs::create_dir_all(storage.join(folder)).expect("a folder");
    }
    fs::create_dir(&elsewhere).expect("a folder");
    symlink(&elsewhere, storage.join("exporter-b-logs.queue")).expect("a link");

    for action in ["list", "verify", "repair"] {
        let (text, ok) = millrace(&storage, &["queue", action]);
        assert!(ok && text.contains("exporter-a-logs") && text.contains("exporter-b-logs"), "{text}");
        assert!(!text.contains("notes") && !text.contains('\u{1b}'), "{text}");
    }
    for folder in fs::read_dir(&storage).expect("a directory").map(|entry| entry.expect("a folder").path()) {
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0, "{folder:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_back_into_the_queue_of_a_stopped_collector_keeps_to_its_limits() {
    let (destination, refusing, collector) = refused().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 6).await;
    // Two of them do not fit into the least that a storage may take.
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    for _ in 0..2 {
        let body = requests::logs_saying(&"x".repeat(100_000), 1);
        let reply = connection.post("/v1/logs", PROTOBUF, &body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    put_aside(&collector, 62.0).await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    refusing.leave().await;
    let config = stopped.setup.config.to_str().expect("text").to_owned();
    let replay = |sets: &[&str]| {
        let sets: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
        millrace(&storage, &[&["dead-letters", "replay", "--config", &config], &sets[..]].concat())
    };
    let left = || {
        let (each, _) = millrace(&storage, &["dead-letters", "list", "--each"]);
        each.lines().skip(1).count()
    };

    let (text, ok) = millrace(&storage, &["dead-letters", "replay"]);
    assert!(!ok && text.contains("name it with --config"), "{text}");
    assert_eq!(left(), 8);
    const SIZE: &str = "exporters::otlp_http::sending_queue::queue_size";
    const SIZER: &str = "exporters::otlp_http::sending_queue::sizer=items";
    let (text, ok) = replay(&[&format!("{SIZE}=2")]);
    assert!(!ok && text.contains("2 requests, 20 items put into the queue"), "{text}");
    assert!(text.contains("the queue is full (2 of `queue_size: 2`)"), "{text}");
    assert!(text.contains("6 that were meant, too, stay among the dead letters"), "{text}");
    assert_eq!(left(), 6);
    // What is there counts.
    let (text, ok) = replay(&[&format!("{SIZE}=45"), SIZER]);
    assert!(!ok && text.contains("2 requests, 20 items put into the queue"), "{text}");
    assert!(text.contains("(40 of `queue_size: 45`)") && text.contains("4 that were meant"), "{text}");
    let (text, ok) = replay(&["extensions::file_storage::max_size=262144"]);
    assert!(!ok && text.contains("3 requests, 21 items put into the queue"), "{text}");
    assert!(text.contains("the log is full (262144 bytes); 1 that were meant"), "{text}");
    let (text, ok) = replay(&[]);
    assert!(
        ok && text.contains("1 requests, 1 items put into the queue") && !text.contains("no more"),
        "{text}"
    );
    assert_eq!(left(), 0);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &acknowledged).await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_comes_back_after_the_place_where_it_lies_was_configured_anew() {
    let (destination, refusing, collector) = refused().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 2).await;
    put_aside(&collector, 20.0).await;

    let anew = "create_directory: true, millrace_max_age: 24h";
    reload(&collector, |config| config.replace("create_directory: true", anew)).await;

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
    collector.has_said_times("the queue is full; putting what arrives aside", 1).await;

    let stub = Stub::start_at(destination, Manner::Keep).await;
    queue_is_empty(&collector).await;
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
        queue_is_empty(&collector).await;
    }
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(delivered(&stub).len(), 250, "each once");
    let stopped = collector.finish().await;
    assert_eq!((stopped.account("lost"), stopped.account("refused")), (0, 0), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_waits_or_is_put_aside_whenever_it_is_killed() {
    let (mut setup, destination) = durable("", "");
    let refusing = Stub::start_at(destination, refuses()).await;
    let storage = setup.folder.path().join("storage");
    let mut acknowledged = Vec::new();
    for round in 0..3u64 {
        let collector = setup.start().await;
        let ids = (round * 1_000_000..).step_by(10);
        let sender = tokio::spawn(send_until_refused(collector.setup.http, ids));
        let more = |metrics: &Metrics| metrics.sum("otelcol_millrace_ledger_items", PUT_ASIDE) > 300.0;
        collector.metrics_when("much has been put aside", more).await;
        let stopped = collector.stopped_by("KILL").await;
        acknowledged.extend(sender.await.expect("a sender"));
        setup = stopped.setup;
    }
    refusing.leave().await;

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = setup.start().await;
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay"]);
    assert!(ok && replayed.contains("given back"), "{replayed}");
    assert_delivered(&stub, &acknowledged).await;
    queue_is_empty(&collector).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waits_gives_all_back_however_little_the_queue_takes_at_once() {
    let (setup, destination) = durable("", ", num_consumers: 1, block_on_overflow: true");
    let config = fs::read_to_string(&setup.config).expect("the configuration");
    setup.reconfigure(&config.replace("queue_size: 100000", "queue_size: 2"));
    let refusing = Stub::start_at(destination, refuses()).await;
    let collector = setup.start().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 12).await;
    put_aside(&collector, 120.0).await;
    // Those that were there come round once, whatever becomes of them.
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay", "--wait"]);
    assert!(ok && replayed.contains("12 requests, 120 items given back"), "{replayed}");
    put_aside(&collector, 120.0).await;
    refusing.leave().await;
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay"]);
    assert!(!ok && replayed.contains("and no more: sending queue is full"), "{replayed}");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay", "--wait"]);
    assert!(ok && replayed.contains("items given back"), "{replayed}");
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(delivered(&stub).len(), 120, "each once");
    collector.assert_balanced().await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_nobody_has_is_complained_of_only_while_there_is_something_in_it() {
    let (destination, refusing, collector) = refused().await;
    let storage = collector.setup.folder.path().join("storage");
    let acknowledged = send(&collector, 1).await;
    put_aside(&collector, 10.0).await;
    reload(&collector, under_another_id).await;
    // The one before goes some time after the other one has begun.
    let replayed = |expected: bool, what: &'static str| {
        let storage = storage.clone();
        eventually(what, move || {
            let (text, ok) = millrace(&storage, &["dead-letters", "replay"]);
            std::future::ready(if ok == expected && text.contains(what) { Ok(()) } else { Err(text) })
        })
    };
    replayed(false, "no component of this collector keeps anything in").await;
    let back = |config: &str| {
        config.replace("  otlp_http/other:", "  otlp_http:").replace("[otlp_http/other]", "[otlp_http]")
    };
    reload(&collector, back).await;
    refusing.leave().await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    replayed(true, "1 requests, 10 items given back").await;
    assert_delivered(&stub, &acknowledged).await;
    queue_is_empty(&collector).await;
    reload(&collector, under_another_id).await;
    replayed(true, "exporter-otlp_http-logs.dead-letters: no dead letters in it").await;
    collector.stopped_by("TERM").await.assert_clean();
}
