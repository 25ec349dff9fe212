//! Configurations that cannot be put to work: what ran before goes on.

use crate::support::{Setup, free_port};
use crate::{outcomes, post, reload, text};
use std::fs;
use std::process::Command;

#[tokio::test]
async fn what_is_wrong_is_told_and_changes_nothing() {
    let collector = Setup::to("nop: {}").start().await;
    let good = text(&collector);
    let cases: [(&str, String); 8] = [
        ("nothing at all", String::new()),
        ("no YAML", "receivers: [".to_owned()),
        ("a dangling reference", good.replace("receivers: [otlp]", "receivers: [zipkin]")),
        ("an unknown key", good.replace("check_interval", "chek_interval")),
        ("too long a text", format!("{good}# {}\n", "x".repeat(17 << 20))),
        (
            "what cannot be built",
            good.replace("nop: {}", "nop: {}\n  file: {path: /nonexistent/folder/out.json}")
                .replace("exporters: [nop]", "exporters: [nop, file]"),
        ),
        ("telemetry of another kind", good.replace("telemetry:\n", "telemetry:\n    resource: {a: b}\n")),
        ("logs of another kind", good.replace("telemetry:\n", "telemetry:\n    logs: {encoding: json}\n")),
    ];
    for (what, bad) in cases {
        reload(&collector, &bad, "failure").await;
        assert_eq!(post(&collector).await, 200, "{what}");
    }
    for said in [
        "the configuration was not replaced",
        "did you mean `check_interval`",
        "`service::telemetry::resource::a` cannot be changed",
        "`service::telemetry::logs::encoding` cannot be changed",
    ] {
        collector.has_said(said).await;
    }
    reload(&collector, &good, "success").await;
    collector.finish().await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_is_none_changes_nothing() {
    let collector = Setup::to("nop: {}").start().await;
    let path = collector.setup.config.clone();
    let good = text(&collector);
    fs::remove_file(&path).expect("it is there");
    let mut failures = 0.0;
    for make in ["true", "mkdir", "rmdir", "mkfifo"] {
        let made = Command::new(make).arg(&path).status().expect("a program");
        assert!(made.success(), "{make}");
        if make == "rmdir" {
            continue;
        }
        collector.signal("HUP");
        failures += 1.0;
        collector.metrics_when(make, |metrics| outcomes(metrics, "failure") >= failures).await;
        assert_eq!(post(&collector).await, 200, "{make}");
    }
    fs::remove_file(&path).expect("it is there");
    reload(&collector, &good, "success").await;
    collector.finish().await;
}

#[tokio::test]
async fn an_address_that_somebody_else_has_leaves_everything_as_it_was() {
    let collector = Setup::to("nop: {}").start().await;
    let good = text(&collector);
    // One that no connection of another test gets while nobody listens there.
    let port = free_port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("it is free");
    let (grpc, free) = (collector.setup.grpc.port().to_string(), free_port().to_string());
    let http = collector.setup.http.port().to_string();
    // One transport could have moved; the other cannot.
    let bad = good.replace(&grpc, &free).replace(&http, &port.to_string());
    reload(&collector, &bad, "failure").await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", free.parse().expect("a port"))).is_err());
    collector.assert_serves().await;

    // Twice the same address within one configuration is as good as taken.
    reload(&collector, &good.replace(&http, &grpc), "failure").await;
    collector.assert_serves().await;

    drop(taken);
    reload(&collector, &bad, "success").await;
    reload(&collector, &good, "success").await;
    collector.finish().await;
}
