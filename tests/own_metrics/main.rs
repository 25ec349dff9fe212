//! The metrics page beside the Go collector's: the same configuration and the same traffic make the same families
//! (name, type, help), the same series and, by the suffixes of names, the same units, at every level.
//!
//! `golden/` holds what the Go collector 0.159.0 showed. `tests/peers/record-metrics` writes it anew: it sets
//! `GO_COLLECTOR`, with which the same test runs that program first.

mod page;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

use page::Page;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{eventually, free_port};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn nothing_is_served_at_level_none() {
    let collector = Running::start(&millrace(), "none").await;
    traffic::send(collector.grpc, collector.http).await;
    assert!(TcpStream::connect(collector.metrics).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn the_page_is_the_go_collectors_at_level_basic() {
    compare("basic").await;
}

#[tokio::test]
async fn the_page_is_the_go_collectors_at_level_normal() {
    compare("normal").await;
}

#[tokio::test]
async fn the_page_is_the_go_collectors_at_level_detailed() {
    compare("detailed").await;
}

#[tokio::test]
async fn every_label_is_one_that_the_definition_names() {
    let collector = Running::start(&millrace(), "detailed").await;
    traffic::send(collector.grpc, collector.http).await;
    eventually("failures are counted", || async {
        let page = fetch(collector.metrics).await.expect("the page is served");
        if page.contains("otelcol_exporter_send_failed_spans") { Ok(()) } else { Err(page) }
    })
    .await;
    let page = fetch(collector.metrics).await.expect("the page is served");
    assert_eq!(page::undefined(&page), Vec::<String>::new());
}

async fn compare(level: &str) {
    if let Some(go) = std::env::var_os("GO_COLLECTOR") {
        record(Path::new(&go), level).await;
    }
    let goldens = [golden(level), golden(&format!("{level}.suffixed"))]
        .map(|path| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    let collector = Running::start(&millrace(), level).await;
    traffic::send(collector.grpc, collector.http).await;
    for (address, golden) in [collector.metrics, collector.suffixed].into_iter().zip(&goldens) {
        eventually(&format!("the page at level {level}"), || async {
            let difference = collector.page(address).await.difference(golden);
            if difference.is_empty() { Ok(()) } else { Err(difference) }
        })
        .await;
    }
}

/// Writes the golden files of a level from the Go collector.
async fn record(go: &Path, level: &str) {
    let collector = Running::start(go, level).await;
    traffic::send(collector.grpc, collector.http).await;
    for (address, name) in
        [(collector.metrics, level.to_owned()), (collector.suffixed, format!("{level}.suffixed"))]
    {
        fs::write(golden(&name), settled(&collector, address).await).expect("written");
    }
}

/// A page that has not changed for longer than the collector is silent between two things that it does by itself.
async fn settled(collector: &Running, address: SocketAddr) -> String {
    const SILENCE: Duration = Duration::from_secs(10);
    let (begun, mut since) = (Instant::now(), Instant::now());
    let mut page = collector.page(address).await.to_string();
    while since.elapsed() < SILENCE {
        assert!(begun.elapsed() < 6 * SILENCE, "it does not settle: {page}");
        tokio::time::sleep(SILENCE / 50).await;
        let now = collector.page(address).await.to_string();
        if now != page {
            (page, since) = (now, Instant::now());
        }
    }
    page
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/own_metrics/golden/{name}.txt"))
}

fn millrace() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_millrace"))
}

/// A collector, ours or the other, running `collector.yaml`. Killed when dropped.
struct Running {
    process: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    metrics: SocketAddr,
    suffixed: SocketAddr,
    /// Ports by what they are for: they are different in every run.
    ports: Vec<(&'static str, u16)>,
    folder: TempDir,
}

const PORTS: [&str; 8] = [
    "GRPC_PORT",
    "HTTP_PORT",
    "SINK_GRPC_PORT",
    "SINK_HTTP_PORT",
    "ABSENT_PORT",
    "METRICS_PORT",
    "SUFFIXED_PORT",
    "HEALTH_PORT",
];

impl Running {
    async fn start(program: &Path, level: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports: Vec<_> = PORTS.map(|name| (name, free_port())).into();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/own_metrics/collector.yaml");
        let log = fs::File::create(folder.path().join("log.txt")).expect("a file for the log");
        let process = Command::new(program)
            .arg("--config")
            .arg(config)
            .envs(ports.iter().map(|(name, port)| (name, port.to_string())))
            .env("LEVEL", level)
            .env("OUTPUT", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the program runs");
        let at = |index: usize| SocketAddr::from(([127, 0, 0, 1], ports[index].1));
        let running = Self {
            process,
            grpc: at(0),
            http: at(1),
            metrics: at(5),
            suffixed: at(6),
            ports: ports.clone(),
            folder,
        };
        eventually("the collector starts", || async {
            let log = fs::read_to_string(running.folder.path().join("log.txt")).unwrap_or_default();
            if log.contains("Everything is ready") { Ok(()) } else { Err(log) }
        })
        .await;
        running
    }

    async fn page(&self, address: SocketAddr) -> Page {
        let text = fetch(address).await.expect("the page is served");
        let words = self.ports.iter().map(|(name, port)| (port.to_string(), *name));
        Page::parse(&text, &words.collect())
    }
}

/// In HTTP/1.0, so that it comes in one piece.
async fn fetch(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (_, body) = reply.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(body.to_owned())
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
