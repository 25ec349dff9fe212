//! A component whose type has got another name finds what it has left on disk under the former one.

use crate::support::metrics::Metrics;
use crate::support::stub::{Manner, Stub};
use crate::support::{Setup, free_port, replace};
use crate::{
    CONFIG, assert_delivered, delivered, durable, millrace, queue_is_empty, refuses, reloaded, send,
    send_more,
};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Gives the exporter another id.
fn rename(config: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(config).expect("the configuration");
    let changed = text.replace(&format!("  {from}:\n"), &format!("  {to}:\n"));
    let changed = changed.replace(&format!("exporters: [{from}]"), &format!("exporters: [{to}]"));
    assert_ne!(changed, text);
    replace(config, &changed);
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
    acknowledged.extend(send_more(&collector, 2..5).await);
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!(stopped.account("kept on disk"), 30, "{}", stopped.log);

    // The commands read the configuration for its directory, and leave its names to `validate`,
    let mut list = std::process::Command::new(env!("CARGO_BIN_EXE_millrace"));
    let listed = list.args(["queue", "list", "--config"]).arg(&stopped.setup.config).output();
    let listed = listed.expect("the binary runs");
    assert!(listed.stderr.is_empty() && listed.status.success(), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("exporter-otlphttp-logs.queue"), "{listed:?}");

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
    let log = collector.has_said("under another name of its type is taken over").await;
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
    queue_is_empty(&collector).await;
    let log = collector.log();
    assert!(!log.contains("taken over") && !log.contains("under two names"), "{log}");
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!((stopped.account("delivered"), stopped.account("lost")), (50, 0), "{}", stopped.log);
}

/// Puts another one beside the exporter `present`, with a destination of its own.
fn add_beside(config: &Path, present: &str, other: &str, destination: SocketAddr) {
    let text = fs::read_to_string(config).expect("the configuration");
    let section = format!(
        "  {other}:\n    endpoint: http://{destination}\n    compression: none\n    \
         sending_queue: {{storage: file_storage}}\n  {present}:\n"
    );
    let text = text.replace(&format!("  {present}:\n"), &section);
    let text = text.replace(&format!("[{present}]"), &format!("[{present}, {other}]"));
    replace(config, &text);
}

/// Its queue is that of the one which had the name before, and what waits in it is for another destination.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_one_that_a_reload_gives_the_former_name_does_not_get_what_waits() {
    let (setup, destination) = durable("", "");
    rename(&setup.config, "otlp_http", "otlphttp");
    let collector = setup.start().await;
    let mut acknowledged = send(&collector, 5).await;
    let config = collector.setup.config.clone();
    rename(&config, "otlphttp", "otlp_http");
    reloaded(&collector, "success").await;
    let renamed = fs::read_to_string(&config).expect("the configuration");

    let other = Stub::start(Manner::Keep).await;
    add_beside(&config, "otlp_http", "otlphttp", other.address);
    reloaded(&collector, "failure").await;
    collector.has_said("is in use by exporter otlp_http").await;
    // What ran before goes on.
    acknowledged.extend(send_more(&collector, 5..8).await);

    // As it says.
    replace(&config, &renamed);
    add_beside(&config, "otlp_http", "otlphttp/other", other.address);
    reloaded(&collector, "success").await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let both = send_more(&collector, 8..9).await;
    acknowledged.extend(&both);
    assert_delivered(&stub, &acknowledged).await;
    assert_delivered(&other, &both).await;
    assert_eq!(delivered(&other), both, "nothing else");
    queue_is_empty(&collector).await;
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

