//! Requests from pages of other origins, answered as the Go collector 0.159.0 answers them.

use crate::support::Setup;
use crate::support::http1::{Connection, JSON};

async fn answer(connection: &mut Connection, method: &str, headers: &str) -> Vec<String> {
    let body = if method == "POST" { "{}" } else { "" };
    let len = body.len();
    let request =
        format!("{method} /v1/logs HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len}\r\n\r\n{body}");
    connection.write(request.as_bytes()).await.expect("written");
    let reply = connection.reply().await.expect("an answer");
    let mut head: Vec<String> = reply.head.lines().map(str::to_owned).collect();
    head.retain(|line| {
        !line.is_empty() && !line.starts_with("date:") && !line.starts_with("content-length:")
    });
    head[1..].sort();
    head
}

#[tokio::test]
async fn pages_of_listed_origins_may_send_and_others_may_not() {
    let collector = Setup::of(
        "receivers:
  otlp:
    protocols:
      grpc: {endpoint: '127.0.0.1:{grpc}'}
      http:
        endpoint: 127.0.0.1:{http}
        cors:
          allowed_origins: ['https://*.example.com', 'http://a.test']
          allowed_headers: [x-token]
          exposed_headers: [x-foo-bar]
          max_age: 600
        response_headers: {x-served-by: me, vary: accept}
exporters: {nop: }
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    logs: {receivers: [otlp], exporters: [nop]}
",
    )
    .start()
    .await;
    let mut page = Connection::open(collector.setup.http).await.expect("a connection");
    let preflight_vary = "vary: origin, access-control-request-method, access-control-request-headers";

    let allowed = "origin: https://x.example.com\r\naccess-control-request-method: POST\r\n\
                   access-control-request-headers: x-token\r\n";
    assert_eq!(
        answer(&mut page, "OPTIONS", allowed).await,
        [
            "http/1.1 204 no content",
            "access-control-allow-credentials: true",
            "access-control-allow-headers: x-token",
            "access-control-allow-methods: post",
            "access-control-allow-origin: https://x.example.com",
            "access-control-max-age: 600",
            "vary: accept",
            preflight_vary,
            "x-served-by: me",
        ]
    );
    for refused in [
        "origin: https://evil.com\r\naccess-control-request-method: POST\r\n",
        "origin: http://a.test\r\naccess-control-request-method: PUT\r\n",
        "origin: http://a.test\r\naccess-control-request-method: POST\r\naccess-control-request-headers: x-other\r\n",
        "access-control-request-method: POST\r\n",
    ] {
        assert_eq!(
            answer(&mut page, "OPTIONS", refused).await,
            ["http/1.1 204 no content", "vary: accept", preflight_vary, "x-served-by: me"],
            "{refused}"
        );
    }
    assert_eq!(
        answer(&mut page, "POST", &format!("origin: http://A.test\r\n{JSON}")).await,
        [
            "http/1.1 200 ok",
            "access-control-allow-credentials: true",
            "access-control-allow-origin: http://a.test",
            "access-control-expose-headers: x-foo-bar",
            "content-type: application/json",
            "vary: accept",
            "vary: origin",
            "x-served-by: me",
        ]
    );
    assert_eq!(
        answer(&mut page, "POST", &format!("origin: https://evil.com\r\n{JSON}")).await,
        [
            "http/1.1 200 ok",
            "content-type: application/json",
            "vary: accept",
            "vary: origin",
            "x-served-by: me",
        ]
    );
    collector.finish().await;
}
