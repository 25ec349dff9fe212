//! The connector between scripted destinations, in paused time.

use super::*;
use millrace_config::{Diagnostics, Optional, parse_str};
use millrace_delivery::{Accepted, Delivery, QueueConfig, RetryConfig, Sender};
use millrace_engine::component::Shared;
use millrace_engine::{Charge, Health, Origin, Piece};
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::write::{LogRecord, Logs};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::sleep;

/// A destination that fails as it is told and counts what it takes.
#[derive(Default)]
struct Destination {
    failure: Mutex<Option<Failure>>,
    taken: AtomicUsize,
    asked: AtomicUsize,
    delay: Duration,
}

impl Destination {
    fn fails(&self, failure: Option<Failure>) {
        *self.failure.lock().expect("no test panics here") = failure;
    }

    fn taken(&self) -> usize {
        self.taken.load(SeqCst)
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

impl Sender for Destination {
    fn send<'a>(&'a self, _batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async {
            self.asked.fetch_add(1, SeqCst);
            sleep(self.delay).await;
            if let Some(failure) = self.failure.lock().expect("no test panics here").clone() {
                return Err(failure);
            }
            self.taken.fetch_add(1, SeqCst);
            Ok(Accepted::default())
        })
    }
}

fn down() -> Failure {
    Failure::transient(Fault::Destination, Reason::Unreachable, "nobody there")
}

fn context() -> Context {
    let shared = Shared::new(Registry::new(Level::Detailed), &Health::starting(), 1 << 20, 1 << 20, "test");
    Context { shared, kind: "connector", id: "failover".parse().expect("an id"), pipeline: None }
}

fn plan(yaml: &str) -> (Option<Box<dyn ConnectorConfig>>, String) {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let node = parsed.node.expect("the test's YAML is in form");
    let mut diags = Diagnostics::new();
    let plan = (FACTORY.plan)(&node, "connectors::failover", &mut diags);
    (plan, diags.render(&parsed.sources))
}

/// The connector in front of destinations, each a level of its own.
struct Trial {
    context: Context,
    entry: Arc<Entry>,
    stage: Arc<dyn Stage>,
    destinations: Vec<Arc<Destination>>,
}

impl Trial {
    /// `queues` says which destinations have a queue, and its size.
    fn new(yaml: &str, queues: &[Option<QueueConfig>]) -> Self {
        let context = context();
        let ids: Vec<PipelineId> =
            (0..queues.len()).map(|at| format!("logs/{at}").parse().expect("an id")).collect();
        let levels: Vec<_> = ids.iter().map(|id| format!("[{id}]")).collect();
        let yaml = format!("{{priority_levels: [{}], {yaml}}}", levels.join(", "));
        let (plan, problems) = plan(&yaml);
        let plan = plan.unwrap_or_else(|| panic!("{problems}"));
        let destinations: Vec<_> = queues.iter().map(|_| Arc::new(Destination::default())).collect();
        let outputs = ids.into_iter().zip(queues).zip(&destinations).map(|((id, queue), destination)| {
            let delivery = Delivery {
                queue: queue.clone().map_or(Optional::Off, Optional::On),
                retry: RetryConfig { enabled: false, ..RetryConfig::default() },
                timeout: Duration::ZERO,
                destination: Labels::new(),
                metadata: Vec::new(),
            };
            let sender = Arc::clone(destination) as Arc<dyn Sender>;
            let exporter = Exporter::start(&exporter(&context, &id), Signal::Logs, &delivery, sender)
                .expect("it starts");
            (id, Arc::new(Route::Commit(exporter as Arc<dyn Stage>)))
        });
        let route = plan.build(context.clone(), Signal::Logs, outputs.collect()).expect("it builds");
        let stage = route.leaves().remove(0);
        Self { context, entry: Entry::new(route), stage, destinations }
    }

    async fn send(&self) -> Result<(), Failure> {
        self.entry.submit(one(), Until::Stored).await
    }

    fn taken(&self) -> Vec<usize> {
        self.destinations.iter().map(|destination| destination.taken()).collect()
    }

