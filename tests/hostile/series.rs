//! Senders that make up series without end, and what the collector knows of itself, on the page of the `prometheus`
//! exporter.

use crate::support::http1::{JSON, post};
use crate::support::metrics::Metrics;
use crate::support::{Setup, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONFIG: &str = "receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:{grpc}}
      http: {endpoint: 127.0.0.1:{http}}
processors:
  resource_detection:
    detectors: [env, system]
    override: false
    system: {hostname_sources: [os], resource_attributes: {os.type: {enabled: false}}}
exporters:
  nop:
  prometheus:
    endpoint: 127.0.0.1:{scrape}
    max_series: 100
    resource_to_telemetry_conversion: {enabled: true}
    without_scope_info: true
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    metrics: {receivers: [otlp], processors: [resource_detection], exporters: [prometheus]}
    logs: {receivers: [otlp], exporters: [nop]}
";

/// A gauge with one data point, told from others by `made_up`.
fn gauge(name: &str, made_up: &str) -> Vec<u8> {
    let point = format!(
        r#"{{"timeUnixNano":"1700000000000000000","asInt":"7","attributes":[{{"key":"id","value":{{"stringValue":"{made_up}"}}}}]}}"#
    );
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}","gauge":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
    )
    .into_bytes()
}

/// What a scraper is told.
async fn page(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

#[tokio::test]
async fn series_without_end_are_refused_and_the_others_served() {
    let scrape = free_port();
    let collector = Setup::of(&CONFIG.replace("{scrape}", &scrape.to_string())).start().await;
    let http = collector.setup.http;
    assert_eq!(post(http, "/v1/metrics", JSON, &gauge("good", "one")).await.expect("an answer").status, 200);
    for id in 0..500 {
        let reply = post(http, "/v1/metrics", JSON, &gauge("made.up", &format!("id-{id}"))).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
    assert_eq!(post(http, "/v1/metrics", JSON, &gauge("good", "one")).await.expect("an answer").status, 200);

    let page = page(scrape).await;
    let served = Metrics::parse(&page);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!(served.sum("good", &[("id", "one"), ("host_name", hostname.trim())]), 7.0, "{}", page);
    assert_eq!(served.sum("made_up", &[]), 99.0 * 7.0);
    let own = collector.metrics().await;
    assert_eq!(own.sum("otelcol_millrace_prometheus_series", &[]), 100.0);
    let refused = [("reason", "too_many_series")];
    assert_eq!(own.sum("otelcol_millrace_prometheus_refused_points", &refused), 401.0);
    assert_eq!((own.ledger("exporter", "out"), own.ledger("exporter", "lost")), (101.0, 401.0));
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 401);
}
