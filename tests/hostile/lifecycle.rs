//! Starting where one cannot, and stopping at the worst moment.

use crate::support::http1::{Connection, PROTOBUF, request};
use crate::support::stub::{Manner, Stub};
use crate::support::{Setup, grpc, requests};
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_under_load_is_delivered_before_the_end() {
    let stub = Stub::start(Manner::Accept).await;
    let exporter = format!("otlp_http: {{endpoint: 'http://{}', compression: none}}", stub.address);
    let collector = Setup::to(&exporter).start().await;
    // Given senders that go on until they are refused or cut off
    let mut senders = Vec::new();
    for _ in 0..4 {
        let (http, grpc) = (collector.setup.http, collector.setup.grpc);
        senders.push(tokio::spawn(async move {
            let mut connection = Connection::open(http).await.expect("a connection");
            let mut accepted = 0;
            let body = requests::logs(5);
            while connection.post("/v1/logs", PROTOBUF, &body).await.is_ok_and(|reply| reply.status == 200) {
                accepted += 5;
            }
            accepted
        }));
        senders.push(tokio::spawn(async move {
            let mut client = grpc::Client::connect(grpc).await.expect("a connection");
            let mut accepted = 0;
            let body = requests::traces(5);
            while client.export("traces", &body).await.is_ok_and(|reply| reply.code == Some(0)) {
                accepted += 5;
            }
            accepted
        }));
    }
    stub.has_seen(500).await;

    let stopped = collector.stopped_by("TERM").await;

    stopped.assert_clean();
    let mut accepted = 0;
    for sender in senders {
        accepted += sender.await.expect("a sender");
    }
    // Who was cut off before the answer came does not know; whoever was told is right.
    let delivered = stopped.account("delivered");
    assert!(delivered >= accepted, "{accepted} accepted, {delivered} delivered");
    assert_eq!((stopped.account("received"), stopped.account("lost")), (delivered, 0));
    assert!(accepted >= 500 * 5 / 2, "only {accepted} were sent");
}

#[tokio::test]
async fn clients_that_never_finish_hold_the_end_up_no_longer_than_configured() {
    let collector = Setup::to("nop: {}").with(&["--shutdown-timeout", "2"]).start().await;
    let whole = request("/v1/logs", PROTOBUF, &requests::logs(10));
    let mut halves = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        connection.write(&whole[..whole.len() - 1]).await.expect("written");
        halves.push(connection);
    }
    let client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let mut sender = client.sender.clone().ready().await.expect("a stream");
    let unfinished = sender.send_request(grpc::request("logs", &[]), false).expect("sent");
    let started = Instant::now();

    let stopped = collector.stopped_by("TERM").await;

    stopped.assert_clean();
    // Without that it would be 25.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(stopped.account("received"), 0);
    drop((halves, unfinished));
}

#[tokio::test]
async fn after_a_kill_it_starts_again_at_once_in_the_same_place() {
    let mut collector = Setup::to("nop: {}").start().await;
    for _ in 0..3 {
        // Given connections in use, which leave ports behind in TIME_WAIT
        let client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
        collector.assert_serves().await;

        let killed = collector.stopped_by("KILL").await;

        assert_eq!(killed.code, None);
        drop(client);
        collector = killed.setup.start().await;
    }
    collector.finish().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    for taken in ["grpc", "http", "metrics"] {
        let setup = Setup::to("nop: {}");
        let address = match taken {
            "grpc" => setup.grpc,
            "http" => setup.http,
            _ => setup.metrics,
        };
        let _other = TcpListener::bind(address).expect("it was free");
        let (log, code) = setup.fails().await;
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(&address.to_string()), "{taken} at {address}: {log}");
        assert!(log.contains("in use"), "{taken}: {log}");
    }
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_its_place() {
    let cases = [
        ("receivers:\n  otlp:\n    protocols:\n      grpcc: {}\n", ":4:7", "did you mean"),
        ("receivers: [\n", ":1:12", "unclosed bracket"),
        ("receivers: {otlp: {protocols: {grpc: {endpoint: 5}}}}\n", "", "service"),
        ("service: {}\n---\nreceivers: {}\n", ":", "document"),
        ("", "", "empty"),
    ];
    for (text, place, words) in cases {
        let setup = Setup::of(text);
        let (log, code) = setup.fails().await;
        assert_eq!(code, Some(1), "{text:?}: {log}");
        assert!(log.contains(&format!("config.yaml{place}")), "{text:?}: {log}");
        assert!(log.contains(words), "{text:?}: {log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    let setup = Setup::of("");
    fs::remove_file(&setup.config).expect("removed");
    let (log, code) = setup.fails().await;
    assert_eq!(code, Some(1));
    assert!(log.contains("cannot read the configuration"), "{log}");
}
