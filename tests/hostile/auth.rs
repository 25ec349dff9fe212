//! Who may send, who sends, and what health checks tell of it: the authenticators in the real binary.

use super::support::grpc::{Client, framed};
use super::support::http1::{self, Connection, PROTOBUF};
use super::support::{Collector, Setup, eventually, free_port, replace, requests};
use std::fs;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A collector that takes what `extensions` let in, by both protocols.
fn guarded(extensions: &str, authenticator: &str) -> Setup {
    Setup::of(&format!(
        "extensions:
  {extensions}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}', auth: {{authenticator: {authenticator}}}}}
      http: {{endpoint: '127.0.0.1:{{http}}', auth: {{authenticator: {authenticator}}}}}
exporters:
  nop:
service:
  extensions: [{authenticator}]
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [nop]}}
"
    ))
}

async fn over_http(collector: &Collector, headers: &str) -> (u16, String) {
    let headers = format!("{PROTOBUF}{headers}");
    let reply = http1::post(collector.setup.http, "/v1/logs", &headers, &requests::logs(1)).await;
    let reply = reply.expect("an answer");
    (reply.status, reply.words())
}

async fn over_grpc(collector: &Collector, headers: &[(&'static str, &'static str)]) -> (Option<u16>, String) {
    let mut client = Client::connect(collector.setup.grpc).await.expect("a connection");
    let reply = client.call("logs", headers, &framed(0, &requests::logs(1))).await.expect("an answer");
    (reply.code, reply.message)
}

async fn decided(collector: &Collector, outcome: &str) -> f64 {
    let metrics = collector.metrics().await;
    metrics.sum("otelcol_millrace_authentications", &[("outcome", outcome)])
}

