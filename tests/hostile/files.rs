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
