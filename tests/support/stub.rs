//! Destinations that behave badly, over HTTP/1.1.

use super::{PATIENCE, POLL};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// What is done with each request after it was read.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// A plain success.
    Accept,
    /// The same, and the request is kept to be looked at.
    Keep,
    /// The same after a while.
    Slow,
    /// Nothing at all, for ever.
    Silent,
    /// Half an answer, and then a reset.
    ResetMidway,
    /// Bytes that are no HTTP.
    Garbage,
    /// This answer, word for word.
    Answer(&'static str),
}

/// What was kept of requests: their heads in lower case, and their bodies.
type Kept = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A listening destination. Gone when dropped.
pub struct Stub {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    kept: Kept,
    serving: JoinHandle<()>,
    leaving: Option<oneshot::Sender<()>>,
}

impl Stub {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::serve(listener, manner)
    }

    /// On a port that was in use before. Somebody's connection may have it for a while.
    pub async fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return Self::serve(listener, manner),
                Err(error) => assert!(Instant::now() < deadline, "{address} does not become free: {error}"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn serve(listener: TcpListener, manner: Manner) -> Self {
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let kept = Kept::default();
        let (count, keep) = (Arc::clone(&requests), Arc::clone(&kept));
        let (leaving, mut left) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(connection(stream, manner, Arc::clone(&count), Arc::clone(&keep)));
                        while connections.try_join_next().is_some() {}
                    }
                    _ = &mut left => break,
                }
            }
            connections.shutdown().await;
        });
        Self { address, requests, kept, serving, leaving: Some(leaving) }
    }

    /// The bodies of the requests that were kept.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.kept.lock().expect("nobody panics with it").iter().map(|(_, body)| body.clone()).collect()
    }

    /// What they have said in a header, whose name is in lower case; empty where it was not there.
    pub fn values(&self, header: &str) -> Vec<String> {
        let value = |head: &String| {
            let found = head.lines().find_map(|line| line.strip_prefix(header)?.strip_prefix(": "));
            found.unwrap_or_default().to_owned()
        };
        self.kept.lock().expect("nobody panics with it").iter().map(|(head, _)| value(head)).collect()
    }

    /// How many requests have arrived.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have arrived.
    pub async fn has_seen(&self, requests: usize) {
        super::eventually("the destination sees requests", || async {
            let seen = self.requests();
            if seen >= requests { Ok(()) } else { Err(format!("{seen} of {requests}")) }
        })
        .await;
    }
}

impl Stub {
    /// Goes away, and returns when it answers nobody any more, and somebody else can be there instead.
    pub async fn leave(mut self) {
        drop(self.leaving.take());
        (&mut self.serving).await.expect("no bug of the stub");
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn connection(mut stream: TcpStream, manner: Manner, requests: Arc<AtomicUsize>, kept: Kept) {
    while let Some(request) = read_request(&mut stream).await {
        if matches!(manner, Manner::Slow) {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if matches!(manner, Manner::Keep | Manner::Slow) {
            kept.lock().expect("nobody panics with it").push(request);
        }
        requests.fetch_add(1, Ordering::Relaxed);
        let written = match manner {
            Manner::Accept | Manner::Keep | Manner::Slow => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
            }
            Manner::Silent => std::future::pending().await,
            Manner::ResetMidway => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf").await;
                // Closing with nothing lingering is a reset.
                let _ = stream.set_zero_linger();
                return;
            }
            Manner::Garbage => stream.write_all(&[0x16, 0x03, 0xff, 0x00, b'\r', b'\n', 0xfe]).await,
            Manner::Answer(answer) => stream.write_all(answer.as_bytes()).await,
        };
        if written.is_err() || matches!(manner, Manner::Garbage) {
            return;
        }
    }
}

/// Reads a request with a known length.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let len: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
