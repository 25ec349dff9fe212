//! Destinations that are down, silent, broken or mad.

use crate::support::http1::{self, PROTOBUF, post};
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, free_port, grpc, requests};
use std::net::SocketAddr;

/// An exporter to a destination, with short waits: it gives a request up after a second.
fn http_to(address: SocketAddr) -> String {
    format!(
        "otlp_http: {{endpoint: 'http://{address}', compression: none, timeout: 300ms, \
         sending_queue: {{queue_size: 10, num_consumers: 2}}, \
         retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms, max_elapsed_time: 1s}}}}"
    )
}

async fn send(collector: &Collector, records: usize) -> http1::Reply {
    post(collector.setup.http, "/v1/logs", PROTOBUF, &requests::logs(records)).await.expect("an answer")
}

#[tokio::test]
async fn a_destination_that_is_down_fills_the_queue_and_gets_everything_when_it_is_back() {
    // Given a destination that is down, for which there is patience without end
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let exporter = http_to(address).replace("max_elapsed_time: 1s", "max_elapsed_time: 0s");
    let collector = Setup::to(&exporter).start().await;

    // When more is sent than the queue has room for
    let mut accepted = 0;
    let refusal = loop {
        let reply = send(&collector, 3).await;
        if reply.status != 200 {
            break reply;
        }
        accepted += 3;
    };

    // Then the sender is told to come back, and nothing that was accepted is lost
    assert_eq!(accepted, 30);
    assert_eq!(refusal.status, 503, "{}", refusal.words());
    assert!(refusal.head.contains("retry-after: "), "{}", refusal.head);
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let over_grpc = client.export("logs", &requests::logs(1)).await.expect("an answer");
    assert_eq!((over_grpc.code, over_grpc.has_delay), (Some(14), true), "{over_grpc:?}");
    collector.assert_balanced().await;
    let metrics = collector.metrics().await;
    assert_eq!(metrics.ledger("receiver", "refused"), 4.0);
    assert_eq!(metrics.sum("otelcol_receiver_refused_log_records", &[]), 4.0);

    let stub = Stub::start_at(address, Manner::Accept).await;
    stub.has_seen(10).await;
    collector
        .metrics_when("all is delivered", |metrics| metrics.ledger("exporter", "out") == f64::from(accepted))
        .await;
    let stopped = collector.finish().await;
    assert_eq!((stopped.account("delivered"), stopped.account("lost")), (32, 0));
}

/// Sends one request to a destination of that manner and waits until it is accounted for.
async fn outcome(manner: Manner) -> (Collector, Stub) {
    let stub = Stub::start(manner).await;
    let collector = Setup::to(&http_to(stub.address)).start().await;
    assert_eq!(send(&collector, 7).await.status, 200);
    collector
        .metrics_when("it is accounted for", |metrics| {
            metrics.ledger("exporter", "out") + metrics.ledger("exporter", "lost") == 7.0
        })
        .await;
    (collector, stub)
}

fn lost(metrics: &crate::support::metrics::Metrics, reason: &str) -> f64 {
    metrics
        .sum("otelcol_millrace_ledger_items", &[("kind", "exporter"), ("term", "lost"), ("reason", reason)])
}

/// It goes on taking requests in, its account balances, and it ends in good order.
async fn ends_well(collector: Collector) {
    collector.assert_serves().await;
    collector.assert_balanced().await;
    collector.stopped_by("TERM").await.assert_clean();
}

#[tokio::test]
async fn a_destination_that_never_answers_is_given_up() {
    let (collector, stub) = outcome(Manner::Silent).await;
    assert!(stub.requests() > 1, "it was tried again");
    assert_eq!(lost(&collector.metrics().await, "retries_exhausted"), 7.0);
    assert!(collector.log().contains("no answer within 300ms"), "{}", collector.log());
    ends_well(collector).await;
}

#[tokio::test]
async fn a_destination_that_answers_garbage_is_given_up() {
    let (collector, stub) = outcome(Manner::Garbage).await;
    assert!(stub.requests() > 1, "it was tried again");
    assert_eq!(lost(&collector.metrics().await, "retries_exhausted"), 7.0);
    ends_well(collector).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_its_success_is_one() {
    let (collector, stub) = outcome(Manner::ResetMidway).await;
    assert_eq!(stub.requests(), 1, "to send it again would make a duplicate");
    assert_eq!(collector.metrics().await.ledger("exporter", "out"), 7.0);
    ends_well(collector).await;
}

#[tokio::test]
async fn a_success_in_words_of_its_own_is_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 202 Accepted\r\ncontent-length: 8\r\n\r\nAccepted",
    ] {
        let (collector, _stub) = outcome(Manner::Answer(answer)).await;
        assert_eq!(collector.metrics().await.ledger("exporter", "out"), 7.0, "{answer}: {}", collector.log());
        ends_well(collector).await;
    }
}

#[tokio::test]
async fn what_a_destination_says_begins_no_line_and_moves_no_cursor() {
    let answer = concat!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 97\r\n\r\n",
        r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"\u001b[2J\nFAKE\tinfo\tall is well"}}"#
    );
    let (collector, _stub) = outcome(Manner::Answer(answer)).await;
    let log = collector.log();
    assert!(log.contains("FAKE") && !log.contains('\u{1b}'), "{log}");
    assert!(log.lines().all(|line| !line.starts_with("FAKE")), "{log}");
    ends_well(collector).await;
}

#[tokio::test]
async fn mad_answers_are_told_apart_and_survived() {
    let cases = [
        // It will not have it, whatever is done.
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\n\u{e9}!", "rejected"),
        ("HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "rejected"),
        ("HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n", "rejected"),
        // Later means never: longer than there is patience.
        (
            "HTTP/1.1 503 Later\r\nretry-after: 18446744073709551615\r\ncontent-length: 0\r\n\r\n",
            "retries_exhausted",
        ),
        (
            "HTTP/1.1 429 Later\r\nretry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\ncontent-length: 0\r\n\r\n",
            "retries_exhausted",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "retries_exhausted"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n12345", "retries_exhausted"),
    ];
    for (answer, reason) in cases {
        let (collector, _stub) = outcome(Manner::Answer(answer)).await;
        assert_eq!(lost(&collector.metrics().await, reason), 7.0, "{answer}: {}", collector.log());
        ends_well(collector).await;
    }
}

#[tokio::test]
async fn a_grpc_destination_that_speaks_something_else_is_given_up() {
    for manner in [Manner::Garbage, Manner::Silent, Manner::Accept] {
        let stub = Stub::start(manner).await;
        let exporter = http_to(stub.address).replace("otlp_http", "otlp_grpc").replace("http://", "");
        let exporter = exporter.replace("timeout: 300ms", "tls: {insecure: true}, timeout: 300ms");
        let collector = Setup::to(&exporter).start().await;
        assert_eq!(send(&collector, 7).await.status, 200);
        collector.metrics_when("it is given up", |metrics| lost(metrics, "retries_exhausted") == 7.0).await;
        ends_well(collector).await;
    }
}
