//! The `memory_limiter` in the pipeline: it counts, and lets everything through.

use millrace_engine::component::{Context, ProcessorConfig, Shared};
use millrace_engine::entry::Route;
use millrace_engine::{Batch, Charge, Health, Origin, Piece};
use millrace_processors::memory_limiter::Counting;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;
use millrace_wire::write::{LogRecord, Logs};
use std::sync::Arc;

#[test]
fn everything_that_comes_this_far_is_let_through_and_counted_as_in_go() {
    let shared = Shared::new(Registry::new(Level::Basic), &Health::starting(), 1 << 20, 1 << 20, "test");
    let context = Context {
        shared: shared.clone(),
        kind: "processor",
        id: "memory_limiter/small".parse().expect("an id"),
        pipeline: None,
    };
    let route = Counting::default().build(context, Signal::Logs, Arc::new(Route::Fan(Vec::new())));
    let Ok(Route::Apply(limiter, _)) = route else { panic!("it is a transform") };
    let payload = Logs::build(|logs| {
        logs.record(LogRecord::default(), |_| {}).record(LogRecord::default(), |_| {});
    });
    let bytes = payload.bytes().clone();

    let batch = Batch::of(Piece { payload, origin: Origin::local(), charge: Charge::none() });
    let passed = limiter.apply(batch).expect("it refuses nothing").expect("it filters nothing");

    assert_eq!(*passed.pieces()[0].payload.bytes(), bytes);
    let (_, page) = shared.registry.render(None);
    let line = r#"otelcol_processor_memory_limiter_accepted_log_records{processor="memory_limiter/small"} 2"#;
    assert!(page.lines().any(|found| found == line), "{page}");
    assert!(shared.ledger.accounts().is_empty(), "it holds nothing, so it owes no account");
}
