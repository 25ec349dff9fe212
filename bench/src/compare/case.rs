//! What is compared.

use crate::compression::Compression;
use crate::loadgen::{Protocol, SignalArg};
use std::io;

/// One comparison.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// In and out by the same protocol, answering when the destination has answered.
    Relay(Relay),
    /// Started and left alone.
    Idle,
    /// Offered ten times what the destination manages.
    Overload(Overload),
}

#[derive(Debug, Clone)]
pub(super) struct Relay {
    pub(super) signal: SignalArg,
    pub(super) protocol: Protocol,
    pub(super) items: usize,
    pub(super) compression: Compression,
    /// Largest DATA frame sent to the contender and advertised by the sink.
    pub(super) frame_size: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Overload {
    pub(super) protocol: Protocol,
    pub(super) connections: usize,
    pub(super) in_flight: usize,
}

const SMALL_FRAMES: u32 = 16_384;
const LARGE_FRAMES: u32 = 1 << 20;

use Compression::{Gzip, None as Plain, Zstd};
use Protocol::{Grpc, Http};
use SignalArg::{Logs, Metrics, Traces};

/// All cases, in the order in which they run.
pub(super) fn all() -> Vec<Case> {
    let relay = |name, about, signal, protocol, items, compression, frame_size| Case {
        name,
        about,
        kind: Kind::Relay(Relay { signal, protocol, items, compression, frame_size }),
    };
    let overload = |name, about, protocol, connections, in_flight| Case {
        name,
        about,
        kind: Kind::Overload(Overload { protocol, connections, in_flight }),
    };
    vec![
        relay("grpc-100", "traces, gRPC, 100 spans/request", Traces, Grpc, 100, Plain, SMALL_FRAMES),
        relay("grpc-1000", "traces, gRPC, 1000 spans/request", Traces, Grpc, 1000, Plain, SMALL_FRAMES),
        relay(
            "grpc-1000-frames",
            "traces, gRPC, 1000 spans/request, 1 MiB frames on both hops",
            Traces,
            Grpc,
            1000,
            Plain,
            LARGE_FRAMES,
        ),
        relay("http-100", "traces, HTTP/1.1, 100 spans/request", Traces, Http, 100, Plain, SMALL_FRAMES),
        relay("http-1000", "traces, HTTP/1.1, 1000 spans/request", Traces, Http, 1000, Plain, SMALL_FRAMES),
        relay(
            "grpc-gzip",
            "traces, gRPC, 1000 spans/request, gzip in and out",
            Traces,
            Grpc,
            1000,
            Gzip,
            SMALL_FRAMES,
        ),
        relay(
            "grpc-zstd",
            "traces, gRPC, 1000 spans/request, zstd in and out",
            Traces,
            Grpc,
            1000,
            Zstd,
            SMALL_FRAMES,
        ),
        relay(
            "http-gzip",
            "traces, HTTP/1.1, 1000 spans/request, gzip in and out",
            Traces,
            Http,
            1000,
            Gzip,
            SMALL_FRAMES,
        ),
        relay("logs", "logs, gRPC, 1000 records/request", Logs, Grpc, 1000, Plain, SMALL_FRAMES),
        relay("metrics", "metrics, gRPC, 1000 points/request", Metrics, Grpc, 1000, Plain, SMALL_FRAMES),
        Case { name: "idle", about: "start, time until the port accepts, memory at rest", kind: Kind::Idle },
        overload("overload-grpc-64", "gRPC, 64 connections, destination at a tenth", Grpc, 64, 8),
        overload("overload-grpc-1000", "gRPC, 1000 connections, destination at a tenth", Grpc, 1000, 1),
        overload("overload-http-64", "HTTP/1.1, 64 connections, destination at a tenth", Http, 64, 1),
        overload("overload-http-1000", "HTTP/1.1, 1000 connections, destination at a tenth", Http, 1000, 1),
    ]
}

impl Case {
    fn group(&self) -> &'static str {
        match self.kind {
            Kind::Relay(_) => "relay",
            Kind::Idle => "idle",
            Kind::Overload(_) => "overload",
        }
    }
}

/// The cases that the command line names, by name or group.
pub(super) fn chosen(names: &[String]) -> io::Result<Vec<Case>> {
    let all = all();
    for name in names {
        if name != "all" && !all.iter().any(|case| case.name == name || case.group() == name) {
            let message = format!("there is no case or group {name:?}; --list shows them");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    let wanted =
        |case: &Case| names.iter().any(|name| name == "all" || name == case.name || name == case.group());
    Ok(all.into_iter().filter(wanted).collect())
}

/// The list that `--list` prints.
#[must_use]
pub fn list() -> String {
    all().iter().map(|case| format!("{:<10}{:<20}{}\n", case.group(), case.name, case.about)).collect()
}
