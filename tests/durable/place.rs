//! The directory and its files are moved, removed or replaced while the collector has them.

use crate::support::http1::{self, PROTOBUF, Reply};
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, eventually, requests};
use crate::{
    assert_delivered, delivered, durable, in_the_same_directory, millrace, queue_is_empty, reload, send,
};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const DISPLACED: &str = "otelcol_millrace_storage_displaced";
const QUEUE: &[(&str, &str)] = &[("kind", "exporter"), ("signal", "logs")];

fn storage(collector: &Collector) -> PathBuf {
    collector.setup.folder.path().join("storage")
}

/// Removes a directory, and again where a lock was made anew in it meanwhile.
async fn remove(folder: &Path) {
    eventually("it is removed", || async {
        let removed = fs::remove_dir_all(folder);
        if folder.exists() { Err(format!("{removed:?}")) } else { Ok(()) }
    })
    .await;
}

async fn offer(collector: &Collector, first: u64) -> Reply {
    let body = requests::logs_named(first..first + 10);
    http1::post(collector.setup.http, "/v1/logs", PROTOBUF, &body).await.expect("an answer")
}

/// Waits until a request is taken.
async fn takes(collector: &Collector, first: u64, what: &str) {
    eventually(what, || async {
        let reply = offer(collector, first).await;
        if reply.status == 200 { Ok(()) } else { Err(reply.words().to_owned()) }
    })
    .await;
}

