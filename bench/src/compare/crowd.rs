//! One contender's turn beside a crowd: many connections that are idle, busy, slow or hostile. What do they hold, and
//! how much longer do others wait?

use super::Args;
use super::case::{Case, Crowd, Manner};
use super::child::Tools;
use super::contender::Contender;
use super::control::{Load, SinkProcess};
use super::proc::Memory;
use super::results::{MIB, Turn};
use crate::loadgen::{Protocol, Report};
use crate::tls::{Certificates, ClientStream, Opener};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, Request};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Handshakes under way at once.
const OPENING: usize = 64;
const OPEN_WITHIN: Duration = Duration::from_secs(120);
/// What goes on beside a crowd, and alone before it: far from what any contender can do.
const USUAL_RATE: f64 = 20_000.0;
/// What a busy crowd sends in all.
const BUSY_RATE: f64 = 50_000.0;
/// What a bomb inflates to: as large as a message may be.
const BOMB_BYTES: usize = 20 << 20;
/// What a slow request claims to be.
const SLOW_BYTES: u32 = 1 << 20;

pub(super) async fn turn(
    args: &Args,
    tools: &Tools,
    player: &Contender,
    case: &Case,
    crowd: Crowd,
) -> io::Result<Turn> {
    let dir = tempfile::tempdir()?;
    let certificates = if crowd.tls { Some(Certificates::make(dir.path())?) } else { None };
    let sink = SinkProcess::start(tools, &[], dir.path()).await?;
    let forward = sink.addr(crowd.protocol);
    let (mut contender, listen) = player.start(args, case, forward, certificates.as_ref(), dir.path())?;
    contender.ready(listen).await?;
    let usual = Usual { args, tools, crowd, listen, certificates: certificates.as_ref(), dir: dir.path() };

    let alone = usual.load().await?;
    let idle = Memory::of(contender.pid())?;
    let began = Instant::now();
    let people = People::gather(crowd, listen, certificates.as_ref()).await?;
    let opened = began.elapsed();
    let beside = usual.load().await?;
    let memory = Memory::of(contender.pid())?;
    let open = people.open();
    drop(people);
    contender.kill().await;
    sink.child.kill().await;

    let mut turn = Turn::default();
    turn.set("idle_rss_mib", idle.resident as f64 / MIB);
    turn.set("rss_mib", memory.resident as f64 / MIB);
    turn.set("peak_rss_mib", memory.peak as f64 / MIB);
    turn.set("open", open as f64);
    turn.set("opened_s", opened.as_secs_f64());
    turn.set("p99_alone_ms", alone.latency_ms.p99);
    turn.set("p99_ms", beside.latency_ms.p99);
    turn.set("items_per_second", beside.acked.items as f64 / args.measure);
    turn.set("not_acked_requests", (beside.offered.requests - beside.acked.requests) as f64);
    turn.note(&beside.retried, "retried");
    turn.note(&beside.failed, "failed");
    Ok(turn)
}

/// The load whose delay is looked at.
struct Usual<'a> {
    args: &'a Args,
    tools: &'a Tools,
    crowd: Crowd,
    listen: SocketAddr,
    certificates: Option<&'a Certificates>,
    dir: &'a Path,
}

impl Usual<'_> {
    async fn load(&self) -> io::Result<Report> {
        let mut options = vec![
            format!("--protocol={}", self.crowd.protocol.name()),
            format!("--endpoint={}", self.listen),
            "--connections=8".into(),
            "--in-flight=1".into(),
            format!("--rate={USUAL_RATE}"),
            format!("--warmup={}", self.args.warmup),
            format!("--duration={}", self.args.warmup + self.args.measure),
        ];
        options.extend(self.certificates.map(Certificates::load_option));
        if self.crowd.manner == Manner::Busy {
            options[2] = format!("--connections={}", self.crowd.connections);
            options[4] = format!("--rate={BUSY_RATE}");
        }
        Load::start(self.tools, &options, self.dir)?.report(OPEN_WITHIN).await
    }
}

