//! The instruments against each other: what the generator says was acknowledged, the sink can prove.

use clap::Parser as _;
use millrace_bench::ledger::Verdict;
use millrace_bench::loadgen::{self, Report};
use millrace_bench::sink::{self, Running};
use millrace_bench::yardstick;
use millrace_bench::{acked, run};
use std::net::SocketAddr;

const ANY: &str = "127.0.0.1:0";

fn sink(options: &[&str]) -> Running {
    let always = ["millrace-sink", "--check-ids", "--grpc", ANY, "--http", ANY, "--stats", ANY];
    sink::start(&sink::Args::parse_from(always.iter().chain(options))).expect("port 0 is always free")
}

/// Sends to `endpoint` and compares what was acknowledged with what the sink has.
async fn send(sink: &Running, endpoint: SocketAddr, protocol: &str, options: &[&str]) -> (Report, Verdict) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("acked.txt");
    let endpoint = endpoint.to_string();
    let always = [
        "millrace-loadgen",
        "--endpoint",
        &endpoint,
        "--protocol",
        protocol,
        "--backoff",
        "1",
        "--duration",
        "60",
    ];
    let mut args = loadgen::Args::parse_from(always.iter().chain(options));
    args.acked_file = Some(file.clone());
    let report = loadgen::run(&args).await.expect("the endpoint listens");
    let text = std::fs::read_to_string(&file).expect("the generator wrote it");
    let ranges = acked::parse(&text).expect("in its own format");
    (report, sink.verify(&ranges).expect("--check-ids is on"))
}

fn addr(sink: &Running, protocol: &str) -> SocketAddr {
    if protocol == "grpc" { sink.grpc } else { sink.http }
}

#[tokio::test]
async fn everything_acknowledged_arrives_exactly_once() {
    for protocol in ["grpc", "http"] {
        for compression in ["none", "gzip", "zstd"] {
            for signal in ["traces", "metrics", "logs"] {
                let sink = sink(&[]);
                let options = [
                    "--requests",
                    "40",
                    "--items-per-request",
                    "30",
                    "--compression",
                    compression,
                    "--signal",
                    signal,
                ];
                let (report, verdict) = send(&sink, addr(&sink, protocol), protocol, &options).await;

                let case = format!("{protocol} {compression} {signal}");
                assert!(report.is_clean(), "{case}: {report}");
                assert_eq!((verdict.acked, verdict.missing, verdict.duplicates), (1200, 0, 0), "{case}");
                let totals = sink.totals();
                let items = [totals.traces, totals.metrics, totals.logs].map(|totals| totals.items);
                assert_eq!(items.iter().sum::<u64>(), 1200, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn refused_requests_come_back_with_the_same_identities() {
    for protocol in ["grpc", "http"] {
        // given: a backend that refuses a third, before it has stored anything
        let sink = sink(&["--fail-rate", "0.33", "--fail-status", "503"]);
        let (report, verdict) =
            send(&sink, addr(&sink, protocol), protocol, &["--requests", "100", "--items-per-request", "10"])
                .await;

        assert!(report.is_clean(), "{report}");
        let retried: u64 = report.retried.values().map(|seen| seen.count).sum();
        assert_eq!(retried, sink.totals().traces.refused);
        assert!(retried > 20, "{retried} of about 50");
        assert_eq!((verdict.unique, verdict.missing, verdict.duplicates), (1000, 0, 0));
    }
}

#[tokio::test]
async fn a_backend_that_fails_after_storing_shows_as_duplicates() {
    let sink = sink(&["--fail-rate", "0.33", "--fail-after-accept"]);
    let (report, verdict) =
        send(&sink, sink.grpc, "grpc", &["--requests", "100", "--items-per-request", "10"]).await;

    let retried: u64 = report.retried.values().map(|seen| seen.count).sum();
    assert!(retried > 20, "{retried} of about 50");
    assert_eq!((verdict.missing, verdict.duplicates), (0, retried * 10));
}

#[tokio::test]
async fn permanent_refusals_are_not_sent_again_and_not_claimed() {
    for (protocol, code) in [("grpc", "grpc INVALID_ARGUMENT"), ("http", "http 400")] {
        let sink = sink(&["--fail-rate", "1", "--fail-status", "INVALID_ARGUMENT"]);
        let (report, verdict) =
            send(&sink, addr(&sink, protocol), protocol, &["--requests", "5", "--items-per-request", "10"])
                .await;

        assert_eq!(report.failed[code].count, 5, "{report}");
        assert!(report.retried.is_empty());
        assert_eq!((verdict.acked, report.acked.requests), (0, 0));
    }
}

#[tokio::test]
async fn exhaustion_is_retried_only_when_the_server_says_when() {
    let silent = sink(&["--fail-rate", "0.5", "--fail-status", "RESOURCE_EXHAUSTED"]);
    let (report, _) =
        send(&silent, silent.grpc, "grpc", &["--requests", "40", "--items-per-request", "10"]).await;
    assert!(report.retried.is_empty());
    assert!(report.failed["grpc RESOURCE_EXHAUSTED"].count > 5);

    let hinting =
        sink(&["--fail-rate", "0.5", "--fail-status", "RESOURCE_EXHAUSTED", "--retry-after", "0.01"]);
    let (report, _) =
        send(&hinting, hinting.grpc, "grpc", &["--requests", "40", "--items-per-request", "10"]).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.retried["grpc RESOURCE_EXHAUSTED"].count > 5);
    assert!(report.latency_ms.max >= 10.0, "the hint is honoured");
}

#[tokio::test]
async fn both_yardsticks_relay_every_signal_whole() {
    for protocol in ["grpc", "http"] {
        for compression in ["none", "gzip", "zstd"] {
            let sink = sink(&[]);
            let listener = run::listen(ANY.parse().unwrap()).unwrap();
            let relay = listener.local_addr().unwrap();
            let forward = addr(&sink, protocol).to_string();
            let options = ["yardstick", "--listen", ANY, "--forward", &forward, "--compression", compression];
            let args = yardstick::Args::parse_from(options);
            let server = tokio::spawn(async move {
                match protocol {
                    "grpc" => yardstick::grpc::run(listener, &args).await.map_err(|error| error.to_string()),
                    _ => yardstick::http1::run(listener, &args).await.map_err(|error| error.to_string()),
                }
            });
            for signal in ["traces", "metrics", "logs"] {
                let options = [
                    "--requests",
                    "20",
                    "--items-per-request",
                    "30",
                    "--compression",
                    compression,
                    "--signal",
                    signal,
                ];
                let (report, verdict) = send(&sink, relay, protocol, &options).await;
                assert!(report.is_clean(), "{protocol} {compression} {signal}: {report}");
                assert_eq!((verdict.missing, verdict.duplicates, verdict.unique), (0, 0, 600));
            }
            server.abort();
        }
    }
}
