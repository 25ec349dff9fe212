//! `millrace print-config`: what is printed is the configuration, complete, without secrets unless they are asked for,
//! and runs again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONFIG: &str = r#"
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: ${env:LISTEN:-localhost:4317}
exporters:
  otlp_grpc/b:
    endpoint: backend:4317
    tls: {insecure: true}
    headers: {x-key: "canary-$$7", a: "canary-8"}
    retry_on_failure: {max_elapsed_time: 90s}
  debug:
    sending_queue:
service:
  pipelines:
    traces/x: {receivers: [otlp], exporters: [otlp_grpc/b, debug]}
  telemetry:
    metrics: {level: Detailed}
"#;

struct Printed {
    ok: bool,
    out: String,
    err: String,
}

fn print(arguments: &[&str]) -> Printed {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace")).args(arguments).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("collector.yaml");
    fs::write(&path, text).expect("written");
    path
}

fn flag(path: &Path) -> String {
    format!("--config={}", path.display())
}

#[test]
fn it_is_complete_sorted_and_without_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = flag(&file(folder.path(), CONFIG));
    let Printed { ok, out, err } = print(&["print-config", &config]);
    assert!(ok, "{err}");
    assert!(!out.contains("canary") && !err.contains("canary"), "{out}{err}");
    for part in [
        "connectors: {}\nexporters:\n    debug:\n",
        "        headers:\n            a: \"[REDACTED]\"\n            x-key: \"[REDACTED]\"\n",
        "            max_elapsed_time: 1m30s\n            max_interval: 30s\n",
        "            grpc:\n",
        "                endpoint: localhost:4317\n",
        "            http:\n                enabled: false\n",
        "        traces/x:\n            exporters:\n                - otlp_grpc/b\n                - debug\n",
        "            level: detailed\n",
    ] {
        assert!(out.contains(part), "{part}\nis not in\n{out}");
    }
    let old_name = print(&["print-initial-config", &config]);
    assert_eq!(old_name.out, out);
}

#[test]
fn it_says_how_long_is_tried_where_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nextensions: {{file_storage: {{directory: '{}'}}}}\n\
         exporters:\n  otlp_grpc: {{endpoint: 'a:1'}}\n  \
         otlp_grpc/disk: {{endpoint: 'a:1', sending_queue: {{storage: file_storage}}}}\n  \
         otlp_grpc/never: {{endpoint: 'a:1', retry_on_failure: {{enabled: false}}}}\n\
         connectors: {{failover: {{priority_levels: [[logs/a]]}}}}\n\
         service:\n  extensions: [file_storage]\n  pipelines:\n    logs: {{receivers: [otlp], exporters: [failover]}}\n    \
         logs/a: {{receivers: [failover], exporters: [otlp_grpc, otlp_grpc/disk, otlp_grpc/never]}}\n",
        folder.path().display()
    );
    let Printed { ok, out, err } = print(&["print-config", &flag(&file(folder.path(), &config))]);
    assert!(ok, "{err}");
    let limits: Vec<_> =
        out.lines().filter(|line| line.contains("max_elapsed_time")).map(str::trim).collect();
    let expected = ["5m0s", "0s", "5m0s"].map(|limit| format!("max_elapsed_time: {limit}"));
    assert_eq!(limits, expected, "{out}");
    let again = print(&["validate", &flag(&file(folder.path(), &out.replace("\"[REDACTED]\"", "")))]);
    assert!(
        again.ok && again.err.is_empty(),
        "defaults that are written down draw no warnings: {}",
        again.err
    );
}

#[test]
fn what_is_printed_with_its_secrets_is_the_same_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = flag(&file(folder.path(), CONFIG));
    let first = print(&["print-config", "--mode=unredacted", &config]);
    assert!(first.out.contains("x-key: canary-$$7\n"), "{}", first.out);
    let again = flag(&file(folder.path(), &first.out));
    let second = print(&["print-config", "--mode", "unredacted", &again]);
    assert_eq!(second.out, first.out, "{}", second.err);
    let json = print(&["print-config", "--mode=unredacted", "--format=json", &config]);
    let again = flag(&file(folder.path(), &json.out));
    let third = print(&["print-config", "--mode=unredacted", &again]);
    assert_eq!(third.out, first.out, "{}", third.err);
}

#[test]
fn every_shipped_configuration_prints_as_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut printed = 0;
    for path in fs::read_dir(configs).expect("the folder").map(|entry| entry.expect("an entry").path()) {
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let first = print(&["print-config", "--mode=unredacted", "--validate=false", &flag(&path)]);
        assert!(first.ok, "{}\n{}", path.display(), first.err);
        let again = flag(&file(folder.path(), &first.out));
        let second = print(&["print-config", "--mode=unredacted", "--validate=false", &again]);
        assert_eq!(second.out, first.out, "{}\n{}", path.display(), second.err);
        printed += 1;
    }
    assert!(printed > 0);
}

#[test]
fn old_forms_are_printed_as_what_they_mean() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = CONFIG
        .replace("debug:\n    sending_queue:\n", "logging: {loglevel: debug}\n")
        .replace("debug]", "logging]");
    assert!(old.contains("loglevel") && old.contains("logging]"));
    let printed = print(&["print-config", &flag(&file(folder.path(), &old))]);
    assert!(printed.ok, "{}", printed.err);
    assert!(printed.out.contains("        verbosity: detailed\n"), "{}", printed.out);
    assert!(!printed.out.contains("loglevel"), "{}", printed.out);
}

#[test]
fn mistakes_are_told_unless_nobody_wants_to_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let unsound = CONFIG.replace("backend:4317", "");
    let config = flag(&file(folder.path(), &unsound));
    let refused = print(&["print-config", &config]);
    assert!(!refused.ok && refused.out.is_empty());
    assert!(refused.err.contains("exporters::otlp_grpc/b::endpoint"), "{}", refused.err);
    let printed = print(&["print-config", "--validate=false", &config]);
    assert!(printed.ok && printed.out.contains("endpoint: \"\"\n"), "{}{}", printed.out, printed.err);

    let unreadable = CONFIG.replace("90s", "[soon]");
    let config = flag(&file(folder.path(), &unreadable));
    let refused = print(&["print-config", "--validate=false", &config]);
    assert!(!refused.ok && refused.err.contains("max_elapsed_time"), "{}", refused.err);
    assert!(print(&["print-config"]).err.contains("at least one config flag must be provided"));
}
