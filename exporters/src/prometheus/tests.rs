//! The exporter as a whole: against what the Go collector serves for the same requests, and at its limits.
//!
//! `testdata/cases.json` is written by `tests/peers/recorders/prometheus_cases.py`, and the files beside it are what
//! `tests/peers/recorders/prometheus_exporter.py` has recorded.

mod limits;

use super::config::{Config, DEFAULTS};
use super::{FACTORY, Prometheus};
use crate::testing::{batch, context, payload, plan};
use millrace_config::{Diagnostics, parse_str};
use millrace_delivery::Sender as _;
use millrace_engine::component::Context;
use millrace_wire::Signal;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PLAIN: &str = "text/plain;version=0.0.4";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
const FORMATS: [(&str, &str); 4] = [
    ("plain.txt", PLAIN),
    ("utf8.txt", "text/plain;version=0.0.4;escaping=allow-utf-8"),
    ("openmetrics.txt", "application/openmetrics-text;version=1.0.0"),
    ("protobuf.binpb", PROTOBUF),
];

/// An exporter under a configuration, in JSON, of its own keys.
fn started(context: &Context, mut keys: Value) -> Prometheus {
    keys["endpoint"] = json!("127.0.0.1:0");
    let parsed = parse_str("test.yaml", &keys.to_string(), &|_| None);
    let mut diags = Diagnostics::new();
    let node = parsed.node.expect("JSON is YAML");
    let config = millrace_config::decode_over::<Config>(DEFAULTS, &node, "exporters::prometheus", &mut diags);
    let config = config.unwrap_or_else(|| panic!("{}", diags.render(&parsed.sources)));
    let exporter = Prometheus::start(&config, context).expect("a free port");
    exporter.begin();
    exporter
}

/// Sends a request in OTLP/JSON; how many of its data points were not taken.
fn send_at(exporter: &Prometheus, request: &Value, now: Instant) -> u64 {
    exporter.intake.take(&batch([payload(Signal::Metrics, &request.to_string())]), now)
}

fn send(exporter: &Prometheus, request: &Value) -> u64 {
    send_at(exporter, request, Instant::now())
}

/// Asks as a scraper does; the head of the answer, and its body.
fn ask(exporter: &Prometheus, target: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(&exporter.address).expect("it listens");
    write!(stream, "GET {target} HTTP/1.0\r\n{headers}\r\n").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).expect("a head is text").to_lowercase(), body)
}

fn scrape(exporter: &Prometheus, accept: &str) -> Vec<u8> {
    let (head, body) = ask(exporter, "/metrics", &format!("Accept: {accept}\r\n"));
    assert!(head.starts_with("http/1.0 200"), "{head}");
    body
}

fn text(exporter: &Prometheus) -> String {
    String::from_utf8(scrape(exporter, PLAIN)).expect("text is UTF-8")
}

/// One gauge's request.
fn gauge(name: &str, attributes: &Value, value: f64) -> Value {
    let attributes: Vec<Value> = attributes
        .as_object()
        .expect("attributes")
        .iter()
        .map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
        .collect();
    let point = json!({"timeUnixNano": "1700000000000000000", "asDouble": value, "attributes": attributes});
    one(&json!({"name": name, "gauge": {"dataPoints": [point]}}))
}

fn one(metric: &Value) -> Value {
    json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
}

fn refused(context: &Context, reason: &str) -> f64 {
    let (_, text) = context.shared.registry.render(None);
    let label = format!("reason=\"{reason}\"}} ");
    let lines = text.lines().filter(|line| line.starts_with("otelcol_millrace_prometheus_refused_points{"));
    let counts = lines.filter_map(|line| line.split_once(&label)).map(|(_, count)| count.parse());
    counts.map(|count: Result<f64, _>| count.expect("a number")).sum()
}

