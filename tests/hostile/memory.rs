//! What a limit of memory is worth while many misbehave at once: the process never takes more than `memory_limiter` has
//! been given and a fixed amount beside it, and whoever behaves is served all the while. The short form of what
//! `just memory` measures in numbers; see docs/memory.md.

use crate::support::http1::{Connection, JSON, PROTOBUF, Reply};
use crate::support::{Collector, PATIENCE, Setup, eventually, grpc, requests};
use bytes::Bytes;
use millrace_net::Encoding;
#[cfg(feature = "mimalloc")]
use std::process::Command;
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
    limited_to(LIMIT_MIB).await
}

async fn limited_to(limit_mib: u64) -> Collector {
    Setup::of(&format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{{grpc}}}}
      http: {{endpoint: 127.0.0.1:{{http}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: {limit_mib}}}
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

/// The others here do not tell: in a build for debugging, what is kept for a second is within what is allowed.
#[cfg(feature = "mimalloc")]
#[test]
fn the_allocator_is_compiled_to_give_back_what_is_large_at_once() {
    let mut millrace = Command::new(env!("CARGO_BIN_EXE_millrace"));
    millrace.arg("--version").env("MIMALLOC_VERBOSE", "1").env_remove("MIMALLOC_ARENA_MAX_OBJECT_SIZE");
    let output = millrace.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("option 'arena_max_object_size': 5120 KiB"),
        "the binary was built without the flags of .cargo/config.toml: either cargo did not read that file, as it was \
         started outside of the repository, or HOST_CFLAGS or TARGET_CFLAGS of the environment have taken their \
         place, and should say the same beside what they say:\n{said}"
    );
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
async fn what_there_is_never_memory_for_is_refused_for_good_and_says_how_much_there_is() {
    // Of 4 MiB, four fifths are for what arrives, and seven eighths of those, but for its connection, for one request.
    let collector = limited_to(4).await;
    let most = (4 << 20) * 4 / 5 / 8 * 7;
    let body = requests::logs_saying(&"x".repeat(100), 30_000);
    assert!((most + 1..4 << 20).contains(&body.len()), "{}", body.len());
    let gzip = Encoding::Gzip.compress(body.chunks(1 << 20), body.len()).expect("compresses");
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    for (headers, body) in [("", &body), ("content-encoding: gzip\r\n", &gzip)] {
        let headers = format!("{PROTOBUF}{headers}");
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        let reply = connection.post("/v1/logs", &headers, body).await.expect("an answer");
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.words().contains("memory budget has room for"), "{}", reply.words());
        assert!(!reply.head.contains("retry-after"), "{}", reply.head);
    }
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}transfer-encoding: chunked\r\n\r\n");
    let chunked = [head.as_bytes(), &chunked].concat();
    // What does not say its size is refused when it gets there, unless the connections before it hold too much still.
    let reply = eventually("it is refused for good", || async {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        // It need not listen to all of it.
        let _ = connection.write(&chunked).await;
        let reply = connection.reply().await.map_err(|error| error.to_string())?;
        if reply.status == 503 { Err(reply.words()) } else { Ok(reply) }
    })
    .await;
    assert_eq!(reply.status, 400, "{reply:?}");

    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let with_gzip: &[(&str, &str)] = &[("grpc-encoding", "gzip")];
    for (headers, message) in [(&[][..], grpc::framed(0, &body)), (with_gzip, grpc::framed(1, &gzip))] {
        let reply = client.call("logs", headers, &message).await.expect("an answer");
        assert_eq!(reply.code, Some(8), "{reply:?}");
        assert!(reply.message.contains("memory budget has room for"), "{reply:?}");
        assert!(!reply.has_delay, "to send it again would not help");
    }
    // In JSON it is smaller than that, and what is made of it is not. Until they are gone, the others hold some.
    drop(client);
    let reply = eventually("it is refused for good", || async {
        let reply = post_json(&collector, most / 3 * 2).await;
        if reply.status == 503 { Err(reply.words()) } else { Ok(reply) }
    })
    .await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.words().contains("memory budget"), "{}", reply.words());
    let metrics = collector.metrics().await;
    assert_eq!(metrics.malformed("too_large"), 6.0, "{metrics:?}");
    serves_beside(&collector, "nobody").await;
    collector.finish().await;
}

