//! The command line of `millrace-loadgen`.

use crate::compression::Compression;
use clap::{Parser, ValueEnum};
use millrace_wire::Signal;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Sends OTLP telemetry to a collector and reports what became of it.
///
/// Requests are encoded once at start; only the identities of their items are overwritten per request, so the
/// generator costs far less than what it measures. Every item has an identity of its own: `--acked-file` together
/// with `millrace-sink --check-ids` proves that nothing acknowledged was lost.
///
/// Closed loop (the default): every connection keeps `--in-flight` requests open and sends the next one when an
/// answer comes. Open loop (`--rate`): requests are due at fixed times, latency counts from the time due, and
/// requests that would start later than `--max-lag` are skipped and counted.
///
/// Refusals that OTLP calls retryable are sent again, with the same identities, after the delay that the server asked
/// for or an exponential backoff.
#[derive(Debug, Clone, Parser)]
#[command(name = "millrace-loadgen", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// What to send.
    #[arg(long, value_enum, default_value_t = SignalArg::Traces)]
    pub signal: SignalArg,

    /// OTLP/gRPC, or OTLP/HTTP with protobuf bodies over HTTP/1.1.
    #[arg(long, value_enum, default_value_t = Protocol::Grpc)]
    pub protocol: Protocol,

    /// Address of the collector [default: 127.0.0.1:4317 for gRPC, 127.0.0.1:4318 for HTTP].
    #[arg(long, value_name = "ADDR:PORT")]
    pub endpoint: Option<SocketAddr>,

    /// Connections. Over HTTP/1.1 every request in flight needs its own, so there are connections × in-flight.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,

    /// Requests kept open per connection.
    #[arg(long, default_value_t = 4)]
    pub in_flight: usize,

    /// Spans, log records or data points per request.
    #[arg(long, default_value_t = 100)]
    pub items_per_request: usize,

    /// Seconds to offer load for. With `--requests`, whichever ends first.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub duration: f64,

    /// Stop after this many requests.
    #[arg(long)]
    pub requests: Option<u64>,

    /// Seconds at the start that throughput and latency leave out.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub warmup: f64,

    /// Seconds after the end to wait for answers and retries; what is open then is abandoned.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub grace: f64,

    /// Items per second to offer (open loop). Without it, as fast as answers come (closed loop).
    #[arg(long)]
    pub rate: Option<f64>,

    /// Open loop: seconds that a request may start late before it is skipped.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub max_lag: f64,

    /// Compression of request bodies.
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub compression: Compression,

    /// Compression level (gzip 1 to 9, zstd 1 to 19) [default: gzip 6, zstd 1].
    #[arg(long)]
    pub compression_level: Option<u32>,

    /// `unique`: every item its own identity. `fixed`: the same few requests over and over, compressed once; cheaper
    /// for the generator when compressing, and proves nothing about loss.
    #[arg(long, value_enum, default_value_t = Identities::Unique)]
    pub ids: Identities,

    /// Distinct requests to rotate through.
    #[arg(long, default_value_t = 8)]
    pub templates: usize,

    /// Use TLS, and trust the authority whose certificate is in this file; the server's name is `localhost`.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Largest HTTP/2 DATA frame to send, if the collector advertises as much. 16384 is what most clients send.
    #[arg(long, default_value_t = 16_384)]
    pub frame_size: u32,

    /// HTTP/2 receive windows (stream and connection) to advertise.
    #[arg(long, default_value_t = 1 << 20)]
    pub window: u32,

    /// Seconds before an attempt without an answer is given up and sent again.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub timeout: f64,

    /// First retry delay in milliseconds; grows by half each time up to 5 s, with jitter.
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub backoff: u64,

    /// Attempts per request, the first included.
    #[arg(long, default_value_t = 1000)]
    pub max_attempts: u32,

    /// Run id, hexadecimal [default: from the clock].
    #[arg(long, value_parser = parse_run)]
    pub run_id: Option<u64>,

    /// Worker threads of the generator.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,

    /// Write the acknowledged items here, one `RUN FIRST LAST` range per line.
    #[arg(long, value_name = "FILE")]
    pub acked_file: Option<PathBuf>,

    /// Write the report as JSON here (`-` for standard output) in place of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  millrace-loadgen --items-per-request 1000 --duration 10
  millrace-loadgen --protocol http --signal logs --rate 50000 --connections 64 --in-flight 1
  millrace-loadgen --requests 1000 --acked-file acked.txt && curl --data-binary @acked.txt localhost:14319/acked";

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignalArg {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

impl From<SignalArg> for Signal {
    fn from(signal: SignalArg) -> Self {
        match signal {
            SignalArg::Traces => Self::Traces,
            SignalArg::Metrics => Self::Metrics,
            SignalArg::Logs => Self::Logs,
        }
    }
}

/// How to send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP, protobuf, HTTP/1.1.
    Http,
}

impl Protocol {
    /// As it is written on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// Where identities come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Identities {
    /// A new one for every item.
    Unique,
    /// As encoded at start.
    Fixed,
}

impl Args {
    /// The address, by default the protocol's usual port on the loopback interface.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        let port = match self.protocol {
            Protocol::Grpc => 4317,
            Protocol::Http => 4318,
        };
        self.endpoint.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The time that is left to requests in flight at the end.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs_f64(self.grace)
    }

    /// The compression level, by default what most senders use.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.compression_level.unwrap_or(match self.compression {
            Compression::Zstd => 1,
            Compression::None | Compression::Gzip => 6,
        })
    }

    /// Refuses arguments that could not work, naming them.
    ///
    /// # Errors
    /// The first such argument.
    pub fn check(&self) -> io::Result<()> {
        let positive = |value: f64| value.is_finite() && (0.0..=86_400.0 * 30.0).contains(&value);
        let complaint = if self.connections == 0 || self.in_flight == 0 {
            "--connections and --in-flight must be at least 1"
        } else if self.connections.saturating_mul(self.in_flight) > 65_536 {
            "--connections times --in-flight must be at most 65536"
        } else if !(1..=100_000).contains(&self.items_per_request) {
            "--items-per-request must be 1 to 100000"
        } else if !(1..=64).contains(&self.templates) {
            "--templates must be 1 to 64"
        } else if ![self.duration, self.warmup, self.grace, self.max_lag, self.timeout]
            .into_iter()
            .all(positive)
        {
            "times must be between 0 and 30 days"
        } else if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            "--rate must be above 0 items per second"
        } else if !(16_384..=16_777_215).contains(&self.frame_size) {
            "--frame-size must be 16384 to 16777215 (RFC 9113, SETTINGS_MAX_FRAME_SIZE)"
        } else if self.max_attempts == 0 {
            "--max-attempts must be at least 1"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, complaint))
    }
}

fn parse_run(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|error| format!("a run id is up to 16 hexadecimal digits: {error}"))
}