    fn account(&self) -> Arc<Account> {
        let accounts = self.context.shared.ledger.accounts();
        accounts.into_iter().find(|account| account.holder().kind == "connector").expect("an account")
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

fn exporter(context: &Context, id: &PipelineId) -> Context {
    let name = format!("nop/{}", id.name.as_deref().unwrap_or_default());
    Context { kind: "exporter", id: name.parse().expect("an id"), ..context.clone() }
}

fn one() -> Batch {
    let payload = Logs::build(|logs| {
        logs.record(LogRecord::default(), |_| {});
    });
    Batch::of(Piece { payload, origin: Origin::local(), charge: Charge::none() })
}

fn full() -> Option<QueueConfig> {
    Some(QueueConfig { queue_size: 1, num_consumers: 1, ..QueueConfig::default() })
}

#[tokio::test(start_paused = true)]
async fn requests_go_to_the_first_level_that_takes_them_and_back_up_after_the_interval() {
    let trial = Trial::new("retry_interval: 1m", &[None, None, None]);
    trial.send().await.expect("taken");
    assert_eq!(trial.taken(), [1, 0, 0]);

    trial.destinations[0].fails(Some(down()));
    trial.send().await.expect("taken by the second");
    trial.send().await.expect("taken by the second");
    assert_eq!(trial.taken(), [1, 2, 0]);
    assert_eq!(trial.destinations[0].asked(), 2, "it is left alone once it has failed");
    assert_eq!(trial.metric("otelcol_connector_failover_active_level"), 1.0);

    trial.destinations[1].fails(Some(down()));
    trial.send().await.expect("taken by the third");
    assert_eq!(trial.taken(), [1, 2, 1]);

    sleep(Duration::from_secs(61)).await;
    trial.destinations[1].fails(None);
    trial.send().await.expect("the second is back");
    trial.send().await.expect("and stays");
    assert_eq!((trial.taken(), trial.destinations[0].asked()), (vec![1, 4, 1], 3));

    sleep(Duration::from_secs(61)).await;
    trial.destinations[0].fails(None);
    trial.send().await.expect("the first is back");
    trial.send().await.expect("and stays");
    assert_eq!(trial.taken(), [3, 4, 1]);
    assert_eq!(trial.metric("otelcol_connector_failover_active_level"), 0.0);
    assert_eq!(trial.metric("otelcol_millrace_failover_switches"), 2.0);
    assert_eq!(trial.account().total(Term::Out).items, 8);
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn when_no_level_takes_it_the_sender_has_it_back_and_every_request_tries_all() {
    let trial = Trial::new("retry_interval: 1m", &[None, None]);
    trial.destinations.iter().for_each(|destination| destination.fails(Some(down())));
    for asked in 1..=3 {
        let refused = trial.send().await.expect_err("nobody takes it");
        assert!(refused.is_transient() && refused.message.starts_with("every level refuses: "), "{refused}");
        assert_eq!(trial.destinations[0].asked(), asked);
    }
    assert_eq!(trial.metric("otelcol_connector_failover_active_level"), -1.0);
    assert_eq!(trial.account().total(Term::Refused).items, 3);
    trial.destinations[1].fails(None);
    trial.send().await.expect("the second is back at once");
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn what_one_level_refuses_for_good_goes_on_and_does_not_move_the_rest() {
    let trial = Trial::new("", &[None, None]);
    let rejected = Failure::permanent(Fault::Destination, Reason::Rejected, "not that one");
    trial.destinations[0].fails(Some(rejected));
    trial.send().await.expect("the second takes it");
    trial.destinations[0].fails(None);
    trial.send().await.expect("the first takes what is good");
    assert_eq!(trial.taken(), [1, 1]);

    let malformed = Failure::permanent(Fault::Sender, Reason::Malformed, "broken");
    trial.destinations[0].fails(Some(malformed));
    trial.send().await.expect_err("that is the sender's fault, whoever is asked");
    assert_eq!(trial.taken(), [1, 1]);
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn a_level_whose_queue_is_full_is_not_waited_for_and_nothing_is_sent_twice() {
    let trial = Trial::new("", &[full(), None]);
    // Nothing runs in between: the first waits in the queue.
    trial.send().await.expect("the queue has room for one");
    trial.send().await.expect("the second level takes it");
    assert_eq!(trial.destinations[1].taken(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(trial.taken(), [1, 1]);
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn room_that_was_set_aside_is_used_or_given_back() {
    let trial = Trial::new("", &[full(), full()]);
    let first = trial.stage.reserve(one().cost()).decided().await.expect("room on the first level");
    let second = trial.stage.reserve(one().cost()).decided().await.expect("room on the second");
    let refused = trial.stage.reserve(one().cost()).decided().await.expect_err("there are two");
    assert_eq!((refused.reason, refused.is_transient()), (Reason::QueueFull, true));
    drop(first);
    trial.stage.commit(second, one(), Until::Stored).await.expect("under its permit");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(trial.taken(), [0, 1]);
    trial
        .stage
        .reserve_copies(one().cost(), 2)
        .decided()
        .await
        .expect_err("no level has room for two copies");
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_half_way_is_its_senders() {
    let mut trial = Trial::new("", &[None]);
    let slow = Destination { delay: Duration::from_secs(60), ..Destination::default() };
    let slow = Arc::new(slow);
    let delivery = Delivery {
        queue: Optional::Off,
        retry: RetryConfig { enabled: false, ..RetryConfig::default() },
        timeout: Duration::ZERO,
        destination: Labels::new(),
        metadata: Vec::new(),
    };
    let id: PipelineId = "logs/0".parse().expect("an id");
    let exporter =
        Exporter::start(&exporter(&trial.context, &id), Signal::Logs, &delivery, slow).expect("it starts");
    let outputs = vec![(id, Arc::new(Route::Commit(exporter as Arc<dyn Stage>)))];
    let (plan, _) = plan("{priority_levels: [[logs/0]]}");
    let route = plan.expect("a plan").build(trial.context.clone(), Signal::Logs, outputs).expect("it builds");
    trial.entry = Entry::new(route);
    let given_up = tokio::time::timeout(Duration::from_secs(1), trial.send()).await;
    assert!(given_up.is_err());
    trial.assert_balanced();
}

#[tokio::test(start_paused = true)]
async fn with_a_queue_of_its_own_what_no_level_takes_is_held_and_offered_again() {
    let trial = Trial::new("sending_queue: , retry_interval: 1m", &[None, None]);
    trial.destinations.iter().for_each(|destination| destination.fails(Some(down())));
    trial.send().await.expect("the queue has it");
    sleep(Duration::from_secs(10)).await;
    assert_eq!((trial.taken(), trial.account().held().items), (vec![0, 0], 1));
    trial.destinations[1].fails(None);
    sleep(Duration::from_secs(10)).await;
    assert_eq!((trial.taken(), trial.account().held().items), (vec![0, 1], 0));
    assert_eq!(trial.account().total(Term::Out).items, 1);
    trial.stage.drain(now() + Duration::from_secs(1)).await;
    trial.assert_balanced();
}

#[test]
fn configurations_are_those_of_the_go_collector() {
    for (yaml, problem) in [
        ("{}", "error: no pipelines are defined in the priority list"),
        ("{priority_levels: []}", "error: no pipelines are defined"),
        ("{priority_levels: [[]]}", "error: a level without pipelines"),
        ("{priority_levels: [[nonsense/x]]}", "error: `nonsense/x` is no pipeline"),
        (
            "{priority_levels: [[logs/a]], retry_interval: 0s}",
            "error: `retry_interval` must be longer than zero",
        ),
        (
            "{priority_levels: [[logs/a]], sending_queue: {queue_size: 0}}",
            "error: `queue_size` must be at least 1",
        ),
        ("{priority_levels: [[logs/a]], mode: standard}", "unknown key `mode`"),
    ] {
        let (config, problems) = plan(yaml);
        assert!(config.is_none() && problems.contains(problem), "{yaml}: {problems}");
    }
    let (config, problems) =
        plan("{priority_levels: [[logs/a, logs/b], [logs/c]], retry_gap: 1m, max_retries: 5}");
    assert!(config.is_some(), "{problems}");
    assert_eq!(problems.matches("` has no effect any more").count(), 2, "{problems}");
}

#[test]
fn a_level_must_be_fed_by_the_connector() {
    let (config, _) = plan("{priority_levels: [[logs/a]]}");
    let built = config.expect("a plan").build(context(), Signal::Logs, Vec::new());
    let error = built.err().expect("there is no such output").to_string();
    assert!(
        error.contains("lists `logs/a`, which is no logs pipeline with `failover` among its receivers"),
        "{error}"
    );
}
