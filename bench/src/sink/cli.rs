//! The command line of `millrace-sink`.

use crate::status::Code;
use clap::Parser;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A backend for measurements: accepts OTLP over gRPC and HTTP, counts items without decoding them, and can be told to
/// be slow or to refuse.
///
/// The stats port answers `GET /stats` with totals as JSON. `POST /acked` with the file that `millrace-loadgen
/// --acked-file` wrote says how many of the acknowledged items never arrived and how many arrived twice (needs
/// --check-ids). `POST /rate` with a number changes --rate while running (0 lifts it).
#[derive(Debug, Clone, Parser)]
#[command(name = "millrace-sink", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// Where OTLP/gRPC is accepted.
    #[arg(long, default_value = "127.0.0.1:14317", value_name = "ADDR:PORT")]
    pub grpc: SocketAddr,

    /// Where OTLP/HTTP is accepted (HTTP/1.1, protobuf).
    #[arg(long, default_value = "127.0.0.1:14318", value_name = "ADDR:PORT")]
    pub http: SocketAddr,

    /// Where totals are served.
    #[arg(long, default_value = "127.0.0.1:14319", value_name = "ADDR:PORT")]
    pub stats: SocketAddr,

    /// Accept TLS only, with the certificate in this file (PEM); the stats port stays plain.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of that certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Largest HTTP/2 DATA frame to advertise (SETTINGS_MAX_FRAME_SIZE). 16384 is what most servers advertise.
    #[arg(long, default_value_t = 16_384)]
    pub frame_size: u32,

    /// HTTP/2 receive window of each stream.
    #[arg(long, default_value_t = 1 << 20)]
    pub stream_window: u32,

    /// HTTP/2 receive window of each connection.
    #[arg(long, default_value_t = 8 << 20)]
    pub connection_window: u32,

    /// HTTP/2 streams that a connection may have open.
    #[arg(long, default_value_t = 1024)]
    pub max_streams: u32,

    /// Largest body, compressed and inflated.
    #[arg(long, default_value_t = 64)]
    pub max_body_mib: usize,

    /// Record the identity of every item, for exact loss and duplicate counts.
    #[arg(long)]
    pub check_ids: bool,

    /// Memory for identities; each MiB holds 8 million.
    #[arg(long, default_value_t = 256)]
    pub ids_memory_mib: usize,

    /// Items per second that the backend manages; answers wait their turn. 0 is no limit.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,

    /// Share of requests to refuse, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub fail_rate: f64,

    /// How they are refused: a gRPC code by name or number, or an HTTP status; the other protocol gets its like.
    #[arg(long, default_value = "UNAVAILABLE", value_parser = parse_failure)]
    pub fail_status: Failure,

    /// Seconds after which a refused sender is asked to try again (RetryInfo, Retry-After). 0 asks nothing.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub retry_after: f64,

    /// Count the items of refused requests as received, as a backend does that fails after it has stored.
    #[arg(long)]
    pub fail_after_accept: bool,

    /// Stop by itself after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,

    /// Worker threads of the sink.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,

    /// Write the totals as JSON here at the end [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  millrace-sink --check-ids & curl -s localhost:14319/stats
  millrace-sink --rate 5000                      a backend that manages 5,000 items a second
  millrace-sink --fail-rate 0.2 --fail-status 429 --retry-after 1";

/// How a request is refused, in either protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Over gRPC.
    pub grpc: Code,
    /// Over HTTP.
    pub http: u16,
}

fn parse_failure(text: &str) -> Result<Failure, String> {
    match text.parse::<u16>() {
        Ok(status @ 400..=599) => Ok(Failure { grpc: Code::from_http(status), http: status }),
        _ => match Code::parse(text) {
            Some(code) if code != Code(0) => Ok(Failure { grpc: code, http: code.http() }),
            _ => Err("give a gRPC code (UNAVAILABLE, 14) or an HTTP status from 400 to 599".into()),
        },
    }
}

impl Args {
    /// Refuses arguments that could not work, naming them.
    ///
    /// # Errors
    /// The first such argument.
    pub fn check(&self) -> io::Result<()> {
        let complaint = if !(16_384..=16_777_215).contains(&self.frame_size) {
            "--frame-size must be 16384 to 16777215 (RFC 9113, SETTINGS_MAX_FRAME_SIZE)"
        } else if self.stream_window.max(self.connection_window) > i32::MAX as u32 {
            "windows must be at most 2147483647 bytes"
        } else if !(0.0..=1.0).contains(&self.fail_rate) {
            "--fail-rate must be 0 to 1"
        } else if !self.rate.is_finite() || self.rate < 0.0 {
            "--rate must be 0 or more items per second"
        } else if !(0.0..=86_400.0).contains(&self.retry_after) {
            "--retry-after must be 0 to 86400 seconds"
        } else if self.duration.is_some_and(|seconds| !(0.0..=86_400.0 * 30.0).contains(&seconds)) {
            "--duration must be 0 seconds to 30 days"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, complaint))
    }
}
