//! Destinations that are down, silent, broken or mad.

use crate::support::http1::{self, PROTOBUF, post};
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, free_port, grpc, requests};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// An exporter to a destination, with short waits between retries: it gives a request up after a few seconds.
fn http_to(address: SocketAddr) -> String {
    format!(
        "otlp_http: {{endpoint: 'http://{address}', compression: none, timeout: 20s, \
         sending_queue: {{queue_size: 10, num_consumers: 2}}, \
         retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms, max_elapsed_time: 3s}}}}"
    )
}

/// The same to one that never answers.
fn to_silence(address: SocketAddr) -> String {
    http_to(address).replace("timeout: 20s", "timeout: 300ms")
}

async fn send(collector: &Collector, records: usize) -> http1::Reply {
    post(collector.setup.http, "/v1/logs", PROTOBUF, &requests::logs(records)).await.expect("an answer")
}

#[tokio::test]
async fn a_destination_that_is_down_fills_the_queue_and_gets_everything_when_it_is_back() {
    // Given a destination that is down, for which there is patience without end
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let exporter = http_to(address).replace("max_elapsed_time: 3s", "max_elapsed_time: 0s");
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
    let to = if matches!(manner, Manner::Silent) { to_silence } else { http_to };
    let collector = Setup::to(&to(stub.address)).start().await;
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
    collector.has_said("no answer within 300ms").await;
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
    let log = collector.has_said("FAKE").await;
    assert!(!log.contains('\u{1b}'), "{log}");
    assert!(log.lines().all(|line| !line.starts_with("FAKE")), "{log}");
    ends_well(collector).await;
}

#[tokio::test]
async fn why_a_destination_refuses_is_told_in_its_own_words() {
    let json = "HTTP/1.1 400 x\r\ncontent-type: application/json\r\ncontent-length: 32\r\n\r\n\
                {\"error\":\n \"\u{1b}[2Jno such tenant\"}";
    let page = "HTTP/1.1 413 x\r\ncontent-type: text/html\r\ncontent-length: 55\r\n\r\n\
                <html><head><title>413 Too\nLarge</title></head><body>\r\n";
    for (answer, told) in [
        (json, "HTTP Status Code 400, Message={\\\"error\\\": \\\" [2Jno such tenant\\\"}\""),
        (page, "HTTP Status Code 413, Message=413 Too Large\""),
    ] {
        let (collector, _stub) = outcome(Manner::Answer(answer)).await;
        let log = collector.has_said(told).await;
        assert!(!log.contains('\u{1b}'), "{log}");
        ends_well(collector).await;
        // Without a queue the sender hears it, too.
        let stub = Stub::start(Manner::Answer(answer)).await;
        let direct = http_to(stub.address).replace("queue_size: 10, num_consumers: 2", "enabled: false");
        let collector = Setup::to(&direct).start().await;
        let reply = send(&collector, 1).await;
        let told = told.trim_end_matches('"').replace('\\', "");
        assert!(reply.words().contains(&told), "{told}: {}", reply.words());
        collector.assert_balanced().await;
        collector.stopped_by("TERM").await.assert_clean();
    }
}

#[tokio::test]
async fn credentials_that_a_grpc_destination_repeats_are_neither_logged_nor_told() {
    for (queue, refuses) in [("queue_size: 10", true), ("enabled: false", true), ("queue_size: 10", false)] {
        let collector = Setup::to(&grpc_to(repeating(refuses).await, queue)).start().await;
        let reply = send(&collector, 7).await;
        let log = collector.has_said("who knows ***").await;
        assert!(!log.contains("t0ken"), "{log}");
        assert!(!reply.words().contains("t0ken"), "{}", reply.words());
        let is_direct = queue == "enabled: false";
        assert_eq!(reply.words().contains("who knows ***"), is_direct && refuses, "{}", reply.words());
        let metrics = collector
            .metrics_when("it is accounted for", |metrics| {
                metrics.ledger("exporter", "refused") + metrics.ledger("exporter", "lost") == 7.0
            })
            .await;
        assert!(!format!("{metrics:?}").contains("t0ken"), "{metrics:?}");
        collector.assert_balanced().await;
        collector.stopped_by("TERM").await.assert_clean();
    }
}

#[tokio::test]
async fn credentials_that_a_grpc_destination_repeats_are_not_put_aside() {
    let setup = Setup::to(&grpc_to(repeating(true).await, "queue_size: 10, storage: file_storage"));
    let place = setup.folder.path().join("kept");
    let storage = format!(
        "extensions: {{file_storage: {{directory: '{}', create_directory: true}}}}\n",
        place.display()
    );
    let config = std::fs::read_to_string(&setup.config).expect("a configuration");
    let config = config.replace("service:\n", "service:\n  extensions: [file_storage]\n");
    std::fs::write(&setup.config, storage + &config).expect("written");
    let collector = setup.start().await;
    assert_eq!(send(&collector, 7).await.status, 200);
    collector
        .metrics_when("it is put aside", |metrics| metrics.ledger("exporter", "dead_lettered") == 7.0)
        .await;
    let letters = std::fs::read_dir(place.join("exporter-otlp_grpc-logs.dead-letters")).expect("a folder");
    let files = letters.map(|file| std::fs::read(file.expect("an entry").path()).expect("it can be read"));
    let all = String::from_utf8_lossy(&files.collect::<Vec<_>>().concat()).into_owned();
    assert!(all.contains("who knows ***") && !all.contains("t0ken"));
    ends_well(collector).await;
}

/// An exporter with credentials over gRPC.
fn grpc_to(address: SocketAddr, queue: &str) -> String {
    format!(
        "otlp_grpc: {{endpoint: '{address}', compression: none, tls: {{insecure: true}}, \
         headers: {{authorization: Bearer s3cret/t0ken}}, sending_queue: {{{queue}}}}}"
    )
}

/// A destination over gRPC that repeats what it was shown: in refusing, or in taking a request without its records.
async fn repeating(refuses: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let shown = request.headers()["authorization"].to_str().expect("text");
                    repeat(&format!("who knows {shown}?"), refuses, respond);
                }
            });
        }
    });
    address
}

fn repeat(text: &str, refuses: bool, mut respond: h2::server::SendResponse<Bytes>) {
    let answer = Response::builder().header("content-type", "application/grpc");
    if refuses {
        let answer = answer.header("grpc-status", 3).header("grpc-message", text);
        return drop(respond.send_response(answer.body(()).expect("an answer"), true));
    }
    let len = u8::try_from(text.len()).expect("it is short");
    // `partial_success`, with so many `rejected_log_records` and an `error_message`.
    let partial = [&[0x0a, len + 4, 0x08, 7, 0x12, len], text.as_bytes()].concat();
    let message = [&[0, 0, 0, 0, len + 6], &partial[..]].concat();
    let mut stream = respond.send_response(answer.body(()).expect("an answer"), false).expect("it listens");
    stream.send_data(message.into(), false).expect("it listens");
    let status = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    stream.send_trailers(status).expect("it listens");
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
        let exporter = to_silence(stub.address).replace("otlp_http", "otlp_grpc").replace("http://", "");
        let exporter = exporter.replace("timeout: 300ms", "tls: {insecure: true}, timeout: 300ms");
        let collector = Setup::to(&exporter).start().await;
        assert_eq!(send(&collector, 7).await.status, 200);
        collector.metrics_when("it is given up", |metrics| lost(metrics, "retries_exhausted") == 7.0).await;
        ends_well(collector).await;
    }
}
