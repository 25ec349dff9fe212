//! One graph in the place of another: what is kept, what is handed over, and what ends when.

mod support;

use millrace_config::ComponentId;
use millrace_engine::component::{
    BuildError, Context, ExporterConfig, Extension, ExtensionConfig, Outputs, ProcessorConfig, Receiver,
    ReceiverConfig, Shared,
};
use millrace_engine::entry::Route;
use millrace_engine::graph::{Earlier, Graph, Haste, Plans, Progress};
use millrace_engine::status::Condition;
use millrace_engine::{Batch, BoxFuture, Cost, Entry, Failure, Permit, Reservation, Stage, Status, Until};
use millrace_wire::Signal;
use std::any::Any;
use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::configured::{config, shared};
use support::logs;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// What the components of a test share.
#[derive(Clone, Default)]
struct World {
    /// What happened, in order.
    log: Arc<Mutex<Vec<String>>>,
    outputs: Arc<Mutex<BTreeMap<String, Outputs>>>,
    /// How often each was built.
    built: Arc<Mutex<BTreeMap<String, u32>>>,
    /// Components that fail to get what they need.
    unlucky: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn note(&self, event: String) {
        self.log.lock().expect("no test panics here").push(event);
    }

    /// What has happened since this was last asked.
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().expect("no test panics here"))
    }

    /// A name that tells apart what was built under the same id: `probe#2`.
    fn name(&self, context: &Context) -> String {
        let mut built = self.built.lock().expect("no test panics here");
        let count = built.entry(context.id.to_string()).or_default();
        *count += 1;
        format!("{}#{count}", context.id)
    }

    async fn feed(&self, receiver: &str) {
        let entry = {
            let outputs = self.outputs.lock().expect("no test panics here");
            Arc::clone(outputs[receiver].get(Signal::Logs).expect("a pipeline takes it"))
        };
        entry.submit(logs(1), Until::Stored).await.expect("accepted");
    }
}

struct Source(World);

impl ReceiverConfig for Source {
    fn build(&self, context: Context, outputs: Outputs) -> Result<Arc<dyn Receiver>, BuildError> {
        let name = self.0.name(&context);
        Ok(Arc::new(Listening { world: self.0.clone(), context, name, outputs }))
    }
}

struct Listening {
    world: World,
    context: Context,
    name: String,
    outputs: Outputs,
}

impl Receiver for Listening {
    fn prepare(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            if self.world.unlucky.lock().expect("no test panics here").contains(&self.name) {
                return Err(self.context.error("the address is taken"));
            }
            Ok(())
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            let id = self.context.id.to_string();
            self.world.outputs.lock().expect("no test panics here").insert(id, self.outputs.clone());
            self.world.note(format!("start {}", self.name));
            Ok(())
        })
    }

    fn stop(&self, _: std::time::Instant) -> BoxFuture<'_, ()> {
        Box::pin(async { self.world.note(format!("stop {}", self.name)) })
    }
}

/// Keeps what it is given until it is drained or has handed it over; then it passes it on.
struct Keeper {
    world: World,
    name: String,
    next: Option<Arc<Entry>>,
    kept: Mutex<Vec<Batch>>,
    status: Status,
}

impl Keeper {
    fn stage(world: &World, context: &Context, next: Option<Arc<Route>>) -> Arc<dyn Stage> {
        let (name, status) = (world.name(context), context.status(Some(Signal::Logs)));
        let next = next.map(Entry::new);
        Arc::new(Self { world: world.clone(), name, next, kept: Mutex::default(), status })
    }

    fn take(&self) -> Vec<Batch> {
        std::mem::take(&mut *self.kept.lock().expect("no test panics here"))
    }
}