/// The open connections of a crowd. They close when this is dropped.
struct People {
    open: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl People {
    /// Opens the connections, and returns when each of them has done what it does first.
    async fn gather(crowd: Crowd, listen: SocketAddr, files: Option<&Certificates>) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let open = Arc::new(AtomicUsize::new(0));
        // The load itself is the crowd.
        let count = if crowd.manner == Manner::Busy { 0 } else { crowd.connections };
        let protocol = if crowd.protocol == Protocol::Grpc { "h2" } else { "http/1.1" };
        let opener = Opener::new(files.map(|files| &*files.ca), protocol)?;
        let opening = Arc::new(Semaphore::new(OPENING));
        let bomb = Bytes::from(bomb(crowd)?);
        for _ in 0..count {
            let (opener, opening, bomb) = (opener.clone(), Arc::clone(&opening), bomb.clone());
            let open = Arc::clone(&open);
            tasks.spawn(async move {
                let Ok(permit) = opening.acquire_owned().await else { return };
                let Ok(stream) = opener.open(listen).await else { return };
                let settled = move || {
                    open.fetch_add(1, Relaxed);
                    drop(permit);
                    Open(open)
                };
                // However it ends, its count says so.
                let _ = match crowd.protocol {
                    Protocol::Grpc => grpc(stream, crowd.manner, bomb, settled).await,
                    Protocol::Http => http1(stream, crowd.manner, bomb, settled).await,
                };
            });
        }
        let gathering = async {
            // Some may be refused: they have ended.
            let mut ended = 0;
            while open.load(Relaxed) + ended < count {
                ended += std::iter::from_fn(|| tasks.try_join_next()).count();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(OPEN_WITHIN, gathering).await;
        Ok(Self { open, _tasks: tasks })
    }

    fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

/// An open connection, which counts itself out when it ends.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

async fn grpc(
    stream: ClientStream,
    manner: Manner,
    bomb: Bytes,
    settled: impl FnOnce() -> Open,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    sender = sender.ready().await?;
    let _open = settled();
    match manner {
        Manner::Idle | Manner::Busy => driver.await??,
        Manner::Slow => {
            let (_answer, mut body) = sender.send_request(export("gzip")?, false)?;
            let mut prefix = vec![0];
            prefix.extend(SLOW_BYTES.to_be_bytes());
            body.send_data(prefix.into(), false)?;
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                body.send_data(Bytes::from_static(&[0]), false)?;
            }
        }
        Manner::Bombs => loop {
            sender = sender.ready().await?;
            let (answer, mut body) = sender.send_request(export("gzip")?, false)?;
            body.send_data(bomb.clone(), true)?;
            answer.await?;
        },
    }
    Ok(())
}

fn export(encoding: &str) -> http::Result<Request<()>> {
    Request::builder()
        .method(Method::POST)
        .uri("http://localhost/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("grpc-encoding", encoding)
        .body(())
}

async fn http1(
    mut stream: ClientStream,
    manner: Manner,
    bomb: Bytes,
    settled: impl FnOnce() -> Open,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let head = |len: usize| {
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n\
             content-encoding: gzip\r\ncontent-length: {len}\r\n\r\n"
        )
    };
    let mut answer = [0; 4096];
    match manner {
        Manner::Idle | Manner::Busy => {
            // A request first: a connection that has never said anything is not yet one of HTTP.
            stream.write_all(b"GET /v1/traces HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
            if stream.read(&mut answer).await? == 0 {
                return Ok(());
            }
            let _open = settled();
            while stream.read(&mut answer).await? > 0 {}
        }
        Manner::Slow => {
            stream.write_all(head(SLOW_BYTES as usize).as_bytes()).await?;
            let _open = settled();
            loop {
                stream.write_all(&[0]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Manner::Bombs => {
            let _open = settled();
            let head = head(bomb.len());
            loop {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&bomb).await?;
                if stream.read(&mut answer).await? == 0 {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Zeros, compressed as well as gzip can; framed for gRPC.
fn bomb(crowd: Crowd) -> io::Result<Vec<u8>> {
    if crowd.manner != Manner::Bombs {
        return Ok(Vec::new());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; BOMB_BYTES])?;
    let body = encoder.finish()?;
    if crowd.protocol == Protocol::Http {
        return Ok(body);
    }
    let mut framed = vec![1];
    framed.extend(u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes());
    framed.extend(body);
    Ok(framed)
}
