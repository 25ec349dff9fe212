//! The two instruments as children: the sink with its stats port, the load generator with its report.

use super::child::{Child, Tools, free_port};
use crate::ledger::Verdict;
use crate::loadgen::{Protocol, Report, SignalArg};
use crate::sink::SignalTotals;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// A sink of our own.
#[derive(Debug)]
pub(super) struct SinkProcess {
    pub(super) child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    stats: SocketAddr,
}

#[derive(Debug, Deserialize)]
struct Totals {
    traces: SignalTotals,
    metrics: SignalTotals,
    logs: SignalTotals,
}

impl SinkProcess {
    /// Starts a sink with `options` and waits until it serves.
    pub(super) async fn start(tools: &Tools, options: &[String], dir: &Path) -> io::Result<Self> {
        let (grpc, http, stats) = (free_port()?, free_port()?, free_port()?);
        let mut command = Command::new(&tools.sink);
        command.arg(format!("--grpc={grpc}")).arg(format!("--http={http}")).arg(format!("--stats={stats}"));
        command.arg("--max-streams=4096").args(options);
        let mut child = Child::start("sink", command, dir)?;
        child.ready(stats).await?;
        Ok(Self { child, grpc, http, stats })
    }

    /// Where it accepts that protocol.
    pub(super) fn addr(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Grpc => self.grpc,
            Protocol::Http => self.http,
        }
    }

    pub(super) async fn totals(&self, signal: SignalArg) -> io::Result<SignalTotals> {
        let totals: Totals = self.call(Method::GET, "/stats", Bytes::new()).await?;
        Ok(match signal {
            SignalArg::Traces => totals.traces,
            SignalArg::Metrics => totals.metrics,
            SignalArg::Logs => totals.logs,
        })
    }

    pub(super) async fn verify(&self, acked_file: &Path) -> io::Result<Verdict> {
        let acked = std::fs::read(acked_file)?;
        self.call(Method::POST, "/acked", acked.into()).await
    }

    pub(super) async fn lift_rate(&self) -> io::Result<()> {
        let _: f64 = self.call(Method::POST, "/rate", Bytes::from_static(b"0")).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> io::Result<T> {
        let stream = TokioIo::new(crate::run::connect(self.stats).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        if !status.is_success() {
            return Err(io::Error::other(format!(
                "sink answered {status}: {}",
                String::from_utf8_lossy(&body)
            )));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// A running load generator.
#[derive(Debug)]
pub(super) struct Load {
    child: Child,
    report: PathBuf,
}

impl Load {
    pub(super) fn start(tools: &Tools, options: &[String], dir: &Path) -> io::Result<Self> {
        let report = dir.join("report.json");
        let mut command = Command::new(&tools.loadgen);
        command.args(options).arg("--json").arg(&report);
        Ok(Self { child: Child::start("loadgen", command, dir)?, report })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for its end and reads its report.
    pub(super) async fn report(mut self, within: Duration) -> io::Result<Report> {
        self.child.finish(within).await?;
        Ok(serde_json::from_slice(&std::fs::read(&self.report)?)?)
    }
}