impl Stage for Keeper {
    fn reserve(&self, _: Cost) -> Reservation<'_> {
        Reservation::granted()
    }

    fn commit<'a>(&'a self, _: Permit, batch: Batch, _: Until) -> BoxFuture<'a, Result<(), Failure>> {
        self.kept.lock().expect("no test panics here").push(batch);
        self.status.works();
        Box::pin(async { Ok(()) })
    }

    fn begin(&self) {
        self.world.note(format!("begin {}", self.name));
    }

    fn hand_over(&self, successor: &Arc<dyn Stage>) {
        let heir = successor.as_any().and_then(|any| any.downcast_ref::<Self>()).expect("of the same kind");
        let kept = self.take();
        self.world.note(format!("{} of {} to {}", kept.len(), self.name, heir.name));
        heir.kept.lock().expect("no test panics here").extend(kept);
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    /// For as long as it keeps something.
    fn linger(&self, until: std::time::Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.kept.lock().expect("no test panics here").is_empty() {
                tokio::time::sleep_until(until.into()).await;
            }
        })
    }

    fn drain(&self, _: std::time::Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let kept = self.take();
            self.world.note(format!("drain {} of {}", kept.len(), self.name));
            for batch in kept {
                if let Some(next) = &self.next {
                    next.submit(batch, Until::Stored).await.expect("what comes after is still open");
                }
            }
        })
    }
}

struct Hold(World);

impl ProcessorConfig for Hold {
    fn build(&self, context: Context, _: Signal, next: Arc<Route>) -> Result<Route, BuildError> {
        Ok(Route::Commit(Keeper::stage(&self.0, &context, Some(next))))
    }
}

/// An extension that cannot start although it was prepared.
struct Late;

impl ExtensionConfig for Late {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(TooLate(context)))
    }
}

struct TooLate(Context);

