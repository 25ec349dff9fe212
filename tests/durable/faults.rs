//! Disks that are full, not writable, or taken; and mistakes in the configuration.

use crate::support::http1::{self, Connection, PROTOBUF};
use crate::support::stub::{Manner, Stub};
use crate::support::{Setup, requests};
use crate::{
    CONFIG, assert_delivered, delivered, durable, has_room, in_the_same_directory, millrace, queue_is_empty,
    send, send_until_refused,
};
use std::collections::BTreeSet;
use std::fs::{self, File};

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
    has_room(&collector).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_that_takes_nothing_it_starts_sends_what_waits_and_takes_again_when_there_is_room() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let mut acknowledged = send(&collector, 20).await;
    let setup = collector.stopped_by("KILL").await.setup;

    let collector = setup.with_full_disk().start().await;
    let reply = http1::post(collector.setup.http, "/v1/logs", PROTOBUF, &requests::logs(1)).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 503, "{}", reply.words());
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    collector.has_room();
    has_room(&collector).await;
    let more = send_until_refused(collector.setup.http, (20..23).map(|request| request * 10)).await;
    assert_eq!(more.len(), 30, "all are taken");
    acknowledged.extend(more);
    assert_delivered(&stub, &acknowledged).await;
    queue_is_empty(&collector).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_belongs_to_one_collector() {
    let (setup, _) = durable("", "");
    let collector = setup.start().await;
    let storage = collector.setup.folder.path().join("storage");
    let (log, code) = in_the_same_directory(&storage, ", timeout: 100ms").fails().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("is in use by another collector (process "), "{log}");
    assert!(log.contains("give each a directory of its own"), "{log}");
    send(&collector, 1).await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_command_that_is_at_work_in_a_queue() {
    let (setup, _) = durable(", timeout: 90s", "");
    let folder = setup.folder.path().join("storage/exporter-otlp_http-logs.queue");
    fs::create_dir_all(&folder).expect("a folder");
    let lock = File::create(folder.join("lock")).expect("a file");
    lock.lock().expect("nobody else has it");
    let mut collector = setup.begin();
    collector.has_said("waiting for another process to let go of it").await;
    drop(lock);
    collector.ready().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_from_the_directory_is_counted_and_what_is_not_ours_is_left_alone() {
    let (setup, destination) = durable(", millrace_segment_size: 65536", "");
    let collector = setup.start().await;
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    for request in 0..40 {
        let body = requests::logs_named(request * 500..request * 500 + 500);
        let reply = connection.post("/v1/logs", PROTOBUF, &body).await.expect("an answer");
        assert_eq!(reply.status, 200);
    }
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    let storage = stopped.setup.folder.path().join("storage");
    let folder = storage.join("exporter-otlp_http-logs.queue");
    let files = fs::read_dir(&folder).expect("a queue").map(|file| file.expect("a file").path());
    let mut segments: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    assert!(segments.len() > 4, "{segments:?}");
    fs::remove_file(&segments[segments.len() / 2]).expect("it is there");
    let foreign = [folder.join("notes.txt"), folder.join("1.seg"), storage.join("elsewhere")];
    for file in &foreign {
        fs::write(file, "not ours").expect("written");
    }

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    queue_is_empty(&collector).await;
    let found: BTreeSet<_> = delivered(&stub).into_iter().collect();
    let lost = 20_000 - found.len() as u64;
    assert!((500..10_000).contains(&lost), "{lost}");
    collector.has_said("requests that were on disk are lost").await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), lost, "{}", stopped.log);
    assert!(stopped.log.contains(&format!("{lost} damaged")), "{}", stopped.log);
    for file in &foreign {
        assert_eq!(fs::read_to_string(file).expect("it is there"), "not ours");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repaired_queue_is_sound_and_says_what_was_given_up() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 20).await;
    let stopped = collector.stopped_by("TERM").await;
    let storage = stopped.setup.folder.path().join("storage");
    let segment = storage.join("exporter-otlp_http-logs.queue/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).expect("a segment");
    let at = 4096 + (bytes.len() - 4096) / 2;
    bytes[at..at + 8].fill(0xFF);
    fs::write(&segment, bytes).expect("written");

    let (text, ok) = millrace(&storage, &["queue", "verify"]);
    assert!(!ok && text.contains("logs.queue: damaged: 19 requests, 190 items"), "{text}");
    assert!(text.contains("`millrace queue repair` does it now"), "{text}");
    let (text, ok) = millrace(&storage, &["queue", "repair"]);
    assert!(ok && text.contains("logs.queue: lost, damaged: 1 requests, 10 items"), "{text}");
    assert!(text.contains("logs.queue: sound: 19 requests, 190 items"), "{text}");
    for _ in 0..2 {
        let (text, ok) = millrace(&storage, &["queue", "verify"]);
        assert!(ok && text.contains("logs.queue: sound: 19 requests, 190 items"), "{text}");
        assert!(text.contains("1 requests that cannot be read are done with"), "{text}");
        let (text, ok) = millrace(&storage, &["queue", "repair"]);
        assert!(ok && !text.contains("lost"), "told once: {text}");
    }

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    queue_is_empty(&collector).await;
    let found: BTreeSet<_> = delivered(&stub).into_iter().collect();
    assert_eq!(acknowledged.iter().filter(|id| !found.contains(id)).count(), 10);
    let stopped = collector.finish().await;
    assert_eq!((stopped.account("found on disk"), stopped.account("lost")), (190, 0), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_header_is_destroyed_is_in_the_closing_account_if_not_its_items() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 20).await;
    let stopped = collector.stopped_by("KILL").await;
    let folder = stopped.setup.folder.path().join("storage/exporter-otlp_http-logs.queue");
    let path = folder.join(format!("{:020}.seg", 1));
    let mut bytes = fs::read(&path).expect("a segment");
    // Frames begin with the marker of the segment.
    let marker = bytes[48..52].to_vec();
    let frames = (4096..bytes.len() - 4).step_by(8).filter(|at| bytes[*at..*at + 4] == marker);
    let hit = frames.collect::<Vec<_>>()[10];
    bytes[hit + 8] ^= 1;
    fs::write(&path, bytes).expect("written");
    // As if it had been killed before a cursor was written, which says how many items there were.
    for file in fs::read_dir(&folder).expect("a queue").map(|file| file.expect("a file")) {
        if file.file_name().to_string_lossy().starts_with("cursor-") {
            fs::remove_file(file.path()).expect("it is there");
        }
    }
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    let delivered: Vec<u64> = acknowledged.iter().copied().filter(|id| !(100..110).contains(id)).collect();
    assert_delivered(&stub, &delivered).await;
    let stopped = collector.finish().await;
    let said = "exporter otlp_http (logs): and 1 requests whose items are not known";
    assert!(stopped.log.contains(said), "{}", stopped.log);
}
