//! The `batch` processor: what Go's does with sizes, times and metadata, and what ours does when it is refused.

use millrace_config::{Diagnostics, Optional, parse_str};
use millrace_delivery::{Accepted, Delivery, Exporter, QueueConfig, RetryConfig, Sender};
use millrace_engine::component::{Context, Shared};
use millrace_engine::entry::Route;
use millrace_engine::ledger::Term;
use millrace_engine::{
    Account, Batch, BoxFuture, Budget, Charge, Entry, Failure, Fault, Health, Origin, Piece, Reason, Retry,
    Stage, Until,
};
use millrace_processors::batch::FACTORY;
use millrace_telemetry::Labels;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::view;
use millrace_wire::write::{LogRecord, Logs};
use millrace_wire::{Payload, Signal};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A destination that fails as it is told and otherwise takes everything.
#[derive(Default)]
struct Destination {
    failures: Mutex<VecDeque<Failure>>,
    down: Mutex<Option<Failure>>,
    taken: Mutex<Vec<(Instant, Vec<u64>)>>,
}

impl Destination {
    fn batches(&self) -> Vec<Vec<u64>> {
        self.taken.lock().expect("no test panics here").iter().map(|(_, ids)| ids.clone()).collect()
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches().iter().map(Vec::len).collect()
    }

    fn ids(&self) -> Vec<u64> {
        self.batches().concat()
    }

    /// From now on everything is refused like this, or nothing any more.
    fn set_down(&self, failure: Option<Failure>) {
        *self.down.lock().expect("no test panics here") = failure;
    }
}

impl Sender for Destination {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async {
            if let Some(failure) = self.down.lock().expect("no test panics here").clone() {
                return Err(failure);
            }
            if let Some(failure) = self.failures.lock().expect("no test panics here").pop_front() {
                return Err(failure);
            }
            self.taken.lock().expect("no test panics here").push((Instant::now(), ids(batch)));
            Ok(Accepted::default())
        })
    }
}

fn ids(batch: &Batch) -> Vec<u64> {
    let of = |piece: &Piece| -> Vec<u64> {
        let request = view::Logs::of(&piece.payload).expect("logs");
        let scopes = request.resource_logs().flat_map(|resource| resource.scope_logs());
        scopes.flat_map(|scope| scope.log_records()).map(|record| record.time_ns()).collect()
    };
    batch.pieces().iter().flat_map(of).collect()
}

fn payload(ids: Range<u64>) -> Payload {
    Logs::build(|logs| {
        for id in ids {
            logs.record(LogRecord { time_ns: id, ..LogRecord::default() }, |_| {});
        }
    })
}

fn request(ids: Range<u64>) -> Batch {
    Batch::of(Piece { payload: payload(ids), origin: Origin::local(), charge: Charge::none() })
}

