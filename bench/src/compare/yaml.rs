//! The configuration that Millrace and the Go collector are both given.

use super::Args;
use super::case::{Case, Kind, Manner, Queue};
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

/// Whatever is missing at the end was lost by the collector, not given up.
const RETRY_FOR_EVER: &str = "retry_on_failure:\n      enabled: true\n      max_elapsed_time: 0s";

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
        Kind::Stored(stored) => (SignalArg::Traces, stored.protocol, Compression::None),
        Kind::Idle | Kind::Backlog => (SignalArg::Traces, Protocol::Grpc, Compression::None),
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
        _ => false,
    };
    let (processors, uses) = if is_limited {
        let limit = args.limit_mib;
        let spike = limit / 4;
        (
            format!(
                "processors:\n  memory_limiter:\n    check_interval: 100ms\n    limit_mib: {limit}\n    \
                 spike_limit_mib: {spike}\n"
            ),
            "\n      processors: [memory_limiter]",
        )
    } else {
        (String::new(), "")
    };
    let queue = queue(case, dialect, is_limited);
    let delivery = match queue {
        Queue::None => {
            "sending_queue:\n      enabled: false\n    retry_on_failure:\n      enabled: false".to_owned()
        }
        // The default queue.
        Queue::Memory => format!("sending_queue:\n      enabled: true\n    {RETRY_FOR_EVER}"),
        // More than there is ever load for: the disk is the bound.
        Queue::Disk { .. } => format!(
            "sending_queue:\n      storage: file_storage\n      queue_size: 10000000{}\n    {RETRY_FOR_EVER}",
            consumers(args, case)
        ),
    };
    let (extensions, runs) = match queue {
        Queue::Disk { fsync } => (
            format!(
                "extensions:\n  file_storage:\n    directory: {}\n    create_directory: true\n    fsync: {fsync}\n",
                dir.join("storage").display()
            ),
            "\n  extensions: [file_storage]",
        ),
        Queue::None | Queue::Memory => (String::new(), ""),
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

/// As many sends at once as there are requests open at the door: so many a relay without a queue has under way.
fn consumers(args: &Args, case: &Case) -> String {
    let consumers = match &case.kind {
        Kind::Relay(relay) => {
            let (connections, in_flight) = relay.streams.unwrap_or((args.connections, args.in_flight));
            connections * in_flight
        }
        Kind::Stored(stored) if stored.connections > 1 => stored.connections,
        _ => return String::new(),
    };
    format!("\n      num_consumers: {consumers}")
}

/// Where the exporter keeps what waits for the destination.
fn queue(case: &Case, dialect: Dialect, is_limited: bool) -> Queue {
    let is_ours = dialect == Dialect::Millrace;
    match &case.kind {
        Kind::Relay(relay) if relay.durable && is_ours => Queue::Disk { fsync: true },
        Kind::Stored(stored) => Queue::Disk { fsync: is_ours || stored.go_syncs },
        // A backlog takes the Go collector minutes with fsync.
        Kind::Backlog => Queue::Disk { fsync: is_ours },
        _ if is_limited => Queue::Memory,
        _ => Queue::None,
    }
}
