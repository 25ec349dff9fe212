//! Files that cannot be written.

use crate::support::http1::{PROTOBUF, Reply, post};
use crate::support::{Collector, Setup, eventually, requests};
use std::fs;

async fn send(collector: &Collector) -> Reply {
    post(collector.setup.http, "/v1/logs", PROTOBUF, &requests::logs(2)).await.expect("an answer")
}

#[tokio::test]
async fn a_full_disk_is_the_senders_business_until_there_is_room() {
    let collector = Setup::to("file: {path: /dev/full}").start().await;
    for _ in 0..5 {
        let reply = send(&collector).await;
        assert!((500..600).contains(&reply.status), "{}", reply.status);
        assert!(reply.words().contains("No space left"), "{}", reply.words());
    }
    let metrics = collector.metrics().await;
    assert_eq!(metrics.sum("otelcol_receiver_refused_log_records", &[]), 10.0, "{metrics:?}");
    assert_eq!(metrics.ledger("receiver", "refused"), 10.0);
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("delivered"), stopped.account("lost")), (0, 0));
}

#[tokio::test]
async fn a_folder_that_is_removed_refuses_until_it_is_back() {
    let collector =
        Setup::to("file: {path: '{folder}/out/logs.jsonl', create_directory: true}").start().await;
    let folder = collector.setup.folder.path().join("out");
    assert_eq!(send(&collector).await.status, 200);

    fs::remove_dir_all(&folder).expect("removed");
    // A file takes its place, so that the folder cannot simply be made again.
    fs::write(&folder, "in the way").expect("written");
    let reply = send(&collector).await;
    assert!((500..600).contains(&reply.status), "{} {}", reply.status, reply.words());

    fs::remove_file(&folder).expect("removed");
    eventually("it is written again", || async {
        let reply = send(&collector).await;
        if reply.status == 200 { Ok(()) } else { Err(reply.words()) }
    })
    .await;
    let written = fs::read_to_string(folder.join("logs.jsonl")).expect("it is there again");
    assert_eq!(written.matches("hello").count(), 2);
    collector.finish().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_stops_the_start() {
    let setup = Setup::to("file: {path: '{folder}/no/such/folder/logs.jsonl'}");
    let (log, code) = setup.fails().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("no/such/folder/logs.jsonl") && log.contains("No such file"), "{log}");
}

#[tokio::test]
async fn rotation_keeps_every_record_in_one_file_or_another() {
    let exporter =
        "file: {path: '{folder}/out/logs.jsonl', create_directory: true, rotation: {max_megabytes: 1}}";
    let collector = Setup::to(exporter).start().await;
    let long = "x".repeat(1_000);
    for _ in 0..10 {
        let body = requests::logs_saying(&long, 300);
        let reply = post(collector.setup.http, "/v1/logs", PROTOBUF, &body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.words());
    }
    let folder = collector.setup.folder.path().join("out");
    let files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    let mut records = 0;
    for file in &files {
        let text = fs::read_to_string(file).expect("text");
        assert!(text.len() <= 1 << 20 && text.ends_with('\n'), "{}", file.display());
        records += text.matches(&long).count();
    }
    assert_eq!(records, 3_000);
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0);
}
