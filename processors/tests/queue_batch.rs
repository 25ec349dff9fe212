//! The `queue_batch` processor: what its callers hear, and what is held.

use millrace_config::{Diagnostics, Optional, parse_str};
use millrace_delivery::{Accepted, Delivery, Exporter, RetryConfig, Sender};
use millrace_engine::component::{Context, ProcessorConfig, Shared};
use millrace_engine::entry::Route;
use millrace_engine::ledger::Term;
use millrace_engine::{
    Account, Batch, BoxFuture, Charge, Entry, Failure, Fault, Health, Origin, Piece, Reason, Stage, Until,
};
use millrace_processors::queue_batch::FACTORY;
use millrace_telemetry::Labels;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;
use millrace_wire::write::{LogRecord, Logs};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// A destination that fails as it is told, and notes how many items came together.
#[derive(Default)]
struct Destination {
    failure: Mutex<Option<Failure>>,
    sizes: Mutex<Vec<u64>>,
}

impl Destination {
    fn fails(&self, failure: Option<Failure>) {
        *self.failure.lock().expect("no test panics here") = failure;
    }

    fn sizes(&self) -> Vec<u64> {
        self.sizes.lock().expect("no test panics here").clone()
    }
}

impl Sender for Destination {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async {
            if let Some(failure) = self.failure.lock().expect("no test panics here").clone() {
                return Err(failure);
            }
            self.sizes.lock().expect("no test panics here").push(batch.cost().items);
            Ok(Accepted::default())
        })
    }
}

struct Trial {
    context: Context,
    entry: Arc<Entry>,
    stage: Arc<dyn Stage>,
    destination: Arc<Destination>,
}

fn plan(yaml: &str) -> (Option<Box<dyn ProcessorConfig>>, String) {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let node = parsed.node.expect("the test's YAML is in form");
    let mut diags = Diagnostics::new();
    let plan = (FACTORY.plan)(&node, "processors::queue_batch", &mut diags);
    (plan, diags.render(&parsed.sources))
}

impl Trial {
    fn new(yaml: &str) -> Arc<Self> {
        let shared =
            Shared::new(Registry::new(Level::Detailed), &Health::starting(), 1 << 20, 1 << 20, "test");
        let id = "queue_batch".parse().expect("an id");
        let context = Context { shared, kind: "processor", id, pipeline: None };
        let destination = Arc::new(Destination::default());
        let delivery = Delivery {
            queue: Optional::Off,
            retry: RetryConfig { enabled: false, ..RetryConfig::default() },
            timeout: Duration::ZERO,
            destination: Labels::new(),
            metadata: Vec::new(),
        };
        let exporter = Context { kind: "exporter", id: "nop".parse().expect("an id"), ..context.clone() };
        let exporter = Exporter::start(&exporter, Signal::Logs, &delivery, Arc::clone(&destination) as _)
            .expect("it starts");
        let (plan, problems) = plan(yaml);
        let plan = plan.unwrap_or_else(|| panic!("{problems}"));
        let next = Arc::new(Route::Commit(exporter as Arc<dyn Stage>));
        let route = Arc::new(plan.build(context.clone(), Signal::Logs, next).expect("it builds"));
        let stage = route.leaves().remove(0);
        Arc::new(Self { context, entry: Entry::new(route), stage, destination })
    }

    async fn send(&self, records: usize) -> Result<(), Failure> {
        let payload = Logs::build(|logs| {
            for _ in 0..records {
                logs.record(LogRecord::default(), |_| {});
            }
        });
        let piece = Piece { payload, origin: Origin::local(), charge: Charge::none() };
        self.entry.submit(Batch::of(piece), Until::Stored).await
    }

    /// Sends one after the other without waiting for the answers.
    fn send_all(
        self: &Arc<Self>,
        requests: usize,
        records: usize,
    ) -> tokio::task::JoinSet<Result<(), Failure>> {
        let mut sending = tokio::task::JoinSet::new();
        for _ in 0..requests {
            let trial = Arc::clone(self);
            sending.spawn(async move { trial.send(records).await });
        }
        sending
    }

