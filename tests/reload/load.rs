//! Under load.

use crate::support::{Collector, Setup, eventually, grpc, http1, requests};
use crate::{reload, text};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::task::JoinHandle;

const RELAY: &str = "
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:{grpc}, max_concurrent_streams: 100}
      http: {endpoint: 127.0.0.1:{http}, max_request_body_size: 1000000}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 128}
  batch: {timeout: 20ms, send_batch_size: 50}
exporters:
  otlp_http:
    endpoint: http://{sink}
    compression: none
    sending_queue: {queue_size: 1000, num_consumers: 2}
    retry_on_failure: {initial_interval: 50ms, max_interval: 1s}
  nop:
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    logs: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_http]}
";

/// A change to make, and whether it is one that is put to work.
const CHANGES: [(&str, &str, bool); 10] = [
    ("send_batch_size: 50", "send_batch_size: 80", true),
    ("num_consumers: 2", "num_consumers: 5", true),
    ("exporters: [otlp_http]", "exporters: [otlp_http, nop]", true),
    ("max_request_body_size: 1000000", "max_request_body_size: 2000000", true),
    ("compression: none", "compression: zstd", true),
    ("processors: [memory_limiter, batch]", "processors: [memory_limiter]", true),
    ("max_concurrent_streams: 100", "max_concurrent_streams: 200", true),
    ("limit_mib: 128", "limit_mib: 96", true),
    ("receivers: [otlp]", "receivers: [otlp/missing]", false),
    ("queue_size: 1000", "queue_sise: 1000", false),
];

/// What senders have heard.
#[derive(Default)]
struct Tally {
    next: AtomicU64,
    acknowledged: std::sync::Mutex<BTreeSet<u64>>,
    /// Attempts whose connection ended, or that were refused because something was on its way out.
    repeated: AtomicU64,
    over: AtomicBool,
}

impl Tally {
    fn acknowledge(&self, id: u64) {
        self.acknowledged.lock().expect("no sender panics here").insert(id);
    }

