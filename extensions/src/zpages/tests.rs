//! The pages as they are asked for.

use super::*;
use crate::testing::{assert_refused, context, plan};
use millrace_engine::health::State;
use millrace_engine::{Failure, Fault, Health, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

#[tokio::test]
async fn the_pages_of_the_go_collector_are_answered() {
    let free = crate::testing::FreePort::new();
    let port = free.number();
    let (config, problems) =
        plan(&FACTORY, &format!("{{endpoint: '127.0.0.1:{port}', expvar: {{enabled: true}}}}"));
    let health = Health::starting();
    let extension =
        config.unwrap_or_else(|| panic!("{problems}")).build(context("zpages", &health)).expect("it builds");
    crate::testing::start(&extension).await.expect("the port is free");
    let text =
        "{receivers: {otlp: }, exporters: {nop/x: }, extensions: {zpages: }, service: {extensions: [zpages],
        pipelines: {traces/a: {receivers: [otlp], exporters: [nop/x]}}}}";
    health.components().declare(&crate::testing::config(text));
    health.advance(State::Ready);
    for (instance, status) in crate::testing::statuses(&health) {
        status.works();
        if instance.kind == "exporter" {
            let problem = "no <route>";
            status.failed(&Failure::transient(Fault::Destination, Reason::Unreachable, problem));
        }
    }

    let pipelines = get(port, "/debug/pipelinez").await;
    for text in [
        "<h2>traces/a</h2>",
        "<td>nop/x</td><td>RecoverableError</td>",
        "no &lt;route&gt;",
        "<td>otlp</td><td>Ok</td>",
    ] {
        assert!(pipelines.contains(text), "{text} in {pipelines}");
    }
    assert!(get(port, "/debug/extensionz").await.contains("<td>zpages</td><td>Ok</td>"));
    assert!(get(port, "/debug/servicez").await.contains("<td>State</td><td>Ready</td>"));
    for path in ["/debug/featurez", "/debug/tracez"] {
        assert!(get(port, path).await.starts_with("HTTP/1.1 200 "), "{path}");
    }
    let numbers = get(port, "/debug/expvarz").await;
    let (_, body) = numbers.split_once("\r\n\r\n").expect("an answer");
    let numbers: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(numbers["budget"]["intake"]["limit"], 1 << 20);
    for path in ["/", "/debug", "/debug/servicez/x"] {
        assert!(get(port, path).await.starts_with("HTTP/1.1 404 "), "{path}");
    }
    extension.stop().await;
}

#[test]
fn what_it_cannot_do_is_refused() {
    assert_refused(
        &FACTORY,
        &[
            ("endpoint: x", "has no port"),
            ("auth: {}", "no authenticator is named"),
            ("expvars: {}", "did you mean `expvar`?"),
        ],
    );
}
