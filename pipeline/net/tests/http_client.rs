//! The HTTP client: how many connections it makes and keeps, where they go, proxies, cookies.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};
use millrace_engine::Tasks;
use millrace_engine::health::Health;
use millrace_net::Endpoint;
use millrace_net::connect::{Connector, Proxy};
use millrace_net::http::{Client, ClientError, ClientOptions, Response};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::Nobody;
use support::hostile::{Name, asleep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// A server of HTTP/1.1 that notes what it is asked and answers each request with the same head.
#[derive(Clone)]
struct Origin {
    address: SocketAddr,
    /// The heads of requests, in order.
    heads: Arc<Mutex<Vec<String>>>,
    /// Connections ever made, and those that are open.
    made: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    /// Each permit lets one request be answered; without one they wait.
    gate: Arc<Semaphore>,
}

impl Origin {
    async fn start(answer: &'static str, hang_up: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
            made: Arc::default(),
            open: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        };
        let server = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    server.made.fetch_add(1, SeqCst);
                    server.open.fetch_add(1, SeqCst);
                    server.serve(stream, answer, hang_up).await;
                    server.open.fetch_sub(1, SeqCst);
                });
            }
        });
        origin
    }

    async fn serve(&self, mut stream: TcpStream, answer: &str, hang_up: bool) {
        while let Some(head) = read_head(&mut stream).await {
            let len: usize = field(&head, "content-length").map_or(0, |len| len.parse().unwrap());
            let mut body = vec![0; len];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            self.heads.lock().unwrap().push(head);
            self.gate.acquire().await.unwrap().forget();
            let text = format!("HTTP/1.1 200 OK\r\n{answer}Content-Length: 2\r\n\r\nok");
            if stream.write_all(text.as_bytes()).await.is_err() || hang_up {
                return;
            }
        }
    }

    fn uri(&self) -> Uri {
        format!("http://{}/v1/logs", self.address).parse().unwrap()
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn client(options: ClientOptions) -> Client {
    Client::new(options, Tasks::new(Health::starting()))
}

fn to(uri: &Uri) -> ClientOptions {
    ClientOptions::new(Endpoint::parse(&uri.to_string()).unwrap())
}

async fn post(client: &Client, uri: &Uri) -> Result<Response, ClientError> {
    client.post(uri, &HeaderMap::new(), &[Bytes::from_static(b"a "), Bytes::from_static(b"body")]).await
}

fn begin(client: &Client, uri: &Uri) -> tokio::task::JoinHandle<Result<Response, ClientError>> {
    let (client, uri) = (client.clone(), uri.clone());
    tokio::spawn(async move { post(&client, &uri).await })
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_paths_are_asked_for_as_servers_expect() {
    let origin = Origin::start("", false).await;
    let (client, uri) = (client(to(&origin.uri())), origin.uri());
    for _ in 0..3 {
        assert_eq!(post(&client, &uri).await.unwrap().body, "ok");
    }
    assert_eq!(origin.made.load(SeqCst), 1);
    let head = origin.heads().remove(0);
    assert!(head.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some(origin.address.to_string().as_str()));
    assert_eq!(field(&head, "content-length"), Some("6"));
}

#[tokio::test]
async fn there_are_never_more_connections_than_allowed() {
    let origin = Origin::start("", false).await;
    origin.gate.forget_permits(Semaphore::MAX_PERMITS);
    let client = client(ClientOptions { max_connections: Some(2), ..to(&origin.uri()) });
    let requests: Vec<_> = (0..8).map(|_| begin(&client, &origin.uri())).collect();
    for round in 1..=4 {
        until("no two requests", || origin.heads().len() == 2 * round).await;
        origin.gate.add_permits(2);
    }
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert_eq!(origin.made.load(SeqCst), 2);
}

#[tokio::test]
async fn idle_connections_are_closed_beyond_a_number_and_after_a_time() {
    let origin = Origin::start("", false).await;
    origin.gate.forget_permits(Semaphore::MAX_PERMITS);
    let idle_timeout = Duration::from_millis(300);
    let client = client(ClientOptions { max_idle: 2, idle_timeout, ..to(&origin.uri()) });
    let requests: Vec<_> = (0..5).map(|_| begin(&client, &origin.uri())).collect();
    until("not all requests", || origin.heads().len() == 5).await;
    origin.gate.add_permits(5);
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert_eq!(origin.made.load(SeqCst), 5);
    until("more than two are kept", || origin.open.load(SeqCst) == 2).await;
    until("they are kept for ever", || origin.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn without_keep_alive_each_request_has_its_connection_and_says_so() {
    let origin = Origin::start("", false).await;
    let client = client(ClientOptions { keep_alive: false, ..to(&origin.uri()) });
    for _ in 0..3 {
        post(&client, &origin.uri()).await.unwrap();
    }
    assert_eq!(origin.made.load(SeqCst), 3);
    assert!(origin.heads().iter().all(|head| field(head, "connection") == Some("close")));
    until("connections stay", || origin.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_meanwhile_costs_nothing() {
    let origin = Origin::start("", true).await;
    let client = client(to(&origin.uri()));
    for _ in 0..20 {
        post(&client, &origin.uri()).await.unwrap();
    }
    assert_eq!(origin.made.load(SeqCst), 20);
}

#[tokio::test]
async fn a_header_host_is_the_name_that_the_server_hears() {
    let origin = Origin::start("", false).await;
    let client = client(to(&origin.uri()));
    let headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("otlp.example.com"))]);
    client.post(&origin.uri(), &headers, &[]).await.unwrap();
    assert_eq!(field(&origin.heads()[0], "host"), Some("otlp.example.com"));
}

#[tokio::test]
async fn cookies_are_sent_back_only_where_they_are_wanted() {
    for (cookies, expected) in [(true, Some("node=7")), (false, None)] {
        let origin = Origin::start("Set-Cookie: node=7; Path=/\r\n", false).await;
        let client = client(ClientOptions { cookies, ..to(&origin.uri()) });
        post(&client, &origin.uri()).await.unwrap();
        post(&client, &origin.uri()).await.unwrap();
        assert_eq!(field(&origin.heads()[1], "cookie"), expected);
    }
}

fn named(name: &Name) -> (ClientOptions, Uri) {
    let uri = Uri::from_static("http://moving.test:4318/v1/logs");
    (ClientOptions { connector: name.connector(), ..to(&uri) }, uri)
}

#[tokio::test]
async fn each_new_connection_goes_to_the_next_address() {
    let (one, two) = (Origin::start("", false).await, Origin::start("", false).await);
    let (options, uri) = named(&Name::of(&[one.address, two.address]));
    let client = client(ClientOptions { keep_alive: false, ..options });
    for _ in 0..6 {
        post(&client, &uri).await.unwrap();
    }
    assert_eq!((one.made.load(SeqCst), two.made.load(SeqCst)), (3, 3));
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_tried_last() {
    let origin = Origin::start("", false).await;
    let (options, uri) = named(&Name::of(&[asleep().await, origin.address]));
    let client = client(options);
    let mut given_up = 0;
    for _ in 0..10 {
        if timeout(Duration::from_secs(4), post(&client, &uri)).await.is_err() {
            given_up += 1;
        }
    }
    assert_eq!((given_up, origin.heads().len()), (1, 9));
}

#[tokio::test]
async fn a_destination_that_moves_is_followed_though_the_old_place_still_answers() {
    let (old, new) = (Origin::start("", false).await, Origin::start("", false).await);
    let name = Name::of(&[old.address]);
    let (options, uri) = named(&name);
    let client = client(options);
    post(&client, &uri).await.unwrap();
    name.moves_to(&[new.address]);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(31)).await;
    tokio::time::resume();
    post(&client, &uri).await.unwrap();
    assert_eq!((old.heads().len(), new.heads().len()), (1, 1));
    until("the old connection stays", || old.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_proxy_gets_the_whole_url_and_its_credentials() {
    let proxy = Origin::start("", false).await;
    let uri = Uri::from_static("http://destination.test:4318/v1/logs");
    let url = format!("http://me:secret@{}", proxy.address);
    let connector = Connector { proxy: Some(Proxy::parse(&url).unwrap()), ..Connector::default() };
    let client = client(ClientOptions { connector, ..to(&uri) });
    post(&client, &uri).await.unwrap();
    let head = proxy.heads().remove(0);
    assert!(head.starts_with("POST http://destination.test:4318/v1/logs HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some("destination.test:4318"));
    assert_eq!(field(&head, "proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_without_its_password() {
    let uri = Uri::from_static("http://destination.test:4318/v1/logs");
    let held = Nobody::new();
    let nobody = held.address();
    let proxy = Proxy::parse(&format!("http://me:secret@{nobody}")).unwrap();
    let connector = Connector { proxy: Some(proxy), ..Connector::default() };
    let error = post(&client(ClientOptions { connector, ..to(&uri) }), &uri).await.unwrap_err().to_string();
    assert!(error.contains(&format!("cannot reach http://{nobody}")) && !error.contains("secret"), "{error}");
}
