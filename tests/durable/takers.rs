//! Who sends what is on disk when the configuration changes: the exporter that is at work, and nobody else.

use crate::support::http1;
use crate::support::metrics::Metrics;
use crate::support::stub::{Manner, Stub};
use crate::support::{Collector, Setup, eventually, free_port};
use crate::{
    assert_delivered, delivered, durable, queue_is_empty, reload, reloaded, send, send_more, under_another_id,
};
use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};

/// What somebody says who is not what was meant.
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// A queue that shows who has sent what: as many requests at once as it says, whatever the destination makes of them.
const STEADY: &str = ", num_consumers: 10, millrace_adaptive_concurrency: false";

/// The ids that a destination has.
fn ids(stub: &Stub) -> BTreeSet<u64> {
    delivered(stub).into_iter().collect()
}

/// A configuration that sends elsewhere.
fn sends_to(config: &str, from: SocketAddr, to: SocketAddr) -> String {
    config.replace(&format!("http://{from}"), &format!("http://{to}"))
}

/// Puts a configuration to work that cannot be, which shows when everything has been built.
async fn reload_in_vain(collector: &Collector, change: impl FnOnce(&str) -> String) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = taken.local_addr().expect("bound");
    let config = fs::read_to_string(&collector.setup.config).expect("the configuration");
    let receiver = format!("receivers:\n  otlp/taken: {{protocols: {{http: {{endpoint: '{at}'}}}}}}\n");
    let changed = change(&config).replacen("receivers:\n", &receiver, 1);
    let changed = changed.replace("receivers: [otlp]", "receivers: [otlp, otlp/taken]");
    collector.setup.reconfigure(&changed);
    reloaded(collector, "failure").await;
    let log = collector.has_said("the configuration was not replaced").await;
    assert!(log.contains(&at.to_string()), "{log}");
    collector.setup.reconfigure(&config);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_configuration_sends_and_loses_nothing_of_what_waits() {
    let (setup, destination) = durable("", ", millrace_dead_letters: {enabled: false}");
    let collector = setup.start().await;
    let mut acknowledged = send(&collector, 100).await;
    let wrong = Stub::start(Manner::Answer(NOT_FOUND)).await;
    reload_in_vain(&collector, |config| sends_to(config, destination, wrong.address)).await;
    acknowledged.extend(send_more(&collector, 100..200).await);

    let stub = Stub::start_at(destination, Manner::Keep).await;
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(wrong.requests(), 0, "nobody may have asked for it");
    assert_eq!(delivered(&stub).len(), acknowledged.len(), "each once");
    queue_is_empty(&collector).await;
    // And what is right is at work.
    let other = Stub::start(Manner::Keep).await;
    reload(&collector, |config| sends_to(config, destination, other.address)).await;
    let later = send_more(&collector, 200..210).await;
    assert_delivered(&other, &later).await;
    assert_eq!(collector.finish().await.account("lost"), 0);
}