    /// A full queue is no matter of reloads.
    async fn refused(&self, why: &str) {
        if !why.contains("queue is full") {
            self.repeated.fetch_add(1, SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    fn acknowledged(&self) -> BTreeSet<u64> {
        self.acknowledged.lock().expect("no sender panics here").clone()
    }
}

fn record(id: u64) -> Vec<u8> {
    requests::logs_saying(&format!("id-{id}."), 1)
}

/// Sends one record after the other, each until it is acknowledged. Connecting always succeeds.
fn send_over_grpc(to: SocketAddr, tally: &Arc<Tally>) -> JoinHandle<()> {
    let tally = Arc::clone(tally);
    tokio::spawn(async move {
        let mut client = grpc::Client::connect(to).await.expect("a connection over gRPC");
        while !tally.over.load(SeqCst) {
            let id = tally.next.fetch_add(1, SeqCst);
            loop {
                match client.export("logs", &record(id)).await {
                    Ok(reply) if reply.code == Some(0) => break,
                    Ok(reply) => {
                        assert_eq!(reply.code, Some(14), "{}", reply.message);
                        tally.refused(&reply.message).await;
                    }
                    Err(_) => {
                        tally.repeated.fetch_add(1, SeqCst);
                        client = grpc::Client::connect(to).await.expect("a connection over gRPC");
                    }
                }
            }
            tally.acknowledge(id);
        }
    })
}

fn send_over_http(to: SocketAddr, tally: &Arc<Tally>) -> JoinHandle<()> {
    let tally = Arc::clone(tally);
    tokio::spawn(async move {
        let mut connection = http1::Connection::open(to).await.expect("a connection over HTTP");
        while !tally.over.load(SeqCst) {
            let id = tally.next.fetch_add(1, SeqCst);
            loop {
                match connection.post("/v1/logs", http1::PROTOBUF, &record(id)).await {
                    Ok(reply) if reply.status == 200 => break,
                    Ok(reply) => {
                        assert_eq!(reply.status, 503, "{}", reply.words());
                        tally.refused(&reply.words()).await;
                    }
                    Err(_) => {
                        tally.repeated.fetch_add(1, SeqCst);
                        connection = http1::Connection::open(to).await.expect("a connection over HTTP");
                    }
                }
            }
            tally.acknowledge(id);
        }
    })
}

async fn sink() -> Collector {
    Setup::to("file: {path: '{folder}/out.json'}").start().await
}

/// The ids of the records that a sink has written, each as often as it was.
fn written(folder: &std::path::Path) -> Vec<u64> {
    let file = fs::read_to_string(folder.join("out.json")).expect("a file");
    let ids = file.split("\"id-").skip(1).filter_map(|rest| rest.split('.').next());
    ids.map(|id| id.parse().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nobody_is_turned_away_while_the_configuration_changes() {
    let sink = sink().await;
    let relay = Setup::of(&RELAY.replace("{sink}", &sink.setup.http.to_string())).start().await;
    let tally = Arc::new(Tally::default());
    let senders: Vec<_> = (0..2)
        .flat_map(|_| [send_over_grpc(relay.setup.grpc, &tally), send_over_http(relay.setup.http, &tally)])
        .collect();

    for round in 0..24 {
        let (old, new, is_good) = CHANGES[round % CHANGES.len()];
        let before = text(&relay);
        let after = match before.contains(old) {
            true => before.replace(old, new),
            false => before.replace(new, old),
        };
        assert_ne!(before, after);
        reload(&relay, &after, if is_good { "success" } else { "failure" }).await;
        if !is_good {
            reload(&relay, &before, "success").await;
        }
        let so_far = tally.acknowledged().len();
        eventually("records are taken", || async {
            let now = tally.acknowledged().len();
            if now >= so_far + 10 { Ok(()) } else { Err(format!("{so_far}, and now {now}")) }
        })
        .await;
    }

    tally.over.store(true, SeqCst);
    for sender in senders {
        sender.await.expect("no sender panics");
    }
    relay.assert_balanced().await;
    let stopped = relay.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), 0, "{}", stopped.log);
    let sink = sink.stopped_by("TERM").await;
    let (acknowledged, written) = (tally.acknowledged(), written(sink.setup.folder.path()));
    let found: BTreeSet<_> = written.iter().copied().collect();
    let missing: Vec<_> = acknowledged.difference(&found).collect();
    assert!(missing.is_empty(), "{} of {} are lost: {missing:?}", missing.len(), acknowledged.len());
    assert!(acknowledged.len() > 200, "{} records are a load", acknowledged.len());
    // What had to be sent again is what a connection's end cost; each sender has one request under way.
    let repeated = tally.repeated.load(SeqCst);
    assert!(repeated <= 4 * 24, "{repeated} of {} were sent again", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_leave_nothing_behind() {
    let relay = Setup::of(&RELAY.replace("{sink}", "127.0.0.1:1")).start().await;
    let base = text(&relay).replace("exporters: [otlp_http]", "exporters: [nop]");
    let variant = |round: usize| {
        let batch = base.replace("send_batch_size: 50", &format!("send_batch_size: {}", 100 + round));
        let streams = format!("max_concurrent_streams: {}", 100 + round);
        // Each time other components, and other connections' limits.
        batch
            .replace("nop:", &format!("nop/{round}:"))
            .replace("[nop]", &format!("[nop/{round}]"))
            .replace("max_concurrent_streams: 100", &streams)
    };
    for round in 0..10 {
        reload(&relay, &variant(round), "success").await;
    }
    relay.assert_serves().await;
    let (files, memory) = (relay.open_files(), relay.resident_mib());
    for round in 10..110 {
        reload(&relay, &variant(round), "success").await;
    }
    relay.assert_serves().await;
    eventually("what was open is closed", || async {
        let now = relay.open_files();
        if now <= files + 2 { Ok(()) } else { Err(format!("{files} files, then {now}")) }
    })
    .await;
    let grown = relay.resident_mib().saturating_sub(memory);
    assert!(grown <= 12, "{memory} MiB, and {grown} more after a hundred reloads");
    let metrics = relay.metrics().await;
    assert_eq!(metrics.sum("otelcol_millrace_ledger_held_items", &[("component", "nop/50")]), 0.0);
    let page = http1::get(relay.setup.metrics, "/metrics").await.expect("a page");
    assert!(!page.text().contains("nop/50"), "what is gone is no longer shown");
    assert!(page.text().contains("nop/109"));
    let stopped = relay.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("lost"), 0);
    assert_eq!(stopped.account("delivered"), 4, "the account goes over all graphs: {}", stopped.log);
}

#[tokio::test]
async fn what_waits_for_a_dead_destination_goes_on_waiting_in_the_new_graph() {
    let sink = sink().await;
    let relay = Setup::of(&RELAY.replace("{sink}", "127.0.0.1:1")).start().await;
    for id in 0..40 {
        let reply = http1::post(relay.setup.http, "/v1/logs", http1::PROTOBUF, &record(id)).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
    relay
        .metrics_when("some wait between retries, and some in line", |metrics| {
            metrics.sum("otelcol_millrace_retry_waiting", &[]) > 0.0
                && metrics.sum("otelcol_millrace_ledger_held_items", &[]) == 40.0
        })
        .await;
    let base = text(&relay);
    reload(&relay, &base.replace("num_consumers: 2", "num_consumers: 3"), "success").await;
    reload(&relay, &base.replace("send_batch_size: 50", "send_batch_size: 7"), "success").await;
    let repaired = base.replace("127.0.0.1:1", &sink.setup.http.to_string());
    reload(&relay, &repaired, "success").await;

    relay.metrics_when("everything is delivered", |metrics| metrics.ledger("exporter", "out") == 40.0).await;
    let stopped = relay.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!((stopped.account("delivered"), stopped.account("lost")), (40, 0), "{}", stopped.log);
    let sink = sink.stopped_by("TERM").await;
    let mut ids = written(sink.setup.folder.path());
    ids.sort_unstable();
    assert_eq!(ids, (0..40).collect::<Vec<_>>(), "each once");
}
