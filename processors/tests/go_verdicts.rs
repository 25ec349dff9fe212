//! Agreement with the Go collector: which sections of these processors it accepts and which it refuses.
//!
//! `go_verdicts.txt` holds what `otelcol validate` (v0.159.0) said of each. To record again, point `GO_COLLECTOR` at a
//! collector with these processors.

use millrace_config::{Diagnostics, parse_str};
use millrace_engine::component::{Factory, ProcessorConfig};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

const FACTORIES: [Factory<dyn ProcessorConfig>; 2] =
    [millrace_processors::batch::FACTORY, millrace_processors::memory_limiter::FACTORY];

/// Where we mean to differ: a number without a unit is nanoseconds in Go, and the fraction of a count is cut off in
/// silence.
const DIFFERENCES: [&str; 2] = ["batch: {timeout: 10}", "batch: {send_batch_size: 1.5}"];

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
    let factory = FACTORIES.iter().find(|factory| section.starts_with(factory.name)).expect("known");
    let section = node.get(&[factory.name]).expect("the section is there");
    let config = (factory.plan)(section, factory.name, &mut diags);
    (config.is_some(), diags.render(&parsed.sources))
}

/// What the collector says of a configuration with that section.
fn ask(collector: &Path, section: &str) -> String {
    let name = section.split(':').next().unwrap_or_default();
    let file = std::env::temp_dir().join(format!("millrace-{name}-{}.yaml", std::process::id()));
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\nprocessors:\n  {section}\nexporters: {{nop: }}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [{name}], exporters: [nop]}}}}}}\n"
    );
    fs::write(&file, config).expect("a case written");
    let output = Command::new(collector).arg("validate").arg("--config").arg(&file).output();
    let verdict = if output.expect("the collector runs").status.success() { "ok" } else { "refused" };
    fs::remove_file(&file).expect("the case removed");
    verdict.to_owned()
}
