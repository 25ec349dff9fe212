//! The process ends, in good order or not, and the next one goes on where it was.

use crate::support::http1::{Connection, PROTOBUF};
use crate::support::stub::{Manner, Stub};
use crate::support::{eventually, requests};
use crate::{assert_delivered, delivered, durable, queue_is_empty, reload, send, send_until_refused};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_by_a_kill_under_load() {
    let (mut setup, destination) = durable("", "");
    let mut acknowledged = Vec::new();
    let mut sent = 0;
    for round in 0..3 {
        let collector = setup.start().await;
        let senders: Vec<_> = (0..4u64)
            .map(|sender| {
                let ids = (sent + sender..).step_by(4).map(|request| request * 10);
                tokio::spawn(send_until_refused(collector.setup.http, ids))
            })
            .collect();
        sent += 1_000_000;
        // The destination is there for a while in the second round.
        let stub = if round == 1 { Some(Stub::start_at(destination, Manner::Keep).await) } else { None };
        collector
            .metrics_when("much has been acknowledged", |metrics| metrics.ledger("receiver", "out") > 1_000.0)
            .await;
        let stopped = collector.stopped_by("KILL").await;
        for sender in senders {
            acknowledged.extend(sender.await.expect("a sender"));
        }
        if let Some(stub) = stub {
            let delivered: BTreeSet<_> = delivered(&stub).into_iter().collect();
            acknowledged.retain(|id| !delivered.contains(id));
        }
        setup = stopped.setup;
    }
    assert!(acknowledged.len() > 1_000);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = setup.start().await;
    assert_delivered(&stub, &acknowledged).await;

    queue_is_empty(&collector).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
    assert_eq!(stopped.account("kept on disk"), 0, "{}", stopped.log);
    assert!(!stopped.log.contains("damage"), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_when_it_is_told_to_stop_is_kept_and_said_to_be() {
    let (setup, destination) = durable("", "");
    // If the dead destination were waited for, it would be for longer than the test waits.
    let collector = setup.with(&["--shutdown-timeout", "1000s"]).start().await;
    let acknowledged = send(&collector, 50).await;
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("kept on disk"), stopped.account("lost")), (500, 0), "{}", stopped.log);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    let collector = stopped.setup.start().await;
    assert_delivered(&stub, &acknowledged).await;
    let metrics = collector.metrics().await;
    assert_eq!(metrics.sum("otelcol_millrace_ledger_opening_items", &[]), 500.0);
    queue_is_empty(&collector).await;
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("found on disk"), 500, "{}", stopped.log);
    assert_eq!((stopped.account("delivered"), stopped.account("kept on disk")), (500, 0), "{}", stopped.log);
    assert_eq!(delivered(&stub).len(), 500, "each once: it ended in good order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_takes_no_more_memory_than_a_short_one() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let body = requests::logs_saying(&"x".repeat(1_000), 200);
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    let count: u64 = 500;
    for _ in 0..count {
        let reply = connection.post("/v1/logs", PROTOBUF, &body).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
    let metrics = collector.metrics().await;
    assert!(metrics.sum("otelcol_millrace_storage_bytes", &[]) > 90e6, "{metrics:?}");
    assert!(collector.peak_mib() < 90, "{} MiB", collector.peak_mib());
    let stopped = collector.stopped_by("KILL").await;

    let collector = stopped.setup.start().await;
    let before = collector.resident_mib();
    let stub = Stub::start_at(destination, Manner::Accept).await;
    let all = count * 200;
    eventually("all is delivered", || async {
        let delivered = collector.metrics().await.ledger("exporter", "out") as u64;
        if delivered >= all { Ok(()) } else { Err(format!("{delivered} of {all}")) }
    })
    .await;
    let peak = collector.peak_mib();
    assert!(peak < before + 64, "{before} MiB before, {peak} MiB at most");
    assert!(stub.requests() as u64 >= count);
    collector.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_of_the_exporter_goes_on_with_its_queue() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 50).await;
    reload(&collector, |config| config.replace("queue_size: 100000", "queue_size: 50000")).await;
    collector
        .metrics_when("the new queue is there", |metrics| {
            metrics.sum("otelcol_exporter_queue_capacity", &[("data_type", "logs")]) == 50_000.0
        })
        .await;

    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;

    queue_is_empty(&collector).await;
    assert_eq!(delivered(&stub).len(), 500, "each once");
    let stopped = collector.finish().await;
    assert_eq!((stopped.account("lost"), stopped.account("delivered")), (0, 502), "{}", stopped.log);
}