impl Extension for TooLate {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(ready(Err(self.0.error("its file is gone"))))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

struct Probe(World);

impl ExporterConfig for Probe {
    fn build(&self, context: Context, _: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        Ok(Keeper::stage(&self.0, &context, None))
    }
}

/// The plans of a configuration; components whose ids are among `changed` have another print than otherwise.
fn plans(yaml: &str, world: &World, changed: &[&str]) -> (millrace_config::Config, Plans) {
    let config = config(yaml);
    let mut plans = Plans::default();
    let print = |id: &ComponentId| u64::from(changed.contains(&id.to_string().as_str()));
    for id in config.receivers.keys() {
        plans.receivers.insert(id.clone(), Box::new(Source(world.clone())));
        plans.prints.insert(("receiver", id.clone()), print(id));
    }
    for id in config.processors.keys() {
        plans.processors.insert(id.clone(), Box::new(Hold(world.clone())));
        plans.prints.insert(("processor", id.clone()), print(id));
    }
    for id in config.exporters.keys() {
        plans.exporters.insert(id.clone(), Box::new(Probe(world.clone())));
        plans.prints.insert(("exporter", id.clone()), print(id));
        let others = ["probe", "prober"].into_iter().filter_map(|name| id.of_type(name));
        let others = others.filter(|other| !config.exporters.contains_key(other)).collect();
        plans.namesakes.insert(("exporter", id.clone()), others);
    }
    for id in config.extensions.keys() {
        plans.extensions.insert(id.clone(), Box::new(Late));
    }
    (config, plans)
}

async fn started(yaml: &str, world: &World, shared: &Shared) -> Arc<Graph> {
    let (config, plans) = plans(yaml, world, &[]);
    let graph = Graph::build(&config, &plans, shared).expect("it can be built");
    graph.prepare().await.expect("prepared");
    graph.start().await.expect("started");
    world.events();
    Arc::new(graph)
}

/// Puts another graph to work, and does not retire the old one.
async fn succeeded(old: &Graph, yaml: &str, world: &World, changed: &[&str]) -> Arc<Graph> {
    let (config, plans) = plans(yaml, world, changed);
    let new = old.successor(&config, &plans).expect("it can be built");
    new.prepare().await.expect("prepared");
    new.take_over(old, &config).await.expect("started");
    Arc::new(new)
}

async fn replaced(old: &Arc<Graph>, yaml: &str, world: &World, changed: &[&str]) -> Arc<Graph> {
    let new = succeeded(old, yaml, world, changed).await;
    let (_tell, haste) = watch::channel(Haste::None);
    old.retirement(&new).run(in_seconds(10), haste, |_| {}, at_once()).await;
    new
}

/// There was nothing before.
fn at_once() -> Earlier<impl Future<Output = ()>, impl Future<Output = ()>> {
    Earlier { have_fed: ready(()), are_gone: ready(()) }
}

fn in_seconds(seconds: u64) -> std::time::Instant {
    (Instant::now() + Duration::from_secs(seconds)).into_std()
}

const BASE: &str = "
receivers: {source:, source/other:}
processors: {hold:}
exporters: {probe:, probe/side:}
service:
  pipelines:
    logs/a: {receivers: [source], processors: [hold], exporters: [probe]}
    logs/b: {receivers: [source/other], exporters: [probe/side, probe]}
";

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_notices_nothing() {
    let world = World::default();
    let old = started(BASE, &world, &shared()).await;
    let new = replaced(&old, BASE, &world, &[]).await;
    assert_eq!(world.events(), [] as [&str; 0]);
    assert_eq!(new.built_and_kept(), (0, 5));
    world.feed("source").await;
    new.stop((Instant::now() + Duration::from_secs(10)).into_std()).await;
    let end = world.events();
    assert!(
        end.contains(&"drain 1 of hold#1".to_owned()) && end.contains(&"drain 1 of probe#1".to_owned()),
        "{end:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_component_that_has_changed_is_built_anew_with_all_that_stands_in_front_of_it() {
    let world = World::default();
    let old = started(BASE, &world, &shared()).await;
    world.feed("source").await;

    let new = replaced(&old, BASE, &world, &["probe/side"]).await;

    // The other pipeline, which shares an exporter with it, is left alone.
    let expected = [
        "begin probe/side#2",
        "start source/other#2",
        "0 of probe/side#1 to probe/side#2",
        "stop source/other#1",
        "drain 0 of probe/side#1",
    ];
    assert_eq!(world.events(), expected);
    assert_eq!(new.built_and_kept(), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn what_a_stage_holds_goes_to_the_one_in_its_place_or_is_passed_on_by_itself() {
    let world = World::default();
    let old = started(BASE, &world, &shared()).await;
    world.feed("source").await;
    world.feed("source/other").await;

    // Without the processor, what it holds goes the old way, into an exporter that both graphs have.
    let without = BASE.replace("processors: [hold]", "processors: []");
    let new = replaced(&old, &without, &world, &[]).await;
    let events = world.events();
    assert!(events.contains(&"drain 1 of hold#1".to_owned()), "{events:?}");
    assert!(!events.iter().any(|event| event.contains("drain 0 of probe#1")), "{events:?}");

    let newer = replaced(&new, &without, &world, &["probe"]).await;
    let events = world.events();
    assert!(events.contains(&"2 of probe#1 to probe#2".to_owned()), "{events:?}");
    newer.stop((Instant::now() + Duration::from_secs(10)).into_std()).await;
    let events = world.events();
    assert!(events.contains(&"drain 2 of probe#2".to_owned()), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn one_whose_type_is_called_otherwise_takes_over_unless_that_may_be_another_one() {
    let side = |id: &str| BASE.replace("probe/side", id);
    let world = World::default();
    let old = started(&side("prober/side"), &world, &shared()).await;
    world.feed("source/other").await;
    let new = succeeded(&old, BASE, &world, &[]).await;
    let events = world.events();
    assert!(events.contains(&"1 of prober/side#1 to probe/side#1".to_owned()), "{events:?}");
    drop(new);

    // One that has been there under the present name all along has data of its own, for another destination.
    let both = side("prober/side")
        .replace("prober/side:", "prober/side:, probe/side:")
        .replace("[prober/side", "[probe/side, prober/side");
    for before in [both.clone(), both.replace("[probe/side, ", "[")] {
        let world = World::default();
        let old = started(&before, &world, &shared()).await;
        world.feed("source/other").await;
        let new = succeeded(&old, BASE, &world, &["probe/side"]).await;
        let events = world.events();
        assert!(!events.iter().any(|event| event.contains("of prober/side#1 to")), "{events:?}");
        drop(new);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_place_any_more_may_linger_and_is_drained_in_time() {
    for (hurried_after, expected) in [(60, 15), (3, 3)] {
        let world = World::default();
        let old = started(BASE, &world, &shared()).await;
        world.feed("source/other").await;
        let new = succeeded(&old, &BASE.replace("probe/side, probe]", "probe]"), &world, &[]).await;
        world.events();

        let started = Instant::now();
        let (tell, haste) = watch::channel(Haste::None);
        let hurry = async {
            sleep(Duration::from_secs(hurried_after)).await;
            tell.send_replace(Haste::All);
            pending::<()>().await;
        };
        let retirement = old.retirement(&new);
        tokio::select! {
            () = retirement.run(in_seconds(20), haste, |_| {}, at_once()) => {}
            () = hurry => {}
        }
        drop(retirement);
        assert_eq!(started.elapsed(), Duration::from_secs(expected), "enough is left to drain it");
        assert_eq!(world.events(), ["stop source/other#1", "drain 1 of probe/side#1"]);

        let stopping = Instant::now();
        new.stop((stopping + Duration::from_secs(20)).into_std()).await;
        assert_eq!(stopping.elapsed(), Duration::ZERO, "nothing lingers in the end");
        assert!(world.events().contains(&"drain 1 of probe#1".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_what_is_still_being_retired() {
    let world = World::default();
    let graph = started(BASE, &world, &shared()).await;
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    graph.stop_beside(in_seconds(20), sleep(second), sleep(second * 14)).await;
    assert_eq!(now.elapsed(), second * 14);
    let end = world.events();
    assert!(end.contains(&"drain 0 of probe#1".to_owned()), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn destinations_have_their_time_beside_further_graphs_and_what_feeds_others_makes_way() {
    let world = World::default();
    let first = started(BASE, &world, &shared()).await;
    world.feed("source").await;
    world.feed("source/other").await;
    let without = "receivers: {source:}\nexporters: {probe:}\nservice: {pipelines: {logs/a: {receivers: [source], \
                   exporters: [probe]}}}";
    let second = succeeded(&first, without, &world, &[]).await;
    let (tell, haste) = watch::channel(Haste::None);
    let begun = Instant::now();
    let has_fed = Arc::new(Mutex::new(None));
    let note = Arc::clone(&has_fed);
    let retirement = first.retirement(&second);
    let left = retirement.destinations();
    let labels = |id: &str| millrace_telemetry::Labels::new().with("exporter", id.to_owned());
    assert!(left.have(&labels("probe/side")) && !left.have(&labels("probe")), "{left:?}");
    let has_come = move |far| {
        if far == Progress::Sends {
            *note.lock().expect("no test panics here") = Some(begun.elapsed());
        }
    };
    let retiring =
        tokio::spawn(async move { retirement.run(in_seconds(40), haste, has_come, at_once()).await });

    sleep(Duration::from_secs(2)).await;
    assert_eq!(*has_fed.lock().expect("no test panics here"), None, "the processor lingers");
    tell.send_replace(Haste::Feeding);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*has_fed.lock().expect("no test panics here"), Some(Duration::from_secs(2)));

    // A further graph that has no place for it either
    let third = replaced(&second, without, &world, &["probe"]).await;
    third.take_from(&left);
    world.events();
    assert!(!retiring.is_finished());

    // and one that has.
    let fourth = replaced(&third, BASE, &world, &["probe"]).await;
    fourth.take_from(&left);
    assert!(world.events().contains(&"1 of probe/side#1 to probe/side#2".to_owned()));
    retiring.await.expect("no panic");
    assert_eq!(begun.elapsed(), Duration::from_secs(35), "it had all of its time");
    drop(first);
    assert!(!left.have(&labels("probe/side")), "it is gone");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_graph_may_feed_stays_as_it_is_until_that_has_fed() {
    let world = World::default();
    let old = started(BASE, &world, &shared()).await;
    let new = succeeded(&old, BASE, &world, &["probe"]).await;
    world.events();
    let begun = Instant::now();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&steps);
    let has_come =
        move |far| note.lock().expect("no test panics here").push((far, begun.elapsed().as_secs()));
    let earlier =
        Earlier { have_fed: sleep(Duration::from_secs(7)), are_gone: sleep(Duration::from_secs(11)) };
    let (_tell, haste) = watch::channel(Haste::None);
    let retirement = old.retirement(&new);
    let retiring =
        tokio::spawn(async move { retirement.run(in_seconds(40), haste, has_come, earlier).await });

    sleep(Duration::from_secs(6)).await;
    let events = world.events();
    assert_eq!(events, ["stop source#1", "stop source/other#1"], "receivers end, and nothing else does");

    retiring.await.expect("no panic");
    assert!(world.events().contains(&"drain 0 of probe#1".to_owned()));
    let steps = steps.lock().expect("no test panics here");
    assert_eq!(*steps, [(Progress::Feeds, 0), (Progress::Sends, 7)]);
    assert_eq!(begun.elapsed(), Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_have_what_it_needs_leaves_everything_as_it_was() {
    let world = World::default();
    let shared = shared();
    let old = started(BASE, &world, &shared).await;
    world.unlucky.lock().expect("no test panics here").push("source#2".to_owned());
    let (config, plans) = plans(BASE, &world, &["probe", "source"]);
    let new = old.successor(&config, &plans).expect("it can be built");
    let error = new.prepare().await.expect_err("the address is taken");
    assert!(error.to_string().contains("receiver `source`"), "{error}");
    drop(new);
    assert_eq!(world.events(), [] as [&str; 0]);
    world.feed("source").await;
    let new = replaced(&old, BASE, &world, &["probe"]).await;
    assert!(world.events().contains(&"start source#3".to_owned()));
    drop(new);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_start_in_the_end_keeps_nobody_else_from_working() {
    let world = World::default();
    let old = started(BASE, &world, &shared()).await;
    let late = BASE.replace("service:", "extensions: {late:}\nservice:\n  extensions: [late]");
    let (config, plans) = plans(&late, &world, &["probe/side"]);
    let new = old.successor(&config, &plans).expect("it can be built");
    new.prepare().await.expect("prepared");
    let failed = new.take_over(&old, &config).await.expect_err("it does not start");
    assert!(failed.to_string().contains("its file is gone"), "{failed}");
    let expected = ["begin probe/side#2", "start source/other#2", "0 of probe/side#1 to probe/side#2"];
    assert_eq!(world.events(), expected);
}

#[tokio::test(start_paused = true)]
async fn each_component_has_a_condition_of_its_own() {
    let world = World::default();
    let shared = shared();
    let old = started(BASE, &world, &shared).await;
    let conditions = || {
        let components = shared.health.components();
        let groups = components.groups();
        let members = groups.iter().flat_map(|group| group.members.clone());
        members
            .map(|one| (one.id.to_string(), components.status(&one).event().condition))
            .collect::<BTreeMap<_, _>>()
    };
    let without = BASE.replace("probe/side, probe]", "probe]");
    let _new = replaced(&old, &without, &world, &["probe"]).await;
    let now = conditions();
    assert!(now.values().all(|condition| *condition == Condition::Ok), "{now:?}");
    assert!(!now.contains_key("probe/side"), "{now:?}");
}
