//! The HTTP server against clients that are slow, greedy, broken or hostile: bytes written by hand to real sockets.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use millrace_engine::health::Health;
use millrace_engine::{Budget, Tasks};
use millrace_net::Encoding;
use millrace_net::connections::{Door, Running};
use millrace_net::http::{Accepted, BodyError, Server, ServerOptions, Timeouts, last_unless_whole, receive};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const MIB: u64 = 1 << 20;
const BODY_MAX: usize = 4 << 20;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers with the length of the body, or with why there is none.
struct Handler {
    budget: Budget,
    /// Each permit lets one request to `/gated` end.
    gate: Semaphore,
    begun: AtomicUsize,
}

struct Fixture {
    address: SocketAddr,
    handler: Arc<Handler>,
    running: Running,
}

async fn prompt(State(handler): State<Arc<Handler>>, request: Request) -> Response {
    let (head, mut body): (_, Body) = request.into_parts();
    match receive(&head.headers, &mut body, &Accepted::up_to(BODY_MAX), &handler.budget).await {
        Ok(received) => {
            assert!(received.charge.bytes() >= received.bytes.len() as u64);
            (StatusCode::OK, received.bytes.len().to_string()).into_response()
        }
        Err(error) => {
            let status = match error {
                BodyError::OverBudget => StatusCode::SERVICE_UNAVAILABLE,
                BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
                _ => StatusCode::BAD_REQUEST,
            };
            let is_over = matches!(error, BodyError::CutOff(_) | BodyError::TooSlow(_));
            let answer = (status, error.to_string()).into_response();
            last_unless_whole(&head, (!is_over).then_some(body), answer).await
        }
    }
}

async fn gated(State(handler): State<Arc<Handler>>) -> &'static str {
    handler.begun.fetch_add(1, SeqCst);
    handler.gate.acquire().await.expect("never closed").forget();
    "done"
}

async fn serve(budget_bytes: u64) -> Fixture {
    serve_at(budget_bytes, Timeouts::same(HEADER_TIMEOUT)).await
}

async fn serve_at(budget_bytes: u64, timeouts: Timeouts) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(Handler {
        budget: Budget::new(budget_bytes),
        gate: Semaphore::new(0),
        begun: AtomicUsize::new(0),
    });
    let router =
        Router::new().route("/", post(prompt)).route("/gated", post(gated)).with_state(Arc::clone(&handler));
    let options = ServerOptions { timeouts, keep_alive: true, door: Door::default(), windows: None };
    let tasks = Tasks::new(Health::starting());
    let (server, _gone) = Server::new(router, options, tasks.clone());
    let running = Running::start(&tasks, "server", |stopping| server.serve(listener, stopping));
    Fixture { address, handler, running }
}

impl Fixture {
    async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    async fn charged(&self, enough: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !enough(self.handler.budget.used()) {
            assert!(Instant::now() < deadline, "{} bytes are charged", self.handler.budget.used());
            tokio::task::yield_now().await;
        }
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Status and body of the next answer.
    async fn answer(&mut self) -> (u16, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let len = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |len| len.parse().unwrap());
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).await.unwrap();
        (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
    }

    /// Waits until the server hangs up; what it said before is returned.
    async fn hung_up(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = self.stream.read_to_end(&mut rest).await;
        String::from_utf8(rest).unwrap()
    }
}

fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes(), body].concat()
}

fn sized(body: &[u8]) -> Vec<u8> {
    request(&format!("Content-Length: {}\r\n", body.len()), body)
}

fn chunked(len: usize) -> Vec<u8> {
    let mut chunks = Vec::new();
    let mut left = len;
    while left > 0 {
        let size = left.min(10_000);
        chunks.extend(format!("{size:x}\r\n").into_bytes());
        chunks.resize(chunks.len() + size, b'x');
        chunks.extend(b"\r\n");
        left -= size;
    }
    chunks.extend(b"0\r\n\r\n");
    request("Transfer-Encoding: chunked\r\n", &chunks)
}

#[tokio::test]
async fn bodies_are_received_whole_with_and_without_a_length() {
    let server = serve(64 * MIB).await;
    let mut client = server.connect().await;
    for len in [0, 1, 100_000, 1_000_000] {
        client.send(sized(&vec![7; len])).await;
        assert_eq!(client.answer().await, (200, len.to_string()));
        client.send(chunked(len)).await;
        assert_eq!(client.answer().await, (200, len.to_string()));
    }
    assert_eq!(server.handler.budget.used(), 0);
}

