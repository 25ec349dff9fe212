//! The command line of `millrace-compare`.

use super::case::{Case, Kind};
use clap::Parser;
use std::path::PathBuf;

/// Compares relays by turns: same load, same sink, one contender at a time.
///
/// What is compared is the processor time that the contender itself used per item that reached the sink (user and
/// kernel), its memory, throughput and latency. `--otelcol` takes the Go collector and gives it the same
/// configuration as Millrace; the yardsticks are relays written with tonic, axum and prost. The load generator, the
/// sink and the yardsticks are looked for beside this program.
#[derive(Debug, Clone, Parser)]
#[command(name = "millrace-compare", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// The Millrace binary.
    #[arg(long, value_name = "PATH")]
    pub millrace: Option<PathBuf>,

    /// The Go collector's binary (otelcol or otelcol-contrib).
    #[arg(long, value_name = "PATH")]
    pub otelcol: Option<PathBuf>,

    /// Leave the yardsticks out.
    #[arg(long)]
    pub no_yardstick: bool,

    /// Cases to run, by name or group: `relay`, `durable`, `idle`, `overload`, `crowd`, `all`.
    #[arg(long, value_delimiter = ',', default_value = "relay,idle")]
    pub cases: Vec<String>,

    /// List the cases and stop.
    #[arg(long)]
    pub list: bool,

    /// Turns of each contender per case.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,

    /// Seconds of load before measuring.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub warmup: f64,

    /// Seconds of measuring. Processor time has a grain of 10 ms.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    pub measure: f64,

    /// For a first look: one round, half a second of warm-up, two seconds of measuring, ten of overload, a
    /// backlog of 128 MiB.
    #[arg(long)]
    pub quick: bool,

    /// Connections of the load generator in relay cases.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,

    /// Requests in flight per connection in relay cases.
    #[arg(long, default_value_t = 4)]
    pub in_flight: usize,

    /// Seconds of overload.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    pub overload_seconds: f64,

    /// Items per second offered in overload cases; the sink manages a tenth.
    #[arg(long, default_value_t = 50_000.0)]
    pub overload_rate: f64,

    /// memory_limiter's limit in overload cases, and in crowds that are slow or send bombs.
    #[arg(long, default_value_t = 64)]
    pub limit_mib: u32,

    /// Where queues on disk are written, and the bare loop beside them [default: the folder for temporary files].
    #[arg(long, value_name = "DIRECTORY")]
    pub disk: Option<PathBuf>,

    /// How much waits on disk in the case `backlog`.
    #[arg(long, default_value_t = 1024)]
    pub backlog_mib: u64,

    /// Fail where one of the bars of queues on disk is missed.
    #[arg(long)]
    pub check: bool,

    /// Write all results as JSON here (`-` for standard output).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  millrace-compare --millrace target/release/millrace --otelcol /usr/bin/otelcol-contrib
  millrace-compare --millrace target/release/millrace --quick --cases grpc-100,http-100
  millrace-compare --millrace target/release/millrace --cases overload --overload-seconds 60";

impl Args {
    /// The arguments with what `--quick` implies filled in.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        if self.quick {
            self.rounds = 1;
            self.warmup = 0.5;
            self.measure = 2.0;
            self.overload_seconds = self.overload_seconds.min(10.0);
            self.backlog_mib = self.backlog_mib.min(128);
        }
        self.rounds = self.rounds.clamp(1, 100);
        self.measure = self.measure.clamp(1.0, 600.0);
        self.warmup = self.warmup.clamp(0.1, 600.0);
        self.overload_seconds = self.overload_seconds.clamp(1.0, 3600.0);
        self.backlog_mib = self.backlog_mib.clamp(16, 64 << 10);
        self
    }

    /// Overload is long and its verdict is not a mean: once is enough.
    pub(super) fn rounds_of(&self, case: &Case) -> usize {
        match case.kind {
            Kind::Overload(_) | Kind::Crowd(_) | Kind::Backlog => 1,
            Kind::Relay(_) | Kind::Stored(_) | Kind::Idle => self.rounds,
        }
    }
}
