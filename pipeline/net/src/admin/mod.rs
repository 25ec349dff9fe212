//! Servers for the people and probes that watch the process, apart from the workers.
//!
//! A health probe or a scrape matters most when the workers are busy, so each of these servers has a thread and a
//! runtime of its own: it answers for as long as the process gets any processor time at all.
//!
//! # Invariants
//! - Nothing here runs on a worker, and nothing here waits for one.
//! - A handler that panics costs its own request and nothing else.
//! - What connections may take is bounded, and not a part of the process's budget.

mod section;

pub use section::Counted;

use crate::connections::{Door, Stopping};
use crate::http::{Server, ServerOptions, Timeouts};
use crate::listeners::{Reserved, reserve};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::StatusCode;
use millrace_engine::component::Shared;
use millrace_engine::{BoxFuture, Budget, Health, Tasks};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// The limit for receiving the head of a request, idle time between requests included. Scrapers come back every few
/// seconds, at most minutes; what is idle for longer may connect again.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way are waited for when the server is stopped.
const GRACE: Duration = Duration::from_secs(1);
/// What all connections to one of these servers are charged to, as the receivers' are to the process's budget: enough
/// for 512 in plain text, or 298 with TLS. It is their own, so that probes are answered when the process's is used up.
const CONNECTIONS_BYTES: u64 = 14 << 20;

/// A server on a thread of its own. Dropping it stops it without waiting.
///
/// It has its address as soon as it is made, and answers from [`begin`](Self::begin) on. When a later graph begins to
/// answer at the same address, it ends as if it had been stopped.
#[derive(Debug)]
pub struct AdminServer {
    reserved: Arc<Reserved>,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

/// A server that has its address, and what is to be run to serve.
struct Begun {
    reserved: Arc<Reserved>,
    serving: BoxFuture<'static, ()>,
}

impl AdminServer {
    /// Serves `router` in plain text at an endpoint (`host:port`; an empty host means every interface, port 0 any free
    /// one). `name` is the thread's. Blocks while the name of the host is looked up.
    ///
    /// # Errors
    /// Why the address cannot be listened on, or no thread started.
    pub fn start(name: &str, shared: &Shared, endpoint: &str, router: Router) -> io::Result<Self> {
        let reserved = reserve(shared, "tcp", endpoint)?;
        Self::on_a_thread(name, async move |stopping| {
            let options = ServerOptions {
                timeouts: Timeouts::same(HEADER_TIMEOUT),
                keep_alive: true,
                door: Door { budget: Some(Budget::new(CONNECTIONS_BYTES)), ..Door::default() },
                windows: None,
            };
            serve_http(&reserved, router, options, stopping)
        })
    }

