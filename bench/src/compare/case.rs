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
    /// Many connections beside a usual load.
    Crowd(Crowd),
    /// Answering when the request is in a queue on disk.
    Stored(Stored),
    /// Started with much in a queue on disk.
    Backlog,
}

#[derive(Debug, Clone)]
pub(super) struct Relay {
    pub(super) signal: SignalArg,
    pub(super) protocol: Protocol,
    pub(super) items: usize,
    pub(super) compression: Compression,
    /// Largest DATA frame sent to the contender and advertised by the sink.
    pub(super) frame_size: u32,
    /// Encrypted on both hops.
    pub(super) tls: bool,
    /// Ours acknowledges what is on disk, and sends it from there. The others are as ever: in memory.
    pub(super) durable: bool,
    /// Connections and requests in flight on each, where they are not what the command line says.
    pub(super) streams: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) protocol: Protocol,
    pub(super) items: usize,
    /// With one request open at a time.
    pub(super) connections: usize,
    /// Whether the Go collector syncs. Ours does.
    pub(super) go_syncs: bool,
    /// Whether there is somebody at the destination meanwhile.
    pub(super) delivers: bool,
}

/// Where an exporter keeps what it has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// Nowhere: it acknowledges what the destination has.
    None,
    Memory,
    Disk {
        fsync: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Overload {
    pub(super) protocol: Protocol,
    pub(super) connections: usize,
    pub(super) in_flight: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    pub(super) protocol: Protocol,
    pub(super) tls: bool,
    pub(super) connections: usize,
    pub(super) manner: Manner,
}

/// What the connections of a crowd do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Nothing, after the handshake.
    Idle,
    /// Nothing, after one request of ten items.
    Used,
    /// Each sends a request of a hundred items now and then.
    Busy,
    /// Each sends a request a byte a second.
    Slow,
    /// Each sends a few kilobytes that inflate to the largest message there may be, again and again.
    Bombs,
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
        kind: Kind::Relay(Relay {
            signal,
            protocol,
            items,
            compression,
            frame_size,
            tls: false,
            durable: false,
            streams: None,
        }),
    };
    let tls = |name, about, protocol, items| Case {
        name,
        about,
        kind: Kind::Relay(Relay {
            signal: Traces,
            protocol,
            items,
            compression: Plain,
            frame_size: SMALL_FRAMES,
            tls: true,
            durable: false,
            streams: None,
        }),
    };
    let durable = |name, about, protocol, items, streams| Case {
        name,
        about,
        kind: Kind::Relay(Relay {
            signal: Traces,
            protocol,
            items,
            compression: Plain,
            frame_size: SMALL_FRAMES,
            tls: false,
            durable: true,
            streams,
        }),
    };
    let stored = |name, about, items, connections, go_syncs, delivers| Case {
        name,
        about,
        kind: Kind::Stored(Stored { protocol: Grpc, items, connections, go_syncs, delivers }),
    };
    let crowd = |name, about, protocol, tls, connections, manner| Case {
        name,
        about,
        kind: Kind::Crowd(Crowd { protocol, tls, connections, manner }),
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
        tls("grpc-tls-100", "traces, gRPC, 100 spans/request, TLS on both hops", Grpc, 100),
        tls("grpc-tls-1000", "traces, gRPC, 1000 spans/request, TLS on both hops", Grpc, 1000),
        tls("http-tls-1000", "traces, HTTP/1.1, 1000 spans/request, TLS on both hops", Http, 1000),
        durable("durable-grpc-100", "gRPC, 100 spans/request; ours from a queue on disk", Grpc, 100, None),
        durable("durable-grpc-1000", "gRPC, 1000 spans/request; ours from a queue on disk", Grpc, 1000, None),
        durable(
            "durable-http-100",
            "HTTP/1.1, 100 spans/request; ours from a queue on disk",
            Http,
            100,
            None,
        ),
        durable(
            "durable-http-1000",
            "HTTP/1.1, 1000 spans/request; ours from a queue on disk",
            Http,
            1000,
            None,
        ),
        durable(
            "durable-grpc-100-64",
            "gRPC, 100 spans/request, 64 connections; ours from a queue on disk",
            Grpc,
            100,
            Some((64, 1)),
        ),
        durable(
            "durable-http-100-64",
            "HTTP/1.1, 100 spans/request, 64 connections; ours from a queue on disk",
            Http,
            100,
            Some((64, 1)),
        ),
        stored(
            "stored-64-synced",
            "gRPC, 100 spans/request, 64 connections, delivering; all with fsync",
            100,
            64,
            true,
            true,
        ),
        stored(
            "stored-64-synced-10",
            "gRPC, 10 spans/request, 64 connections, delivering; all with fsync",
            10,
            64,
            true,
            true,
        ),
        stored(
            "stored-64-synced-kept",
            "gRPC, 100 spans/request, 64 connections, nobody at the destination; all with fsync",
            100,
            64,
            true,
            false,
        ),
        stored(
            "stored-64-synced-kept-10",
            "gRPC, 10 spans/request, 64 connections, nobody at the destination; all with fsync",
            10,
            64,
            true,
            false,
        ),
        stored(
            "stored-64-unsynced",
            "gRPC, 100 spans/request, 64 connections, delivering; Go without fsync",
            100,
            64,
            false,
            true,
        ),
        stored(
            "stored-64-unsynced-10",
            "gRPC, 10 spans/request, 64 connections, delivering; Go without fsync",
            10,
            64,
            false,
            true,
        ),
        stored("stored-1", "gRPC, 100 spans/request, one at a time; all with fsync", 100, 1, true, true),
        Case {
            name: "backlog",
            about: "started with a backlog on disk, Go without fsync",
            kind: Kind::Backlog,
        },
        Case { name: "idle", about: "start, time until the port accepts, memory at rest", kind: Kind::Idle },
        overload("overload-grpc-64", "gRPC, 64 connections, destination at a tenth", Grpc, 64, 8),
        overload("overload-grpc-1000", "gRPC, 1000 connections, destination at a tenth", Grpc, 1000, 1),
        overload("overload-http-64", "HTTP/1.1, 64 connections, destination at a tenth", Http, 64, 1),
        overload("overload-http-1000", "HTTP/1.1, 1000 connections, destination at a tenth", Http, 1000, 1),
        crowd("idle-grpc-1000", "1,000 idle gRPC connections", Grpc, false, 1_000, Manner::Idle),
        crowd("idle-grpc-10000", "10,000 idle gRPC connections", Grpc, false, 10_000, Manner::Idle),
        crowd("idle-http-10000", "10,000 idle HTTP/1.1 connections", Http, false, 10_000, Manner::Idle),
        crowd("idle-grpc-tls-1000", "1,000 idle gRPC connections over TLS", Grpc, true, 1_000, Manner::Idle),
        crowd("idle-grpc-tls-10000", "10,000 idle gRPC connections, TLS", Grpc, true, 10_000, Manner::Idle),
        crowd(
            "idle-http-tls-10000",
            "10,000 idle HTTP/1.1 connections, TLS",
            Http,
            true,
            10_000,
            Manner::Idle,
        ),
        crowd("used-grpc-10000", "10,000 gRPC, idle after a request", Grpc, false, 10_000, Manner::Used),
        crowd("used-http-10000", "10,000 HTTP/1.1, idle after a request", Http, false, 10_000, Manner::Used),
        crowd(
            "used-grpc-tls-10000",
            "10,000 gRPC, TLS, idle after a request",
            Grpc,
            true,
            10_000,
            Manner::Used,
        ),
        crowd(
            "used-http-tls-10000",
            "10,000 HTTP/1.1, TLS, idle after one",
            Http,
            true,
            10_000,
            Manner::Used,
        ),
        crowd("busy-grpc-1000", "1,000 busy gRPC connections", Grpc, false, 1_000, Manner::Busy),
        crowd("busy-grpc-tls-1000", "1,000 busy gRPC connections over TLS", Grpc, true, 1_000, Manner::Busy),
        crowd("slow-grpc-1000", "1,000 gRPC requests a byte a second", Grpc, false, 1_000, Manner::Slow),
        crowd("slow-http-1000", "1,000 HTTP/1.1 requests a byte a second", Http, false, 1_000, Manner::Slow),
        crowd(
            "bombs-grpc-64",
            "64 gRPC connections sending compressed bombs",
            Grpc,
            false,
            64,
            Manner::Bombs,
        ),
        crowd(
            "bombs-http-64",
            "64 HTTP/1.1 connections sending compressed bombs",
            Http,
            false,
            64,
            Manner::Bombs,
        ),
    ]
}

impl Case {
    fn group(&self) -> &'static str {
        match self.kind {
            Kind::Relay(Relay { durable: false, .. }) => "relay",
            Kind::Relay(_) | Kind::Stored(_) | Kind::Backlog => "durable",
            Kind::Idle => "idle",
            Kind::Overload(_) => "overload",
            Kind::Crowd(_) => "crowd",
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
