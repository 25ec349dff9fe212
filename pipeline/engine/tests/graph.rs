//! The graph: who is built, with what behind it, and in which order and time everything stops.

mod support;

use millrace_config::{ComponentId, PipelineId};
use millrace_engine::component::{
    BuildError, ConnectorConfig, Context, ExporterConfig, Outputs, ProcessorConfig, Receiver, ReceiverConfig,
    Shared,
};
use millrace_engine::entry::Route;
use millrace_engine::graph::{Graph, Plans};
use millrace_engine::health::State;
use millrace_engine::{Batch, BoxFuture, Cost, Entry, Failure, Permit, Reservation, Stage, Until};
use millrace_wire::Signal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::configured::{config, shared};
use support::{Log, Probe, logs};
use tokio::time::Instant;

/// How long the drain of a component takes, by its id; `None` is for ever.
type Delays = BTreeMap<&'static str, Option<Duration>>;

/// What the components of a test share.
#[derive(Clone, Default)]
struct World {
    log: Log,
    delays: Arc<Delays>,
    entries: Arc<Mutex<BTreeMap<String, Outputs>>>,
    stages: Arc<Mutex<BTreeMap<String, Arc<Held>>>>,
}

impl World {
    fn stage(&self, context: &Context, signal: Signal, next: Option<Arc<Route>>) -> Arc<dyn Stage> {
        let pipeline = context.pipeline.as_ref().map(|pipeline| format!("@{pipeline}")).unwrap_or_default();
        let name = format!("{}{pipeline}", context.id);
        let delay = self.delays.iter().find(|(id, _)| name == **id).map_or(Some(Duration::ZERO), |(_, d)| *d);
        let held = Arc::new(Held {
            probe: Probe::new(Box::leak(name.clone().into_boxed_str()), &self.log, u64::MAX),
            next: next.map(Entry::new),
            kept: Mutex::default(),
            delay,
            deadline: Mutex::default(),
        });
        let known = self
            .stages
            .lock()
            .expect("no test panics here")
            .insert(format!("{name}:{signal}"), Arc::clone(&held));
        assert!(known.is_none(), "{name} was built twice");
        held
    }

    fn get(&self, name: &str) -> Arc<Held> {
        Arc::clone(&self.stages.lock().expect("no test panics here")[name])
    }

    async fn feed(&self, receiver: &str, signal: Signal) {
        let entry = {
            let entries = self.entries.lock().expect("no test panics here");
            Arc::clone(entries[receiver].get(signal).expect("a pipeline takes it"))
        };
        entry.submit(logs(1), Until::Stored).await.expect("accepted");
    }

    fn events(&self, of: &str) -> Vec<String> {
        let log = self.log.lock().expect("no test panics here");
        log.iter().filter_map(|event| event.strip_prefix(of)).map(|event| event.trim().to_owned()).collect()
    }
}

/// A stage that keeps what it is given until it is drained, or hands it on at once if nothing comes after it.
struct Held {
    probe: Arc<Probe>,
    next: Option<Arc<Entry>>,
    kept: Mutex<Vec<Batch>>,
    delay: Option<Duration>,
    deadline: Mutex<Option<Instant>>,
}

impl Held {
    /// Requests that reached it.
    fn taken(&self) -> usize {
        self.kept.lock().expect("no test panics here").len()
    }
}

impl Stage for Held {
    fn reserve(&self, _: Cost) -> Reservation<'_> {
        Reservation::granted()
    }

    fn commit<'a>(&'a self, _: Permit, batch: Batch, _: Until) -> BoxFuture<'a, Result<(), Failure>> {
        self.probe.note("commit");
        self.kept.lock().expect("no test panics here").push(batch);
        Box::pin(async { Ok(()) })
    }

    fn drain(&self, deadline: std::time::Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.probe.note("drain");
            *self.deadline.lock().expect("no test panics here") = Some(deadline.into());
            match self.delay {
                Some(delay) => tokio::time::sleep(delay.min(deadline - Instant::now().into_std())).await,
                None => std::future::pending().await,
            }
            if let Some(next) = &self.next {
                let kept = self.kept.lock().expect("no test panics here").clone();
                for batch in kept {
                    next.submit(batch, Until::Stored).await.expect("what comes after is still open");
                }
            }
            self.probe.note("drained");
        })
    }
}

struct Source(World);

impl ReceiverConfig for Source {
    fn build(&self, context: Context, outputs: Outputs) -> Result<Arc<dyn Receiver>, BuildError> {
        self.0.entries.lock().expect("no test panics here").insert(context.id.to_string(), outputs);
        let name = context.id.to_string();
        let delay = self.0.delays.get(name.as_str()).copied().unwrap_or(Some(Duration::ZERO));
        Ok(Arc::new(Stoppable { world: self.0.clone(), name, delay }))
    }
}

struct Stoppable {
    world: World,
    name: String,
    delay: Option<Duration>,
}

