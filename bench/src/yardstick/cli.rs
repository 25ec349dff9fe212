//! The command line that both yardsticks share.

use crate::compression::Compression;
use clap::Parser;
use std::net::SocketAddr;

/// A relay that decodes OTLP into structs and encodes it again: the thing to compare with.
///
/// Answers when the destination has answered. Accepts gzip and zstd; sends what --compression says.
#[derive(Debug, Clone, Parser)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// Where requests are accepted.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: SocketAddr,

    /// Where they are sent.
    #[arg(long, value_name = "ADDR:PORT")]
    pub forward: SocketAddr,

    /// Compression of what is sent: gzip at level 6, zstd at level 3 (HTTP) or the library's default (gRPC).
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub compression: Compression,

    /// gRPC: largest HTTP/2 DATA frame to advertise to senders.
    #[arg(long, default_value_t = 16_384)]
    pub frame_size: u32,

    /// gRPC: connections to the destination, used in turn.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,

    /// Worker threads [default: one per core].
    #[arg(long)]
    pub threads: Option<usize>,
}

impl Args {
    /// Worker threads, one per core unless told otherwise.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}