#[tokio::test]
async fn only_those_with_a_token_are_let_in_and_tokens_rotate() {
    let setup = guarded("bearertokenauth: {filename: '{folder}/tokens'}", "bearertokenauth");
    let tokens = setup.folder.path().join("tokens");
    fs::write(&tokens, "one-s3cret\n").expect("written");
    let collector = setup.start().await;

    let (status, text) = over_http(&collector, "").await;
    assert_eq!(status, 401);
    assert!(text.contains("missing or empty authorization header: Authorization"), "{text}");
    let (code, text) = over_grpc(&collector, &[]).await;
    assert_eq!(code, Some(16), "{text}");
    for wrong in
        ["authorization: Bearer two-s3cret\r\n", "authorization: one-s3cret\r\n", "authorization: \r\n"]
    {
        assert_eq!(over_http(&collector, wrong).await.0, 401, "{wrong}");
    }
    assert_eq!(over_grpc(&collector, &[("authorization", "Bearer two-s3cret")]).await.0, Some(16));
    assert_eq!(over_http(&collector, "authorization: Bearer one-s3cret\r\n").await.0, 200);
    assert_eq!(over_grpc(&collector, &[("authorization", "Bearer one-s3cret")]).await.0, Some(0));
    assert_eq!((decided(&collector, "accepted").await, decided(&collector, "missing").await), (2.0, 2.0));
    assert_eq!(decided(&collector, "wrong").await, 4.0);

    // While it rotates, each of the two is always good.
    replace(&tokens, "one-s3cret\ntwo-s3cret\n");
    eventually("the new token is good", || async {
        assert_eq!(over_http(&collector, "authorization: Bearer one-s3cret\r\n").await.0, 200);
        match over_http(&collector, "authorization: Bearer two-s3cret\r\n").await.0 {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    replace(&tokens, "two-s3cret\n");
    eventually("the old token is good no more", || async {
        assert_eq!(over_http(&collector, "authorization: Bearer two-s3cret\r\n").await.0, 200);
        match over_http(&collector, "authorization: Bearer one-s3cret\r\n").await.0 {
            401 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;

    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert!(!stopped.log.contains("s3cret"), "{}", stopped.log);
}

#[tokio::test]
async fn a_stranger_is_turned_away_before_anything_is_read() {
    let setup = guarded("basicauth: {htpasswd: {inline: 'alice:s3cret'}}", "basicauth");
    let collector = setup.start().await;
    // Ten megabytes are announced, and none comes.
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}content-length: 10000000\r\n\r\n");
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    connection.write(head.as_bytes()).await.expect("it reads");
    let reply = connection.reply().await.expect("an answer without a body");
    assert_eq!(reply.status, 401, "{}", reply.head);
    assert!(reply.words().contains("no basic auth provided"), "{}", reply.words());

    // A header beyond all bounds costs its connection and nothing else.
    let huge = format!("authorization: Basic {}\r\n", "A".repeat(1 << 20));
    let reply = http1::post(collector.setup.http, "/v1/logs", &format!("{PROTOBUF}{huge}"), b"").await;
    assert!(reply.is_err() || reply.is_ok_and(|reply| (400..500).contains(&reply.status)));

    // alice:s3cret and alice:s3cret2.
    assert_eq!(over_http(&collector, "authorization: Basic YWxpY2U6czNjcmV0\r\n").await.0, 200);
    let (status, text) = over_http(&collector, "authorization: Basic YWxpY2U6czNjcmV0Mg==\r\n").await;
    assert_eq!(status, 401);
    assert!(text.contains("invalid credentials"), "{text}");
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert!(!stopped.log.contains("s3cret") && !stopped.log.contains("YWxpY2U6"), "{}", stopped.log);
}

#[tokio::test]
async fn a_chain_of_collectors_proves_itself_and_its_health_tells_when_it_cannot() {
    let (behind, health) = (free_port(), free_port());
    let front = Setup::of(&format!(
        "extensions:
  basicauth/out: {{client_auth: {{username: relay, password: s3cret}}}}
  headers_setter:
    additional_auth: basicauth/out
    headers: [{{action: upsert, key: x-tenant, from_context: x-tenant, default_value: nobody}}]
  health_check:
    http: {{endpoint: '127.0.0.1:{health}'}}
    component_health: {{include_recoverable_errors: true, recovery_duration: 0s}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}
      http: {{endpoint: '127.0.0.1:{{http}}', include_metadata: true}}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{behind}
    auth: {{authenticator: headers_setter}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
service:
  extensions: [headers_setter, basicauth/out, health_check]
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
"
    ));
    let front = front.start().await;
    let at = SocketAddr::from(([127, 0, 0, 1], health));
    let status = |expected: u16| async move {
        eventually("the health check", || async {
            let reply =
                http1::get(at, "/status?pipeline=logs&verbose").await.map_err(|error| error.to_string())?;
            if reply.status == expected { Ok(reply.text().to_owned()) } else { Err(reply.text().to_owned()) }
        })
        .await
    };
    assert!(status(200).await.contains("\"status\":\"StatusOK\""));

    // Nobody is behind it: what it takes waits, and it says so.
    assert_eq!(over_http(&front, "x-tenant: acme\r\n").await.0, 200);
    let failing = status(500).await;
    assert!(
        failing.contains("\"exporter:otlp_http\":{\"healthy\":false,\"status\":\"StatusRecoverableError\""),
        "{failing}"
    );

    let mut setup = guarded("basicauth: {htpasswd: {inline: 'relay:s3cret'}}", "basicauth");
    let text = fs::read_to_string(&setup.config).expect("written before");
    let text = text.replace(&format!("127.0.0.1:{}", setup.http.port()), &format!("127.0.0.1:{behind}"));
    fs::write(&setup.config, text).expect("written");
    setup.http = SocketAddr::from(([127, 0, 0, 1], behind));
    let back = setup.start().await;
    status(200).await;
    back.metrics_when("it arrives", |metrics| metrics.ledger("exporter", "out") >= 1.0).await;
    assert!(decided(&back, "accepted").await >= 1.0);

    front.assert_balanced().await;
    let stopped = front.stopped_by("TERM").await;
    stopped.assert_clean();
    assert!(!stopped.log.contains("s3cret"), "{}", stopped.log);
    back.stopped_by("TERM").await.assert_clean();
}

#[tokio::test]
async fn references_that_lead_nowhere_are_found_before_anything_starts() {
    for (extensions, authenticator, message, help) in [
        (
            "zpages:",
            "bearertokenauth",
            "failed to resolve authenticator \"bearertokenauth\": authenticator not found",
            "service::extensions",
        ),
        (
            "basicauth: {client_auth: {username: a}}",
            "basicauth",
            "requested authenticator is not a server authenticator",
            "none of the configured extensions",
        ),
    ] {
        let setup = guarded(extensions, authenticator);
        let text = fs::read_to_string(&setup.config).expect("written before");
        let listed = text.replace("extensions: [bearertokenauth]", "extensions: [zpages]");
        fs::write(&setup.config, listed).expect("written");
        let (log, code) = setup.fails().await;
        assert_ne!(code, Some(0));
        assert!(log.contains(message) && log.contains(help), "{log}");
        assert!(log.contains("auth::authenticator") && log.contains("config.yaml:"), "{log}");
    }
    // Nothing holds the ports.
    assert!(TcpListener::bind("127.0.0.1:0").await.is_ok());
}
