//! Peers that are slow, many, fast, or gone.

use crate::support::http1::{Connection, PROTOBUF, post, request};
use crate::support::{PATIENCE, Setup, grpc, requests};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Like [`Setup::to`] a `nop`, but HTTP heads must arrive within three seconds.
fn hasty() -> Setup {
    Setup::of(
        "receivers:
  otlp:
    protocols:
      grpc: {endpoint: '127.0.0.1:{grpc}'}
      http: {endpoint: '127.0.0.1:{http}', read_header_timeout: 3s}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 128}
exporters: {nop: }
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    logs: {receivers: [otlp], processors: [memory_limiter], exporters: [nop]}
",
    )
}

async fn many(collector: &crate::support::Collector, count: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Connection::open(collector.setup.http).await.expect("a connection"));
    }
    connections
}

#[tokio::test]
async fn heads_that_trickle_in_are_cut_off() {
    let collector = hasty().start().await;
    let mut connections = many(&collector, 100).await;
    let started = Instant::now();
    let head = request("/v1/logs", PROTOBUF, b"");
    let mut open = connections.len();
    // A byte now and then, until every one has been cut off
    for byte in head.chunks(1).cycle().take(head.len() - 1) {
        let mut left = Vec::new();
        for mut connection in connections {
            if connection.write(byte).await.is_ok() {
                left.push(connection);
            }
        }
        connections = left;
        collector.assert_serves().await;
        open = connections.len();
        if open == 0 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(open, 0, "after {:?}", started.elapsed());
    collector.finish().await;
}

#[tokio::test]
async fn bodies_that_are_announced_and_do_not_come_starve_nobody() {
    let collector = Setup::to("nop: {}").start().await;
    // Given announcements of many times the memory there is, 20 MiB and 4 MiB each
    let mut connections = many(&collector, 100).await;
    for connection in &mut connections {
        let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}content-length: 20971520\r\n\r\n");
        connection.write(head.as_bytes()).await.expect("written");
        connection.write(&[0; 100]).await.expect("written");
    }
    let client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut sender = client.sender.clone().ready().await.expect("a stream");
        let (response, mut stream) = sender.send_request(grpc::request("logs", &[]), false).expect("sent");
        let claim = Bytes::from_static(&[0, 0, 0x3f, 0xff, 0xff, 1, 2, 3]);
        stream.send_data(claim, false).expect("sent");
        streams.push((response, stream));
    }

    // Then others are served, however large their requests, and next to nothing is held
    let large = requests::logs_saying(&"x".repeat(1 << 20), 3);
    for _ in 0..10 {
        let reply = post(collector.setup.http, "/v1/logs", PROTOBUF, &large).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.words());
        let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
        let reply = client.export("logs", &large).await.expect("an answer");
        assert_eq!(reply.code, Some(0), "{reply:?}");
    }
    let used = collector.metrics().await.sum("otelcol_millrace_budget_used", &[("pool", "intake")]);
    assert!(used < f64::from(40 << 20), "{used} bytes are held");
    drop((connections, streams, client));
    collector
        .metrics_when("what was held is released", |metrics| {
            metrics.sum("otelcol_millrace_connections", &[]) == 0.0
                && metrics.sum("otelcol_millrace_budget_used", &[("pool", "intake")]) == 0.0
        })
        .await;
    assert!(collector.peak_mib() < 100, "{} MiB", collector.peak_mib());
    collector.finish().await;
}

#[tokio::test]
async fn peers_that_vanish_leave_nothing_behind() {
    let collector = Setup::to("nop: {}").start().await;
    let whole = request("/v1/logs", PROTOBUF, &requests::logs(10));
    let frames = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 0, 4, 0, 0, 0, 0, 0][..]].concat();
    for round in 0..300 {
        let http = Connection::open(collector.setup.http).await.expect("a connection");
        let mut http = http.into_stream();
        let mut grpc = Connection::open(collector.setup.grpc).await.expect("a connection").into_stream();
        let cut = |bytes: &[u8]| bytes[..round % bytes.len()].to_vec();
        for (stream, bytes) in [(&mut http, cut(&whole)), (&mut grpc, cut(&frames))] {
            tokio::io::AsyncWriteExt::write_all(stream, &bytes).await.expect("written");
            // One half closed, the next reset, the third closed
            match round % 3 {
                0 => tokio::io::AsyncWriteExt::shutdown(stream).await.expect("half closed"),
                1 => stream.set_zero_linger().expect("an option"),
                _ => {}
            }
        }
    }
    collector
        .metrics_when("all connections are gone", |metrics| {
            metrics.sum("otelcol_millrace_connections", &[]) == 0.0
        })
        .await;
    assert!(collector.peak_mib() < 64, "{} MiB", collector.peak_mib());
    collector.finish().await;
}

