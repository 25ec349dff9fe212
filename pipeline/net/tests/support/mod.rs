#![allow(dead_code, reason = "each test binary uses its part")]
//! A gRPC server whose calls end when the test says so, and a client that sends whatever frames the test wants.

pub mod certificates;
pub mod hostile;
pub mod raw;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use millrace_engine::health::Health;
use millrace_engine::{BoxFuture, Budget, Failure, Tasks};
use millrace_net::admission::Admission;
use millrace_net::connections::{Door, Refusals, Running, Windows};
use millrace_net::grpc::{Call, Code, Keepalive, PingPolicy, Server, ServerOptions, Status, Unary};
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Labels, Level, Registry};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

/// The largest message of the server.
pub const MESSAGE_MAX: usize = 4 << 20;
/// Answers as soon as it has a message.
pub const PROMPT: &str = "http://test/test.Service/Prompt";
/// Answers when [`Service::gate`] lets it.
pub const GATED: &str = "http://test/test.Service/Gated";

/// A port on which nobody listens, and which nobody else is given as long as this is held.
pub struct Nobody(TcpSocket);

impl Nobody {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // So that a server may be there later, as servers set it, too.
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }
}

/// Answers with the length of its message, as text.
pub struct Service {
    /// Each permit lets one gated call end.
    pub gate: Semaphore,
    /// Calls that have begun.
    pub begun: AtomicUsize,
    /// Calls that were refused before they began.
    pub refused: AtomicUsize,
    /// Who sent the calls, where that was asked for.
    pub identities: std::sync::Mutex<Vec<String>>,
}

impl Unary for Service {
    fn route(&self, path: &str) -> Option<u8> {
        match path {
            "/test.Service/Prompt" => Some(0),
            "/test.Service/Gated" => Some(1),
            _ => None,
        }
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Bytes, Status>> {
        Box::pin(async move {
            self.begun.fetch_add(1, SeqCst);
            if let Some(identity) = &call.identity {
                self.identities.lock().expect("no panic").push(identity[0].1.to_string());
            }
            if call.route == 1 {
                self.gate.acquire().await.expect("never closed").forget();
            }
            Ok(call.message.len().to_string().into())
        })
    }

    fn status(&self, failure: &Failure) -> Status {
        Status::new(Code::Unavailable, failure.message.clone())
    }

    fn refused(&self, _: &Status) {
        self.refused.fetch_add(1, SeqCst);
    }
}

/// A running server.
pub struct Fixture {
    pub address: SocketAddr,
    pub budget: Budget,
    pub service: Arc<Service>,
    pub running: Running,
    door: Door,
    registry: Registry,
}

/// Starts a server on a free port.
pub async fn serve(budget_bytes: u64, max_streams: Option<u32>) -> Fixture {
    serve_at(([127, 0, 0, 1], 0).into(), budget_bytes, max_streams).await
}

/// Starts a server at an address.
pub async fn serve_at(address: SocketAddr, budget_bytes: u64, max_streams: Option<u32>) -> Fixture {
    serve_with(address, budget_bytes, |options| options.max_streams = max_streams).await
}

/// Starts a server at an address with options of its own.
pub async fn serve_with(
    address: SocketAddr,
    budget_bytes: u64,
    set: impl FnOnce(&mut ServerOptions),
) -> Fixture {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let budget = Budget::new(budget_bytes);
    let service = Arc::new(Service {
        gate: Semaphore::new(0),
        begun: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        identities: std::sync::Mutex::default(),
    });
    let registry = Registry::new(Level::Detailed);
    let accepted = registry.counter(&catalogue::CONNECTIONS_ACCEPTED, &Labels::new());
    let refused = Refusals::counted_by(|reason| {
        registry.counter(&catalogue::CONNECTIONS_REFUSED, &Labels::new().with("reason", reason.name()))
    });
    let door = Door { accepted, refused, ..Door::default() };
    let mut options = ServerOptions {
        max_message: MESSAGE_MAX,
        max_streams: None,
        admission: Admission::default(),
        keepalive: Keepalive::default(),
        pings: PingPolicy::default(),
        budget: budget.clone(),
        windows: Windows::new(budget.clone()),
        door: door.clone(),
    };
    set(&mut options);
    let tasks = Tasks::new(Health::starting());
    let (server, _gone) = Server::new(Arc::clone(&service), options, tasks.clone());
    let running = Running::start(&tasks, "server", |stopping| server.serve(listener, stopping));
    Fixture { address, budget, service, running, door, registry }
}

/// Starts a server on a free port with options of its own.
pub async fn serve_to(set: impl FnOnce(&mut ServerOptions)) -> Fixture {
    serve_with(([127, 0, 0, 1], 0).into(), 64 << 20, set).await
}

impl Fixture {
    /// A new connection.
    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        // What may be sent ahead is the server's to say.
        let mut builder = h2::client::Builder::new();
        builder.max_send_buffer_size(64 << 20);
        let (requests, connection) = builder.handshake(stream).await.expect("it speaks HTTP/2");
        Client { requests, connection: tokio::spawn(connection) }
    }