    /// Has `begin` run, and then what it has begun, by a runtime on a thread of its own.
    fn on_a_thread<E, F>(name: &str, begin: impl FnOnce(Stopping) -> F + Send + 'static) -> Result<Self, E>
    where
        E: From<io::Error> + Send + 'static,
        F: Future<Output = Result<Begun, E>>,
    {
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let (tell, told) = mpsc::sync_channel(1);
        let run = move || {
            run(stopping, begin, &tell);
            // Nobody waits if the server was dropped.
            let _ = end.send(());
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        let reserved = told.recv().map_err(|_| io::Error::other("the thread ended before it listened"))??;
        Ok(Self { reserved, stop, ended })
    }

    /// Where it listens; Unix sockets have no addresses.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.reserved.address()
    }

    /// Begins to answer; whoever has answered there for an earlier graph ends.
    pub fn begin(&self) {
        self.reserved.take_turn();
    }

    /// Takes nothing new, waits a moment for requests under way, and returns when the port is free again.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // An error says that the thread has ended, too.
        let _ = self.ended.await;
    }
}

/// The thread's work, from listening to the end.
fn run<E: From<io::Error>, F: Future<Output = Result<Begun, E>>>(
    mut stopping: Stopping,
    begin: impl FnOnce(Stopping) -> F,
    tell: &mpsc::SyncSender<Result<Arc<Reserved>, E>>,
) {
    let begun = runtime().map_err(E::from).and_then(|runtime| {
        let begun = runtime.block_on(begin(stopping.clone()))?;
        Ok((begun, runtime))
    });
    let (Begun { reserved, serving }, runtime) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    // Whoever started the thread waits for this, or is gone and has stopped it.
    let _ = tell.send(Ok(Arc::clone(&reserved)));
    runtime.block_on(async move {
        let over = async {
            tokio::select! {
                // An error says that the handle was dropped: stop as well.
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = reserved.turn_over() => {}
            }
            sleep(GRACE).await;
        };
        tokio::select! {
            () = serving => {}
            () = over => {}
        }
    });
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

fn serve_http<E: From<io::Error>>(
    reserved: &Arc<Reserved>,
    router: Router,
    options: ServerOptions,
    stopping: Stopping,
) -> Result<Begun, E> {
    let listener = reserved.listener()?;
    let (server, _) = Server::new(router.layer(from_fn(contained)), options, supervision());
    Ok(Begun { reserved: Arc::clone(reserved), serving: Box::pin(server.serve(listener, stopping)) })
}

/// What panics on such a thread are reported to: they cost their own request, and are nobody's health.
fn supervision() -> Tasks {
    Tasks::new(Health::starting())
}

/// Answers for a handler that panicked.
async fn contained(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(path, "answering a request panicked; this is a bug");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use millrace_telemetry::Registry;
    use millrace_telemetry::metrics::Level;

    fn shared() -> Shared {
        Shared::new(Registry::new(Level::None), &Health::starting(), 1 << 20, 1 << 20, "test")
    }

    fn started(endpoint: &str) -> io::Result<AdminServer> {
        let server = AdminServer::start("admin-test", &shared(), endpoint, router())?;
        server.begin();
        Ok(server)
    }

    fn here(server: &AdminServer) -> SocketAddr {
        server.address().expect("it listens on a port")
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    fn router() -> Router {
        Router::new().route("/", get(|| async { "here" })).route("/bad", get(|| async { broken() }))
    }

    fn broken() -> &'static str {
        panic!("on purpose")
    }

    #[tokio::test]
    async fn it_answers_until_it_is_stopped_and_then_frees_the_port() {
        let server = started("127.0.0.1:0").expect("a free port");
        let address = here(&server);
        assert!(ask(address, "/").await.ends_with("here"));

        server.stop().await;

        let again = started(&address.to_string());
        assert!(ask(here(&again.expect("the port is free")), "/").await.ends_with("here"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_at_once() {
        let first = started("127.0.0.1:0").expect("a free port");
        let error = started(&here(&first).to_string()).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_panicking_handler_costs_its_own_request_only() {
        let server = started("127.0.0.1:0").expect("a free port");
        assert!(ask(here(&server), "/bad").await.starts_with("HTTP/1.1 500"));
        assert!(ask(here(&server), "/").await.ends_with("here"));
    }

    #[tokio::test]
    async fn idle_connections_do_not_hold_up_the_end() {
        let server = started("127.0.0.1:0").expect("a free port");
        let mut idle = TcpStream::connect(here(&server)).await.expect("it listens");
        idle.write_all(b"GET / HTTP/1.1\r\nHos").await.expect("it reads");

        server.stop().await;

        let mut rest = Vec::new();
        // Closed, one way or another.
        let _ = idle.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn it_answers_while_the_workers_are_busy() {
        let server = started("127.0.0.1:0").expect("a free port");
        let address = here(&server);
        // A plain thread asks while this runtime, whose only worker this is, does nothing but wait for it.
        let answer = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address).expect("it listens");
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers");
            answer
        });
        assert!(answer.join().expect("it does not panic").ends_with("here"));
    }
}