    fn account(&self) -> Arc<Account> {
        let accounts = self.context.shared.ledger.accounts();
        accounts.into_iter().find(|account| account.holder().kind == "processor").expect("an account")
    }

    fn assert_balanced(&self) {
        for account in self.context.shared.ledger.accounts() {
            assert_eq!((account.imbalance(), account.held().items), (0, 0), "{account:?}");
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.context.shared.registry.render(None);
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.map_or(0.0, |line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
    }
}

#[tokio::test(start_paused = true)]
async fn callers_wait_until_their_batch_has_been_taken() {
    let trial = Trial::new("{}");
    let started = Instant::now();
    let mut sending = trial.send_all(3, 2);
    while let Some(outcome) = sending.join_next().await {
        outcome.expect("no panic").expect("delivered");
    }
    assert_eq!(started.elapsed().as_millis() / 10, 20, "the flush timeout of 200 ms");
    assert_eq!(trial.destination.sizes(), [6], "together");
    assert_eq!(trial.metric("otelcol_processor_incoming_items"), 6.0);
    assert_eq!(trial.metric("otelcol_processor_outgoing_items"), 6.0);
    assert_eq!(trial.metric("otelcol_processor_queuebatch_items_count"), 1.0);
    assert_eq!(trial.account().total(Term::Out).items, 6);
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn callers_hear_what_the_destination_said_and_keep_what_it_refused() {
    let trial = Trial::new("{}");
    for failure in [
        Failure::transient(Fault::Destination, Reason::Unreachable, "nobody there"),
        Failure::permanent(Fault::Destination, Reason::Rejected, "not that"),
    ] {
        trial.destination.fails(Some(failure.clone()));
        let started = Instant::now();
        let heard = trial.send(2).await.expect_err("it is not delivered");
        assert_eq!((heard.reason, heard.is_transient()), (failure.reason, failure.is_transient()));
        assert!(started.elapsed() < SECOND, "nothing is held for a caller that waits");
    }
    assert_eq!(trial.account().total(Term::Refused).items, 4);
    assert_eq!(trial.account().lost().items, 0);
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_callers_wait_and_refuses_nobody() {
    let trial = Trial::new("{queue_size: 2, batch: {flush_timeout: 1s}}");
    let mut sending = trial.send_all(10, 1);
    let started = Instant::now();
    while let Some(outcome) = sending.join_next().await {
        outcome.expect("no panic").expect("delivered");
    }
    assert_eq!(trial.destination.sizes(), [2; 5]);
    assert_eq!(started.elapsed().as_secs(), 5);
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn without_waiting_for_results_what_is_refused_for_a_while_is_held() {
    let trial = Trial::new("{wait_for_result: false}");
    trial.destination.fails(Some(Failure::transient(
        Fault::Destination,
        Reason::Unreachable,
        "nobody there",
    )));
    trial.send(3).await.expect("it waits");
    sleep(SECOND * 20).await;
    assert_eq!(trial.account().held().items, 3);
    trial.destination.fails(None);
    sleep(SECOND * 10).await;
    assert_eq!((trial.destination.sizes(), trial.account().lost().items), (vec![3], 0));
    trial.stage.drain((Instant::now() + SECOND).into_std()).await;
    trial.assert_balanced();
}

#[test]
fn its_keys_are_those_of_a_sending_queue() {
    for yaml in
        ["", "{}", "{num_consumers: 4, sizer: bytes, queue_size: 10000000}", "{batch: {enabled: false}}"]
    {
        let (config, problems) = plan(yaml);
        assert!(config.is_some() && problems.is_empty(), "{yaml}: {problems}");
    }
    for (yaml, problem) in [
        ("{num_consumers: 0}", "` must be at least 1"),
        ("{sizer: items}", "` must be at least `batch::min_size`"),
        ("{storage: file_storage}", "`wait_for_result` is not supported with a queue on disk"),
        ("{timeout: 1s}", "unknown key `timeout`"),
    ] {
        let (config, problems) = plan(yaml);
        assert!(config.is_none() && problems.contains(problem), "{yaml}: {problems}");
    }
}
