//! The `forward` connector links pipelines and adds nothing.

use millrace_config::PipelineId;
use millrace_connectors::forward::FACTORY;
use millrace_engine::Health;
use millrace_engine::component::{ConnectorConfig, Context, Shared};
use millrace_engine::entry::Route;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;
use std::sync::Arc;

fn context() -> Context {
    let shared = Shared::new(Registry::new(Level::Basic), &Health::starting(), 1 << 20, 1 << 20, "test");
    Context { shared, kind: "connector", id: "forward".parse().expect("an id"), pipeline: None }
}

fn plan(yaml: &str) -> Option<Box<dyn ConnectorConfig>> {
    let parsed = millrace_config::parse_str("test.yaml", yaml, &|_| None);
    let node = parsed.node.expect("the test's YAML is in form");
    (FACTORY.plan)(&node, "connectors::forward", &mut millrace_config::Diagnostics::new())
}

fn outputs(ids: &[&str]) -> Vec<(PipelineId, Arc<Route>)> {
    let output = |id: &&str| (id.parse().expect("an id"), Arc::new(Route::Fan(Vec::new())));
    ids.iter().map(output).collect()
}

#[test]
fn one_pipeline_behind_it_is_the_way_itself() {
    let outputs = outputs(&["logs/a", "traces"]);
    let only = Arc::clone(&outputs[0].1);
    let route = plan("{}").expect("a plan").build(context(), Signal::Logs, outputs).expect("built");
    assert!(Arc::ptr_eq(&route, &only));
}

#[test]
fn several_pipelines_behind_it_all_get_a_copy() {
    let outputs = outputs(&["logs/a", "traces", "logs/b"]);
    let route = plan("{}").expect("a plan").build(context(), Signal::Logs, outputs.clone()).expect("built");
    let Route::Fan(branches) = route.as_ref() else { panic!("it fans out") };
    assert!(Arc::ptr_eq(&branches[0], &outputs[0].1) && Arc::ptr_eq(&branches[1], &outputs[2].1));
    assert_eq!(branches.len(), 2);
}

#[test]
fn with_nothing_behind_it_it_is_not_built() {
    let built = plan("{}").expect("a plan").build(context(), Signal::Metrics, outputs(&["logs"]));
    let Err(error) = built else { panic!("metrics would vanish") };
    assert_eq!(
        error.to_string(),
        "connector `forward`: no metrics pipeline lists it among its receivers; add it to one"
    );
}

#[test]
fn it_has_no_keys() {
    assert!(plan("{}").is_some());
    assert!(plan("").is_some());
    assert!(plan("{to: logs}").is_none());
}