/// Dead letters that a refused configuration would have dropped, and a queue that nobody has open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_configuration_that_would_drop_what_nobody_has_open_leaves_it_there() {
    let (setup, destination) = durable("", "");
    let collector = setup.start().await;
    let acknowledged = send(&collector, 50).await;
    reload(&collector, under_another_id).await;
    let storage = collector.setup.folder.path().join("storage");
    let folder = "exporter-otlp_http-logs.queue";
    eventually("the exporter is gone", || async {
        let log = collector.log();
        if log.contains("stays on disk") { Ok(()) } else { Err(log) }
    })
    .await;
    let back = |config: &str| {
        config
            .replace("otlp_http/other", "otlp_http")
            .replace("create_directory: true", "create_directory: true, millrace_max_age: 1ms")
    };
    reload_in_vain(&collector, back).await;
    let (list, ok) = crate::millrace(&storage, &["queue", "list"]);
    let row = list.lines().find(|line| line.starts_with(folder)).expect("a row");
    assert!(ok && row.split_whitespace().nth(1) == Some("50"), "{list}");
    let stub = Stub::start_at(destination, Manner::Keep).await;
    reload(&collector, |config| config.replace("otlp_http/other", "otlp_http")).await;
    assert_delivered(&stub, &acknowledged).await;
    assert_eq!(collector.finish().await.account("lost"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_accepted_after_a_reload_goes_to_the_new_destination_only() {
    let (setup, first) = durable("", STEADY);
    let collector = setup.start().await;
    let early = send(&collector, 60).await;
    // It takes what it is sent, and there is more than it has taken.
    let before = Stub::start_at(first, Manner::Slow).await;
    before.has_seen(1).await;
    let after = Stub::start(Manner::Slow).await;
    reload(&collector, |config| sends_to(config, first, after.address)).await;
    let late = send_more(&collector, 1_000..1_060).await;
    assert_delivered(&after, &late).await;
    queue_is_empty(&collector).await;
    let late: BTreeSet<_> = late.into_iter().collect();
    assert!(ids(&before).is_disjoint(&late), "{:?}", ids(&before).intersection(&late));
    let all: BTreeSet<_> = ids(&before).union(&ids(&after)).copied().collect();
    assert!(all.is_superset(&early.into_iter().collect()), "all of it is somewhere");
    assert_eq!(delivered(&before).len() + delivered(&after).len(), 1_200, "each once");
    assert_eq!(collector.finish().await.account("lost"), 0);
}

/// As where the new name of its type and a new endpoint come in one edit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_finds_the_queue_under_another_name_of_the_type_is_the_only_one_to_send_it() {
    let (setup, first) = durable("", STEADY);
    let collector = setup.start().await;
    send(&collector, 60).await;
    let before = Stub::start_at(first, Manner::Slow).await;
    before.has_seen(1).await;
    let after = Stub::start(Manner::Slow).await;
    reload(&collector, |config| {
        sends_to(config, first, after.address)
            .replace("[otlp_http]", "[otlphttp]")
            .replace("  otlp_http:", "  otlphttp:")
    })
    .await;
    let late = send_more(&collector, 1_000..1_060).await;
    assert_delivered(&after, &late).await;
    assert!(ids(&before).is_disjoint(&late.into_iter().collect()));
    queue_is_empty(&collector).await;
    assert_eq!(delivered(&before).len() + delivered(&after).len(), 1_200, "each once");
    assert_eq!(collector.finish().await.account("lost"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_exporter_has_not_got_through_goes_to_the_new_one_by_way_of_the_disk() {
    let first = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = crate::CONFIG.replace("{destination}", &first.to_string());
    let config = config.replace("{storage}", "").replace("{queue}", STEADY);
    // What has failed waits for longer than this test has time.
    let config = config.replace("{initial_interval: 20ms, max_interval: 50ms}", "{initial_interval: 300s}");
    let unwilling = Stub::start_at(first, Manner::Answer(crate::reloads::UNAVAILABLE)).await;
    let collector = Setup::of(&config).start().await;
    let acknowledged = send(&collector, 50).await;
    unwilling.has_seen(10).await;
    let after = Stub::start(Manner::Keep).await;
    reload(&collector, |config| sends_to(config, first, after.address)).await;
    assert_delivered(&after, &acknowledged).await;
    assert_eq!(delivered(&after).len(), acknowledged.len(), "each once");
    assert_eq!(unwilling.requests(), 10, "no further attempt there");
    assert_eq!(collector.finish().await.account("lost"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_and_being_stopped_meanwhile_loses_nothing() {
    let (setup, first) = durable("", STEADY);
    let collector = setup.start().await;
    let mut acknowledged = send(&collector, 60).await;
    let one = Stub::start_at(first, Manner::Slow).await;
    one.has_seen(1).await;
    let other = Stub::start(Manner::Slow).await;
    reload(&collector, |config| sends_to(config, first, other.address)).await;
    acknowledged.extend(send_more(&collector, 100..120).await);
    reload(&collector, |config| sends_to(config, other.address, first)).await;
    acknowledged.extend(send_more(&collector, 200..220).await);
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
    assert_eq!(stopped.account("received"), 1_000, "{}", stopped.log);
    let keeps = stopped.log.contains(" kept on disk, ");
    let (sent, kept) =
        (stopped.account("delivered"), if keeps { stopped.account("kept on disk") } else { 0 });
    assert_eq!((sent + kept, stopped.account("lost")), (1_000, 0), "{}", stopped.log);
    let collector = stopped.setup.start().await;
    queue_is_empty(&collector).await;
    let all: BTreeSet<_> = ids(&one).union(&ids(&other)).copied().collect();
    assert_eq!(all, acknowledged.into_iter().collect());
    let reply = http1::get(collector.setup.metrics, "/metrics").await.expect("the metrics are served");
    assert_eq!(Metrics::parse(reply.text()).ledger("exporter", "lost"), 0.0);
    collector.stopped_by("TERM").await.assert_clean();
}
