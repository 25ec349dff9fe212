//! What queues on disk have of the memory budget leaves enough for passing on, however many they are.

use crate::support::http1::{self, PROTOBUF};
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, requests};
use crate::{CONFIG, queue_is_empty};
use std::fmt::Write;

/// Sends each of these once; all is delivered by so many exporters.
async fn assert_passed_on(collector: Collector, bodies: &[Vec<u8>], exporters: u64) {
    for body in bodies {
        let reply = http1::post(collector.setup.http, "/v1/logs", PROTOBUF, body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.words());
    }
    queue_is_empty(&collector).await;
    let stopped = collector.finish().await;
    assert_eq!(stopped.account("delivered"), exporters * stopped.account("received"), "{}", stopped.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_queues_leave_room_for_what_is_compressed() {
    const EXPORTERS: u64 = 12;
    let stub = Stub::start(Manner::Accept).await;
    let mut config = CONFIG.replace("compression: none", "compression: gzip");
    config = config.replace("{storage}", "").replace("{queue}", "");
    config = config.replace("{destination}", &stub.address.to_string());
    let (mut exporters, mut names) = (String::from("exporters:\n"), Vec::new());
    for number in 0..EXPORTERS {
        let name = format!("otlp_http/{number}");
        let keys = "sending_queue: {storage: file_storage}";
        let _ = writeln!(exporters, "  {name}: {{endpoint: 'http://{}', {keys}}}", stub.address);
        names.push(name);
    }
    config = config.replace("exporters:\n", &exporters);
    config = config.replace("exporters: [otlp_http]", &format!("exporters: [{}]", names.join(", ")));
    let collector = Setup::of(&config).start().await;

    assert_passed_on(collector, &[requests::logs(10), requests::logs(10)], EXPORTERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_needs_all_the_room_there_is_passes_alone_and_holds_up_nobody() {
    let stub = Stub::start(Manner::Accept).await;
    let mut config = CONFIG.replace("compression: none", "compression: none\n    encoding: json");
    config = config.replace("{storage}", "").replace("{queue}", "");
    config = config.replace("{destination}", &stub.address.to_string());
    let collector = Setup::of(&config).start().await;

    // As JSON it may take five times as much, which is more than the fifth of 64 MiB that is there for passing on.
    let large = requests::logs_saying(&"x".repeat(1_000), 3_200);
    assert!(large.len() > 3 << 20);
    assert_passed_on(collector, &[large, requests::logs(10)], 1).await;
}