#[tokio::test]
async fn what_is_served_is_what_the_go_collector_serves() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/prometheus/testdata");
    let cases = std::fs::read_to_string(folder.join("cases.json")).expect("cases.json");
    let cases: Value = serde_json::from_str(&cases).expect("it is JSON");
    let mut compared = 0;
    for (name, case) in cases.as_object().expect("cases") {
        let mut config = case.get("config").cloned().unwrap_or(json!({}));
        config["max_series"] = json!(1000);
        let exporter = started(&context("prometheus"), config);
        for request in case["requests"].as_array().expect("requests") {
            send(&exporter, request);
        }
        for (suffix, accept) in FORMATS {
            let Ok(theirs) = std::fs::read(folder.join(format!("{name}.{suffix}"))) else { continue };
            let ours = scrape(&exporter, accept);
            if suffix.ends_with(".txt") {
                let ours = String::from_utf8(ours).expect("text is UTF-8");
                let theirs = String::from_utf8(theirs).expect("text is UTF-8");
                for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
                    assert_eq!(ours, theirs, "{name}.{suffix}, line {}", number + 1);
                }
                assert_eq!(ours.lines().count(), theirs.lines().count(), "{name}.{suffix}");
            } else {
                let same = ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count();
                let around = |bytes: &[u8]| {
                    String::from_utf8_lossy(&bytes[same.saturating_sub(200)..(same + 40).min(bytes.len())])
                        .into_owned()
                };
                assert!(
                    ours == theirs,
                    "{name}.{suffix}, byte {same}\n{:?}\n{:?}",
                    around(&ours),
                    around(&theirs)
                );
            }
            compared += 1;
        }
    }
    assert!(compared > 35, "only {compared} files");
}

#[tokio::test]
async fn series_expire_and_give_back_what_they_took() {
    let context = context("prometheus");
    let exporter = started(&context, json!({"metric_expiration": "10s", "without_scope_info": true}));
    let start = Instant::now();
    let resource = |name: &str| {
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": name}},
        {"key": "service.instance.id", "value": {"stringValue": name}}]})
    };
    for (name, after) in [("old", 0), ("new", 8)] {
        let mut request = gauge("g", &json!({}), 1.0);
        request["resourceMetrics"][0]["resource"] = resource(name);
        assert_eq!(send_at(&exporter, &request, start + Duration::from_secs(after)), 0);
    }
    let store = &exporter.intake.store;
    assert_eq!(store.series(), 4, "two series and two resources");
    let shown = |seconds| {
        let (targets, series) = store.shown(start + Duration::from_secs(seconds));
        (targets.len(), series.len())
    };
    assert_eq!(shown(10), (2, 2));
    assert_eq!(shown(11), (1, 1));
    store.sweep(start + Duration::from_secs(11));
    assert_eq!(store.series(), 2);
    store.sweep(start + Duration::from_secs(19));
    assert_eq!((store.series(), store.bytes(), context.shared.intake.used()), (0, 0, 0));
}

#[tokio::test]
async fn of_one_name_the_first_type_holds_until_it_ends() {
    let context = context("prometheus");
    let exporter = started(&context, json!({"without_scope_info": true}));
    let point = json!({"timeUnixNano": "1700000000000000000", "asInt": "1"});
    let sum = one(
        &json!({"name": "a.total", "sum": {"dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": true}}),
    );
    assert_eq!(send(&exporter, &gauge("a_total", &json!({}), 1.0)), 0);
    assert_eq!(send(&exporter, &sum), 1);
    assert_eq!(refused(&context, "type_conflict"), 1.0);
    // What would be read as part of it is another type as well.
    let histogram = |name: &str| {
        one(&json!({"name": name, "histogram": {"aggregationTemporality": 2,
        "dataPoints": [{"timeUnixNano": "1700000000000000000", "count": "0"}]}}))
    };
    assert_eq!(send(&exporter, &gauge("h_sum", &json!({}), 1.0)), 0);
    assert_eq!(send(&exporter, &histogram("h")), 1);
    assert_eq!(send(&exporter, &histogram("i")), 0);
    assert_eq!(send(&exporter, &gauge("i_bucket", &json!({}), 1.0)), 1);

    let ended = json!({"timeUnixNano": "1700000000000000001", "flags": 1});
    assert_eq!(send(&exporter, &one(&json!({"name": "a_total", "gauge": {"dataPoints": [ended]}}))), 0);
    assert_eq!(send(&exporter, &sum), 0);
    assert!(text(&exporter).contains("# TYPE a_total counter\na_total 1\n"));
}

