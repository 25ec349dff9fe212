//! Profiles, behind their gate: relayed as they are, over both transports, and counted by samples.

use crate::support::http1::{JSON, PROTOBUF, post};
use crate::support::stub::{Manner, Stub};
use crate::support::{Setup, grpc};
use std::fs;

const PATH: &str = "/v1development/profiles";

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(bytes.len()).expect("short");
    [&[number << 3 | 2, len], bytes].concat()
}

/// A request with so many samples, and a dictionary that is none of a relay's business.
fn request(samples: usize) -> Vec<u8> {
    let profile = field(2, &field(2, b"\x08\x01").repeat(samples));
    [field(1, &field(2, &profile)), field(2, b"dictionary")].concat()
}

fn config(destination: &str) -> String {
    format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{{grpc}}}}
      http: {{endpoint: 127.0.0.1:{{http}}}}
processors:
  batch:
  memory_limiter: {{check_interval: 1s, limit_mib: 128}}
exporters:
  debug:
  file: {{path: '{{folder}}/profiles', format: proto}}
  otlp_http: {{endpoint: 'http://{destination}', compression: none}}
service:
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    profiles: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [debug, file, otlp_http]}}
"
    )
}

#[tokio::test]
async fn profiles_are_relayed_byte_for_byte_and_never_joined() {
    let stub = Stub::start(Manner::Accept).await;
    let setup = Setup::of(&config(&stub.address.to_string()));
    let setup = setup.with(&["--feature-gates=service.profilesSupport"]);
    let collector = setup.start().await;
    let reply = post(collector.setup.http, PATH, PROTOBUF, &request(3)).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.words());
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let reply = client.export("profiles", &request(4)).await.expect("an answer");
    assert_eq!(reply.code, Some(0), "{reply:?}");

    let broken = post(collector.setup.http, PATH, PROTOBUF, &field(1, b"\xff")).await.expect("an answer");
    assert_eq!(broken.status, 400, "{}", broken.words());
    let json = post(collector.setup.http, PATH, JSON, b"{}").await.expect("an answer");
    assert_eq!(json.status, 400, "{}", json.words());

    let metrics = collector
        .metrics_when("both are delivered thrice", |metrics| metrics.ledger("exporter", "out") == 21.0);
    let metrics = metrics.await;
    assert_eq!(metrics.sum("otelcol_receiver_accepted_profile_samples", &[]), 7.0, "{metrics:?}");
    assert_eq!(stub.requests(), 2, "they are not joined");
    let written = fs::read(collector.setup.folder.path().join("profiles")).expect("a file");
    let message = |request: Vec<u8>| {
        let len = u32::try_from(request.len()).expect("short");
        [&len.to_be_bytes()[..], &request].concat()
    };
    assert_eq!(written, [message(request(3)), message(request(4))].concat());
    collector.has_said("\"sample records\": 4").await;
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("received"), stopped.account("lost")), (7, 0));
}

#[tokio::test]
async fn without_their_gate_there_are_no_profiles() {
    let (log, code) = Setup::of(&config("127.0.0.1:1")).fails().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("service.profilesSupport"), "{log}");
}
