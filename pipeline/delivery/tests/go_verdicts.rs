//! Agreement with the Go collector: which `sending_queue`, `retry_on_failure` and `timeout` it accepts.
//!
//! `go_verdicts.txt` holds what `otelcol validate` (v0.159.0) said of each. To record again, point `GO_COLLECTOR` at a
//! collector with its `otlp_grpc` exporter.

#[path = "../../../tests/support/go_verdicts.rs"]
mod verdicts;

use millrace_config::{Diagnostics, decode, parse_str};
use millrace_delivery::DeliveryConfig;
use verdicts::Verdicts;

/// Where we mean to differ: batches are not counted in requests, so to say that the queue is says nothing of them.
const DIFFERENCES: [&str; 1] = ["sending_queue: {sizer: requests, queue_size: 10, batch: {min_size: 11}}"];

#[test]
fn the_verdict_is_the_go_collectors() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go_verdicts.txt");
    Verdicts { table, differences: &DIFFERENCES, ours, around }.compare();
}

fn ours(section: &str) -> (bool, String) {
    let mut parsed = parse_str("case.yaml", section, &|_| None);
    let node = parsed.node.take().expect("the case is YAML");
    let mut diags = Diagnostics::new();
    let config = decode::<DeliveryConfig>(&node, "exporters::otlp_grpc", &mut diags);
    (config.is_some(), diags.render(&parsed.sources))
}

fn around(section: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\nexporters:\n  otlp_grpc:\n    endpoint: localhost:1\n    {section}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc]}}}}}}\n"
    )
}
