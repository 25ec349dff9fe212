//! The exporter as it is configured, built and fed. What it says about requests is tested with `render`.

use super::*;
use crate::testing::{batch, commit, config, context, log, outcome, payload, plan};
use millrace_telemetry::config::LogsConfig;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_telemetry::{Labels, logs};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What the Go collector wrote for a request, with an output of its own.
fn golden(request: &str, verbosity: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/debug/testdata/{request}.{verbosity}.txt")))
}

fn request(name: &str, signal: Signal) -> millrace_wire::Payload {
    let name = format!("src/debug/testdata/{name}.json");
    payload(signal, &read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name)))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is there")
}

#[tokio::test]
async fn an_output_of_its_own_reads_as_the_go_collectors() {
    let folder = tempfile::tempdir().expect("a folder");
    for verbosity in ["basic", "normal", "detailed"] {
        let requests = [
            ("traces", Signal::Traces),
            ("metrics", Signal::Metrics),
            ("logs", Signal::Logs),
            // Every kind of metric with what can be odd in it.
            ("odd", Signal::Metrics),
        ];
        for (name, signal) in requests {
            let path = folder.path().join(format!("{name}.{verbosity}"));
            let yaml = format!(
                "{{verbosity: {verbosity}, use_internal_logger: false, output_paths: ['{}']}}",
                path.display()
            );
            let context = context("debug");
            let stage = config(&FACTORY, &yaml).build(context.clone(), signal).expect("a writable file");
            let request = request(name, signal);
            commit(&*stage, batch([request.clone()])).await.expect("shown");
            assert_eq!(read(&path), golden(name, verbosity), "{name} {verbosity}");
            assert_eq!(outcome(&context), (request.items().into(), 0));
        }
    }
}

#[tokio::test]
async fn in_the_logs_the_components_fields_stand_before_the_counts_and_after_the_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("logs");
    let logs = LogsConfig { output_paths: vec![path.display().to_string()], ..LogsConfig::default() };
    let resource = Labels::new().with("service.name", "here");
    let registry = Registry::new(Level::Basic);
    let (subscriber, guard) = logs::subscriber(&logs, &resource, &registry).expect("a writable file");
    let default = tracing::subscriber::set_default(subscriber);

    let stage = config(&FACTORY, "{verbosity: normal}").build(context("debug/2"), Signal::Logs);
    commit(&*stage.expect("it builds"), batch([log("one")])).await.expect("shown");
    drop(default);
    assert!(guard.flush(Duration::from_secs(20)), "everything is written");

    let fields = "\t{\"resource\": {\"service.name\": \"here\"}, \"otelcol.component.id\": \"debug/2\", \
                  \"otelcol.component.kind\": \"exporter\", \"otelcol.signal\": \"logs\"";
    let text = read(&path);
    let messages: Vec<&str> = text.split("\tinfo\t").skip(1).collect();
    let [counts, details] = messages[..] else { panic!("there are two messages: {text}") };
    assert!(
        counts.starts_with(&format!("Logs{fields}, \"resource logs\": 1, \"log records\": 1}}\n")),
        "{counts}"
    );
    assert_eq!(details, format!("ResourceLog #0\nScopeLog #0\none \n{fields}}}\n"));
}

#[tokio::test]
async fn messages_are_sampled_by_their_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    let yaml = format!(
        "{{verbosity: normal, use_internal_logger: false, sampling_initial: 1, sampling_thereafter: 0, \
         output_paths: ['{}', 'file://{}']}}",
        path.display(),
        folder.path().join("copy").display(),
    );
    let stage = config(&FACTORY, &yaml).build(context("debug"), Signal::Logs).expect("writable files");
    for body in ["one", "two", "two"] {
        commit(&*stage, batch([log(body)])).await.expect("shown");
    }
    let text = read(&path);
    assert_eq!(text.matches("Logs\t{").count(), 1, "{text}");
    assert_eq!((text.matches("one").count(), text.matches("two").count()), (1, 1), "{text}");
    assert_eq!(read(&folder.path().join("copy")), text, "every output gets the same");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn an_output_that_fails_costs_no_telemetry() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    let yaml = format!("{{use_internal_logger: false, output_paths: [/dev/full, '{}']}}", path.display());
    let context = context("debug");
    let stage = config(&FACTORY, &yaml).build(context.clone(), Signal::Logs).expect("writable files");
    commit(&*stage, batch([log("one")])).await.expect("taken all the same");
    assert_eq!(outcome(&context), (1, 0));
    assert_eq!(read(&path), "Logs\t{\"resource logs\": 1, \"log records\": 1}\n");
}

#[test]
fn outputs_that_cannot_be_used_are_errors_at_the_start() {
    for (path, problem) in [
        ("http://x/y", "exporter `debug`: cannot write to `http://x/y`: use stdout"),
        ("/nowhere/at/all", "exporter `debug`: cannot open `/nowhere/at/all` for writing: "),
    ] {
        let yaml = format!("{{use_internal_logger: false, output_paths: ['{path}']}}");
        let error = config(&FACTORY, &yaml).build(context("debug"), Signal::Logs).err().expect("unusable");
        assert!(error.to_string().starts_with(problem), "{error}");
    }
}

#[test]
fn configurations_are_those_of_the_go_collector() {
    for (yaml, problem) in [
        ("{output_paths: [stdout]}", "` is not supported when `use_internal_logger` is true"),
        ("{use_internal_logger: false, output_paths: []}", "` must not be empty"),
        ("{verbosity: none}", "verbosity level `none` is not supported"),
        ("{sending_queue: {queue_size: 0}}", "` must be at least 1"),
        ("{loglevel: debug}", "unknown key `loglevel`"),
        ("{sampling_initial: -1}", "error"),
    ] {
        let (config, problems) = plan(&FACTORY, yaml);
        assert!(config.is_none() && problems.contains(problem), "{yaml}: {problems}");
    }
    for yaml in
        ["{}", "{verbosity: Detailed, sampling_initial: 5, sampling_thereafter: 200, sending_queue: }"]
    {
        let (config, problems) = plan(&FACTORY, yaml);
        assert!(config.is_some() && problems.is_empty(), "{yaml}: {problems}");
    }
}
