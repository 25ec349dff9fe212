//! Under load: one of three destinations freezes, one hangs up and is found at another address, and the certificate is
//! changed. Nothing is lost, and whoever sends again what has failed gets everything through.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use bytes::BytesMut;
use h2::server::SendResponse;
use millrace_engine::Tasks;
use millrace_engine::health::Health;
use millrace_net::Endpoint;
use millrace_net::grpc::{Channel, ChannelOptions, Code};
use millrace_net::tls::{ALPN_H2, Acceptor};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::certificates::Authority;
use support::hostile::{Name, answer};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Notes what it gets, and answers, unless it is frozen.
struct Sink {
    address: SocketAddr,
    got: Mutex<HashSet<u64>>,
    frozen: AtomicBool,
    hang_up: Notify,
    connections: AtomicUsize,
}

impl Sink {
    async fn start(acceptor: Acceptor) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            got: Mutex::default(),
            frozen: AtomicBool::new(false),
            hang_up: Notify::new(),
            connections: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&sink);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sink, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.map_err(|error| error.message).unwrap();
                    sink.connections.fetch_add(1, SeqCst);
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let serving = async {
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::spawn(Arc::clone(&sink).take(request.into_body(), respond));
                        }
                    };
                    tokio::select! {
                        () = serving => {}
                        () = sink.hang_up.notified() => {}
                    }
                });
            }
        });
        sink
    }

    async fn take(self: Arc<Self>, mut body: h2::RecvStream, mut respond: SendResponse<bytes::Bytes>) {
        let mut message = BytesMut::new();
        while let Some(Ok(chunk)) = body.data().await {
            message.extend_from_slice(&chunk);
        }
        if self.frozen.load(SeqCst) {
            return std::future::pending().await;
        }
        let id = u64::from_be_bytes(message[5..13].try_into().unwrap());
        self.got.lock().unwrap().insert(id);
        answer(&mut respond);
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_destinations_freeze_move_and_change_their_certificates() {
    // Given three destinations behind one name, and senders that try again what has failed
    let ours = Authority::new();
    ours.certify("server", "localhost", 4000);
    let acceptor = ours.acceptor("server", ", reload_interval: 1s");
    let mut sinks = Vec::new();
    for _ in 0..4 {
        sinks.push(Sink::start(acceptor.clone()).await);
    }
    let [one, two, three, four] = &sinks[..] else { panic!("four sinks") };
    let name = Name::of(&[one.address, two.address, three.address]);
    let mut options = ChannelOptions::new(Endpoint::new("moving.test", 4317));
    options.connector = name.connector();
    options.connector.tls = Some(ours.handshake("", &[ALPN_H2]));
    let channel = Arc::new(Channel::new(options, Tasks::new(Health::starting())));
    let (sent, failed, stop) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (channel, sent) = (Arc::clone(&channel), Arc::clone(&sent));
            let (failed, stop) = (Arc::clone(&failed), Arc::clone(&stop));
            tokio::spawn(async move {
                let uri = channel.uri("/test.Service/Prompt").unwrap();
                while !stop.load(SeqCst) {
                    let id = sent.fetch_add(1, SeqCst);
                    let parts = [bytes::Bytes::copy_from_slice(&id.to_be_bytes()), vec![0; 4000].into()];
                    loop {
                        let calling = channel.unary(&uri, channel.headers(), &parts);
                        match timeout(Duration::from_secs(5), calling).await {
                            Ok(Ok(_)) => break,
                            // Every failure is one that is worth another attempt.
                            Ok(Err(error)) => assert_eq!(error.status().code, Code::Unavailable, "{error}"),
                            Err(_) => {}
                        }
                        failed.fetch_add(1, SeqCst);
                        sleep(Duration::from_millis(20)).await;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    until("not all of them are used", || [one, two, three].iter().all(|sink| sink.count() > 50)).await;

    // When one freezes
    one.frozen.store(true, SeqCst);
    let before = (two.count(), three.count());
    until("the others get nothing", || two.count() > before.0 + 500 && three.count() > before.1 + 500).await;
    let after_freezing = failed.load(SeqCst);

    // and the certificate is changed, and one moves
    ours.certify("server", "localhost", 4001);
    name.moves_to(&[one.address, two.address, four.address]);
    three.hang_up.notify_waiters();
    until("the new one gets nothing", || four.count() > 500).await;
    let at_three = three.count();
    until("the rest gets nothing", || four.count() > 1000).await;

    // Then whatever was sent is at one of them, and what had failed was what the frozen one had been given
    stop.store(true, SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    let got: HashSet<u64> = sinks.iter().flat_map(|sink| sink.got.lock().unwrap().clone()).collect();
    assert_eq!(got.len() as u64, sent.load(SeqCst));
    assert!(three.count() <= at_three + 8, "the old address gets no new calls");
    assert!(after_freezing <= 8 + 8, "{after_freezing} calls failed while one was frozen");
    assert!(failed.load(SeqCst) <= 8 + 8 + 8 + 8, "{failed:?} calls failed in all");
    assert_eq!(two.connections.load(SeqCst), 1, "who stays is left alone");
}
