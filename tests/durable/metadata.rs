//! What clients say of themselves goes through queues on disk as far as something behind them needs it.

use crate::support::http1::{self, PROTOBUF};
use crate::support::stub::{Manner, Stub};
use crate::support::{Setup, requests};

/// A queue on disk before an exporter without one, which tells the destination the header `needed` of each client.
const CONFIG: &str = "extensions:
  file_storage: {directory: '{folder}/storage', create_directory: true}
  headers_setter:
    headers: [{key: x-told, from_context: {needed}}]
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:{grpc}}
      http: {endpoint: 127.0.0.1:{http}, include_metadata: true}
processors:
  batch: {timeout: 1ms}
  queue_batch: {storage: file_storage, wait_for_result: false}
connectors:
  failover:
    priority_levels: [[logs/behind]]
    sending_queue: {storage: file_storage}
exporters:
  otlp_http:
    endpoint: http://{destination}
    auth: {authenticator: headers_setter}
    sending_queue: {enabled: false}
service:
  extensions: [file_storage, headers_setter]
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
";

const QUEUES: [&str; 2] = [
    "    logs: {receivers: [otlp], processors: [queue_batch, batch], exporters: [otlp_http]}
    traces: {receivers: [otlp], exporters: [otlp_http]}
",
    "    logs: {receivers: [otlp], exporters: [failover]}
    logs/behind: {receivers: [failover], processors: [batch], exporters: [otlp_http]}
    traces: {receivers: [otlp], exporters: [otlp_http]}
",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_stay_apart_behind_a_queue_in_the_middle_of_a_pipeline() {
    for pipelines in QUEUES {
        let stub = Stub::start(Manner::Keep).await;
        let config = CONFIG.replace("{destination}", &stub.address.to_string());
        let config = config.replace("{needed}", "X-Tenant") + pipelines;
        let collector = Setup::of(&config).start().await;
        for (number, tenant) in ["one", "two", "three"].into_iter().enumerate() {
            let headers = format!("{PROTOBUF}x-tenant: {tenant}\r\nx-other: canary\r\n");
            let body = requests::logs(1);
            let reply = http1::post(collector.setup.http, "/v1/logs", &headers, &body).await;
            assert_eq!(reply.expect("an answer").status, 200);
            // One by one, or they are joined, and then are nobody's.
            stub.has_seen(number + 1).await;
        }
        assert_eq!(stub.values("x-told"), ["one", "two", "three"], "{pipelines}");
        collector.stopped_by("TERM").await.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_sent_without_its_credential_is_not_started() {
    for pipelines in QUEUES {
        let config = CONFIG.replace("{destination}", "127.0.0.1:1").replace("{needed}", "Authorization");
        let (log, code) = Setup::of(&(config + pipelines)).fails().await;
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("`authorization`") && log.contains("is not written to disk"), "{log}");
        let config = CONFIG.replace("{destination}", "127.0.0.1:1").replace("{needed}", "Authorization");
        let in_memory = config.replace("storage: file_storage", "queue_size: 100") + pipelines;
        Setup::of(&in_memory).start().await.stopped_by("TERM").await.assert_clean();
    }
}