#[tokio::test]
async fn compressed_bodies_are_inflated_and_bombs_are_not() {
    let server = serve(64 * MIB).await;
    let mut client = server.connect().await;
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Zlib, Encoding::Snappy, Encoding::Lz4] {
        for (len, expected) in [(BODY_MAX, 200), (BODY_MAX + 1, 400)] {
            let text = vec![b'x'; len];
            let body = encoding.compress(std::iter::once(&text[..]), len).unwrap();
            let name = encoding.content_encoding().unwrap();
            let headers = format!("Content-Encoding: {name}\r\nContent-Length: {}\r\n", body.len());
            client.send(request(&headers, &body)).await;
            assert_eq!(client.answer().await.0, expected, "{encoding:?}");
        }
    }
    assert_eq!(server.handler.budget.used(), 0);
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_takes_nothing_new() {
    let server = serve(64 * MIB).await;
    let mut idle = server.connect().await;
    idle.send(sized(b"x")).await;
    idle.answer().await;
    let mut client = server.connect().await;
    client.send("POST /gated HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    while server.handler.begun.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }

    let stopped = tokio::spawn(server.running.stop(Instant::now() + Duration::from_secs(60)));

    // An idle connection ends at once, one with a request after its answer.
    assert_eq!(idle.hung_up().await, "");
    server.handler.gate.add_permits(1);
    assert_eq!(client.answer().await, (200, "done".to_owned()));
    assert_eq!(client.hung_up().await, "");
    stopped.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn stopping_cuts_off_at_its_deadline_what_does_not_end() {
    let server = serve(64 * MIB).await;
    let mut client = server.connect().await;
    client.send("POST /gated HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    while server.handler.begun.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.running.stop(Instant::now()).await;
    assert_eq!(client.hung_up().await, "");
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_refused_after_a_minute() {
    let server = serve(64 * MIB).await;
    let mut client = server.connect().await;
    client.send(request("Content-Length: 1000\r\n", b"half of it")).await;
    server.charged(|bytes| bytes == 1000).await;

    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let (status, text) = client.answer().await;

    assert_eq!(status, 408, "{text}");
    assert!((55..=65).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(server.handler.budget.used(), 0);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_hung_up_on() {
    let server = serve(64 * MIB).await;
    for head in ["", "POST / HTTP/1.1\r\nHost"] {
        // A first request shows that the connection has been accepted.
        let mut client = server.connect().await;
        client.send(sized(b"x")).await;
        client.answer().await;
        client.send(head).await;
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        client.hung_up().await;
        assert!(begun.elapsed() <= HEADER_TIMEOUT + Duration::from_secs(5), "{:?}", begun.elapsed());
        tokio::time::resume();
    }
}

#[tokio::test]
async fn over_budget_is_refused_before_the_body_arrives() {
    // given a budget that is used up
    let server = serve(8 * MIB).await;
    let used_up = server.handler.budget.try_charge(8 * MIB).unwrap();
    let mut client = server.connect().await;

    // when two megabytes are announced and none is sent, then the answer is there at once
    let begun = Instant::now();
    client.send(request("Content-Length: 2000000\r\n", b"")).await;
    assert_eq!(client.answer().await.0, 503);
    assert!(begun.elapsed() < HEADER_TIMEOUT);

    // … and a small body is read and thrown away, so that its connection goes on
    let mut client = server.connect().await;
    client.send(sized(&[7; 100_000])).await;
    assert_eq!(client.answer().await.0, 503);
    drop(used_up);
    client.send(sized(&[7; 100_000])).await;
    assert_eq!(client.answer().await, (200, "100000".to_owned()));
}

#[tokio::test]
async fn a_length_of_4_gib_is_refused_at_once_and_costs_nothing() {
    let server = serve(64 * MIB).await;
    for len in ["4294967296", "9223372036854775807"] {
        let mut client = server.connect().await;
        client.send(request(&format!("Content-Length: {len}\r\n"), b"x")).await;
        let (status, text) = client.answer().await;
        assert_eq!(status, 400);
        assert!(text.contains("4194304"), "{text}");
    }
    assert_eq!((server.handler.budget.used(), server.handler.budget.refused()), (0, 0));
}

#[tokio::test]
async fn a_chunked_body_is_refused_where_it_passes_the_limit() {
    let server = serve(64 * MIB).await;
    let mut client = server.connect().await;
    client.send(request("Transfer-Encoding: chunked\r\n", b"")).await;
    // Far more than the limit, as long as the server listens.
    let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    for _ in 0..1000 {
        if client.stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    assert!(client.hung_up().await.starts_with("HTTP/1.1 400"));
    server.charged(|bytes| bytes == 0).await;
}

#[tokio::test]
async fn what_is_charged_for_a_body_is_released_when_its_client_goes() {
    let server = serve(64 * MIB).await;
    let mut client = server.connect().await;
    client.send(request("Content-Length: 3000000\r\n", b"some of it")).await;
    server.charged(|bytes| (1..100_000).contains(&bytes)).await;
    drop(client);
    server.charged(|bytes| bytes == 0).await;
}

#[tokio::test]
async fn header_floods_are_refused() {
    let server = serve(64 * MIB).await;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let large = format!("X: {}\r\n", "y".repeat(20_000));
    for flood in [many, large] {
        let mut client = server.connect().await;
        // The server may hang up before it has read everything.
        let _ = client.stream.write_all(&request(&flood, b"")).await;
        assert!(client.hung_up().await.starts_with("HTTP/1.1 431"));
    }
}

#[tokio::test]
async fn a_request_without_a_host_is_refused_unless_it_is_of_http_1_0() {
    let server = serve(64 * MIB).await;
    for (version, expected) in [("1.1", 400), ("1.0", 200)] {
        let mut client = server.connect().await;
        client.send(format!("POST / HTTP/{version}\r\nContent-Length: 1\r\n\r\nx")).await;
        assert_eq!(client.answer().await.0, expected);
        assert_eq!(client.hung_up().await, "");
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let server = serve(64 * MIB).await;
    let mut client = server.connect().await;
    let ahead: Vec<u8> = (0..50).flat_map(|len| sized(&vec![7; len])).collect();
    client.send(ahead).await;
    for len in 0..50 {
        assert_eq!(client.answer().await, (200, len.to_string()));
    }
}

/// A second for an idle connection, a minute for a head, and three seconds for an answer.
const UNLIKE: Timeouts = Timeouts {
    header: Duration::from_secs(60),
    idle: Duration::from_secs(1),
    write: Some(Duration::from_secs(3)),
};

#[tokio::test]
async fn idle_connections_slow_heads_and_slow_answers_have_limits_of_their_own() {
    async fn closed_after(stream: &mut TcpStream) -> u64 {
        let begun = tokio::time::Instant::now();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        begun.elapsed().as_secs()
    }
    const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";
    let server = serve_at(64 << 20, UNLIKE).await;
    tokio::time::pause();

    let mut never_begun = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(closed_after(&mut never_begun).await, 60);

    let mut idle = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        idle.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 1024];
        let len = idle.read(&mut answer).await.unwrap();
        assert!(answer[..len].starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(closed_after(&mut idle).await, 1);

    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(&REQUEST[..20]).await.unwrap();
    assert!((59..=60).contains(&closed_after(&mut slow).await));

    let mut unanswered = TcpStream::connect(server.address).await.unwrap();
    unanswered.write_all(b"POST /gated HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert_eq!(closed_after(&mut unanswered).await, 3);
}

/// Long enough for a connection to be at rest: without hyper's state.
const REST: Duration = Duration::from_secs(3);
const PATIENT: Timeouts =
    Timeouts { header: Duration::from_secs(10), idle: Duration::from_secs(20), write: None };

#[tokio::test]
async fn a_connection_at_rest_goes_on_where_it_was() {
    let server = serve_at(64 * MIB, PATIENT).await;
    tokio::time::pause();
    let mut client = server.connect().await;
    for len in [0, 1, 100, 100_000] {
        client.send(sized(&vec![7; len])).await;
        assert_eq!(client.answer().await, (200, len.to_string()));
        tokio::time::sleep(REST).await;
    }
    // The head of the next request arrives in parts, the first behind the last of another, the second at rest.
    let (first, second) = (sized(b"first"), sized(b"second"));
    let (head, rest) = second.split_at(20);
    client.send([&first, head].concat()).await;
    assert_eq!(client.answer().await, (200, "5".to_owned()));
    tokio::time::sleep(REST).await;
    client.send(rest).await;
    assert_eq!(client.answer().await, (200, "6".to_owned()));
    // Nobody is forgotten because it rests.
    let begun = tokio::time::Instant::now();
    assert_eq!(client.hung_up().await, "");
    assert_eq!(begun.elapsed().as_secs(), 20);
}

#[tokio::test]
async fn a_connection_at_rest_does_not_hold_up_the_end() {
    let server = serve_at(64 * MIB, PATIENT).await;
    tokio::time::pause();
    let (mut used, mut fresh) = (server.connect().await, server.connect().await);
    used.send(sized(b"x")).await;
    assert_eq!(used.answer().await.0, 200);
    tokio::time::sleep(REST).await;
    let begun = tokio::time::Instant::now();
    server.running.stop(Instant::now() + Duration::from_secs(60)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((used.hung_up().await, fresh.hung_up().await), (String::new(), String::new()));
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_for_a_request_after_a_rest() {
    let server = serve_at(64 * MIB, PATIENT).await;
    tokio::time::pause();
    let mut client = server.connect().await;
    client.send("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nbegun").await;
    assert_eq!(client.answer().await.0, 404);
    tokio::time::sleep(REST).await;
    // It may have hung up.
    let _ = client.stream.write_all(&sized(b"smuggled")).await;
    let mut told = Vec::new();
    let _ = client.stream.read_to_end(&mut told).await;
    assert_eq!(String::from_utf8_lossy(&told), "");
}