#[tokio::test]
async fn two_series_never_look_the_same() {
    let context = context("prometheus");
    let exporter = started(&context, json!({"without_scope_info": true}));
    assert_eq!(send(&exporter, &gauge("a.b", &json!({"k.x": "1"}), 1.0)), 0);
    assert_eq!(send(&exporter, &gauge("a_b", &json!({"k_x": "1"}), 2.0)), 1);
    assert_eq!(refused(&context, "duplicate"), 1.0);
    assert!(text(&exporter).contains("a_b{k_x=\"1\"} 1\n"));
}

#[tokio::test]
async fn attributes_that_get_one_name_are_joined_and_own_labels_hold() {
    let exporter =
        started(&context("p"), json!({"without_scope_info": true, "const_labels": {"env": "prod"}}));
    assert_eq!(send(&exporter, &gauge("g", &json!({"k.x": "1", "k_x": "2", "env": "dev"}), 1.0)), 0);
    let text = text(&exporter);
    assert!(text.contains("g{env=\"prod\",exported_env=\"dev\",k_x=\"1;2\"} 1\n"), "{text}");
}

/// The line that is expected was served by the Go collector.
#[tokio::test]
async fn what_job_and_instance_are_made_of_is_no_label_besides_where_that_is_asked_for() {
    let conversion = json!({"enabled": true, "exclude_service_attributes": true});
    let exporter = started(&context("p"), json!({"resource_to_telemetry_conversion": conversion}));
    let mut request = gauge("load", &json!({"service.name": "own"}), 1.0);
    let resource = [
        ("service.name", "shop"),
        ("service.namespace", "ns"),
        ("service.instance.id", "i1"),
        ("host.name", "h"),
    ];
    let attributes = resource.map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
    request["resourceMetrics"][0]["resource"] = json!({"attributes": attributes});
    request["resourceMetrics"][0]["scopeMetrics"][0]["scope"] = json!({"name": "s"});
    assert_eq!(send(&exporter, &request), 0);
    let text = text(&exporter);
    let line = "load{host_name=\"h\",instance=\"i1\",job=\"ns/shop\",otel_scope_name=\"s\",\
                otel_scope_schema_url=\"\",otel_scope_version=\"\",service_name=\"own\"} 1\n";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn scopes_whose_labels_are_left_out_are_one() {
    let exporter = started(&context("prometheus"), json!({"without_scope_info": true}));
    for (name, value) in [("one", 1.0), ("two", 2.0)] {
        let mut request = gauge("g", &json!({}), value);
        request["resourceMetrics"][0]["scopeMetrics"][0]["scope"] = json!({"name": name});
        assert_eq!(send(&exporter, &request), 0);
    }
    assert!(text(&exporter).ends_with("\ng 2\n"));
}

#[tokio::test]
async fn added_up_histograms_keep_the_latest_exemplars_and_both_of_their_labels() {
    let keys = json!({"without_scope_info": true, "enable_open_metrics": true});
    let exporter = started(&context("prometheus"), keys);
    for (start, end) in
        [("1700000000000000000", "1700000001000000000"), ("1700000001000000000", "1700000002000000000")]
    {
        let exemplar = json!({"timeUnixNano": end, "asDouble": 0.5,
            "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "a1a2a3a4a5a6a7a8"});
        let point = json!({"startTimeUnixNano": start, "timeUnixNano": end, "count": "1", "sum": 0.5,
            "explicitBounds": [1.0], "bucketCounts": ["1", "0"], "exemplars": [exemplar]});
        let metric = json!({"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [point]}});
        assert_eq!(send(&exporter, &one(&metric)), 0);
    }
    let text = String::from_utf8(scrape(&exporter, FORMATS[2].1)).expect("text is UTF-8");
    let line = "h_bucket{le=\"1.0\"} 2 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\",span_id=\"a1a2a3a4a5a6a7a8\"} \
                0.5 1.700000002e+09\n";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn what_has_no_name_or_takes_prometheus_own_is_refused() {
    let context = context("prometheus");
    let exporter = started(&context, json!({}));
    for (name, attributes) in [("__", json!({})), ("g", json!({"": "x"})), ("g", json!({"__name__": "x"}))] {
        assert_eq!(send(&exporter, &gauge(name, &attributes, 1.0)), 1, "{name} {attributes}");
    }
    assert_eq!(refused(&context, "name"), 3.0);
    assert_eq!(text(&exporter), "");
}

#[tokio::test]
async fn what_prometheus_does_not_have_is_refused() {
    let context = context("prometheus");
    let exporter = started(&context, json!({}));
    let at = "1700000000000000000";
    let point = json!({"timeUnixNano": at, "asInt": "1"});
    let falls = json!({"name": "a", "sum": {"dataPoints": [point, point], "aggregationTemporality": 1}});
    let unspecified = json!({"name": "b", "histogram": {"dataPoints": [{"timeUnixNano": at, "count": "0"}]}});
    let unordered = json!({"name": "c", "histogram": {"aggregationTemporality": 2, "dataPoints": [
        {"timeUnixNano": at, "count": "0", "explicitBounds": [2.0, 1.0], "bucketCounts": ["0", "0", "0"]}]}});
    for (metric, points) in [(falls, 2), (unspecified, 1), (unordered, 1)] {
        assert_eq!(send(&exporter, &one(&metric)), points, "{metric}");
    }
    assert_eq!((refused(&context, "unsupported"), refused(&context, "inconsistent")), (3.0, 1.0));
}

#[tokio::test]
async fn the_points_after_an_end_are_taken() {
    let exporter = started(&context("prometheus"), json!({"without_scope_info": true}));
    let point = |k: &str, flags: u8| {
        json!({"timeUnixNano": "1700000000000000000", "asInt": "1", "flags": flags,
        "attributes": [{"key": "k", "value": {"stringValue": k}}]})
    };
    let points = json!([point("ended", 1), point("lives", 0)]);
    assert_eq!(send(&exporter, &one(&json!({"name": "g", "gauge": {"dataPoints": points}}))), 0);
    assert!(text(&exporter).contains("g{k=\"lives\"} 1\n"));
}

#[tokio::test]
async fn large_answers_come_in_pieces_and_compressed_where_that_is_wanted() {
    let exporter = started(&context("prometheus"), json!({"without_scope_info": true}));
    for n in 0..3000 {
        assert_eq!(send(&exporter, &gauge("g", &json!({"k": format!("{n:0>64}")}), f64::from(n))), 0);
    }
    let plain = text(&exporter);
    assert_eq!(plain.lines().count(), 3002);
    assert!(plain.len() > 200_000);
    let (head, zipped) = ask(&exporter, "/metrics", "Accept-Encoding: gzip\r\n");
    assert!(head.contains("\r\ncontent-encoding: gzip\r\n"), "{head}");
    let mut unzipped = String::new();
    flate2::read::GzDecoder::new(&*zipped).read_to_string(&mut unzipped).expect("it is whole");
    assert!(unzipped == plain && zipped.len() * 4 < plain.len());
}

#[tokio::test]
async fn scrapers_choose_metrics_by_name_and_only_one_path_answers() {
    let exporter = started(
        &context("prometheus"),
        json!({"without_scope_info": true, "response_headers": {"X-Ours": "yes"}}),
    );
    for name in ["a", "b"] {
        assert_eq!(send(&exporter, &gauge(name, &json!({}), 1.0)), 0);
    }
    let (head, body) = ask(&exporter, "/metrics?name[]=b", "");
    assert!(head.contains("\r\nx-ours: yes"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
        "{head}"
    );
    assert_eq!(String::from_utf8_lossy(&body), "# HELP b \n# TYPE b gauge\nb 1\n");
    assert!(ask(&exporter, "/", "").0.starts_with("http/1.0 404"));
}

/// Points of a gauge, each with `wide` attributes of which one tells it from the others.
fn wide(metric: &str, points: u32, wide: u32) -> Value {
    let attribute = |key: String, value: String| json!({"key": key, "value": {"stringValue": value}});
    let point = |at: u32| {
        let same = (1..wide).map(|number| attribute(format!("k{number}"), String::new()));
        let attributes: Vec<_> = same.chain([attribute("at".to_owned(), at.to_string())]).collect();
        json!({"timeUnixNano": "1700000000000000000", "asDouble": 1, "attributes": attributes})
    };
    json!({"name": metric, "gauge": {"dataPoints": (0..points).map(point).collect::<Vec<_>>()}})
}

#[tokio::test]
async fn once_there_was_no_room_further_new_series_of_a_request_are_not_looked_at() {
    let context = context("prometheus");
    let exporter = started(&context, json!({"max_series": 10}));
    // Of the names, none can be translated: who looks at them refuses them for that.
    let metrics = [wide("good", 20, 1), wide("___", 5, 1)];
    let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]});
    assert_eq!(send(&exporter, &request), 15);
    assert_eq!((refused(&context, "too_many_series"), refused(&context, "name")), (15.0, 0.0));
    // Those that are there go on, and each request is looked at anew.
    let metrics = [wide("___", 5, 1), wide("good", 10, 1)];
    let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]});
    assert_eq!(send(&exporter, &request), 5);
    assert_eq!(refused(&context, "name"), 5.0);
}

#[tokio::test]
async fn a_request_of_many_refused_series_costs_only_so_many_names() {
    let context = context("prometheus");
    let exporter = started(&context, json!({}));
    assert_eq!(send(&exporter, &one(&wide("a_b", 1500, 100))), 0);
    // The same to whoever scrapes
    assert_eq!(send(&exporter, &one(&wide("a.b", 1500, 100))), 1500);
    let (looked_at, unseen) = (refused(&context, "duplicate"), refused(&context, "too_many_refused"));
    assert_eq!((looked_at, unseen), (1001.0, 499.0));
    assert_eq!(send(&exporter, &one(&wide("c", 1, 100))), 0, "the next request is another one");
}

#[tokio::test]
async fn a_head_is_answered_without_a_body_and_takes_nothing() {
    let context = context("prometheus");
    let exporter = started(&context, json!({}));
    send(&exporter, &gauge("a", &json!({}), 1.0));
    let used = context.shared.work.used();
    let mut stream = TcpStream::connect(&exporter.address).expect("it listens");
    write!(stream, "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(!answer.contains("content-length"), "nobody knows how long it would be: {answer}");
    assert_eq!(context.shared.work.used(), used);
}

#[tokio::test]
async fn attributes_beyond_measure_are_refused_before_they_are_compared() {
    let attributes = |prefix: &str| -> Vec<Value> {
        let key = |number: u32| json!({"key": format!("{prefix}{number}"), "value": {"stringValue": ""}});
        (0..50_000).map(key).collect()
    };
    let point =
        json!({"timeUnixNano": "1700000000000000000", "asDouble": 1, "attributes": attributes("point")});
    let request = json!({"resourceMetrics": [{
        "resource": {"attributes": attributes("resource")},
        "scopeMetrics": [{
            "scope": {"attributes": attributes("scope")},
            "metrics": [{"name": "wide", "gauge": {"dataPoints": [point]}}],
        }],
    }]});
    let keys = json!({"resource_to_telemetry_conversion": {"enabled": true}});
    let context = context("prometheus");
    let exporter = started(&context, keys);
    let batch = batch([payload(Signal::Metrics, &request.to_string())]);
    assert_eq!(exporter.intake.take(&batch, Instant::now()), 1);
    assert_eq!(refused(&context, "too_many_labels"), 1.0);
    assert!(!text(&exporter).contains("wide"));
}

#[test]
fn what_is_wrong_in_a_configuration_is_said() {
    for (yaml, expected) in [
        ("{}", "is required: where to listen"),
        ("{endpoint: 'localhost'}", "has no port"),
        ("{endpoint: 'localhost:0', tls: {cert_file: x}}", "both certificate and key"),
        ("{endpoint: 'localhost:0', auth: {}}", "no authenticator is named"),
        ("{endpoint: 'localhost:0', transport: udp}", "use tcp"),
        ("{endpoint: 'localhost:0', response_headers: {'a b': x}}", "is not a header name"),
        ("{endpoint: 'localhost:0', translation_strategy: Underscores}", "is not a strategy"),
        ("{endpoint: 'localhost:0', const_labels: {__name__: x}}", "cannot be the name of a label"),
        ("{endpoint: 'localhost:0', max_series: 0}", "must be at least 1"),
        ("{endpoint: 'localhost:0', tsl: {}}", "unknown key `tsl`"),
    ] {
        let (config, problems) = plan(&FACTORY, yaml);
        assert!(config.is_none() && problems.contains(expected), "{yaml}: {problems}");
    }
    let (config, problems) = plan(&FACTORY, "{endpoint: 'localhost:0', metric_expiration: 0}");
    assert!(config.is_some() && problems.contains("nothing will be served"), "{problems}");
}
