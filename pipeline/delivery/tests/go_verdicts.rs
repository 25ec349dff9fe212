//! Agreement with the Go collector: which `sending_queue`, `retry_on_failure` and `timeout` it accepts.
//!
//! `go_verdicts.txt` holds what `otelcol validate` (v0.159.0) said of each. To record again, point `GO_COLLECTOR` at a
//! collector with its `otlp_grpc` exporter.

use millrace_config::{Diagnostics, decode, parse_str};
use millrace_delivery::DeliveryConfig;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where we mean to differ: batches are not counted in requests, so to say that the queue is says nothing of them.
const DIFFERENCES: [&str; 1] = ["sending_queue: {sizer: requests, queue_size: 10, batch: {min_size: 11}}"];

#[test]
fn the_verdict_is_the_go_collectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go_verdicts.txt");
    let mut recorded = fs::read_to_string(&path).expect("the verdicts");
    if let Some(collector) = std::env::var_os("GO_COLLECTOR") {
        let again = recorded.lines().map(|line| match case(line) {
            Some((_, section)) => format!("{}\t{section}\n", ask(collector.as_ref(), section)),
            None => format!("{line}\n"),
        });
        recorded = again.collect();
        fs::write(&path, &recorded).expect("the verdicts written");
    }
    let cases: Vec<(&str, &str)> = recorded.lines().filter_map(case).collect();
    assert!(cases.len() > 40, "the table is read");
    let mut wrong = String::new();
    for (go, section) in cases {
        let (accepted, problems) = ours(section);
        let differs = DIFFERENCES.contains(&section);
        if (accepted == (go == "ok")) == differs {
            writeln!(wrong, "the Go collector says {go} to `{section}`; we say\n{problems}").expect("memory");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A verdict and a section in one line, separated by a tab.
fn case(line: &str) -> Option<(&str, &str)> {
    line.split_once('\t').filter(|_| !line.starts_with('#'))
}

fn ours(section: &str) -> (bool, String) {
    let mut parsed = parse_str("case.yaml", section, &|_| None);
    let node = parsed.node.take().expect("the case is YAML");
    let mut diags = Diagnostics::new();
    let config = decode::<DeliveryConfig>(&node, "exporters::otlp_grpc", &mut diags);
    (config.is_some(), diags.render(&parsed.sources))
}

/// What the collector says of an exporter with that section.
fn ask(collector: &Path, section: &str) -> String {
    let file = std::env::temp_dir().join(format!("millrace-delivery-{}.yaml", std::process::id()));
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\nexporters:\n  otlp_grpc:\n    endpoint: localhost:1\n    {section}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc]}}}}}}\n"
    );
    fs::write(&file, config).expect("a case written");
    let output = Command::new(collector).arg("validate").arg("--config").arg(&file).output();
    let verdict = if output.expect("the collector runs").status.success() { "ok" } else { "refused" };
    fs::remove_file(&file).expect("the case removed");
    verdict.to_owned()
}
