//! Names that move, and servers that misbehave on purpose.

use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use millrace_engine::BoxFuture;
use millrace_net::connect::{Connector, Resolve};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A name whose addresses the test says.
#[derive(Debug, Clone, Default)]
pub struct Name {
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Name {
    pub fn of(addresses: &[SocketAddr]) -> Self {
        let name = Self::default();
        name.moves_to(addresses);
        name
    }

    pub fn moves_to(&self, addresses: &[SocketAddr]) {
        *self.addresses.lock().expect("not poisoned") = addresses.to_vec();
    }

    /// How often somebody has asked for it.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub fn connector(&self) -> Connector {
        Connector { resolver: Arc::new(self.clone()), ..Connector::default() }
    }
}

impl Resolve for Name {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            assert_eq!(host, "moving.test", "only that name is asked for");
            self.asked.fetch_add(1, SeqCst);
            Ok(self.addresses.lock().expect("not poisoned").clone())
        })
    }
}

/// A server that speaks HTTP/2, answers pings, takes requests, and never answers one.
pub async fn mute() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                let mut kept: Vec<SendResponse<bytes::Bytes>> = Vec::new();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    count.fetch_add(1, SeqCst);
                    kept.push(respond);
                }
            });
        }
    });
    (address, taken)
}

/// A server that accepts connections and says nothing on them.
pub async fn asleep() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address
}

/// A server that answers until it is told to freeze: from then on its connections are open, new ones are accepted, and
/// nothing happens on any. Counts its connections.
pub struct Freezing {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    frozen: watch::Sender<bool>,
}

impl Freezing {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let frozen = watch::Sender::new(false);
        let freezing = frozen.subscribe();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(answer_until(stream, freezing.clone()));
            }
        });
        Self { address, connections, frozen }
    }

    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}

async fn answer_until(stream: TcpStream, mut frozen: watch::Receiver<bool>) {
    // Kept, so that it stays open.
    let (mut kept, mut unanswered) = (None, Vec::new());
    let serving = async {
        let connection = kept.insert(h2::server::handshake(stream).await.expect("HTTP/2"));
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            answer(&mut respond);
            unanswered.push(respond);
        }
    };
    tokio::select! {
        biased;
        _ = frozen.wait_for(|frozen| *frozen) => {}
        () = serving => return,
    }
    std::future::pending::<()>().await;
}

/// Says that all went well, and nothing else.
pub fn answer(respond: &mut SendResponse<bytes::Bytes>) {
    let mut stream = respond.send_response(Response::new(()), false).expect("it can be answered");
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    stream.send_trailers(trailers).expect("it can be answered");
}

/// A server that sends this with every answer, however much it is, and then that all went well or badly.
pub async fn verbose(body: bytes::Bytes, encoding: &'static str, status: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = Response::builder().header("grpc-encoding", encoding).body(()).expect("an answer");
            let mut stream = respond.send_response(head, false).expect("it can be answered");
            stream.send_data(body.clone(), false).expect("it can be answered");
            let status = HeaderValue::from(u16::from(status));
            let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)]);
            stream.send_trailers(trailers).expect("it can be answered");
        }
    });
    address
}

/// A server that refuses whatever it is asked for, saying these words and the credentials that it was shown.
pub async fn echoing(words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let shown = request.headers().get("authorization").expect("credentials");
            let message = format!("{words}{}", shown.to_str().expect("text"));
            let head = Response::builder().header("grpc-status", 16).header("grpc-message", message);
            respond.send_response(head.body(()).expect("an answer"), true).expect("it can be answered");
        }
    });
    address
}

/// What a server does with the first request of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Says that it looks at no request any more, and at this one neither.
    GoAway,
    /// Says that it has not looked at it.
    Refused,
    /// Says that something went wrong with it.
    Reset,
    /// Hangs up.
    Rst,
}

/// A server that treats the first request of its first connection like that, and gives later connections to `then`.
pub async fn once(answer: Answer, then: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.expect("a connection");
        count.fetch_add(1, SeqCst);
        tokio::spawn(async move {
            // The client may hang up at any time.
            let _ = misbehave(&mut first, answer).await;
        });
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, SeqCst);
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(then).await.expect("it listens");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    (address, connections)
}

const ACK: u8 = 1;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// HTTP/2 by hand (RFC 9113, section 4.1), for what libraries would not do.
async fn misbehave(stream: &mut TcpStream, answer: Answer) -> io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).await?;
        match (head[3], answer) {
            (SETTINGS, _) if head[4] == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            (PING, _) if head[4] == 0 => stream.write_all(&frame(PING, ACK, 0, &payload)).await?,
            (HEADERS, Answer::GoAway) => stream.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await?,
            (HEADERS, Answer::Refused) => stream.write_all(&frame(RST_STREAM, 0, id, &[0, 0, 0, 7])).await?,
            (HEADERS, Answer::Reset) => stream.write_all(&frame(RST_STREAM, 0, id, &[0, 0, 0, 2])).await?,
            (HEADERS, Answer::Rst) => {
                socket2::SockRef::from(&*stream).set_linger(Some(std::time::Duration::ZERO))?;
                return Ok(());
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
