//! Agreement with the Go collector: which sections of these processors it accepts and which it refuses.
//!
//! `go_verdicts.txt` holds what `otelcol validate` (v0.159.0) said of each. To record again, point `GO_COLLECTOR` at a
//! collector with these processors.

#[path = "../../tests/support/go_verdicts.rs"]
mod verdicts;

use millrace_config::{Diagnostics, parse_str};
use millrace_engine::component::{Factory, ProcessorConfig};
use verdicts::Verdicts;

const FACTORIES: [Factory<dyn ProcessorConfig>; 2] =
    [millrace_processors::batch::FACTORY, millrace_processors::memory_limiter::FACTORY];

/// Where we mean to differ: a number without a unit is nanoseconds in Go, and the fraction of a count is cut off in
/// silence.
const DIFFERENCES: [&str; 2] = ["batch: {timeout: 10}", "batch: {send_batch_size: 1.5}"];

#[test]
fn the_verdict_is_the_go_collectors() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go_verdicts.txt");
    Verdicts { table, differences: &DIFFERENCES, ours, around }.compare();
}

fn ours(section: &str) -> (bool, String) {
    let mut parsed = parse_str("case.yaml", section, &|_| None);
    let node = parsed.node.take().expect("the case is YAML");
    let mut diags = Diagnostics::new();
    let factory = FACTORIES.iter().find(|factory| section.starts_with(factory.name)).expect("known");
    let section = node.get(&[factory.name]).expect("the section is there");
    let config = (factory.plan)(section, factory.name, &mut diags);
    (config.is_some(), diags.render(&parsed.sources))
}

fn around(section: &str) -> String {
    let name = section.split(':').next().unwrap_or_default();
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\nprocessors:\n  {section}\nexporters: {{nop: }}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [{name}], exporters: [nop]}}}}}}\n"
    )
}
