//! Who is compared, and how each is started for a case.

use super::Args;
use super::case::{Case, Kind};
use super::child::{Child, beside, free_port};
use super::yaml::{self, Dialect};
use crate::compression::Compression;
use crate::loadgen::Protocol;
use crate::tls::Certificates;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// A relay that takes part.
#[derive(Debug)]
pub(super) enum Contender {
    Millrace(PathBuf),
    Otelcol(PathBuf),
    Yardstick {
        grpc: PathBuf,
        http: PathBuf,
    },
    /// Appends and syncs alone, without a relay around them: what the disk allows.
    Bare,
}

/// The contenders that the command line names, ours first: ratios are against the first.
pub(super) fn all(args: &Args) -> io::Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    contenders.extend(args.millrace.clone().map(Contender::Millrace));
    contenders.extend(args.otelcol.clone().map(Contender::Otelcol));
    if !args.no_yardstick {
        contenders
            .push(Contender::Yardstick { grpc: beside("yardstick-grpc")?, http: beside("yardstick-http")? });
    }
    if contenders.is_empty() {
        let message = "nobody to compare: give --millrace or --otelcol, or leave out --no-yardstick";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    contenders.push(Contender::Bare);
    Ok(contenders)
}

impl Contender {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Millrace(_) => "millrace",
            Self::Otelcol(_) => "otelcol (Go)",
            Self::Yardstick { .. } => "yardstick (prost)",
            Self::Bare => "bare loop",
        }
    }

    /// The yardsticks have no queue, no memory limiter and no TLS.
    pub(super) fn can_play(&self, case: &Case) -> bool {
        match (self, &case.kind) {
            (Self::Bare, kind) => matches!(kind, Kind::Stored(_)),
            (Self::Yardstick { .. }, Kind::Relay(relay)) => !relay.tls && !relay.durable,
            (Self::Yardstick { .. }, kind) => matches!(kind, Kind::Idle),
            (Self::Millrace(_) | Self::Otelcol(_), _) => true,
        }
    }

    /// Starts it: OTLP in on the returned address, out to `forward`.
    pub(super) fn start(
        &self,
        args: &Args,
        case: &Case,
        forward: SocketAddr,
        certificates: Option<&Certificates>,
        dir: &Path,
    ) -> io::Result<(Child, SocketAddr)> {
        let listen = free_port()?;
        let config = |dialect| yaml::config(args, case, dialect, listen, forward, certificates, dir);
        let command = match self {
            Self::Millrace(path) => collector(path, &config(Dialect::Millrace), dir)?,
            Self::Otelcol(path) => collector(path, &config(Dialect::Otelcol), dir)?,
            Self::Yardstick { grpc, http } => yardstick(case, grpc, http, listen, forward),
            Self::Bare => return Err(io::Error::other("there is nothing to start of a bare loop")),
        };
        Ok((Child::start("contender", command, dir)?, listen))
    }
}

fn collector(path: &Path, config: &str, dir: &Path) -> io::Result<Command> {
    let file = dir.join("config.yaml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(path);
    command.arg(format!("--config={}", file.display()));
    Ok(command)
}

fn yardstick(case: &Case, grpc: &Path, http: &Path, listen: SocketAddr, forward: SocketAddr) -> Command {
    let (protocol, compression, frame_size) = match &case.kind {
        Kind::Relay(relay) => (relay.protocol, relay.compression, relay.frame_size),
        _ => (Protocol::Grpc, Compression::None, 16_384),
    };
    let mut command = Command::new(if protocol == Protocol::Grpc { grpc } else { http });
    command.arg(format!("--listen={listen}")).arg(format!("--forward={forward}"));
    command.arg(format!("--compression={}", compression.name())).arg(format!("--frame-size={frame_size}"));
    command
}