impl Receiver for Stoppable {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&self, deadline: std::time::Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match self.delay {
                Some(delay) => tokio::time::sleep(delay).await,
                // As told, it does not stay beyond its deadline.
                None => tokio::time::sleep_until(deadline.into()).await,
            }
            self.world.log.lock().expect("no test panics here").push(format!("stop {}", self.name));
        })
    }
}

struct Hold(World);

impl ProcessorConfig for Hold {
    fn build(&self, context: Context, signal: Signal, next: Arc<Route>) -> Result<Route, BuildError> {
        Ok(Route::Commit(self.0.stage(&context, signal, Some(next))))
    }
}

struct Sink(World);

impl ExporterConfig for Sink {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        Ok(self.0.stage(&context, signal, None))
    }
}

/// A connector that is a link, or, if it is called so, a stage of its own.
struct Link(World);

impl ConnectorConfig for Link {
    fn build(
        &self,
        context: Context,
        signal: Signal,
        outputs: Vec<(PipelineId, Arc<Route>)>,
    ) -> Result<Arc<Route>, BuildError> {
        let outputs: Vec<_> =
            outputs.into_iter().filter(|(id, _)| id.signal == signal).map(|(_, r)| r).collect();
        let all = Arc::new(Route::Fan(outputs));
        Ok(if context.id.name() == Some("stateful") {
            Arc::new(Route::Commit(self.0.stage(&context, signal, Some(all))))
        } else {
            all
        })
    }
}

fn build(yaml: &str, delays: Delays) -> (Graph, World, Shared) {
    let world = World { delays: Arc::new(delays), ..World::default() };
    let config = config(yaml);
    let mut plans = Plans::default();
    let ids = |components: &millrace_config::Components| -> Vec<ComponentId> {
        components.keys().cloned().collect()
    };
    for id in ids(&config.receivers) {
        plans.receivers.insert(id, Box::new(Source(world.clone())));
    }
    for id in ids(&config.processors) {
        plans.processors.insert(id, Box::new(Hold(world.clone())));
    }
    for id in ids(&config.connectors) {
        plans.connectors.insert(id, Box::new(Link(world.clone())));
    }
    for id in ids(&config.exporters) {
        plans.exporters.insert(id, Box::new(Sink(world.clone())));
    }
    let shared = shared();
    let graph = Graph::build(&config, &plans, &shared).expect("it can be built");
    (graph, world, shared)
}

