//! The extension as it is configured, built and asked.

use super::*;
use millrace_config::{Diagnostics, parse_str};
use millrace_engine::component::Shared;
use millrace_engine::health::State;
use millrace_engine::{Budget, Ledger, Tasks};
use millrace_telemetry::metrics::{Level, Registry};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads a section; the second text is what was found wrong with it.
fn plan(yaml: &str) -> (Option<Box<dyn ExtensionConfig>>, String) {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let node = parsed.node.expect("the test's YAML is in form");
    let mut diags = Diagnostics::new();
    let config = (FACTORY.plan)(&node, "extensions::health_check", &mut diags);
    (config, diags.render(&parsed.sources))
}

fn context(health: &Health) -> Context {
    let shared = Shared {
        registry: Registry::new(Level::Basic),
        ledger: Ledger::default(),
        intake: Budget::new(1 << 20),
        work: Budget::new(1 << 20),
        tasks: Tasks::new(health.clone()),
        health: health.clone(),
        user_agent: "test".into(),
        offers: millrace_engine::Offers::default(),
        retries: millrace_engine::Retries::default(),
    };
    Context { shared, kind: "extension", id: "health_check".parse().expect("an id"), pipeline: None }
}

fn build(yaml: &str, health: &Health) -> Arc<dyn Extension> {
    let (config, problems) = plan(yaml);
    config.unwrap_or_else(|| panic!("{problems}")).build(context(health)).expect("it builds")
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    // Ends because keep-alive is off unless configured.
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

#[tokio::test]
async fn probes_hear_the_state_of_the_process() {
    let (health, port) = (Health::starting(), free_port());
    let extension = build(&format!("endpoint: 127.0.0.1:{port}"), &health);
    extension.start().await.expect("the port is free");

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
    let (health, port) = (Health::starting(), free_port());
    health.advance(State::Ready);
    let yaml = format!(
        "{{endpoint: '127.0.0.1:{port}', path: /health/, response_headers: {{x-a: b}}, \
         response_body: {{healthy: fine, unhealthy: 'no'}}}}"
    );
    let extension = build(&yaml, &health);
    extension.start().await.expect("the port is free");

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
    let error = extension.start().await.expect_err("the port is taken").to_string();
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
        ("path: health", "error: must start with /"),
        ("endpoint: localhost", "error: `localhost` has no port"),
        ("http: {endpoint: 'localhost:1'}", "not supported yet"),
        ("grpc: {endpoint: 'localhost:1'}", "not supported yet"),
        ("tls: {cert_file: x}", "not supported yet"),
        ("nonsense: 1", "error: unknown key `nonsense`"),
    ] {
        let (config, problems) = plan(yaml);
        assert!(config.is_none() && problems.contains(problem), "{yaml}: {problems}");
    }
    let (config, problems) = plan("check_collector_pipeline: {enabled: true, interval: 1m}");
    assert!(config.is_some() && problems.contains("warning: has no effect"), "{problems}");
}
