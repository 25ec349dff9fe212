//! The configuration that Millrace and the Go collector are both given.

use super::Args;
use super::case::{Case, Kind, Manner};
use crate::compression::Compression;
use crate::loadgen::{Protocol, SignalArg};
use crate::tls::{Certificates, NAME};
use millrace_wire::Signal;
use std::net::SocketAddr;
use std::path::Path;

/// What distinguishes the collectors' configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Millrace,
    /// Go's HTTP client keeps two idle connections per host unless told otherwise, and would open a new one for
    /// nearly every request here; ours has no such limit.
    Otelcol,
}

/// The whole configuration for one case: OTLP in on `listen`, OTLP out to `forward`.
pub(super) fn config(
    args: &Args,
    case: &Case,
    dialect: Dialect,
    listen: SocketAddr,
    forward: SocketAddr,
    certificates: Option<&Certificates>,
    dir: &Path,
) -> String {
    let (signal, protocol, compression) = match &case.kind {
        Kind::Relay(relay) => (relay.signal, relay.protocol, relay.compression),
        Kind::Crowd(crowd) => (SignalArg::Traces, crowd.protocol, Compression::None),
        Kind::Overload(overload) => (SignalArg::Traces, overload.protocol, Compression::None),
        Kind::Idle => (SignalArg::Traces, Protocol::Grpc, Compression::None),
    };
    let receiver = match protocol {
        Protocol::Grpc => format!("grpc:\n        endpoint: {listen}\n        max_recv_msg_size_mib: 64"),
        Protocol::Http => format!("http:\n        endpoint: {listen}"),
    };
    let server_tls = certificates.map_or_else(String::new, |files| {
        let (cert, key) = (files.cert.display(), files.key.display());
        format!("\n        tls:\n          cert_file: {cert}\n          key_file: {key}")
    });
    // A crowd is about what comes in: what goes out is plain.
    let ca = certificates.filter(|_| matches!(case.kind, Kind::Relay(_)));
    let client_tls = ca.map_or_else(
        || "insecure: true".to_owned(),
        |files| format!("ca_file: {}\n      server_name_override: {NAME}", files.ca.display()),
    );
    let scheme = if ca.is_some() { "https" } else { "http" };
    let exporter = match protocol {
        Protocol::Grpc => "otlp_grpc",
        Protocol::Http => "otlp_http",
    };
    let destination = match protocol {
        Protocol::Grpc => format!("endpoint: {forward}"),
        Protocol::Http if dialect == Dialect::Otelcol => {
            format!("endpoint: {scheme}://{forward}\n    max_idle_conns_per_host: 100")
        }
        Protocol::Http => format!("endpoint: {scheme}://{forward}"),
    };
    let is_limited = match &case.kind {
        Kind::Overload(_) => true,
        Kind::Crowd(crowd) => matches!(crowd.manner, Manner::Slow | Manner::Bombs),
        Kind::Relay(_) | Kind::Idle => false,
    };
    let (processors, uses, delivery) = if is_limited {
        let limit = args.limit_mib;
        let spike = limit / 4;
        (
            format!(
                "processors:\n  memory_limiter:\n    check_interval: 100ms\n    limit_mib: {limit}\n    \
                 spike_limit_mib: {spike}\n"
            ),
            "\n      processors: [memory_limiter]",
            // The default queue, and retrying for ever: whatever is missing at the end was lost by the collector.
            "sending_queue:\n      enabled: true\n    retry_on_failure:\n      enabled: true\n      max_elapsed_time: 0s",
        )
    } else {
        (
            String::new(),
            "",
            "sending_queue:\n      enabled: false\n    retry_on_failure:\n      enabled: false",
        )
    };
    let is_durable = matches!(&case.kind, Kind::Relay(relay) if relay.durable);
    let (extensions, runs, delivery) = if is_durable && dialect == Dialect::Millrace {
        (
            format!(
                "extensions:\n  file_storage:\n    directory: {}\n    create_directory: true\n",
                dir.join("storage").display()
            ),
            "\n  extensions: [file_storage]",
            "sending_queue:\n      storage: file_storage\n      queue_size: 1000000",
        )
    } else {
        (String::new(), "", delivery)
    };
    let signal = Signal::from(signal).name();
    let compression = compression.name();
    format!(
        "{extensions}receivers:
  otlp:
    protocols:
      {receiver}{server_tls}
{processors}exporters:
  {exporter}:
    {destination}
    compression: {compression}
    tls:
      {client_tls}
    {delivery}
service:{runs}
  telemetry:
    metrics:
      level: none
    logs:
      level: error
  pipelines:
    {signal}:
      receivers: [otlp]{uses}
      exporters: [{exporter}]
"
    )
}