/// Waits until it has noticed; that it turns senders away then, and says so.
async fn assert_refuses(collector: &Collector) {
    collector.metrics_when("it is noticed", |metrics| metrics.sum(DISPLACED, QUEUE) == 1.0).await;
    let reply = offer(collector, 1_000_000).await;
    assert_eq!(reply.status, 503, "{}", reply.words());
    assert!(reply.head.contains("retry-after: "), "{}", reply.head);
    assert!(reply.words().contains("the directory "), "{}", reply.words());
    eventually("it says so in its log", || async {
        let log = collector.log();
        let is_said = |line: &str| line.contains("error") && line.contains("the directory has been ");
        if log.lines().any(is_said) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_a_directory_that_was_moved_is_sent_and_taken_again_when_it_is_back() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let mut acknowledged = send(&collector, 20).await;
    let (storage, aside) = (storage(&collector), collector.setup.folder.path().join("aside"));
    fs::rename(&storage, &aside).expect("moved");
    assert_refuses(&collector).await;
    // Another one in its place does not make it better, and nothing is put there.
    fs::create_dir_all(storage.join("exporter-otlp_http-logs.queue")).expect("made");
    eventually("it is seen", || async {
        let words = offer(&collector, 1_000_000).await.words().to_owned();
        if words.contains("another one is in its place") { Ok(()) } else { Err(words) }
    })
    .await;
    let there = fs::read_dir(storage.join("exporter-otlp_http-logs.queue")).expect("a directory").count();
    assert_eq!(there, 0);
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    remove(&storage).await;
    fs::rename(&aside, &storage).expect("moved back");
    takes(&collector, 2_000_000, "it takes again").await;
    acknowledged.extend(2_000_000..2_000_010);
    assert_delivered(&stub, &acknowledged).await;
    collector.metrics_when("all are back", |metrics| metrics.sum(DISPLACED, &[]) == 0.0).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_directory_that_was_removed_what_is_in_memory_is_sent_and_the_rest_is_counted() {
    for destination_comes in [true, false] {
        let (setup, destination) = durable("", "");
        let collector = setup.start().await;
        let acknowledged = send(&collector, 20).await;
        remove(&storage(&collector)).await;
        assert_refuses(&collector).await;
        let mut stub = None;
        if destination_comes {
            assert_delivered(stub.insert(Stub::start_at(destination, Manner::Keep).await), &acknowledged)
                .await;
            queue_is_empty(&collector).await;
        }
        collector.assert_balanced().await;
        let stopped = collector.stopped_by("TERM").await;
        stopped.assert_clean();
        let lost = if destination_comes { 0 } else { acknowledged.len() as u64 };
        assert_eq!(stopped.account("lost"), lost, "{}", stopped.log);
        assert!(lost == 0 || stopped.log.contains(&format!("{lost} damaged")), "{}", stopped.log);
        assert!(
            !stopped.log.contains(" kept on disk") || stopped.account("kept on disk") == 0,
            "{}",
            stopped.log
        );
        let collector = stopped.setup.start().await;
        collector.stopped_by("TERM").await.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_were_removed_are_missed_and_what_comes_next_is_kept() {
    let (setup, destination) = durable(", millrace_segment_size: 65536", "");
    let collector = setup.start().await;
    let before: BTreeSet<u64> = send(&collector, 100).await.into_iter().collect();
    let folder = storage(&collector).join("exporter-otlp_http-logs.queue");
    for file in fs::read_dir(&folder).expect("a queue") {
        // It may be done with meanwhile.
        let removed = fs::remove_file(file.expect("a file").path());
        removed.or_else(|error| if error.kind() == NotFound { Ok(()) } else { Err(error) }).expect("removed");
    }
    let noticed = [("operation", "place")];
    collector
        .metrics_when("the files are missed", |metrics| {
            metrics.sum("otelcol_millrace_storage_failures", &noticed) >= 3.0
        })
        .await;
    collector.has_said(".seg was removed or replaced by somebody while it was in use").await;
    let mut after = BTreeSet::new();
    for first in (1_000_000..1_000_100).step_by(10) {
        assert_eq!(offer(&collector, first).await.status, 200);
        after.extend(first..first + 10);
    }
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), before.len() as u64, "{}", stopped.log);
    assert_eq!(stopped.account("kept on disk"), after.len() as u64, "{}", stopped.log);
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &after.iter().copied().collect::<Vec<_>>()).await;
    assert_eq!(delivered(&stub).into_iter().collect::<BTreeSet<_>>(), after);
    assert_eq!(collector.finish().await.account("lost"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_lock_of_the_directory_the_queues_are_still_locked() {
    let (setup, _) = durable("", "");
    let collector = setup.start().await;
    let storage = storage(&collector);
    fs::remove_file(storage.join(".millrace.lock")).expect("removed");
    let (log, code) = in_the_same_directory(&storage, "").fails().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(" is in use by another process"), "{log}");
    send(&collector, 1).await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_the_directory_that_is_pointed_elsewhere_is_noticed_until_it_leads_back() {
    let (setup, destination) = durable("", "");
    let link = setup.folder.path().join("storage");
    let (here, there) = (setup.folder.path().join("here"), setup.folder.path().join("there"));
    fs::create_dir(&here).expect("made");
    fs::create_dir(&there).expect("made");
    symlink(&here, &link).expect("made");
    let collector = setup.start().await;
    let mut acknowledged = send(&collector, 20).await;
    fs::remove_file(&link).expect("removed");
    symlink(&there, &link).expect("made");
    collector.metrics_when("it is noticed", |metrics| metrics.sum(DISPLACED, QUEUE) == 1.0).await;
    let reply = offer(&collector, 1_000_000).await;
    assert_eq!(reply.status, 503, "{}", reply.words());
    assert!(reply.words().contains("is no longer where "), "{}", reply.words());
    collector.has_said("point the link back").await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(fs::read_dir(&there).expect("a directory").count(), 0, "nothing is put there");
    fs::remove_file(&link).expect("removed");
    symlink(&here, &link).expect("made");
    takes(&collector, 2_000_000, "it takes again").await;
    acknowledged.extend(2_000_000..2_000_010);
    assert_delivered(&stub, &acknowledged).await;
    // By its own path it is found without the link from then on.
    let own = format!("directory: '{}'", here.display());
    let as_linked = format!("directory: '{}'", link.display());
    reload(&collector, |config| config.replace(&as_linked, &own)).await;
    fs::remove_file(&link).expect("removed");
    takes(&collector, 3_000_000, "it takes as ever").await;
    let lock = here.join("exporter-otlp_http-logs.queue/lock");
    fs::remove_file(&lock).expect("removed");
    eventually("it has looked", || async { if lock.exists() { Ok(()) } else { Err("no lock".to_owned()) } })
        .await;
    assert_eq!(offer(&collector, 4_000_000).await.status, 200);
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_a_link_is_used_and_shown_as_the_folder() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 5).await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    let storage = stopped.setup.folder.path().join("storage");
    let (folder, aside) =
        (storage.join("exporter-otlp_http-logs.queue"), stopped.setup.folder.path().join("aside"));
    fs::rename(&folder, &aside).expect("moved");
    symlink(&aside, &folder).expect("made");
    symlink(Path::new("/nowhere"), storage.join("exporter-otlp_http-other-logs.queue")).expect("made");
    let (list, ok) = millrace(&storage, &["queue", "list"]);
    let row = list.lines().find(|line| line.starts_with("exporter-otlp_http-logs.queue")).expect("a row");
    assert!(ok && row.split_whitespace().nth(1) == Some("5"), "{list}");
    assert!(list.contains("other-logs.queue is a link that cannot be followed"), "{list}");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(collector.finish().await.account("found on disk"), 50);
}
