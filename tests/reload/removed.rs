//! Exporters that the new configuration does not have any more, and what waits in their memory.

use crate::support::metrics::Metrics;
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, eventually, free_port, http1, requests};
use crate::{post, reload, text};
use std::fs;
use std::net::SocketAddr;

const CONFIG: &str = "
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:{grpc}}
      http: {endpoint: 127.0.0.1:{http}}
exporters:
  otlp_http:
    endpoint: http://{destination}
    compression: none
    sending_queue: {num_consumers: 2}
    retry_on_failure: {initial_interval: 50ms, max_interval: 100ms}
  nop:
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    logs: {receivers: [otlp], exporters: [otlp_http]}
    traces: {receivers: [otlp], exporters: [nop]}
";

/// A collector with forty records that wait for a destination where nobody is.
async fn waiting(shutdown_timeout: &str) -> (Collector, SocketAddr) {
    let destination = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = CONFIG.replace("{destination}", &destination.to_string());
    let collector = Setup::of(&config).with(&["--shutdown-timeout", shutdown_timeout]).start().await;
    for first in (0..40).step_by(10) {
        let body = requests::logs_named(first..first + 10);
        let reply = http1::post(collector.setup.http, "/v1/logs", http1::PROTOBUF, &body).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
    (collector, destination)
}

async fn remove_the_exporter(collector: &Collector) {
    reload(collector, &text(collector).replace("exporters: [otlp_http]", "exporters: [nop]"), "success")
        .await;
    assert_eq!(post(collector).await, 200, "the new configuration works");
}

/// Items that went out of the new exporter.
async fn passed_on(collector: &Collector) -> f64 {
    let out = [("component", "nop"), ("signal", "logs"), ("term", "out")];
    collector.metrics().await.sum("otelcol_millrace_ledger_items", &out)
}

/// Waits until what waits has been tried a few times more.
async fn still_tries(collector: &Collector) {
    let retries =
        |metrics: &Metrics| metrics.sum("otelcol_millrace_retry_attempts", &[("exporter", "otlp_http")]);
    let so_far = retries(&collector.metrics().await);
    collector.metrics_when("it is still being tried", |metrics| retries(metrics) >= so_far + 10.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_tried_again_and_delivered_when_the_destination_is_back() {
    let (collector, destination) = waiting("250s").await;
    remove_the_exporter(&collector).await;
    still_tries(&collector).await;
    assert!(passed_on(&collector).await > 0.0);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    eventually("all is delivered", || async {
        let mut ids: Vec<_> = stub.bodies().iter().flat_map(|body| requests::ids(body)).collect();
        ids.sort_unstable();
        if ids == (0..40).collect::<Vec<_>>() { Ok(()) } else { Err(format!("{ids:?}")) }
    })
    .await;
    // The next reload waits for the end of this one.
    reload(&collector, &text(&collector).replace("num_consumers: 2", "num_consumers: 3"), "success").await;
    let stopped = collector.finish().await;
    assert!(stopped.log.contains("No longer part of the configuration"), "{}", stopped.log);
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_in_the_time_that_stopping_has_is_lost_and_said_so() {
    let (collector, _) = waiting("2s").await;
    remove_the_exporter(&collector).await;
    eventually("it is given up", || async {
        let log = collector.log();
        let dropped = log.matches("Exporting failed. Dropping data.").count();
        if dropped == 4 { Ok(()) } else { Err(format!("{dropped} of 4: {log}")) }
    })
    .await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 40, "{}", stopped.log);
}

/// With so much time, one that did not hurry would not end while the test waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_is_told_to_stop_meanwhile_it_does_not_go_on_for_long() {
    let (collector, _) = waiting("1000s").await;
    remove_the_exporter(&collector).await;
    assert!(!collector.log().contains("Dropping data"), "{}", collector.log());
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), 40, "{}", stopped.log);
    assert!(stopped.log.contains("Exporting failed. Dropping data."), "{}", stopped.log);
}

/// With so much time, a reload that waited for what the one before has removed would not be over while the test waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_does_not_wait_for_what_was_removed_but_mistakes_and_repetition_end_nothing() {
    let (collector, _) = waiting("1000s").await;
    let original = text(&collector);
    remove_the_exporter(&collector).await;
    let removed = text(&collector);

    reload(&collector, &removed.replace("[nop]", "[nobody]"), "failure").await;
    still_tries(&collector).await;
    fs::write(&collector.setup.config, &removed).expect("written");
    collector.signal("HUP");
    eventually("it is said what is waited for", || async {
        let log = collector.log();
        if log.contains("The configuration is the one that is at work") { Ok(()) } else { Err(log) }
    })
    .await;
    still_tries(&collector).await;
    assert!(!collector.log().contains("Dropping data"), "{}", collector.log());

    reload(&collector, &original, "success").await;

    let log = collector.log();
    assert!(log.contains("one last attempt, as another configuration waits"), "{log}");
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), 40, "{}", stopped.log);
}
