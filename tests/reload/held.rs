//! A processor that the new configuration does not have any more, and cannot pass on what it holds: the exporter behind it
//! is full, as its destination is down. Whatever mends that does not wait until it is given up.

use crate::support::metrics::Metrics;
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, free_port};
use crate::{assert_forty_delivered, hand_in, post, reload, text};
use std::net::SocketAddr;

const CONFIG: &str = "
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:{grpc}}
      http: {endpoint: 127.0.0.1:{http}}
processors:
  batch: {timeout: 20ms}
exporters:
  otlp_http:
    endpoint: http://{destination}
    compression: none
    sending_queue: {num_consumers: 1, queue_size: 1}
    retry_on_failure: {initial_interval: 50ms, max_interval: 100ms}
  nop:
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    logs: {receivers: [otlp], processors: [batch], exporters: [otlp_http]}
    traces: {receivers: [otlp], exporters: [nop]}
";

/// With so much time, a reload that waited for what is held would not be over while the test waits for it.
const FOR_EVER: &str = "1000s";

fn held(metrics: &Metrics, component: &str) -> f64 {
    metrics.sum("otelcol_millrace_ledger_held_items", &[("component", component), ("signal", "logs")])
}

/// A collector whose `batch` processor has left and holds records, beside an exporter that is full: forty in all.
async fn holding(shutdown_timeout: &str) -> (Collector, SocketAddr) {
    let destination = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = CONFIG.replace("{destination}", &destination.to_string());
    let collector = Setup::of(&config).with(&["--shutdown-timeout", shutdown_timeout]).start().await;
    for first in (0..40).step_by(10) {
        hand_in(&collector, first..first + 10).await;
        // Each is a batch of its own.
        collector
            .metrics_when("it has been batched", |metrics| {
                held(metrics, "otlp_http") == 10.0
                    && held(metrics, "batch") + held(metrics, "otlp_http") == (first + 10) as f64
            })
            .await;
    }
    reload(&collector, &text(&collector).replace("processors: [batch], ", ""), "success").await;
    assert_eq!(held(&collector.metrics().await, "batch"), 30.0);
    (collector, destination)
}

async fn assert_nothing_lost(collector: Collector) {
    collector.assert_balanced().await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mends_the_exporter_does_not_wait_for_it_and_all_of_it_is_delivered() {
    let (collector, destination) = holding(FOR_EVER).await;
    let stub = Stub::start(Manner::Keep).await;
    let mended = text(&collector).replace(&destination.to_string(), &stub.address.to_string());

    reload(&collector, &mended, "success").await;

    collector.has_said("beside the next configuration").await;
    assert_forty_delivered(&stub).await;
    assert_nothing_lost(collector).await;
}

/// Each of them replaces what the first one feeds once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_outlives_several_reloads_until_the_destination_is_back() {
    let (collector, destination) = holding(FOR_EVER).await;
    for consumers in [2, 3] {
        let (before, after) =
            (format!("num_consumers: {}", consumers - 1), format!("num_consumers: {consumers}"));
        reload(&collector, &text(&collector).replace(&before, &after), "success").await;
        collector.assert_balanced().await;
    }
    collector
        .metrics_when("all of it is held, and once", |metrics| {
            metrics.sum("otelcol_millrace_ledger_held_items", &[("signal", "logs")]) == 40.0
        })
        .await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_forty_delivered(&stub).await;
    assert_nothing_lost(collector).await;
}

/// The exporter that is full is gone as well, and goes on beside what works now for as long as it is fed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_an_exporter_that_is_removed_is_delivered_by_that() {
    let (collector, destination) = holding(FOR_EVER).await;
    let removed = text(&collector).replace("exporters: [otlp_http]", "exporters: [nop]");
    reload(&collector, &removed, "success").await;
    assert_eq!(post(&collector).await, 200, "the new configuration works");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_forty_delivered(&stub).await;
    assert_nothing_lost(collector).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_meanwhile_it_ends_in_time_and_says_what_is_lost() {
    let (collector, _) = holding("8s").await;
    let changed = text(&collector).replace("num_consumers: 1", "num_consumers: 2");
    reload(&collector, &changed, "success").await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("received"), stopped.account("lost")), (40, 40), "{}", stopped.log);
}