fn piece_from(tenant: &str, ids: Range<u64>) -> Piece {
    let metadata = vec![("tenant".into(), tenant.into()), ("other".into(), "x".into())];
    let origin = Origin { received: std::time::Instant::now(), peer: None, metadata, identity: None };
    Piece { payload: payload(ids), origin: Arc::new(origin), charge: Charge::none() }
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn context(shared: &Shared, kind: &'static str, id: &str) -> Context {
    Context { shared: shared.clone(), kind, id: id.parse().expect("an id"), pipeline: None }
}

/// A batch processor in front of exporters.
struct Bench {
    shared: Shared,
    stage: Arc<dyn Stage>,
    entry: Arc<Entry>,
    exporters: Vec<Arc<Exporter>>,
}

impl Bench {
    /// In front of one exporter without a queue.
    fn new(yaml: &str, destination: &Arc<Destination>) -> Self {
        Self::before(yaml, &[(Arc::clone(destination), Optional::Off)])
    }

    fn before(yaml: &str, destinations: &[(Arc<Destination>, Optional<QueueConfig>)]) -> Self {
        let shared =
            Shared::new(Registry::new(Level::Detailed), &Health::starting(), 64 << 20, 64 << 20, "test");
        let exporters: Vec<_> = destinations
            .iter()
            .enumerate()
            .map(|(at, (destination, queue))| {
                let delivery = Delivery {
                    queue: queue.clone(),
                    retry: RetryConfig { enabled: false, ..RetryConfig::default() },
                    timeout: Duration::ZERO,
                    destination: Labels::new(),
                    metadata: Vec::new(),
                };
                let context = context(&shared, "exporter", &format!("test/{at}"));
                Exporter::start(&context, Signal::Logs, &delivery, Arc::clone(destination) as _)
                    .expect("it starts")
            })
            .collect();
        let branches =
            exporters.iter().map(|stage| Arc::new(Route::Commit(Arc::clone(stage) as _))).collect();
        let parsed = parse_str("test.yaml", yaml, &|_| None);
        let node = parsed.node.expect("the test's YAML is in form");
        let mut diags = Diagnostics::new();
        let config = (FACTORY.plan)(&node, "processors::batch", &mut diags);
        let config = config.unwrap_or_else(|| panic!("{}", diags.render(&parsed.sources)));
        let next = Arc::new(Route::Fan(branches));
        let route = config
            .build(context(&shared, "processor", "batch"), Signal::Logs, next)
            .expect("it can be built");
        let Route::Commit(stage) = &route else { panic!("it is a stage") };
        Self { shared, stage: Arc::clone(stage), exporters, entry: Entry::new(Arc::new(route)) }
    }

    async fn hand_in(&self, batch: Batch) -> Result<(), Failure> {
        self.entry.submit(batch, Until::Stored).await
    }

    /// Drains the processor, then the exporters.
    async fn drain(&self, within: Duration) {
        let deadline = (Instant::now() + within).into_std();
        self.stage.drain(deadline).await;
        for exporter in &self.exporters {
            exporter.drain(deadline.max(Instant::now().into_std())).await;
        }
    }

    fn account(&self) -> Arc<Account> {
        let accounts = self.shared.ledger.accounts();
        accounts.into_iter().find(|account| account.holder().kind == "processor").expect("it has an account")
    }

    fn total(&self, term: Term) -> u64 {
        self.account().total(term).items
    }

    fn assert_settled(&self) {
        for account in self.shared.ledger.accounts() {
            assert_eq!(account.held().items, 0, "{account:?}");
            assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.shared.registry.render(None);
        let line = page.lines().find(|line| line.starts_with(&format!("otelcol_processor_batch_{name}{{")));
        line.map_or(0.0, |line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
    }
}

fn later() -> Failure {
    Failure::transient(Fault::Destination, Reason::Unreachable, "away")
}

fn never() -> Failure {
    Failure::permanent(Fault::Destination, Reason::Rejected, "never")
}

#[tokio::test(start_paused = true)]
async fn small_requests_are_joined_until_there_are_enough() {
    let destination = Arc::new(Destination::default());
    let bench = Bench::new("{send_batch_size: 10, timeout: 1s}", &destination);
    for first in (0..24).step_by(4) {
        bench.hand_in(request(first..first + 4)).await.expect("accepted");
    }
    settle().await;
    assert_eq!(destination.sizes(), [12, 12], "what is enough goes as a whole");
    bench.hand_in(request(24..27)).await.expect("accepted");
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(destination.sizes(), [12, 12, 3], "and what is not, when its time is up");
    assert_eq!(destination.ids(), (0..27).collect::<Vec<_>>());
    assert_eq!((bench.metric("batch_size_trigger_send"), bench.metric("timeout_trigger_send")), (2.0, 1.0));
    assert_eq!(bench.metric("batch_send_size_sum"), 27.0);
    assert_eq!(bench.metric("metadata_cardinality"), 1.0);
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn large_requests_are_cut_at_the_maximum() {
    let destination = Arc::new(Destination::default());
    let bench = Bench::new("{send_batch_size: 10, send_batch_max_size: 15, timeout: 1s}", &destination);
    bench.hand_in(request(0..7)).await.expect("accepted");
    bench.hand_in(request(7..47)).await.expect("accepted");
    settle().await;
    // 47 items: 15, 15, 15 leave 2, which are fewer than 10 and wait.
    assert_eq!(destination.sizes(), [15, 15, 15]);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(destination.sizes(), [15, 15, 15, 2]);
    assert_eq!(destination.ids(), (0..47).collect::<Vec<_>>());
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_or_a_size_every_request_goes_at_once() {
    for yaml in ["{timeout: 0s}", "{send_batch_size: 0}", "{timeout: 0s, send_batch_size: 0}"] {
        let destination = Arc::new(Destination::default());
        let bench = Bench::new(yaml, &destination);
        for first in (0..12).step_by(4) {
            bench.hand_in(request(first..first + 4)).await.expect("accepted");
        }
        settle().await;
        assert_eq!(destination.sizes(), [4, 4, 4], "{yaml}");
        assert_eq!(bench.metric("batch_size_trigger_send"), 3.0, "{yaml}");
    }
    for yaml in [
        "{timeout: 0s, send_batch_size: 3, send_batch_max_size: 3}",
        "{send_batch_size: 0, send_batch_max_size: 3}",
    ] {
        let destination = Arc::new(Destination::default());
        let bench = Bench::new(yaml, &destination);
        bench.hand_in(request(0..8)).await.expect("accepted");
        settle().await;
        assert_eq!(destination.sizes(), [3, 3, 2], "{yaml}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_by_the_drain() {
    let destination = Arc::new(Destination::default());
    let bench = Bench::new("{timeout: 10m}", &destination);
    bench.hand_in(request(0..3)).await.expect("accepted");
    bench.hand_in(request(3..5)).await.expect("accepted");
    let started = Instant::now();
    bench.drain(SECOND * 10).await;
    assert_eq!((destination.batches(), started.elapsed()), (vec![vec![0, 1, 2, 3, 4]], Duration::ZERO));
    let late = bench.hand_in(request(5..6)).await.expect_err("it has closed");
    assert_eq!(late.reason, Reason::ShuttingDown);
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn combinations_are_kept_apart_even_within_one_request() {
    let destination = Arc::new(Destination::default());
    let bench = Bench::new("{send_batch_size: 4, timeout: 1s, metadata_keys: [Tenant]}", &destination);
    let mut mixed = Batch::of(piece_from("a", 0..2));
    mixed.push(piece_from("b", 2..4));
    mixed.push(piece_from("a", 4..6));
    bench.hand_in(mixed).await.expect("accepted");
    bench.hand_in(request(6..8)).await.expect("without metadata is a combination, too");
    settle().await;
    assert_eq!(destination.batches(), [[0, 1, 4, 5]]);
    tokio::time::sleep(SECOND * 2).await;
    let mut batches = destination.batches();
    batches.sort();
    assert_eq!(batches, [vec![0, 1, 4, 5], vec![2, 3], vec![6, 7]]);
    assert_eq!(bench.metric("metadata_cardinality"), 3.0);
    bench.drain(SECOND).await;
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn one_combination_too_many_is_refused_for_good_and_the_others_go_on() {
    let destination = Arc::new(Destination::default());
    let bench =
        Bench::new("{timeout: 0s, metadata_keys: [tenant], metadata_cardinality_limit: 2}", &destination);
    let one = |tenant, id| Batch::of(piece_from(tenant, id..id + 1));
    bench.hand_in(one("a", 0)).await.expect("the first");

    let mut two_more = one("b", 1);
    two_more.push(piece_from("c", 2..3));
    let refused = bench.hand_in(two_more).await.expect_err("there would be three");
    assert_eq!((refused.reason, refused.retry), (Reason::TooManyCombinations, Retry::Never));
    assert_eq!(refused.grpc_code, Some(13), "INTERNAL, as in Go");
    assert_eq!(bench.metric("metadata_cardinality"), 1.0, "all or none");

    bench.hand_in(one("b", 3)).await.expect("the second");
    bench.hand_in(one("c", 4)).await.expect_err("the third");
    bench.hand_in(one("a", 5)).await.expect("known");
    settle().await;
    let mut ids = destination.ids();
    ids.sort_unstable();
    assert_eq!(ids, [0, 3, 5]);

    bench.drain(SECOND).await;
    let late = bench.hand_in(one("a", 6)).await.expect_err("it has closed");
    assert_eq!(late.reason, Reason::ShuttingDown);
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_is_no_limit() {
    let destination = Arc::new(Destination::default());
    let bench =
        Bench::new("{timeout: 0s, metadata_keys: [tenant], metadata_cardinality_limit: 0}", &destination);
    for id in 0..20 {
        bench.hand_in(Batch::of(piece_from(&format!("t{id}"), id..id + 1))).await.expect("accepted");
    }
    assert_eq!(bench.metric("metadata_cardinality"), 20.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_a_while_is_held_in_order_and_its_sender_is_not_told() {
    let destination = Arc::new(Destination::default());
    destination.set_down(Some(later()));
    let bench = Bench::new("{timeout: 0s}", &destination);
    for id in 0..10 {
        bench.hand_in(request(id..id + 1)).await.expect("acknowledged at once, as in Go");
    }
    tokio::time::sleep(SECOND * 3600).await;
    assert_eq!((bench.account().held().items, bench.account().lost().items), (10, 0));
    destination.set_down(None);
    tokio::time::sleep(SECOND * 6).await;
    assert_eq!(destination.ids(), (0..10).collect::<Vec<_>>());
    assert_eq!(bench.total(Term::Out), 10);
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_has_taken_a_batch_is_not_given_it_again_while_another_is_down() {
    let (up, down) = (Arc::new(Destination::default()), Arc::new(Destination::default()));
    down.set_down(Some(later()));
    let bench = Bench::before(
        "{timeout: 0s}",
        &[(Arc::clone(&up), Optional::Off), (Arc::clone(&down), Optional::Off)],
    );
    bench.hand_in(request(0..5)).await.expect("accepted");
    tokio::time::sleep(SECOND * 600).await;
    assert_eq!(up.ids(), [0, 1, 2, 3, 4], "once");
    down.set_down(None);
    tokio::time::sleep(SECOND * 6).await;
    assert_eq!((up.ids().len(), down.ids().len()), (5, 5));
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_lost_by_its_reason() {
    let destination = Arc::new(Destination::default());
    destination.failures.lock().expect("no test panics here").push_back(never());
    let bench = Bench::new("{timeout: 0s}", &destination);
    bench.hand_in(request(0..3)).await.expect("accepted");
    bench.hand_in(request(3..5)).await.expect("accepted");
    settle().await;
    assert_eq!((bench.total(Term::Lost(Reason::Rejected)), bench.total(Term::Out)), (3, 2));
    assert_eq!(destination.ids(), [3, 4]);
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_settled_waits_for_what_comes_after() {
    let destination = Arc::new(Destination::default());
    let queue = QueueConfig::default();
    let bench = Bench::before(
        "{send_batch_size: 100, timeout: 1s}",
        &[(Arc::clone(&destination), Optional::On(queue))],
    );
    let started = Instant::now();
    bench.entry.submit(request(0..5), Until::Settled).await.expect("delivered");
    assert_eq!((destination.ids().len(), started.elapsed()), (5, SECOND));

    destination.failures.lock().expect("no test panics here").push_back(never());
    let refused = bench.entry.submit(request(5..8), Until::Settled).await.expect_err("not delivered");
    assert_eq!(refused.reason, Reason::Rejected, "the queue in between has passed on what it was asked");
    assert_eq!(bench.total(Term::Refused), 3);
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_the_queue_behind_goes_in_halves() {
    let destination = Arc::new(Destination::default());
    let queue = QueueConfig {
        queue_size: 30,
        sizer: millrace_delivery::Sizer::Items,
        num_consumers: 1,
        ..QueueConfig::default()
    };
    let other = Arc::new(Destination::default());
    let bench = Bench::before(
        "{send_batch_size: 100, timeout: 1s}",
        &[(Arc::clone(&destination), Optional::On(queue)), (Arc::clone(&other), Optional::Off)],
    );
    bench.hand_in(request(0..100)).await.expect("accepted");
    tokio::time::sleep(SECOND * 10).await;
    for destination in [&destination, &other] {
        assert_eq!(destination.ids(), (0..100).collect::<Vec<_>>(), "every item once");
    }
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn while_draining_a_full_queue_behind_is_waited_for_and_a_dead_one_only_until_the_deadline() {
    let destination = Arc::new(Destination::default());
    let bench = Bench::new("{timeout: 0s}", &destination);
    destination.set_down(Some(later()));
    bench.hand_in(request(0..4)).await.expect("accepted");
    tokio::time::sleep(SECOND * 60).await;
    let recovering = Arc::clone(&destination);
    tokio::spawn(async move {
        tokio::time::sleep(SECOND * 3).await;
        recovering.set_down(None);
    });
    let started = Instant::now();
    bench.drain(SECOND * 10).await;
    assert!(started.elapsed() < SECOND * 4, "{:?}", started.elapsed());
    assert_eq!(destination.ids(), [0, 1, 2, 3]);
    bench.assert_settled();

    let destination = Arc::new(Destination::default());
    let bench = Bench::new("{timeout: 0s}", &destination);
    destination.set_down(Some(later()));
    bench.hand_in(request(0..4)).await.expect("accepted");
    let started = Instant::now();
    bench.drain(SECOND * 10).await;
    assert_eq!(started.elapsed(), SECOND * 10);
    assert_eq!(bench.total(Term::Lost(Reason::ShuttingDown)), 4);
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn while_draining_what_one_branch_refuses_still_reaches_the_others() {
    let (up, down) = (Arc::new(Destination::default()), Arc::new(Destination::default()));
    down.set_down(Some(later()));
    let bench = Bench::before(
        "{timeout: 0s}",
        &[(Arc::clone(&up), Optional::Off), (Arc::clone(&down), Optional::Off)],
    );
    for id in 0..50 {
        bench.hand_in(request(id..id + 1)).await.expect("accepted");
    }
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(up.ids(), [0], "the first is held, and the others wait behind it");
    bench.drain(SECOND * 10).await;
    assert_eq!(up.ids(), (0..50).collect::<Vec<_>>(), "in order");
    assert_eq!(bench.total(Term::Lost(Reason::ShuttingDown)), 50, "the other branch never had them");
    bench.assert_settled();
}

/// What is held while it is refused stays charged, so that the receivers' door closes: memory is bounded by the
/// budget, however long it lasts and however much is offered.
#[tokio::test(start_paused = true)]
async fn while_a_batch_is_held_the_budget_closes_the_door() {
    const LIMIT: u64 = 1 << 20;
    const BODY: u64 = 10_000;
    let destination = Arc::new(Destination::default());
    destination.set_down(Some(later()));
    let bench = Bench::new("{send_batch_size: 10, send_batch_max_size: 10, timeout: 1s}", &destination);
    let intake = Budget::new(LIMIT);
    let mut accepted = 0;
    for offered in 0..1_000 {
        // As a receiver does: nothing is read that has not been charged.
        let Some(charge) = intake.try_charge(BODY) else { continue };
        let payload = payload(offered * 7..offered * 7 + 7);
        let piece = Piece { payload, origin: Origin::local(), charge };
        bench.hand_in(Batch::of(piece)).await.expect("what is admitted is accepted");
        accepted += 1;
        settle().await;
    }
    assert_eq!(accepted, LIMIT / BODY, "as much as the budget allows, and not one more");
    assert_eq!((intake.refused(), intake.used()), (1_000 - accepted, accepted * BODY));
    assert_eq!(bench.account().held().items, accepted * 7);

    destination.set_down(None);
    tokio::time::sleep(SECOND * 60).await;

    assert_eq!(intake.used(), 0, "delivered, and so released");
    assert_eq!(destination.ids().len() as u64, accepted * 7);
    assert!(destination.sizes().iter().all(|size| *size <= 10));
    bench.assert_settled();
}
