//! Requests that are damaged, hostile or of the wrong kind.

use crate::support::http1::{Connection, JSON, PROTOBUF, post};
use crate::support::{Collector, Setup, grpc, requests};
use millrace_net::Encoding;

const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

/// What memory may ever come to: the 128 MiB of the limit, the program itself, and what allocators keep.
const PEAK_MIB: u64 = 190;

type Headers = &'static [(&'static str, &'static str)];

fn good(signal: &str) -> Vec<u8> {
    match signal {
        "traces" => requests::traces(3),
        "metrics" => requests::metrics(3),
        _ => requests::logs(3),
    }
}

async fn nowhere() -> Collector {
    Setup::to("nop: {}").start().await
}

#[tokio::test]
async fn truncated_requests_are_refused_in_words_and_counted() {
    let collector = nowhere().await;
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let mut cuts = 0;
    for signal in SIGNALS {
        let whole = good(signal);
        // A cut between the fields of the request would leave a sound one.
        for at in (1..whole.len()).step_by(7) {
            let path = format!("/v1/{signal}");
            let reply = post(collector.setup.http, &path, PROTOBUF, &whole[..at]).await.expect("an answer");
            assert_eq!(reply.status, 400);
            assert!(reply.words().contains("malformed OTLP in "), "{}", reply.words());
            let reply = client.export(signal, &whole[..at]).await.expect("an answer");
            assert_eq!(reply.code, Some(3), "{reply:?}");
            assert!(reply.message.contains("malformed OTLP in "), "{reply:?}");
            cuts += 2;
        }
    }
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"}}]}]}]}"#;
    for at in 0..json.len() {
        let reply = post(collector.setup.http, "/v1/logs", JSON, &json[..at]).await.expect("an answer");
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("line 1, column"), "{}", reply.text());
    }

    let metrics = collector.metrics().await;
    assert_eq!(metrics.malformed("protobuf"), f64::from(cuts));
    assert_eq!(metrics.malformed("json"), json.len() as f64);
    assert_eq!(metrics.ledger("receiver", "in"), 0.0, "nothing of them was taken in");
    collector.finish().await;
}

#[tokio::test]
async fn mutated_requests_are_taken_or_refused_and_nothing_else() {
    let collector = nowhere().await;
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    let (mut taken, mut refused) = (0, 0);
    for round in 0..900 {
        let signal = SIGNALS[round % 3];
        let mut body = good(signal);
        for change in 0..=round % 3 {
            let at = fastrand::usize(..body.len());
            match change {
                0 => body[at] = fastrand::u8(..),
                1 => body.truncate(at.max(1)),
                _ => body.insert(at, fastrand::u8(..)),
            }
        }
        let reply = connection.post(&format!("/v1/{signal}"), PROTOBUF, &body).await;
        match reply.unwrap_or_else(|error| panic!("{error}, {signal} {body:02x?}")).status {
            200 => taken += 1,
            400 => refused += 1,
            other => panic!("{other}, {signal} {body:02x?}"),
        }
    }
    assert!(taken > 50 && refused > 50, "{taken} taken, {refused} refused: one side is not tested");
    assert_eq!(collector.metrics().await.malformed("protobuf"), f64::from(refused));
    collector.finish().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_repaired_and_counted() {
    let collector = Setup::to("file: {path: '{folder}/out.jsonl'}").start().await;
    let mut broken = requests::logs_saying("broken ?", 5);
    broken.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);

    let reply = post(collector.setup.http, "/v1/logs", PROTOBUF, &broken).await.expect("an answer");

    assert_eq!(reply.status, 200);
    assert_eq!(collector.metrics().await.sum("otelcol_millrace_utf8_repaired", &[("signal", "logs")]), 5.0);
    let stopped = collector.finish().await;
    let written = std::fs::read_to_string(stopped.setup.folder.path().join("out.jsonl")).expect("text");
    assert_eq!(written.matches("broken \u{fffd}").count(), 5);
}

#[tokio::test]
async fn requests_of_the_wrong_kind_are_told_what_would_be_right() {
    let collector = nowhere().await;
    let body = good("logs");
    let over_http = [
        ("/v1/logs", "content-type: text/plain\r\n", 415, "application/json, application/x-protobuf"),
        ("/v1/logs", "", 415, "application/json, application/x-protobuf"),
        ("/v1/logs", "content-type: application/x-protobuf\r\ncontent-encoding: br\r\n", 400, "br; use gzip"),
        ("/v1/logs", "content-type: application/x-protobuf\r\ncontent-encoding: gzip\r\n", 400, "damaged"),
        ("/v1/logs", "content-type: application/x-protobuf\r\ncontent-encoding: zstd\r\n", 400, "damaged"),
        ("/v1/logs", "content-type: application/x-protobuf\r\ncontent-encoding: lz4\r\n", 400, "damaged"),
        ("/v1/logs", JSON, 400, "expected an object"),
        ("/v1/nothing", PROTOBUF, 404, "404"),
    ];
    for (path, headers, status, words) in over_http {
        let reply = post(collector.setup.http, path, headers, &body).await.expect("an answer");
        assert_eq!(reply.status, status, "{path} {headers}");
        assert!(reply.words().contains(words), "{path} {headers}: {}", reply.words());
    }

    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let whole = grpc::framed(0, &body);
    let over_grpc: [(Headers, Vec<u8>, u16); 6] = [
        (&[("grpc-encoding", "br")], grpc::framed(1, &body), 12),
        (&[("grpc-encoding", "gzip")], grpc::framed(1, &body), 13),
        (&[], grpc::framed(1, &body), 13),
        (&[], grpc::framed(7, &body), 13),
        (&[], [&whole[..], &whole[..]].concat(), 3),
        (&[("grpc-timeout", "nonsense")], whole.clone(), 13),
    ];
    for (headers, body, code) in over_grpc {
        let reply = client.call("logs", headers, &body).await.expect("an answer");
        assert_eq!(reply.code, Some(code), "{headers:?} {reply:?}");
        assert!(!reply.message.is_empty(), "{headers:?}");
    }
    let reply = client.call("logs", &[("content-type", "text/plain")], &whole).await.expect("an answer");
    assert_eq!(reply.http, 415, "{reply:?}");

    let metrics = collector.metrics().await;
    assert_eq!(metrics.malformed("json"), 1.0);
    assert!(metrics.malformed("transport") >= 12.0, "{metrics:?}");
    collector.finish().await;
}