    /// Connections ever accepted.
    pub fn accepted(&self) -> u64 {
        self.door.accepted.value()
    }

    /// Connections turned away or cut off for a reason.
    pub fn refused(&self, reason: &str) -> u64 {
        let labels = Labels::new().with("reason", reason.to_owned());
        self.registry.counter(&catalogue::CONNECTIONS_REFUSED, &labels).value()
    }

    /// Waits until the budget is used as far as `enough` asks.
    pub async fn charged(&self, enough: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !enough(self.budget.used()) {
            assert!(Instant::now() < deadline, "{} bytes are charged", self.budget.used());
            tokio::task::yield_now().await;
        }
    }

    /// Waits until that many calls have begun.
    pub async fn begun(&self, calls: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.service.begun.load(SeqCst) < calls {
            assert!(Instant::now() < deadline, "{:?} calls have begun", self.service.begun);
            tokio::task::yield_now().await;
        }
    }
}

/// A connection.
pub struct Client {
    pub requests: SendRequest<Bytes>,
    pub connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// A call under way.
pub struct Exchange {
    answer: ResponseFuture,
    pub body: SendStream<Bytes>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Answer {
    pub http: u16,
    pub code: u8,
    pub message: Bytes,
    /// Headers and trailers.
    pub headers: HeaderMap,
}

impl Client {
    /// Begins a call with extra headers; its body is the caller's to send.
    pub async fn begin(&mut self, uri: &str, headers: &[(&'static str, &str)]) -> Exchange {
        let mut request = Request::post(uri).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut requests = self.requests.clone().ready().await.expect("the connection is open");
        let (answer, body) = requests.send_request(request, false).expect("it can be sent");
        Exchange { answer, body }
    }

    /// Sends one message and waits for its answer.
    pub async fn call(&mut self, uri: &str, message: &[u8]) -> Result<Answer, h2::Error> {
        let mut exchange = self.begin(uri, &[]).await;
        exchange.send(&framed(message));
        exchange.end();
        exchange.answer().await
    }

    /// Closes the connection as a process that ends does.
    pub fn hang_up(self) {
        self.connection.abort();
    }
}

impl Exchange {
    /// Queues bytes of the body; they are sent as the server's windows allow.
    pub fn send(&mut self, bytes: &[u8]) {
        // The server may have reset the stream, which its answer will tell.
        let _ = self.body.send_data(Bytes::copy_from_slice(bytes), false);
    }

    pub fn end(&mut self) {
        let _ = self.body.send_data(Bytes::new(), true);
    }

    pub async fn answer(self) -> Result<Answer, h2::Error> {
        // Dropping the sending half would reset a stream that is still open.
        let Self { answer, body: _open } = self;
        read(answer.await?).await
    }
}

async fn read(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut data = BytesMut::new();
    while let Some(chunk) = body.data().await {
        data.extend_from_slice(&chunk?);
    }
    let mut headers = head.headers;
    headers.extend(body.trailers().await?.unwrap_or_default());
    let code = headers.get("grpc-status").map_or("255", |code| code.to_str().expect("ASCII"));
    Ok(Answer {
        http: head.status.as_u16(),
        code: code.parse().expect("a number"),
        message: if data.is_empty() { Bytes::new() } else { data.freeze().slice(5..) },
        headers,
    })
}

/// A message with its prefix.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = prefix(u32::try_from(message.len()).expect("short")).to_vec();
    framed.extend_from_slice(message);
    framed
}

/// The prefix of an uncompressed message.
pub fn prefix(len: u32) -> [u8; 5] {
    let [a, b, c, d] = len.to_be_bytes();
    [0, a, b, c, d]
}
