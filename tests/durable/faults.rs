//! Disks that are full, not writable, or taken; and mistakes in the configuration.

use crate::support::http1::{Connection, PROTOBUF};
use crate::support::stub::{Manner, Stub};
use crate::support::{Setup, requests};
use crate::{CONFIG, assert_delivered, durable, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_turns_senders_away_with_a_delay_and_takes_again_when_there_is_room() {
    let (setup, destination) = durable(", max_size: 1048576", "");
    let collector = setup.start().await;
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    let mut acknowledged = Vec::new();
    let refusal = loop {
        let first = acknowledged.len() as u64;
        let reply = connection.post("/v1/logs", PROTOBUF, &requests::logs_named(first..first + 500)).await;
        let reply = reply.expect("an answer");
        if reply.status != 200 {
            break reply;
        }
        acknowledged.extend(first..first + 500);
    };
    assert_eq!(refusal.status, 503, "{}", refusal.words());
    assert!(refusal.head.contains("retry-after: "), "{}", refusal.head);
    assert!(refusal.words().contains("full"), "{}", refusal.words());
    assert!(acknowledged.len() > 5_000);
    collector.assert_balanced().await;

    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_belongs_to_one_collector() {
    let (setup, _) = durable("", "");
    let collector = setup.start().await;
    let storage = collector.setup.folder.path().join("storage");
    let config = CONFIG.replace("{destination}", "127.0.0.1:1").replace("{queue}", "");
    let config = config.replace("{folder}/storage", storage.to_str().expect("a path in UTF-8"));
    let (log, code) = Setup::of(&config.replace("{storage}", ", timeout: 100ms")).fails().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("is in use by another collector (process "), "{log}");
    assert!(log.contains("give each a directory of its own"), "{log}");
    send(&collector, 1).await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test]
async fn what_cannot_be_written_to_is_named() {
    // Nobody can make files there, whoever he is.
    let config = CONFIG.replace("{folder}/storage", "/proc").replace("{destination}", "127.0.0.1:1");
    let (log, code) = Setup::of(&config.replace("{storage}", "").replace("{queue}", "")).fails().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot write to /proc: "), "{log}");
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_is_shown_where_it_is() {
    let config =
        CONFIG.replace("{destination}", "127.0.0.1:1").replace("{storage}", "").replace("{queue}", "");
    for (reference, problem) in [
        (
            "storage: file_storage/other",
            "failed to resolve storage \"file_storage/other\": storage not found",
        ),
        ("storage: health_check", "requested storage is not a storage extension: \"health_check\""),
        ("storage: file_storage, wait_for_result: true", "is not supported with a queue on disk"),
        ("millrace_on_full: drop_oldest", "is for queues on disk"),
    ] {
        let config = config
            .replace("storage: file_storage,", &format!("{reference},"))
            .replace("extensions: [file_storage]", "extensions: [file_storage, health_check]")
            .replace("extensions:\n", "extensions:\n  health_check: {endpoint: '127.0.0.1:0'}\n");
        let (log, code) = Setup::of(&config).fails().await;
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(problem), "{log}");
        assert!(log.contains("exporters::otlp_http::sending_queue::"), "{log}");
    }
}
