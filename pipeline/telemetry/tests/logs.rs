//! The lines we write against those that the Go collector writes. See `goldens/README.md`.

use std::path::Path;
use std::time::Duration;

use millrace_telemetry::catalogue::millrace::LOG_LINES_DROPPED;
use millrace_telemetry::config::{Encoding, LogLevel, LogsConfig, Sampling};
use millrace_telemetry::logs::{self, LogGuard};
use millrace_telemetry::{Labels, Level, Registry, warn_sparingly};
use tracing::{Span, debug, error, error_span, info, info_span, warn};

/// As the targets of our crates are.
const OURS: &str = "millrace_test";
const ENOUGH: Duration = Duration::from_secs(20);

/// What is written to a file while `act` runs.
fn written(
    config: LogsConfig,
    resource: &Labels,
    registry: &Registry,
    act: impl FnOnce(&LogGuard),
) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let output_paths = vec![path.to_string_lossy().into_owned()];
    let config = LogsConfig { output_paths, ..config };
    let (subscriber, guard) = logs::subscriber(&config, resource, registry).expect("a file can be written");
    tracing::subscriber::with_default(subscriber, || act(&guard));
    assert!(guard.flush(ENOUGH));
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines().map(str::to_owned).collect()
}

fn written_with(config: LogsConfig, act: impl FnOnce(&LogGuard)) -> Vec<String> {
    written(config, &Labels::new(), &Registry::new(Level::Basic), act)
}

fn golden(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    std::fs::read_to_string(path).expect("the golden is there").lines().map(str::to_owned).collect()
}

fn component(id: &'static str, kind: &'static str) -> Span {
    info_span!(
        target: OURS,
        "component",
        otelcol.component.id = id,
        otelcol.component.kind = kind,
        otelcol.signal = tracing::field::Empty
    )
}

/// What the Go collector said, in our words.
fn the_same_events(receiver_endpoint: &str, exporter: &'static str, exporter_endpoint: &str) {
    info!(target: OURS, "Everything is ready. Begin running and processing data.");
    component("otlp", "receiver").in_scope(|| {
        info!(target: OURS, endpoint = receiver_endpoint, "Starting GRPC server");
    });
    let span = component(exporter, "exporter");
    span.record("otelcol.signal", "metrics");
    span.in_scope(|| {
        let error = format!(
            "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial \
             tcp {exporter_endpoint}: connect: connection refused\""
        );
        error!(
            target: OURS,
            error,
            dropped_items = 1,
            "Exporting failed. Dropping data. Try enabling retry_on_failure config option to retry on retryable errors."
        );
    });
}

fn resource() -> Labels {
    Labels::from([
        ("service.name", "otelcol-contrib"),
        ("service.version", "0.159.0"),
        ("service.instance.id", "11111111-2222-3333-4444-555555555555"),
    ])
}

#[test]
fn console_lines_are_those_of_the_go_collector() {
    let without_time_and_caller = |line: &String| {
        let parts: Vec<&str> = line.split('\t').collect();
        let [time, level, caller, rest @ ..] = parts.as_slice() else { panic!("{line}") };
        assert_eq!(time.len(), "2026-11-20T19:45:08.742Z".len());
        assert!(caller.contains(".go:") || caller.starts_with("tests/logs.rs:"), "{caller}");
        format!("{level}\t{}", rest.join("\t"))
    };

    let ours = written(LogsConfig::default(), &resource(), &Registry::new(Level::Basic), |_| {
        the_same_events("127.0.0.1:24311", "otlp_grpc", "127.0.0.1:24321");
    });

    let theirs = golden("logs.console.txt");
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(without_time_and_caller(ours), without_time_and_caller(theirs));
    }
}

#[test]
fn json_lines_are_those_of_the_go_collector() {
    let without_time_and_caller = |line: &String| {
        let (before, rest) = line.split_once("\"ts\":\"").expect("a time");
        let (time, rest) = rest.split_once("\",\"caller\":\"").expect("a caller after the time");
        assert_eq!(time.len(), "2026-11-20T19:45:08.742Z".len());
        let (_, rest) = rest.split_once("\",\"msg\":").expect("a message after the caller");
        format!("{before}{rest}")
    };
    let initial_fields = [("site".to_owned(), "x".into()), ("n".to_owned(), 3.into())].into();
    let config = LogsConfig { encoding: Encoding::Json, initial_fields, ..LogsConfig::default() };
    let resource = resource().with("deployment.note", "a \"quoted\" \\ back\nline");

    let ours = written(config, &resource, &Registry::new(Level::Basic), |_| {
        the_same_events("127.0.0.1:24311", "otlp_grpc/dead", "127.0.0.1:24399");
    });

    let theirs = golden("logs.json.txt");
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(without_time_and_caller(ours), without_time_and_caller(theirs));
        serde_json::from_str::<serde_json::Value>(ours).expect("it is JSON");
    }
}

