//! Spans of the collector's own work, with the names and attributes of the Go collector's.

use crate::support::grpc::Client;
use crate::support::{Collector, Setup, eventually, free_port, http1, requests};
use crate::{attribute, backend, items, written};
use serde_json::Value;
use std::collections::BTreeSet;

/// A collector that makes spans of what it does for the `backend`, which it also sends its data to.
async fn traced(backend: &Collector, traces: &str) -> Collector {
    let (grpc, http, nowhere) = (backend.setup.grpc, backend.setup.http, free_port());
    Setup::of(&format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{{grpc}}}}
      http: {{endpoint: 127.0.0.1:{{http}}}}
processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 128}}}}
exporters:
  otlp_grpc: {{endpoint: '{grpc}', tls: {{insecure: true}}}}
  otlp_http: {{endpoint: 'http://{http}', sending_queue: {{enabled: false}}}}
  otlp_http/absent: {{endpoint: 'http://127.0.0.1:{nowhere}', retry_on_failure: {{enabled: false}}}}
service:
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
    traces:
      processors: [{{batch: {{schedule_delay: 50, exporter: {{otlp: {{protocol: grpc, endpoint: 'http://{grpc}'}}}}}}}}]
      {traces}
  pipelines:
    logs: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_grpc, otlp_http, otlp_http/absent]}}
"
    ))
    .start()
    .await
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_request_leaves_the_go_collectors_spans_in_the_senders_trace() {
    let backend = backend().await;
    let collector = traced(&backend, "propagators: [tracecontext]").await;
    let parent = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n{}", http1::PROTOBUF);
    let reply = http1::post(collector.setup.http, "/v1/logs", &parent, &requests::logs(2)).await;
    assert_eq!(reply.expect("an answer").status, 200);
    let spans = eventually("the spans", || async {
        let spans = items(&written(&backend, "traces"), "resourceSpans", "scopeSpans", "spans");
        if spans.len() >= 10 { Ok(spans) } else { Err(format!("{spans:?}")) }
    })
    .await;

    let named = |name: &str, scope_has: &str| -> (Value, Value) {
        let mut fitting = spans.iter().filter(|(_, scope, span)| {
            span["name"] == name && scope["attributes"].to_string().contains(scope_has)
        });
        let (_, scope, span) =
            fitting.next().unwrap_or_else(|| panic!("no span {name} of {scope_has}: {spans:?}"));
        (scope.clone(), span.clone())
    };
    assert!(spans.iter().all(|(_, _, span)| span["traceId"] == TRACE), "{spans:?}");
    let is_within = |inner: &Value, outer: &Value| assert_eq!(inner["parentSpanId"], outer["spanId"]);

    let (scope, server) = named("POST /v1/logs", "\"otlp\"");
    assert_eq!(scope["name"], "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp");
    assert_eq!(server["kind"], 2);
    assert_eq!(server["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(server["flags"], 0x301);
    assert_eq!(attribute(&server, "http.response.status_code").as_deref(), Some("200"));

    let (scope, receiver) = named("receiver/otlp/LogsReceived", "\"otlp\"");
    assert_eq!(scope["name"], "otlp");
    assert_eq!(attribute(&receiver, "accepted_log_records").as_deref(), Some("2"));
    assert_eq!(attribute(&receiver, "transport").as_deref(), Some("http"));
    let events: Vec<_> =
        receiver["events"].as_array().expect("events").iter().map(|event| &event["name"]).collect();
    assert_eq!(events, ["Start processing.", "End processing."]);
    is_within(&receiver, &server);

    let (_, enqueue) = named("exporter/enqueue", "\"otlp_grpc\"");
    is_within(&enqueue, &receiver);
    let (scope, sent) = named("exporter/otlp_grpc/logs", "\"otlp_grpc\"");
    assert_eq!(scope["name"], "go.opentelemetry.io/collector/exporter/exporterhelper");
    assert_eq!(attribute(&sent, "items.sent").as_deref(), Some("2"));
    assert_eq!(sent["events"][0]["name"], "Sending request.");
    is_within(&sent, &enqueue);
    let (_, call) = named("opentelemetry.proto.collector.logs.v1.LogsService/Export", "\"otlp_grpc\"");
    assert_eq!(call["kind"], 3);
    assert_eq!(attribute(&call, "rpc.response.status_code").as_deref(), Some("OK"));
    is_within(&call, &sent);

    // Without a queue there is no span of queueing.
    let (_, direct) = named("exporter/otlp_http/logs", "\"otlp_http\"");
    is_within(&direct, &receiver);
    let (_, absent) = named("exporter/otlp_http/absent/logs", "\"otlp_http/absent\"");
    assert_eq!(absent["status"]["code"], 2);
    assert_eq!(attribute(&absent, "items.failed").as_deref(), Some("2"));
    let (_, post) = named("HTTP POST", "\"otlp_http/absent\"");
    assert_eq!(attribute(&post, "error.type").as_deref(), Some("net.OpError"));
    is_within(&post, &absent);

    let ids: BTreeSet<_> = spans.iter().map(|(_, _, span)| span["spanId"].to_string()).collect();
    assert_eq!(ids.len(), spans.len(), "no two spans have the same id");
    collector.finish().await;
}

#[tokio::test]
async fn only_what_the_sampler_takes_is_recorded() {
    let backend = backend().await;
    let collector =
        traced(&backend, "sampler: {parent_based: {root: {always_off: {}}}}\n      propagators: [b3]").await;
    // A trace that begins here is not recorded; one that a sender records is.
    collector.assert_serves().await;
    let mut client = Client::connect(collector.setup.grpc).await.expect("a connection");
    let b3 = [("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1")];
    let message = crate::support::grpc::framed(0, &requests::logs(1));
    let reply = client.call("logs", &b3, &message).await.expect("an answer");
    assert_eq!(reply.code, Some(0));
    collector.finish().await;
    let spans = items(&written(&backend, "traces"), "resourceSpans", "scopeSpans", "spans");
    assert!(spans.iter().all(|(_, _, span)| span["traceId"] == TRACE), "{spans:?}");
    let servers: Vec<_> = spans.iter().filter(|(_, _, span)| span["kind"] == 2).collect();
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].2["name"], "opentelemetry.proto.collector.logs.v1.LogsService/Export");
    assert_eq!(attribute(&servers[0].2, "rpc.system.name").as_deref(), Some("grpc"));
}