/// The name is free when nobody uses it for another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_taken_back_is_free_for_another_one() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 5).await;
    let config = collector.setup.config.clone();
    for (from, to) in [("otlp_http", "otlphttp"), ("otlphttp", "otlp_http")] {
        rename(&config, from, to);
        reloaded(&collector, "success").await;
    }
    let leaves =
        |metrics: &Metrics| metrics.sum("otelcol_exporter_queue_capacity", &[("exporter", "otlphttp")]);
    collector.metrics_when("the one of the other name is gone", |metrics| leaves(metrics) == 0.0).await;
    // Both are built anew.
    let other = Stub::start(Manner::Keep).await;
    let text = fs::read_to_string(&config).expect("the configuration");
    replace(&config, &text.replace("queue_size: 100000", "queue_size: 50000"));
    add_beside(&config, "otlp_http", "otlphttp", other.address);
    reloaded(&collector, "success").await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    assert!(delivered(&other).is_empty(), "{:?}", delivered(&other));
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_changes_the_name_goes_on_with_what_waits() {
    let (setup, destination) = durable("", "");
    rename(&setup.config, "otlp_http", "otlphttp");
    let collector = setup.start().await;
    let mut acknowledged = send(&collector, 5).await;
    for (first, from, to) in [(5, "otlphttp", "otlp_http"), (8, "otlp_http", "otlphttp")] {
        rename(&collector.setup.config, from, to);
        reloaded(&collector, "success").await;
        let bytes =
            |metrics: &Metrics, id| metrics.sum("otelcol_millrace_storage_bytes", &[("component", id)]);
        let kept = |metrics: &Metrics, id: &str| {
            metrics.sum("otelcol_millrace_ledger_held_items", &[("component", id), ("kind", "exporter")])
        };
        let metrics = collector
            .metrics_when("all of it is the new one's", |metrics| {
                (kept(metrics, from), kept(metrics, to)) == (0.0, first as f64 * 10.0)
            })
            .await;
        assert_eq!(bytes(&metrics, from), 0.0);
        assert!(bytes(&metrics, to) > 0.0);
        acknowledged.extend(send_more(&collector, first..first + 3).await);
    }
    collector.assert_balanced().await;
    collector.has_said("under another name of its type is gone on with").await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    queue_is_empty(&collector).await;
    assert_eq!(delivered(&stub).len(), 110, "each once");
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("delivered"), stopped.account("lost")), (110, 0), "{}", stopped.log);
    assert!(!stopped.log.contains("stays on disk"), "{}", stopped.log);
}

/// In memory as well, where nothing of it would be found again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_changes_the_name_hands_over_what_waits_in_memory() {
    let destination = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = CONFIG.replace("{destination}", &destination.to_string());
    let config =
        config.replace("storage: file_storage, ", "").replace("{storage}", "").replace("{queue}", "");
    let setup = Setup::of(&config);
    rename(&setup.config, "otlp_http", "otlphttp");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 30).await;
    for (from, to) in [("otlphttp", "otlp_http"), ("otlp_http", "otlphttp")] {
        rename(&collector.setup.config, from, to);
        reloaded(&collector, "success").await;
        let size =
            |metrics: &Metrics, id: &str| metrics.sum("otelcol_exporter_queue_size", &[("exporter", id)]);
        collector
            .metrics_when("all of it is the new one's", |metrics| {
                (size(metrics, to), size(metrics, from)) == (30.0, 0.0)
            })
            .await;
        collector.assert_balanced().await;
    }
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    queue_is_empty(&collector).await;
    assert_eq!(delivered(&stub).len(), 300, "each once");
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert!(!stopped.log.contains("Nothing in the configuration sends from here"), "{}", stopped.log);
    assert_eq!((stopped.account("received"), stopped.account("delivered")), (300, 300), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_under_both_names_is_said_with_what_to_do() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let first = send(&collector, 5).await;
    let stopped = collector.stopped_by("TERM").await;
    // As when a copy of the directory is put back.
    let folder = stopped.setup.folder.path().join("storage/exporter-otlp_http-logs.queue");
    let aside = stopped.setup.folder.path().join("aside");
    fs::rename(&folder, &aside).expect("moved");
    rename(&stopped.setup.config, "otlp_http", "otlphttp");
    let collector = stopped.setup.start().await;
    let second = send_more(&collector, 5..8).await;
    let stopped = collector.stopped_by("TERM").await;
    assert_eq!(stopped.account("kept on disk"), 30, "{}", stopped.log);
    fs::rename(&aside, &folder).expect("moved");

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &second).await;
    collector.has_said("left something on disk under two names of its type").await;
    let stopped = collector.stopped_by("TERM").await;
    // As it says.
    rename(&stopped.setup.config, "otlphttp", "otlp_http");
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &first).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}
