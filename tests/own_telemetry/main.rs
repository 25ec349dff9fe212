//! The collector's own metrics, log records and spans, pushed by the real binary to another one that writes them to
//! files: as the Go collector words them, once more at the end, and never in the way of its work.

mod spans;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Instant;
use support::metrics::Metrics;
use support::{Collector, Setup, eventually, free_port, grpc, http1, requests};

/// A collector that writes what it gets to files, and its OTLP endpoints.
pub async fn backend() -> Collector {
    Setup::of(
        "receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:{grpc}}
      http: {endpoint: 127.0.0.1:{http}, include_metadata: true}
exporters:
  file/metrics: {path: '{folder}/metrics', flush_interval: 50ms}
  file/logs: {path: '{folder}/logs', flush_interval: 50ms}
  file/traces: {path: '{folder}/traces', flush_interval: 50ms}
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    metrics: {receivers: [otlp], exporters: [file/metrics]}
    logs: {receivers: [otlp], exporters: [file/logs]}
    traces: {receivers: [otlp], exporters: [file/traces]}
",
    )
    .start()
    .await
}

/// A collector whose own telemetry is configured so, beside its metrics page. `{page}` is the page's reader.
pub async fn telling(telemetry: &str) -> Collector {
    let page = "{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}";
    let telemetry = telemetry.replace("{page}", page);
    Setup::of(&format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{{grpc}}}}
      http: {{endpoint: 127.0.0.1:{{http}}}}
processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 128}}}}
exporters: {{nop: }}
service:
  telemetry:
    {telemetry}
  pipelines:
    traces: &all {{receivers: [otlp], processors: [memory_limiter], exporters: [nop]}}
    metrics: *all
    logs: *all
"
    ))
    .start()
    .await
}

/// Every request that the backend has written of a signal.
pub fn written(backend: &Collector, signal: &str) -> Vec<Value> {
    written_since(backend, signal, &mut 0)
}

/// What it has written from there on, which is where the next time begins: what is pushed often makes large files.
fn written_since(backend: &Collector, signal: &str, from: &mut usize) -> Vec<Value> {
    let mut text = String::new();
    let read = File::open(backend.setup.folder.path().join(signal)).and_then(|mut file| {
        file.seek(SeekFrom::Start(*from as u64))?;
        file.read_to_string(&mut text)
    });
    // It is made with the first request.
    read.map_or(Vec::new(), |_| {
        // A last line may still be under way.
        let lines: Vec<_> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
        *from += lines.iter().map(|line| line.len()).sum::<usize>();
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    })
}

/// All values of an array two levels down, with those around them: `(resource, scope, item)`.
pub fn items(requests: &[Value], resources: &str, scopes: &str, items: &str) -> Vec<(Value, Value, Value)> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for request in requests {
        for resource in list(request, resources) {
            for scope in list(&resource, scopes) {
                for item in list(&scope, items) {
                    all.push((resource.clone(), scope["scope"].clone(), item));
                }
            }
        }
    }
    all
}

