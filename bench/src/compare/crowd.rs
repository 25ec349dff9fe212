//! One contender's turn beside a crowd: many connections that are idle, busy, slow or hostile. What do they hold, and
//! how much longer do others wait?

use super::Args;
use super::case::{Case, Crowd, Manner};
use super::child::Tools;
use super::contender::Contender;
use super::control::{Load, SinkProcess};
use super::proc::Memory;
use super::results::{MIB, Turn};
use crate::corpus::Template;
use crate::loadgen::{Protocol, Report};
use crate::tls::{Certificates, ClientStream, Opener};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, Request};
use millrace_wire::Signal;
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
/// Spans in the one request of a connection that was used.
const USED_SPANS: usize = 10;
/// The head of an HTTP/1.1 request that is compressed.
const GZIP: &str = "content-encoding: gzip\r\n";
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
        let body = Bytes::from(body(crowd)?);
        for _ in 0..count {
            let (opener, opening, body) = (opener.clone(), Arc::clone(&opening), body.clone());
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
                    Protocol::Grpc => grpc(stream, crowd.manner, body, settled).await,
                    Protocol::Http => http1(stream, crowd.manner, body, settled).await,
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
    body: Bytes,
    settled: impl FnOnce() -> Open,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    sender = sender.ready().await?;
    if manner == Manner::Used {
        exchange(&mut sender, "identity", body.clone()).await?;
    }
    let _open = settled();
    match manner {
        Manner::Idle | Manner::Used | Manner::Busy => driver.await??,
        Manner::Slow => {
            let (_answer, mut slow) = sender.send_request(export("gzip")?, false)?;
            let mut prefix = vec![0];
            prefix.extend(SLOW_BYTES.to_be_bytes());
            slow.send_data(prefix.into(), false)?;
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                slow.send_data(Bytes::from_static(&[0]), false)?;
            }
        }
        Manner::Bombs => loop {
            sender = sender.ready().await?;
            let (answer, mut bomb) = sender.send_request(export("gzip")?, false)?;
            bomb.send_data(body.clone(), true)?;
            answer.await?;
        },
    }
    Ok(())
}

/// One request, and all of its answer.
async fn exchange(
    sender: &mut h2::client::SendRequest<Bytes>,
    encoding: &str,
    body: Bytes,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (answer, mut request) = sender.send_request(export(encoding)?, false)?;
    request.send_data(body, true)?;
    let mut answer = answer.await?.into_body();
    while let Some(data) = answer.data().await {
        answer.flow_control().release_capacity(data?.len())?;
    }
    let trailers = answer.trailers().await?.unwrap_or_default();
    if trailers.get("grpc-status").is_none_or(|status| status != "0") {
        return Err(format!("not accepted: {trailers:?}").into());
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
    body: Bytes,
    settled: impl FnOnce() -> Open,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let head = |encoding: &str, len: usize| {
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n\
             {encoding}content-length: {len}\r\n\r\n"
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
        Manner::Used => {
            stream.write_all(head("", body.len()).as_bytes()).await?;
            stream.write_all(&body).await?;
            let len = stream.read(&mut answer).await?;
            if !answer[..len].starts_with(b"HTTP/1.1 200") {
                return Err("not accepted".into());
            }
            let _open = settled();
            while stream.read(&mut answer).await? > 0 {}
        }
        Manner::Slow => {
            stream.write_all(head(GZIP, SLOW_BYTES as usize).as_bytes()).await?;
            let _open = settled();
            loop {
                stream.write_all(&[0]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Manner::Bombs => {
            let _open = settled();
            let head = head(GZIP, body.len());
            loop {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
                if stream.read(&mut answer).await? == 0 {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What is sent as the body of requests, framed for gRPC: some spans, or zeros, compressed as well as gzip can.
fn body(crowd: Crowd) -> io::Result<Vec<u8>> {
    let (flag, body) = match crowd.manner {
        Manner::Used => (0, Template::build(Signal::Traces, USED_SPANS, 0).bytes().to_vec()),
        Manner::Bombs => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&vec![0; BOMB_BYTES])?;
            (1, encoder.finish()?)
        }
        Manner::Idle | Manner::Busy | Manner::Slow => return Ok(Vec::new()),
    };
    if crowd.protocol == Protocol::Http {
        return Ok(body);
    }
    let mut framed = vec![flag];
    framed.extend(u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes());
    framed.extend(body);
    Ok(framed)
}