/// Senders of the smallest requests over each protocol, what each sends at once, and how often.
const FLOOD: (usize, usize, usize) = (4, 16, 120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_tiny_requests_is_counted_to_the_last_and_leaves_no_trace() {
    let collector = Setup::to("nop: {}").start().await;
    let (http, grpc) = (collector.setup.http, collector.setup.grpc);
    let (senders, at_once, rounds) = FLOOD;
    let (sent, mut progress) = watch::channel(0);
    let mut flood = JoinSet::new();
    for _ in 0..senders {
        let count = sent.clone();
        flood.spawn(async move {
            let mut connection = Connection::open(http).await.expect("a connection");
            let whole = request("/v1/logs", PROTOBUF, &requests::logs(1)).repeat(at_once);
            for _ in 0..rounds {
                connection.write(&whole).await.expect("written");
                for _ in 0..at_once {
                    assert_eq!(connection.reply().await.expect("an answer").status, 200);
                }
                count.send_modify(|sent| *sent += at_once);
            }
        });
        let count = sent.clone();
        flood.spawn(async move {
            let client = grpc::Client::connect(grpc).await.expect("a connection");
            let framed = Bytes::from(grpc::framed(0, &requests::logs(1)));
            for _ in 0..rounds {
                let mut replies = Vec::new();
                for _ in 0..at_once {
                    let mut sender = client.sender.clone().ready().await.expect("a stream");
                    let (response, mut stream) =
                        sender.send_request(grpc::request("logs", &[]), false).expect("sent");
                    stream.send_data(framed.clone(), true).expect("sent");
                    replies.push(response);
                }
                for response in replies {
                    assert_eq!(grpc::reply(response).await.expect("an answer").code, Some(0));
                }
                count.send_modify(|sent| *sent += at_once);
            }
        });
    }
    let all = 2 * senders * at_once * rounds;
    // Halfway, it has all the memory that it will ever need.
    let answered = timeout(PATIENCE, progress.wait_for(|sent| *sent >= all / 2)).await;
    drop(answered.expect("half are answered in time").expect("senders are there"));
    let halfway = collector.resident_mib();
    while flood.join_next().await.transpose().expect("a sender").is_some() {}
    assert_eq!(collector.metrics().await.ledger("exporter", "out"), all as f64);
    assert!(collector.peak_mib() <= halfway + 12, "{halfway} MiB became {}", collector.peak_mib());
    let stopped = collector.finish().await;
    // Two more to see that it serves.
    assert_eq!(stopped.account("delivered"), all as u64 + 2);
}

#[tokio::test]
async fn two_thousand_idle_connections_are_in_nobodys_way() {
    let collector = Setup::to("nop: {}").start().await;
    let mut idle = Vec::new();
    for nth in 0..2000 {
        let mut connection =
            Connection::open(if nth % 2 == 0 { collector.setup.http } else { collector.setup.grpc })
                .await
                .expect("a connection");
        if nth % 4 == 1 {
            let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 0, 4, 0, 0, 0, 0, 0][..]].concat();
            connection.write(&preface).await.expect("written");
        }
        idle.push(connection);
    }
    collector
        .metrics_when("all are open", |metrics| metrics.sum("otelcol_millrace_connections", &[]) >= 2000.0)
        .await;
    for _ in 0..10 {
        collector.assert_serves().await;
    }
    let per_connection = collector.resident_mib() * 1024 / 2000;
    assert!(per_connection < 40, "{per_connection} KiB for each connection");
    drop(idle);
    collector
        .metrics_when("all are gone", |metrics| metrics.sum("otelcol_millrace_connections", &[]) == 0.0)
        .await;
    collector.finish().await;
}

#[tokio::test]
async fn as_many_descriptors_as_the_system_allows_may_be_open() {
    let collector = Setup::to("nop: {}").begins_with_open_files(64).start().await;
    let (now, most) = collector.open_files_allowed();
    assert_eq!(now, most);
    assert_ne!(most, "64", "it began with fewer");
    collector.finish().await;

    let collector = Setup::to("nop: {}").with_open_files(64).start().await;
    assert_eq!(collector.open_files_allowed(), ("64".into(), "64".into()), "there are no more to be had");
    let stopped = collector.finish().await;
    assert!(!stopped.log.contains("open files"), "{}", stopped.log);
}

#[tokio::test]
async fn running_out_of_descriptors_stops_nothing_but_new_connections() {
    let collector = Setup::to("nop: {}").with_open_files(64).start().await;
    let mut served = Connection::open(collector.setup.http).await.expect("a connection");
    let body = requests::logs(1);
    assert_eq!(served.post("/v1/logs", PROTOBUF, &body).await.expect("an answer").status, 200);

    // The kernel takes them in, the collector cannot.
    let crowd = many(&collector, 200).await;
    for _ in 0..20 {
        let reply = served.post("/v1/logs", PROTOBUF, &body).await.expect("an answer");
        assert_eq!(reply.status, 200, "those who are in are served");
    }
    // The limit, and what it has inherited beyond it.
    assert!(collector.open_files() < 80, "{} files are open", collector.open_files());

    drop(crowd);
    collector.finish().await;
}