#[tokio::test]
async fn bombs_are_refused_at_the_limit() {
    let collector = nowhere().await;
    let bomb = vec![0; 32 << 20];
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    for (encoding, name) in [(Encoding::Gzip, "gzip"), (Encoding::Zstd, "zstd")] {
        let body = encoding.compress(bomb.chunks(1 << 20), bomb.len()).expect("compresses");
        assert!(body.len() < 1 << 20, "{} bytes", body.len());
        let headers = format!("{PROTOBUF}content-encoding: {name}\r\n");
        let reply = post(collector.setup.http, "/v1/logs", &headers, &body).await.expect("an answer");
        assert_eq!(reply.status, 400);
        assert!(reply.words().contains("too large"), "{}", reply.words());
        let reply = client.call("logs", &[("grpc-encoding", name)], &grpc::framed(1, &body)).await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.code, Some(8), "{reply:?}");
        assert!(!reply.has_delay, "to send it again would not help");
    }
    assert!(collector.peak_mib() < PEAK_MIB, "{} MiB", collector.peak_mib());
    assert_eq!(collector.metrics().await.malformed("too_large"), 4.0);
    collector.finish().await;
}

#[tokio::test]
async fn lengths_of_gigabytes_cost_nothing() {
    let collector = nowhere().await;
    // Of a gRPC message
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let reply = client.call("logs", &[], &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]).await.expect("an answer");
    assert_eq!(reply.code, Some(8));
    assert!(reply.message.contains("larger than max (4294967295 vs. "), "{reply:?}");
    // Of an HTTP body
    for length in ["4294967296", "18446744073709551615", "18446744073709551616", "-1", "1, 2"] {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        let head =
            format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}content-length: {length}\r\n\r\n12345");
        connection.write(head.as_bytes()).await.expect("written");
        let status = connection.closed().await.expect("an answer");
        assert!((400..500).contains(&status), "{status} for {length}");
    }
    // Of fields, down to the innermost
    for length in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 9], &[0xff, 0xff, 0xff, 0xff, 0x07]] {
        for outer in [&[0x0a][..], &[0x0a, 20, 0x12]] {
            let body = [outer, length, &[1]].concat();
            let reply = post(collector.setup.http, "/v1/logs", PROTOBUF, &body).await.expect("an answer");
            assert_eq!(reply.status, 400);
        }
    }
    assert!(collector.peak_mib() < 64, "{} MiB", collector.peak_mib());
    collector.finish().await;
}

#[tokio::test]
async fn deep_nesting_is_refused_without_going_there() {
    let collector = nowhere().await;
    // An attribute value that is a list in a list in a list …
    let mut value = Vec::new();
    while value.len() < 1 << 20 {
        let mut outer = vec![0x2a];
        let list = len_field(0x0a, &value);
        put_varint(&mut outer, list.len());
        outer.extend(list);
        value = outer;
        if value.len() > 4096 {
            // Quadratic building would take longer than the attack is worth: from here on, unbalanced.
            value = [[0x2a, 0x80, 0x80, 0x40].repeat(100_000), value].concat();
        }
    }
    let body = len_field(0x0a, &len_field(0x12, &len_field(0x12, &len_field(0x2a, &value))));
    let reply = post(collector.setup.http, "/v1/logs", PROTOBUF, &body).await.expect("an answer");
    assert_eq!(reply.status, 400);

    for text in ["[".repeat(1 << 20), r#"{"resourceLogs":[{"x":"#.to_owned() + &"{\"a\":".repeat(200_000)] {
        let reply = post(collector.setup.http, "/v1/logs", JSON, text.as_bytes()).await.expect("an answer");
        assert_eq!(reply.status, 400);
    }
    let levels = 20_000;
    let nested = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}{{}}{}}}]}}]}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(levels),
        "]}}".repeat(levels)
    );
    let reply = post(collector.setup.http, "/v1/logs", JSON, nested.as_bytes()).await.expect("an answer");
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("nested"), "{}", &reply.text()[..200.min(reply.text().len())]);
    collector.finish().await;
}

fn len_field(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    put_varint(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
