//! A first destination that fails, and a second that takes over.

use crate::support::http1::{PROTOBUF, Reply, post};
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, eventually, free_port, requests};
use std::net::SocketAddr;

/// Two destinations, one after the other, behind a processor that waits for the outcome.
fn setup(first: SocketAddr, second: SocketAddr) -> Setup {
    Setup::of(&format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{{grpc}}}}
      http: {{endpoint: 127.0.0.1:{{http}}}}
processors:
  queue_batch: {{batch: {{flush_timeout: 10ms}}}}
connectors:
  failover: {{priority_levels: [[logs/first], [logs/second]], retry_interval: 200ms}}
exporters:
  otlp_http/first: {{endpoint: 'http://{first}', compression: none, sending_queue: {{enabled: false}}, \
         retry_on_failure: {{enabled: false}}}}
  otlp_http/second: {{endpoint: 'http://{second}', compression: none, sending_queue: {{enabled: false}}, \
         retry_on_failure: {{enabled: false}}}}
service:
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp], processors: [queue_batch], exporters: [failover]}}
    logs/first: {{receivers: [failover], exporters: [otlp_http/first]}}
    logs/second: {{receivers: [failover], exporters: [otlp_http/second]}}
"
    ))
}

async fn send(collector: &Collector) -> Reply {
    post(collector.setup.http, "/v1/logs", PROTOBUF, &requests::logs(2)).await.expect("an answer")
}

#[tokio::test]
async fn a_second_destination_takes_over_and_the_first_gets_its_work_back() {
    // Given a first destination that is down
    let first = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let second = Stub::start(Manner::Accept).await;
    let collector = setup(first, second.address).start().await;

    // When requests come, then the second gets them, and their senders hear that they have been delivered
    for sent in 1..=3 {
        assert_eq!(send(&collector).await.status, 200);
        assert_eq!(second.requests(), sent, "delivered before it was answered");
    }
    let metrics = collector.metrics().await;
    assert_eq!(metrics.sum("otelcol_connector_failover_active_level", &[]), 1.0, "{metrics:?}");

    // When the first is back, then it gets them again
    let first = Stub::start_at(first, Manner::Accept).await;
    eventually("the first has its work back", || async {
        assert_eq!(send(&collector).await.status, 200);
        if first.requests() > 1 { Ok(()) } else { Err(format!("{} requests", second.requests())) }
    })
    .await;
    let metrics = collector.metrics().await;
    assert_eq!(metrics.sum("otelcol_connector_failover_active_level", &[]), 0.0, "{metrics:?}");

    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    let sent = 2 * (first.requests() + second.requests()) as u64;
    assert_eq!((stopped.account("delivered"), stopped.account("lost")), (sent, 0));
    assert_eq!(stopped.account("received"), sent, "nothing was sent twice");
}

#[tokio::test]
async fn when_all_destinations_fail_the_sender_is_told_to_come_back() {
    let [first, second] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let collector = setup(first, second).start().await;
    let reply = send(&collector).await;
    assert_eq!(reply.status, 503, "{}", reply.words());
    assert!(reply.words().contains("every level refuses"), "{}", reply.words());
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), 0);
}
