//! The extension as it is configured, built and asked.

use super::*;
use crate::testing::FreePort;
use millrace_config::{Diagnostics, parse_str};
use millrace_engine::health::State;
use millrace_engine::status::Condition;
use millrace_engine::{Failure, Fault, Reason};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads a section; the second text is what was found wrong with it.
fn plan(yaml: &str) -> (Option<Box<dyn ExtensionConfig>>, String) {
    crate::testing::plan(&FACTORY, yaml)
}

fn build(yaml: &str, health: &Health) -> Arc<dyn Extension> {
    let (config, problems) = plan(yaml);
    let context = crate::testing::context("health_check", health);
    config.unwrap_or_else(|| panic!("{problems}")).build(context).expect("it builds")
}

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

#[tokio::test]
async fn probes_hear_the_state_of_the_process() {
    let (health, free) = (Health::starting(), FreePort::new());
    let port = free.number();
    let extension = build(&format!("endpoint: 127.0.0.1:{port}"), &health);
    crate::testing::start(&extension).await.expect("the port is free");

    let starting = get(port, "/").await;
    assert!(starting.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{starting}");
    health.advance(State::Ready);
    let ready = get(port, "/anything").await;
    assert!(ready.starts_with("HTTP/1.1 200 OK\r\n"), "{ready}");
    assert!(ready.contains("content-type: application/json\r\n"), "{ready}");
    assert!(ready.contains("connection: close\r\n"), "{ready}");
    assert!(ready.contains("{\"status\":\"Server available\",\"upSince\":\""), "{ready}");
    health.advance(State::Draining);
    assert!(get(port, "/").await.starts_with("HTTP/1.1 503 "));

    extension.stop().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn paths_bodies_and_headers_are_as_configured() {
    let (health, free) = (Health::starting(), FreePort::new());
    let port = free.number();
    health.advance(State::Ready);
    let yaml = format!(
        "{{endpoint: '127.0.0.1:{port}', path: /health/, response_headers: {{x-a: b}}, \
         response_body: {{healthy: fine, unhealthy: 'no'}}}}"
    );
    let extension = build(&yaml, &health);
    crate::testing::start(&extension).await.expect("the port is free");

    let answer = get(port, "/health/").await;
    assert!(answer.ends_with("\r\n\r\nfine"), "{answer}");
    assert!(answer.contains("x-a: b\r\n"), "{answer}");
    assert!(get(port, "/health").await.contains("location: /health/\r\n"));
    assert!(get(port, "/").await.ends_with("404 page not found\n"));
    extension.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_explained_when_it_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it has an address").port();
    let extension = build(&format!("endpoint: 127.0.0.1:{port}"), &Health::starting());
    let error = crate::testing::start(&extension).await.expect_err("the port is taken").to_string();
    assert!(
        error.starts_with(&format!("extension `health_check`: cannot listen on 127.0.0.1:{port}: ")),
        "{error}"
    );
}

#[test]
fn the_defaults_are_those_of_the_go_collector() {
    let parsed = parse_str("test.yaml", "{}", &|_| None);
    let node = parsed.node.expect("in form");
    let mut diags = Diagnostics::new();
    let config = millrace_config::decode_over::<Config>(config::DEFAULTS, &node, "", &mut diags);
    let config = config.expect("nothing is required");
    assert_eq!(config.server.endpoint, "localhost:13133");
    assert!(!config.server.keep_alives_enabled);
    assert_eq!(config.answers.path, "/");
    assert!(!config.answers.response_body.is_on());
}

#[test]
fn what_cannot_be_meant_is_refused_and_what_has_no_effect_is_said() {
    for (yaml, problem) in [
        ("path: health", "` must start with /"),
        ("endpoint: localhost", "error: `localhost` has no port"),
        ("use_v2: true", "must specify at least one protocol"),
        ("http: {status: {path: x}}", "` must start with /"),
        ("http: {config: {enabled: true}}", "use the command print-config"),
        ("tls: {cert_file: x}", "both certificate and key"),
        ("http: {auth: {}}", "no authenticator is named"),
        ("grpc: {transport: udp}", "use tcp"),
        ("nonsense: 1", "error: unknown key `nonsense`"),
    ] {
        let (config, problems) = plan(yaml);
        assert!(config.is_none() && problems.contains(problem), "{yaml}: {problems}");
    }
    let (config, problems) = plan("check_collector_pipeline: {enabled: true, interval: 1m}");
    assert!(config.is_some() && problems.contains("` has no effect"), "{problems}");
}

#[test]
fn what_the_second_version_does_not_look_at_is_said() {
    let (config, problems) = plan("{path: /x, http: , component_health: {recovery_duration: 5m}}");
    assert!(config.is_some() && problems.contains("` has no effect beside `http`"), "{problems}");
    let (config, problems) = plan("component_health: {include_permanent_errors: true}");
    assert!(config.is_some() && problems.contains("has no effect without `http` or `grpc`"), "{problems}");
}

const PIPELINES: &str = "{receivers: {otlp: }, exporters: {nop: }, extensions: {health_check: },
    service: {extensions: [health_check], pipelines: {
        traces: {receivers: [otlp], exporters: [nop]}, logs: {receivers: [otlp], exporters: [nop]}}}}";

/// A collector at work with two pipelines; what is said of the exporter of the first.
fn working(health: &Health) -> millrace_engine::Status {
    health.components().declare(&crate::testing::config(PIPELINES));
    let mut exporter = None;
    for (instance, status) in crate::testing::statuses(health) {
        status.works();
        if instance.kind == "exporter" && instance.signal.is_some_and(|signal| signal.name() == "traces") {
            exporter = Some(status);
        }
    }
    health.advance(State::Ready);
    exporter.expect("there is one")
}

async fn status(port: u16, query: &str) -> (u16, serde_json::Value) {
    let answer = get(port, &format!("/status{query}")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (code, serde_json::from_str(body).unwrap_or_default())
}

fn unreachable() -> Failure {
    Failure::transient(Fault::Destination, Reason::Unreachable, "connection refused")
}

#[tokio::test]
async fn the_second_version_tells_how_each_component_is() {
    let (health, free) = (Health::starting(), FreePort::new());
    let port = free.number();
    let extension = build(&format!("http: {{endpoint: '127.0.0.1:{port}'}}"), &health);
    crate::testing::start(&extension).await.expect("the port is free");
    let (code, nothing) = status(port, "").await;
    assert_eq!((code, &nothing["status"]), (503, &"StatusNone".into()));

    let exporter = working(&health);
    let (code, overall) = status(port, "").await;
    assert_eq!((code, &overall["status"], &overall["healthy"]), (200, &"StatusOK".into(), &true.into()));
    assert!(overall.get("components").is_none() && overall["start_time"].is_string(), "{overall}");

    exporter.failed(&unreachable());
    let (code, all) = status(port, "?verbose").await;
    // Nobody has asked for errors to count.
    assert_eq!(
        (code, &all["status"], &all["healthy"]),
        (200, &"StatusRecoverableError".into(), &true.into())
    );
    assert_eq!(all["error"], "connection refused");
    let nop = |pipeline: &str| all["components"][pipeline]["components"]["exporter:nop"]["status"].clone();
    assert_eq!(nop("pipeline:traces"), "StatusRecoverableError");
    assert_eq!(nop("pipeline:logs"), "StatusOK");
    assert_eq!(all["components"]["extensions"]["components"]["extension:health_check"]["status"], "StatusOK");
    assert_eq!(status(port, "?pipeline=logs").await.1["status"], "StatusOK");
    assert_eq!(status(port, "?pipeline=traces").await.1["status"], "StatusRecoverableError");
    assert_eq!(status(port, "?pipeline=metrics").await.0, 404);
    assert!(get(port, "/").await.ends_with("404 page not found\n"));

    exporter.works();
    assert_eq!(status(port, "").await.1["status"], "StatusOK");
    health.advance(State::Failed);
    let (code, failed) = status(port, "").await;
    assert_eq!((code, &failed["status"]), (500, &"StatusFatalError".into()));
    extension.stop().await;
}

#[tokio::test]
async fn failing_components_count_when_they_are_to() {
    let (health, free) = (Health::starting(), FreePort::new());
    let port = free.number();
    let yaml = "{include_permanent_errors: true, include_recoverable_errors: true, recovery_duration: 3s}";
    let yaml = format!("{{http: {{endpoint: '127.0.0.1:{port}'}}, component_health: {yaml}}}");
    let extension = build(&yaml, &health);
    crate::testing::start(&extension).await.expect("the port is free");
    let exporter = working(&health);
    exporter.failed(&unreachable());
    assert_eq!(status(port, "").await.0, 200, "it may recover");
    let since = exporter.event().since;
    while status(port, "").await.0 == 200 {
        assert!(since.elapsed() < std::time::Duration::from_secs(30), "it never counts");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(since.elapsed() >= std::time::Duration::from_secs(3));
    let (code, failing) = status(port, "").await;
    assert_eq!((code, &failing["healthy"]), (500, &false.into()));
    exporter.works();
    assert_eq!(status(port, "").await.0, 200);
    let denied = Failure::permanent(Fault::Destination, Reason::Rejected, "who are you?").with_grpc_code(16);
    exporter.failed(&denied);
    assert_eq!(exporter.event().condition, Condition::PermanentError);
    assert_eq!(status(port, "").await.0, 500);
    extension.stop().await;
}

#[test]
fn what_protects_the_first_version_only_is_said_to() {
    let (config, problems) = plan("{auth: {authenticator: x}, http: }");
    assert!(config.is_some() && problems.contains("has no effect beside `http`"), "{problems}");
}

/// Calls the gRPC service: the status in its first answer, and the code at its end, which a watch has not.
async fn ask(port: u16, method: &str, service: &str) -> (Option<u8>, Option<String>) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let driving = tokio::spawn(connection);
    let request = http::Request::post(format!("http://h/grpc.health.v1.Health/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let (response, mut stream) = client.send_request(request, false).expect("sent");
    let len = service.len() as u8;
    let name = [&[0, 0, 0, 0, len + 2, 0x0a, len], service.as_bytes()].concat();
    stream.send_data(name.into(), true).expect("sent");
    let response = response.await.expect("an answer");
    let code = |headers: &http::HeaderMap| {
        headers.get("grpc-status").map(|code| code.to_str().expect("text").to_owned())
    };
    let from_head = code(response.headers());
    let mut body = response.into_body();
    let data = match from_head {
        Some(_) => None,
        None => body.data().await.map(|data| data.expect("it is whole")),
    };
    let code = match (method, from_head) {
        (_, Some(code)) => Some(code),
        ("Watch", None) => None,
        _ => body.trailers().await.expect("it is whole").as_ref().and_then(code),
    };
    driving.abort();
    (data.map(|data| *data.last().expect("not empty")), code)
}

#[tokio::test]
async fn the_standard_clients_of_the_grpc_service_are_answered() {
    const SERVING: Option<u8> = Some(1);
    const NOT_SERVING: Option<u8> = Some(2);
    const SERVICE_UNKNOWN: Option<u8> = Some(3);
    let (health, free) = (Health::starting(), FreePort::new());
    let port = free.number();
    let extension = build(&format!("grpc: {{endpoint: '127.0.0.1:{port}'}}"), &health);
    crate::testing::start(&extension).await.expect("the port is free");
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(ask(port, "Check", "").await, (NOT_SERVING, code("0")));
    let exporter = working(&health);
    assert_eq!(ask(port, "Check", "").await, (SERVING, code("0")));
    assert_eq!(ask(port, "Check", "traces").await, (SERVING, code("0")));
    assert_eq!(ask(port, "Check", "metrics").await, (None, code("5")), "not found");
    assert_eq!(ask(port, "Watch", "traces").await, (SERVING, None));
    assert_eq!(ask(port, "Watch", "metrics").await, (SERVICE_UNKNOWN, None));
    assert_eq!(ask(port, "List", "").await, (None, code("12")), "not implemented");
    exporter.failed(&unreachable());
    assert_eq!(ask(port, "Check", "traces").await, (SERVING, code("0")), "nobody asked for it to count");
    health.advance(State::Failed);
    assert_eq!(ask(port, "Check", "").await, (NOT_SERVING, code("0")));
    extension.stop().await;
}

#[tokio::test]
async fn a_watch_tells_changes_until_its_client_has_heard_enough() {
    let (health, free) = (Health::starting(), FreePort::new());
    let port = free.number();
    let extension = build(&format!("grpc: {{endpoint: '127.0.0.1:{port}'}}"), &health);
    crate::testing::start(&extension).await.expect("the port is free");
    working(&health);
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let driving = tokio::spawn(connection);
    let request = http::Request::post("http://h/grpc.health.v1.Health/Watch")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let (response, mut stream) = client.send_request(request, false).expect("sent");
    stream.send_data(vec![0; 5].into(), true).expect("sent");
    let mut body = response.await.expect("an answer").into_body();
    let first = body.data().await.expect("a first answer").expect("it is whole");
    assert_eq!(first.last(), Some(&1));
    health.advance(State::Failed);
    let second = body.data().await.expect("a change").expect("it is whole");
    assert_eq!(second.last(), Some(&2));
    driving.abort();
    extension.stop().await;
}
