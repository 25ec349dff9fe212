//! Exporters that the new configuration does not have any more, and what waits in their memory.

use crate::support::metrics::Metrics;
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, eventually, free_port, http1, requests};
use crate::{assert_forty_delivered, hand_in, post, reload, text};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

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
        hand_in(&collector, first..first + 10).await;
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
    assert_forty_delivered(&stub).await;
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
async fn what_was_removed_has_its_time_beside_further_reloads_and_a_correction_brings_it_back() {
    let (collector, destination) = waiting("1000s").await;
    let original = text(&collector);
    remove_the_exporter(&collector).await;
    let removed = text(&collector);

    reload(&collector, &removed.replace("[nop]", "[nobody]"), "failure").await;
    still_tries(&collector).await;
    reload(&collector, &removed, "success").await;
    still_tries(&collector).await;
    reload(&collector, &removed.replace("num_consumers: 2", "num_consumers: 3"), "success").await;
    still_tries(&collector).await;

    reload(&collector, &original, "success").await;

    assert!(!collector.log().contains("Dropping data"), "{}", collector.log());
    // Others may replace it as before, with what has come back.
    reload(&collector, &original.replace("num_consumers: 2", "num_consumers: 4"), "success").await;
    still_tries(&collector).await;
    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_forty_delivered(&stub).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
}

/// As when an exporter is renamed again and again while its destination is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_may_linger_and_one_more_ends_the_first() {
    let (collector, _) = waiting("1000s").await;
    let original = text(&collector);
    let named = |name: &str| {
        let renamed = original.replace("  otlp_http:", &format!("  otlp_http/{name}:"));
        renamed.replace("[otlp_http]", &format!("[otlp_http/{name}]"))
    };
    for name in 0..8 {
        reload(&collector, &named(&name.to_string()), "success").await;
        assert_eq!(post(&collector).await, 200);
    }
    assert!(!collector.log().contains("Dropping data"), "{}", collector.log());

    reload(&collector, &named("last"), "success").await;

    collector.has_said_times("Too many configurations", 1).await;
    collector.has_said_times("Dropping data", 4).await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("received"), stopped.account("lost")), (48, 48), "{}", stopped.log);
    assert!(stopped.log.contains("exporter otlp_http (logs): 40 "), "{}", stopped.log);
    assert!(stopped.log.contains("exporter otlp_http/7 (logs): 1 "), "{}", stopped.log);
}

/// The new configuration is at work before all of the old one has ended: here somebody keeps its page from that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_while_the_last_of_the_old_one_ends_the_new_one_passes_on_what_it_holds() {
    let (collector, destination) = waiting("25s").await;
    let slow = Stub::start_at(destination, Manner::Slow).await;
    let mut asks = TcpStream::connect(collector.setup.metrics).await.expect("a connection");
    asks.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("written");
    let port = free_port();
    let moved = text(&collector)
        .replace(&format!("port: {}", collector.setup.metrics.port()), &format!("port: {port}"));
    collector.setup.reconfigure(&moved.replace("num_consumers: 2", "num_consumers: 1"));
    collector.signal("HUP");
    // Its address takes connections before that, and answers nobody.
    eventually("the new page answers", || async {
        let page = http1::get(SocketAddr::from(([127, 0, 0, 1], port)), "/metrics").await;
        page.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
    let mut ids: Vec<_> = slow.bodies().iter().flat_map(|body| requests::ids(body)).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    drop(asks);
}
