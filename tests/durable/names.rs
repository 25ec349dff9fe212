//! A component whose type has got another name finds what it has left on disk under the former one.

use crate::support::Collector;
use crate::support::stub::{Manner, Stub};
use crate::{assert_delivered, delivered, durable, millrace, refuses, send};
use std::fs;
use std::path::Path;

/// Gives the exporter another id.
fn rename(config: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(config).expect("the configuration");
    let changed = text.replace(&format!("  {from}:\n"), &format!("  {to}:\n"));
    let changed = changed.replace(&format!("exporters: [{from}]"), &format!("exporters: [{to}]"));
    assert_ne!(changed, text);
    fs::write(config, changed).expect("written");
}

async fn queue_is_empty(collector: &Collector) {
    collector
        .metrics_when("the queue is empty", |metrics| metrics.sum("otelcol_exporter_queue_size", &[]) == 0.0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_under_one_name_of_a_type_is_sent_under_the_other() {
    let (setup, destination) = durable("", "");
    rename(&setup.config, "otlp_http", "otlphttp");
    let refusing = Stub::start_at(destination, refuses()).await;
    let collector = setup.start().await;
    let storage = collector.setup.folder.path().join("storage");
    let mut acknowledged = send(&collector, 2).await;
    collector
        .metrics_when("all is put aside", |metrics| {
            metrics.sum("otelcol_millrace_dead_letter_items", &[]) == 20.0
        })
        .await;
    refusing.leave().await;
    queue_is_empty(&collector).await;
    let (list, _) = millrace(&storage, &["dead-letters", "list"]);
    assert!(list.contains("exporter-otlphttp-logs.dead-letters"), "{list}");
    let first = crate::send_until_refused(collector.setup.http, (2..5).map(|request| request * 10)).await;
    assert_eq!(first.len(), 30);
    acknowledged.extend(first);
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!(stopped.account("kept on disk"), 30, "{}", stopped.log);

    // Under the new name, as `validate --fix` writes it,
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["validate", "--fix", "--write", "--config"])
        .arg(&stopped.setup.config)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    let config = fs::read_to_string(&stopped.setup.config).expect("the configuration");
    assert!(config.contains("  otlp_http:\n") && config.contains("exporters: [otlp_http]"), "{config}");
    let collector = stopped.setup.start().await;
    let log = collector.log();
    assert!(log.contains("under another name of its type is taken over"), "{log}");
    assert!(!log.contains("are left alone"), "{log}");
    let stopped = collector.stopped_by("TERM").await;
    let account = |term| stopped.account(term);
    assert_eq!((account("found on disk"), account("kept on disk")), (30, 30), "{}", stopped.log);

    // and back under the old one.
    rename(&stopped.setup.config, "otlp_http", "otlphttp");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    queue_is_empty(&collector).await;
    let (replayed, ok) = millrace(&storage, &["dead-letters", "replay", "exporter-otlphttp-logs"]);
    assert!(ok && replayed.contains("2 requests, 20 items given back"), "{replayed}");
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(delivered(&stub).len(), 50, "each once");
    collector.assert_balanced().await;
    assert_eq!(collector.finish().await.account("lost"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_components_of_a_type_have_each_their_own_whatever_they_are_called() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 5).await;
    let stopped = collector.stopped_by("TERM").await;
    // Another one, which is called as the first one might have been.
    let config = fs::read_to_string(&stopped.setup.config).expect("the configuration");
    let other = "  otlphttp:\n    endpoint: http://127.0.0.1:1\n    sending_queue: {storage: file_storage}\n  otlp_http:\n";
    let config = config.replace("  otlp_http:\n", other);
    fs::write(&stopped.setup.config, config.replace("[otlp_http]", "[otlp_http, otlphttp]"))
        .expect("written");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &acknowledged).await;
    let log = collector.log();
    assert!(!log.contains("taken over") && !log.contains("under two names"), "{log}");
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!((stopped.account("delivered"), stopped.account("lost")), (50, 0), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_under_both_names_is_said_with_what_to_do() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let first = send(&collector, 5).await;
    rename(&collector.setup.config, "otlp_http", "otlphttp");
    collector.signal("HUP");
    collector
        .metrics_when("it is at work", |metrics| {
            metrics.sum("otelcol_millrace_reloads", &[("outcome", "success")]) == 1.0
        })
        .await;
    let second = crate::send_until_refused(collector.setup.http, (5..8).map(|request| request * 10)).await;
    assert_eq!(second.len(), 30);
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!(stopped.account("kept on disk"), 80, "{}", stopped.log);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &second).await;
    let log = collector.log();
    assert!(log.contains("left something on disk under two names of its type"), "{log}");
    let stopped = collector.stopped_by("TERM").await;
    // As it says.
    rename(&stopped.setup.config, "otlphttp", "otlp_http");
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &first).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}