/// The value of an attribute, as text.
pub fn attribute(of: &Value, key: &str) -> Option<String> {
    let pairs = of["attributes"].as_array()?;
    let value = pairs.iter().find(|pair| pair["key"] == key)?["value"].as_object()?;
    let value = value.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

async fn send_logs(to: &Collector, records: usize) {
    let mut client = grpc::Client::connect(to.setup.grpc).await.expect("a connection");
    let reply = client.export("logs", &requests::logs(records)).await.expect("an answer");
    assert_eq!(reply.code, Some(0));
}

/// The points of a metric, in the order in which they were pushed.
fn points(requests: &[Value], name: &str) -> Vec<(Value, Value)> {
    let metrics = items(requests, "resourceMetrics", "scopeMetrics", "metrics");
    let named = metrics.into_iter().filter(|(_, _, metric)| metric["name"] == name);
    let points = named.flat_map(|(_, _, metric)| {
        let data = ["sum", "gauge", "histogram", "exponentialHistogram"]
            .into_iter()
            .find_map(|kind| metric.get(kind));
        let data = data.expect("data").clone();
        let points = data["dataPoints"].as_array().expect("points").clone();
        points.into_iter().map(move |point| (data.clone(), point))
    });
    points.collect()
}

#[tokio::test]
async fn metrics_are_pushed_over_both_protocols_and_once_more_at_the_end() {
    let backend = backend().await;
    let (grpc, http) = (backend.setup.grpc, backend.setup.http);
    // An hour apart, so that only the last push comes.
    let collector = telling(&format!(
        "metrics:
      level: detailed
      readers:
        - {{page}}
        - periodic: {{interval: 3600000, exporter: {{otlp: {{protocol: grpc, endpoint: 'http://{grpc}', compression: gzip, temporality_preference: delta}}}}}}
        - periodic: {{interval: 3600000, exporter: {{otlp: {{protocol: http/protobuf, endpoint: 'http://{http}', headers: [{{name: x-key, value: secret}}]}}}}}}
      views:
        - selector: {{instrument_name: otelcol_processor_internal_duration}}
          stream: {{aggregation: {{base2_exponential_bucket_histogram: {{max_size: 20}}}}}}
    resource: {{attributes: [{{name: region, value: eu}}, {{name: service.version, value: null}}]}}"
    ))
    .await;
    send_logs(&collector, 3).await;
    collector.stopped_by("TERM").await.assert_clean();
    let requests = written(&backend, "metrics");
    let accepted = points(&requests, "otelcol_receiver_accepted_log_records");
    let mut temporalities: Vec<_> =
        accepted.iter().map(|(data, _)| data["aggregationTemporality"].as_u64()).collect();
    temporalities.sort();
    assert_eq!(temporalities, [Some(1), Some(2)]);
    for (_, point) in &accepted {
        assert_eq!(point["asInt"], "3");
        assert_eq!(attribute(point, "transport").as_deref(), Some("grpc"));
    }
    let resource = &requests[0]["resourceMetrics"][0]["resource"];
    assert_eq!(attribute(resource, "region").as_deref(), Some("eu"));
    assert_eq!(attribute(resource, "service.name").as_deref(), Some("millrace"));
    assert_eq!(attribute(resource, "service.version"), None);
    let durations = points(&requests, "otelcol_processor_internal_duration");
    assert!(durations.iter().all(|(_, point)| point.get("scale").is_some()), "{durations:?}");
    assert_eq!(durations.len(), 2);
    backend.finish().await;
}

#[tokio::test]
async fn what_is_pushed_in_differences_adds_up() {
    let backend = backend().await;
    let grpc = backend.setup.grpc;
    let collector = telling(&format!(
        "metrics: {{readers: [{{page}}, {{periodic: {{interval: 250, exporter: {{otlp: {{protocol: grpc, endpoint: {grpc}, insecure: true, temporality_preference: lowmemory}}}}}}}}]}}"
    ))
    .await;
    let (mut from, mut sum) = (0, 0);
    for sent in 1..=3 {
        send_logs(&collector, 5).await;
        eventually("the push", || {
            let new = written_since(&backend, "metrics", &mut from);
            let number = |point: &Value| point["asInt"].as_str().and_then(|n| n.parse::<u64>().ok());
            let points = points(&new, "otelcol_receiver_accepted_log_records");
            sum += points.iter().map(|(_, point)| number(point).expect("a number")).sum::<u64>();
            let pushed = sum;
            async move { if pushed == 5 * sent { Ok(()) } else { Err(pushed.to_string()) } }
        })
        .await;
    }
    collector.finish().await;
}

#[tokio::test]
async fn own_logs_arrive_as_log_records_to_the_last_one() {
    let backend = backend().await;
    let (grpc, http) = (backend.setup.grpc, backend.setup.http);
    let collector = telling(&format!(
        "metrics: {{readers: [{{page}}]}}
    logs:
      initial_fields: {{only: lines}}
      processors:
        - batch: {{exporter: {{otlp: {{protocol: http/protobuf, endpoint: 'http://{http}'}}}}}}
        - simple: {{exporter: {{otlp: {{protocol: grpc, endpoint: 'http://{grpc}'}}}}}}"
    ))
    .await;
    let stopped = collector.finish().await;
    let records = items(&written(&backend, "logs"), "resourceLogs", "scopeLogs", "logRecords");
    let said = |text: &str| {
        let fits = |record: &Value| {
            record["body"]["stringValue"].as_str().is_some_and(|said| said.starts_with(text))
        };
        records.iter().filter(|(_, _, record)| fits(record)).cloned().collect::<Vec<_>>()
    };
    // Each processor sends each.
    let [(resource, scope, started), _] = &said("Starting GRPC server")[..] else {
        panic!("{}", stopped.log)
    };
    assert_eq!(attribute(&resource["resource"], "service.name").as_deref(), Some("millrace"));
    assert_eq!(scope["name"], "go.opentelemetry.io/collector/service");
    assert_eq!(attribute(scope, "otelcol.component.id").as_deref(), Some("otlp"));
    assert_eq!((&started["severityNumber"], &started["severityText"]), (&9.into(), &"info".into()));
    assert!(attribute(started, "endpoint").is_some());
    assert!(attribute(started, "code.file.path").is_some_and(|path| path.contains("receivers/src/otlp/")));
    assert_eq!(said("Shutdown complete").len(), 2);
    let lines =
        stopped.log.lines().filter(|line| line.contains("\tinfo\t") || line.contains("\twarn\t")).count();
    assert!(records.len() <= 2 * lines, "{} records of {lines} lines", records.len());
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_in_nobodys_way() {
    let (begun, nowhere) = (Instant::now(), free_port());
    let otlp = format!("{{otlp: {{protocol: grpc, endpoint: 'http://127.0.0.1:{nowhere}'}}}}");
    let collector = telling(&format!(
        "metrics: {{readers: [{{page}}, {{periodic: {{interval: 50, exporter: {otlp}}}}}]}}
    logs: {{processors: [{{batch: {{schedule_delay: 10, max_queue_size: 2, max_export_batch_size: 1, exporter: {otlp}}}}}]}}
    traces: {{processors: [{{simple: {{exporter: {otlp}}}}}]}}"
    ))
    .await;
    let count = |metrics: &Metrics, name: &str, signal: &str| metrics.sum(name, &[("signal", signal)]);
    let failures = "otelcol_millrace_own_telemetry_failures";
    collector
        .metrics_when("the failures are counted", |metrics| {
            ["metrics", "logs"].iter().all(|signal| count(metrics, failures, signal) > 0.0)
        })
        .await;
    let dropped = |metrics: &Metrics| count(metrics, "otelcol_millrace_own_telemetry_dropped", "logs");
    // One is being sent and two wait; the lines of the start were more.
    collector.metrics_when("what has no room is dropped", |metrics| dropped(metrics) > 0.0).await;
    let stopped = collector.finish().await;
    // What is said about sending is written, and is not sent itself.
    assert!(stopped.log.contains("sending own telemetry failed"), "{}", stopped.log);
    let said = stopped.log.matches("sending own telemetry failed").count() as u64;
    // One for each ten seconds.
    assert!(said <= 1 + begun.elapsed().as_secs() / 10, "said {said} times");
}

#[tokio::test]
async fn the_console_shows_requests_as_json() {
    let collector = telling(
        "metrics: {readers: [{page}, {periodic: {interval: 3600000, exporter: {console: {}}}}]}
    logs: {processors: [{simple: {exporter: {console: {}}}}]}",
    )
    .await;
    http1::get(collector.setup.metrics, "/metrics").await.expect("the page");
    let log = collector.finish().await.log;
    let requests: Vec<Value> = log
        .lines()
        .filter(|line| line.starts_with("{\"resource"))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(points(&requests, "otelcol_process_uptime").len(), 1);
    let records = items(&requests, "resourceLogs", "scopeLogs", "logRecords");
    assert!(records.iter().any(|(_, _, record)| record["body"]["stringValue"] == "Starting shutdown..."));
}