#[test]
fn every_kind_of_field_is_written_as_json() {
    let config = LogsConfig {
        encoding: Encoding::Json,
        disable_caller: true,
        disable_zap_resource: true,
        ..LogsConfig::default()
    };
    let lines = written(config, &resource(), &Registry::new(Level::Basic), |_| {
        let failure: &(dyn std::error::Error + 'static) = &std::io::Error::other("no \"luck\"\u{7}");
        info!(
            target: OURS,
            whole = -3,
            large = u64::MAX,
            part = 0.5,
            odd = f64::NAN,
            yes = true,
            list = ?["a", "b"],
            shown = %"x",
            failure,
            "all {}",
            "kinds"
        );
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("it is JSON");
    let mut expected = serde_json::json!({
        "level": "info", "msg": "all kinds", "whole": -3, "large": u64::MAX, "part": 0.5, "odd": "NaN", "yes": true,
        "list": "[\"a\", \"b\"]", "shown": "x", "failure": "no \"luck\"\u{7}",
    });
    expected["ts"] = line["ts"].clone();
    assert_eq!(line, expected);
}

#[test]
fn levels_below_the_configured_one_are_not_written_and_it_can_change() {
    let config = LogsConfig { level: LogLevel::Warn, ..LogsConfig::default() };
    let say = || {
        debug!(target: OURS, "debug");
        info!(target: OURS, "info");
        component("otlp", "receiver").in_scope(|| warn!(target: OURS, "warn"));
        error_span!(target: "h2", "library").in_scope(|| error!(target: OURS, "error"));
    };
    let lines = written_with(config, |guard| {
        say();
        guard.set_level(LogLevel::Debug);
        say();
        guard.set_level(LogLevel::Fatal);
        say();
    });
    let messages: Vec<&str> = lines.iter().filter_map(|line| line.split('\t').nth(3)).collect();
    assert_eq!(messages, ["warn", "error", "debug", "info", "warn", "error"]);
    assert!(lines[0].contains("\"otelcol.component.id\": \"otlp\""), "{}", lines[0]);
}

#[test]
fn libraries_are_heard_when_they_warn() {
    let say = || {
        info!(target: "h2::client", "library info");
        warn!(target: "h2::client", "library warning");
        debug!(target: "h2::client", "library debug");
    };
    let lines = written_with(LogsConfig::default(), |guard| {
        say();
        guard.set_level(LogLevel::Debug);
        say();
    });
    let messages: Vec<&str> = lines.iter().filter_map(|line| line.split('\t').nth(3)).collect();
    assert_eq!(messages, ["library warning", "library info", "library warning"]);
}

#[test]
fn repeated_lines_are_sampled_and_counted() {
    let registry = Registry::new(Level::Basic);
    let sampling =
        Sampling { tick: Duration::from_secs(3600).into(), initial: 2, thereafter: 5, ..Sampling::default() };
    let config = LogsConfig { sampling: Some(sampling), ..LogsConfig::default() };
    let lines = written(config, &Labels::new(), &registry, |_| {
        for number in 0..12 {
            info!(target: OURS, number, "again");
        }
    });
    let numbers: Vec<&str> = lines.iter().filter_map(|line| line.split('\t').nth(4)).collect();
    assert_eq!(numbers, ["{\"number\": 0}", "{\"number\": 1}", "{\"number\": 6}", "{\"number\": 11}"]);
    let sampled = registry.counter(&LOG_LINES_DROPPED, &Labels::from([("reason", "sampled")]));
    assert_eq!(sampled.value(), 8);
}

#[test]
fn a_line_break_in_a_field_does_not_start_a_line() {
    let lines = written_with(LogsConfig::default(), |_| {
        info!(target: OURS, from_client = "a\nb\tc", "said");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with("said\t{\"from_client\": \"a\\nb\\tc\"}"), "{}", lines[0]);
}

#[test]
fn nothing_in_a_line_is_obeyed_by_a_terminal() {
    let lines = written_with(LogsConfig::default(), |_| {
        info!(target: OURS, field = "\u{1b}[1A\u{9b}2J", "it said {}", "\u{1b}[2J\r\u{9b}2J\u{7f}");
    });
    let shown = r#"it said \u001b[2J\u000d\u009b2J\u007f	{"field": "\u001b[1A\u009b2J"}"#;
    assert!(lines[0].ends_with(shown), "{}", lines[0]);
}

#[test]
fn warnings_that_clients_cause_are_written_sparingly() {
    let lines = written_with(LogsConfig { sampling: None, ..LogsConfig::default() }, |_| {
        for peer in 0..1_000 {
            warn_sparingly!(target: OURS, peer, "malformed request");
        }
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("malformed request\t{\"suppressed\": 0, \"peer\": 0}"), "{}", lines[0]);
}

#[test]
fn many_threads_write_whole_lines() {
    let registry = Registry::new(Level::Basic);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let output_paths = vec![path.to_string_lossy().into_owned()];
    let config = LogsConfig { output_paths, sampling: None, ..LogsConfig::default() };
    let (subscriber, guard) =
        logs::subscriber(&config, &Labels::new(), &registry).expect("a file can be written");
    let dispatch = tracing::Dispatch::new(subscriber);

    std::thread::scope(|scope| {
        for thread in 0..4 {
            let dispatch = &dispatch;
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    for number in 0..1_000 {
                        info!(target: OURS, thread, number, "counting");
                    }
                });
            });
        }
    });
    drop(dispatch);
    drop(guard);

    let text = std::fs::read_to_string(path).expect("the file is there");
    let dropped = registry.counter(&LOG_LINES_DROPPED, &Labels::from([("reason", "buffer_full")])).value();
    assert_eq!(text.lines().count() as u64 + dropped, 4_000);
    assert!(text.lines().all(|line| line.ends_with('}') && line.contains("\tcounting\t{\"thread\": ")));
}
