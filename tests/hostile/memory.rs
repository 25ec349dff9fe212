//! What a limit of memory is worth while many misbehave at once: the process never takes more than `memory_limiter` has
//! been given and a fixed amount beside it, and whoever behaves is served all the while. The short form of what
//! `just memory` measures in numbers; see docs/memory.md.

use crate::support::http1::{Connection, JSON, PROTOBUF};
use crate::support::{Collector, PATIENCE, Setup, grpc, requests};
use bytes::Bytes;
use millrace_net::Encoding;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const LIMIT_MIB: u64 = 64;
/// What the process may take beside the limit: itself, its threads, what an allocator keeps, and the kernel's view of
/// pages that have been given back but not yet taken.
const BESIDE_MIB: u64 = 64;
/// What a bomb inflates to: as much as a message may be.
const BOMB_BYTES: usize = 20 << 20;
/// Bombs at once: together four times the limit. No more, as the build may be one for debugging.
const BOMBS: usize = 12;
/// A large body: nearly as much as a request may be, and next to nothing to keep of it.
const LARGE_BYTES: usize = 18 << 20;
/// Who send one after another.
const LARGE: usize = 8;
/// Connections that send next to nothing, of each protocol.
const SLOW: (usize, usize) = (384, 48);
/// Good requests of each protocol that are served while the crowd is there.
const SERVED: usize = 20;

async fn limited() -> Collector {
    Setup::of(&format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{{grpc}}}}
      http: {{endpoint: 127.0.0.1:{{http}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: {LIMIT_MIB}}}
exporters:
  nop: {{}}
service:
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp], processors: [memory_limiter], exporters: [nop]}}
"
    ))
    .start()
    .await
}

/// Sends good requests over both protocols, one after the other. Each is taken at once: nobody is put off or starves
/// for others' sake.
async fn serves_beside(collector: &Collector, crowd: &str) {
    let body = requests::logs(10);
    for nth in 0..SERVED {
        let good = async {
            let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
            let reply = connection.post("/v1/logs", PROTOBUF, &body).await.expect("an answer");
            assert_eq!(reply.status, 200, "request {nth} beside {crowd}: {reply:?}");
            let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
            let reply = client.export("logs", &body).await.expect("an answer");
            assert_eq!(reply.code, Some(0), "request {nth} beside {crowd}: {reply:?}");
        };
        timeout(PATIENCE, good).await.unwrap_or_else(|_| panic!("request {nth} starves beside {crowd}"));
    }
}

fn assert_bounded(collector: &Collector) {
    let peak = collector.peak_mib();
    assert!(peak < LIMIT_MIB + BESIDE_MIB, "{peak} MiB with a limit of {LIMIT_MIB}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_bombs_stays_within_the_limit() {
    let collector = limited().await;
    let zeros = vec![0; BOMB_BYTES];
    let bomb = Encoding::Gzip.compress(zeros.chunks(1 << 20), zeros.len()).expect("compresses");
    let bomb = Arc::new(bomb);
    let (http, grpc_at) = (collector.setup.http, collector.setup.grpc);
    let over = Arc::new(AtomicBool::new(false));
    let (answered, mut first) = watch::channel(0);
    let mut crowd = JoinSet::new();
    for number in 0..BOMBS {
        let (bomb, over, answered) = (Arc::clone(&bomb), Arc::clone(&over), answered.clone());
        // One after the other, until nobody needs the crowd any more.
        crowd.spawn(async move {
            if number % 2 == 0 {
                let mut connection = Connection::open(http).await.expect("a connection");
                let headers = format!("{PROTOBUF}content-encoding: gzip\r\n");
                while !over.load(SeqCst) {
                    let reply = connection.post("/v1/logs", &headers, &bomb).await.expect("an answer");
                    assert!([400, 503].contains(&reply.status), "{}", reply.status);
                    answered.send_modify(|answered| *answered += 1);
                }
            } else {
                let mut client = grpc::Client::connect(grpc_at).await.expect("a connection");
                let message = grpc::framed(1, &bomb);
                while !over.load(SeqCst) {
                    let reply = client.call("logs", &[("grpc-encoding", "gzip")], &message).await;
                    let code = reply.expect("an answer").code;
                    assert!([Some(3), Some(14)].contains(&code), "{code:?}");
                    answered.send_modify(|answered| *answered += 1);
                }
            }
        });
    }
    let any = timeout(PATIENCE, first.wait_for(|answered| *answered > 0)).await;
    any.expect("it is answered").expect("there is a crowd");
    serves_beside(&collector, "bombs").await;
    over.store(true, SeqCst);
    while crowd.join_next().await.transpose().expect("one of them").is_some() {}
    assert_bounded(&collector);
    collector.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_announces_much_and_sends_little_stays_within_the_limit() {
    let collector = limited().await;
    let mut held = Vec::new();
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    // Each says that a mebibyte is to come: ten times the limit.
    for _ in 0..SLOW.0 {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        let head =
            format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}content-length: {}\r\n\r\nxy", 1 << 20);
        connection.write(head.as_bytes()).await.expect("written");
        held.push(connection);
    }
    for _ in 0..SLOW.1 {
        let client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
        for _ in 0..6 {
            let mut sender = client.sender.clone().ready().await.expect("a stream");
            let (response, mut stream) =
                sender.send_request(grpc::request("logs", &[]), false).expect("sent");
            let prefix = [&[0][..], &(1u32 << 20).to_be_bytes(), b"xy"].concat();
            stream.send_data(Bytes::from(prefix), false).expect("sent");
            streams.push((response, stream));
        }
        clients.push(client);
    }
    serves_beside(&collector, "announcements").await;
    let open = collector.metrics().await.sum("otelcol_millrace_connections", &[]);
    assert!(open >= (SLOW.0 + SLOW.1) as f64, "the crowd has gone: {open} are there");
    assert_bounded(&collector);
    drop((held, streams, clients));
    collector.finish().await;
}

/// What has been freed goes back to the system, and is not kept for a while beside what is in use by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_one_after_another_stay_within_the_limit() {
    let collector = limited().await;
    let http = collector.setup.http;
    let body = Arc::new([b"{", &vec![b' '; LARGE_BYTES][..], b"}"].concat());
    let (over, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (answered, mut first) = watch::channel(0);
    let mut crowd = JoinSet::new();
    for _ in 0..LARGE {
        let (body, over, taken) = (Arc::clone(&body), Arc::clone(&over), Arc::clone(&taken));
        let answered = answered.clone();
        crowd.spawn(async move {
            while !over.load(SeqCst) {
                let mut connection = Connection::open(http).await.expect("a connection");
                // Who is refused may hear of it only as the end of the connection, while the body is still being sent.
                let Ok(reply) = connection.post("/v1/logs", JSON, &body).await else { continue };
                assert!([200, 503].contains(&reply.status), "{}", reply.status);
                taken.fetch_add(usize::from(reply.status == 200), SeqCst);
                answered.send_modify(|answered| *answered += 1);
            }
        });
    }
    let many = timeout(PATIENCE, first.wait_for(|answered| *answered > 4 * LARGE)).await;
    many.expect("it is answered").expect("there is a crowd");
    serves_beside(&collector, "large bodies").await;
    over.store(true, SeqCst);
    while crowd.join_next().await.transpose().expect("one of them").is_some() {}
    assert!(taken.load(SeqCst) > 0, "none was let in");
    assert_bounded(&collector);
    collector.finish().await;
}