/// Of a limit of 4 MiB: nearly all that one request may take or inflate to, beside its connection.
const NEARLY_ALL: usize = 2_650_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_fit_but_for_others_may_try_again_and_is_taken_when_they_have_gone() {
    let collector = limited_to(4).await;
    let body = requests::logs_saying(&"x".repeat(NEARLY_ALL), 1);
    let gzip = Encoding::Gzip.compress(body.chunks(1 << 20), body.len()).expect("compresses");
    let headers = format!("{PROTOBUF}content-encoding: gzip\r\n");
    // Given somebody who holds a part.
    let mut other = Connection::open(collector.setup.http).await.expect("a connection");
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}content-length: {}\r\n\r\n", 1 << 20);
    other.write(&[head.as_bytes(), &vec![0; 1 << 19]].concat()).await.expect("written");
    eventually("it is held", || async {
        let used = collector.metrics().await.sum("otelcol_millrace_budget_used", &[("pool", "intake")]);
        if used < f64::from(1 << 19) { Err(format!("{used} bytes are")) } else { Ok(()) }
    })
    .await;
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");

    let reply = connection.post("/v1/logs", &headers, &gzip).await.expect("an answer");

    assert_eq!(reply.status, 503, "{}", reply.words());
    assert!(reply.head.contains("retry-after"), "{}", reply.head);
    drop(other);
    eventually("it is taken", || async {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        let reply = connection.post("/v1/logs", &headers, &gzip).await.expect("an answer");
        if reply.status == 200 { Ok(()) } else { Err(reply.words()) }
    })
    .await;
    collector.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_over_a_new_connection_fits_over_one_whose_window_has_grown() {
    let collector = limited_to(4).await;
    let body = requests::logs_saying(&"x".repeat(NEARLY_ALL), 1);
    let gzip = Encoding::Gzip.compress(body.chunks(1 << 20), body.len()).expect("compresses");
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    for nth in 0..6 {
        let reply = client.export("logs", &body).await.expect("an answer");
        assert_eq!(reply.code, Some(0), "{nth}: {reply:?}");
        let reply = client.call("logs", &[("grpc-encoding", "gzip")], &grpc::framed(1, &gzip)).await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.code, Some(0), "{nth}, compressed: {reply:?}");
    }
    collector.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_alone_fits_beside_connections_whose_windows_have_grown() {
    let collector = limited_to(4).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
        // The first is large enough for a larger window to help, and the next begins with that.
        for _ in 0..2 {
            let reply = client.export("logs", &requests::logs_saying(&"x".repeat(100_000), 1)).await;
            assert_eq!(reply.expect("an answer").code, Some(0));
        }
        idle.push(client);
    }
    let body = requests::logs_saying(&"x".repeat(NEARLY_ALL), 1);
    let gzip = Encoding::Gzip.compress(body.chunks(1 << 20), body.len()).expect("compresses");
    let with_gzip: &[(&str, &str)] = &[("grpc-encoding", "gzip")];
    for (headers, message) in [(&[][..], grpc::framed(0, &body)), (with_gzip, grpc::framed(1, &gzip))] {
        let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
        let reply = client.call("logs", headers, &message).await.expect("an answer");
        assert_eq!(reply.code, Some(0), "{reply:?}");
    }
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    let reply = connection.post("/v1/logs", PROTOBUF, &body).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.words());
    for mut client in idle {
        assert_eq!(client.export("logs", &requests::logs(1)).await.expect("an answer").code, Some(0));
    }
    collector.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_say_its_size_is_taken_as_what_does() {
    let collector = limited_to(4).await;
    let body = requests::logs_saying(&"x".repeat(NEARLY_ALL), 1);
    let compressed = |encoding: Encoding, body: &[u8]| {
        encoding.compress(body.chunks(1 << 20), body.len()).expect("compresses")
    };
    // Two members, of which the last says only how large it is itself.
    let (most, rest) = body.split_at(body.len() - 100);
    let gzip = [compressed(Encoding::Gzip, most), compressed(Encoding::Gzip, rest)].concat();
    for (encoding, packed) in [("gzip", &gzip), ("deflate", &compressed(Encoding::Zlib, &body))] {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        let headers = format!("{PROTOBUF}content-encoding: {encoding}\r\n");
        let reply = connection.post("/v1/logs", &headers, packed).await.expect("an answer");
        assert_eq!(reply.status, 200, "{encoding}: {}", reply.words());
    }
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let reply = client.call("logs", &[("grpc-encoding", "gzip")], &grpc::framed(1, &gzip)).await;
    assert_eq!(reply.as_ref().expect("an answer").code, Some(0), "{reply:?}");
    collector.finish().await;
}

/// Posts what is OTLP in JSON and takes about `len` bytes.
async fn post_json(collector: &Collector, len: usize) -> Reply {
    let text = format!(r#"{{"resourceLogs":[{{"schemaUrl":"{}"}}]}}"#, "x".repeat(len));
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    connection.post("/v1/logs", JSON, text.as_bytes()).await.expect("an answer")
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
    // Together more than half a gigabyte, which a busy machine needs its time for.
    let many = timeout(4 * PATIENCE, first.wait_for(|answered| *answered > 4 * LARGE)).await;
    many.expect("it is answered").expect("there is a crowd");
    serves_beside(&collector, "large bodies").await;
    over.store(true, SeqCst);
    while crowd.join_next().await.transpose().expect("one of them").is_some() {}
    assert!(taken.load(SeqCst) > 0, "none was let in");
    assert_bounded(&collector);
    collector.finish().await;
}