async fn stop(graph: &Graph, after: Duration) -> Duration {
    let started = Instant::now();
    graph.stop((started + after).into_std()).await;
    started.elapsed()
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

const DIAMOND: &str = "
receivers: {source:, source/other:}
processors: {hold/front:, hold/left:}
connectors: {link/split:, link/stateful:}
exporters: {probe:, probe/side:}
service:
  pipelines:
    logs/in: {receivers: [source, source/other], processors: [hold/front], exporters: [link/split, link/stateful]}
    logs/left: {receivers: [link/split], processors: [hold/left], exporters: [probe, probe/side]}
    logs/right: {receivers: [link/split, link/stateful], exporters: [probe]}
    traces: {receivers: [source], exporters: [probe]}
";

#[tokio::test(start_paused = true)]
async fn everything_drains_from_the_front_to_the_back_and_nothing_is_built_twice() {
    let (graph, world, _) = build(DIAMOND, Delays::new());
    world.feed("source", Signal::Logs).await;
    world.feed("source/other", Signal::Logs).await;
    world.feed("source", Signal::Traces).await;
    assert_eq!(world.get("probe:logs").taken(), 0, "what is in front holds everything until it drains");

    stop(&graph, SECONDS(10)).await;

    // Through the left pipeline, the right one, and the stateful connector into the right one.
    assert_eq!(world.get("probe:logs").taken(), 3 * 2);
    assert_eq!(world.get("probe/side:logs").taken(), 2);
    assert_eq!(world.get("probe:traces").taken(), 1, "one exporter, one stage for each signal");
    let order = world.events("drain ");
    let at = |name: &str| {
        order.iter().position(|event| event == name).unwrap_or_else(|| panic!("{name}: {order:?}"))
    };
    assert!(at("hold/front@logs/in") < at("hold/left@logs/left"), "{order:?}");
    assert!(at("hold/front@logs/in") < at("link/stateful"), "{order:?}");
    assert!(at("hold/left@logs/left") < at("probe/side"), "{order:?}");
    assert_eq!(order.len(), 6, "each stage drains once: {order:?}");
    let log = world.log.lock().expect("no test panics here").clone();
    let last_stop = log.iter().rposition(|event| event.starts_with("stop ")).expect("receivers stop");
    let first_drain = log.iter().position(|event| event.starts_with("drain ")).expect("stages drain");
    assert!(last_stop < first_drain);
}

#[tokio::test(start_paused = true)]
async fn a_dead_destination_costs_its_neighbours_no_time() {
    let yaml = "
receivers: {source:}
processors: {hold:}
exporters: {probe/dead:, probe/slow:}
service:
  pipelines:
    logs/a: {receivers: [source], processors: [hold], exporters: [probe/dead]}
    logs/b: {receivers: [source], exporters: [probe/slow]}
";
    let delays = [("hold@logs/a", Some(SECONDS(100))), ("probe/slow", Some(SECONDS(9)))];
    let (graph, world, _) = build(yaml, delays.into());
    world.feed("source", Signal::Logs).await;

    let took = stop(&graph, SECONDS(10)).await;

    assert_eq!(took, SECONDS(9));
    assert!(world.events("drained").contains(&"probe/slow".to_owned()));
    let dead = world.get("probe/dead:logs");
    assert_eq!(dead.taken(), 1, "half of the time was left for what comes after the one that held on");
}

#[tokio::test(start_paused = true)]
async fn who_drains_first_may_take_all_but_what_those_behind_it_need() {
    let yaml = "
receivers: {source:}
processors: {hold/first:, hold/second:}
exporters: {probe:}
service: {pipelines: {logs: {receivers: [source], processors: [hold/first, hold/second], exporters: [probe]}}}
";
    let slow = Some(SECONDS(1000));
    let delays = [("hold/first@logs", slow), ("hold/second@logs", slow), ("probe", slow)];
    let (graph, world, _) = build(yaml, delays.into());
    let started = Instant::now();
    let took = stop(&graph, SECONDS(60)).await;
    assert_eq!(took, SECONDS(60));
    let deadline =
        |name: &str| world.get(name).deadline.lock().expect("no test panics here").map(|at| at - started);
    assert_eq!(deadline("hold/first@logs:logs"), Some(SECONDS(50)));
    assert_eq!(deadline("hold/second@logs:logs"), Some(SECONDS(55)));
    assert_eq!(deadline("probe:logs"), Some(SECONDS(60)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_leaves_the_queues_half_of_the_time() {
    let yaml = "
receivers: {source:, source/quick:}
exporters: {probe:}
service: {pipelines: {logs: {receivers: [source, source/quick], exporters: [probe]}}}
";
    let (graph, world, _) = build(yaml, [("source", None)].into());
    let deadline = Instant::now() + SECONDS(10);
    let took = stop(&graph, SECONDS(10)).await;
    assert_eq!(took, SECONDS(5));
    assert_eq!(*world.get("probe:logs").deadline.lock().expect("no test panics here"), Some(deadline));
}

#[tokio::test(start_paused = true)]
async fn a_component_that_never_stops_is_left_behind() {
    let yaml = "
receivers: {source:}
processors: {hold:}
exporters: {probe:}
service: {pipelines: {logs: {receivers: [source], processors: [hold], exporters: [probe]}}}
";
    let (graph, world, _) = build(yaml, [("hold@logs", None)].into());
    let took = stop(&graph, SECONDS(10)).await;
    assert!(took <= SECONDS(10), "{took:?}");
    assert_eq!(world.events("drained"), ["probe"]);
}

struct Panics;

impl Stage for Panics {
    fn reserve(&self, _: Cost) -> Reservation<'_> {
        Reservation::granted()
    }

    fn commit<'a>(&'a self, _: Permit, _: Batch, _: Until) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn drain(&self, _: std::time::Instant) -> BoxFuture<'_, ()> {
        Box::pin(async { panic!("on purpose") })
    }
}

struct PanickingSink;

impl ExporterConfig for PanickingSink {
    fn build(&self, _: Context, _: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        Ok(Arc::new(Panics))
    }
}

const TWO_SINKS: &str = "
receivers: {source:}
exporters: {probe:, probe/broken:}
service: {pipelines: {logs: {receivers: [source], exporters: [probe/broken, probe]}}}
";

#[tokio::test(start_paused = true)]
async fn a_panic_while_draining_is_contained_and_the_others_drain() {
    let config = config(TWO_SINKS);
    let world = World::default();
    let mut plans = Plans::default();
    plans.receivers.insert(id("source"), Box::new(Source(world.clone())));
    plans.exporters.insert(id("probe"), Box::new(Sink(world.clone())));
    plans.exporters.insert(id("probe/broken"), Box::new(PanickingSink));
    let shared = shared();
    let graph = Graph::build(&config, &plans, &shared).expect("it can be built");

    stop(&graph, SECONDS(10)).await;

    assert_eq!(world.events("drained"), ["probe"]);
    assert_eq!((shared.tasks.panics(), shared.health.state()), (1, State::Failed));
}

#[tokio::test]
async fn what_a_pipeline_uses_must_have_been_decoded() {
    let config = config(TWO_SINKS);
    let world = World::default();
    let mut plans = Plans::default();
    plans.exporters.insert(id("probe"), Box::new(Sink(world.clone())));
    plans.exporters.insert(id("probe/broken"), Box::new(Sink(world)));
    let error = Graph::build(&config, &plans, &shared()).expect_err("the receiver is missing");
    assert_eq!((error.kind, error.id.as_str()), ("receiver", "source"));
}

fn id(text: &str) -> ComponentId {
    text.parse().expect("an id")
}
