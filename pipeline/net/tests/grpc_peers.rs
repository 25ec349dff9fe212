//! The gRPC server against peers that write their frames by hand: silent, hostile, or speaking something else.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use h2::Reason;
use millrace_net::grpc::PingPolicy;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use support::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GATED_BLOCK, HEADERS, PING, RST_STREAM, RawPeer,
};
use support::{PROMPT, framed, prefix, serve, serve_to};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn more_requests_than_allowed_are_refused_unread() {
    // given a peer that does not keep to the limit of two: plain frames, written without looking at the settings
    let server = serve(64 * MIB, Some(2)).await;
    let mut peer = RawPeer::connect(server.address).await;
    for stream in [1, 3, 5] {
        peer.headers(stream, GATED_BLOCK, END_HEADERS).await;
        peer.frame(DATA, END_STREAM, stream, &framed(b"x")).await;
    }
    assert_eq!(peer.reset().await, (5, Reason::REFUSED_STREAM));
    server.begun(2).await;
}

#[tokio::test]
async fn a_head_without_end_costs_the_connection() {
    let server = serve(64 * MIB, None).await;
    let mut peer = RawPeer::connect(server.address).await;
    peer.headers(1, GATED_BLOCK, 0).await;
    // A literal header without indexing, each frame another 8 KiB of it.
    let mut block = vec![0, 1, b'x', 0x7F, 0x81, 0x3F];
    block.extend([b'y'; 8192]);
    let mut sent = 0;
    while peer.try_frame(CONTINUATION, 0, 1, &block).await {
        sent += 1;
        assert!(sent < 10_000, "the server takes a head of {sent} frames");
    }
    // Others are not affected.
    assert_eq!(server.connect().await.call(PROMPT, b"x").await.unwrap().code, 0);
}

#[tokio::test]
async fn requests_reset_as_fast_as_they_are_made_leave_nothing_behind() {
    let server = serve(64 * MIB, None).await;
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut peer = RawPeer::connect(server.address).await;
    let mut stream = 1;
    // The server may hang up at any time, which is as good.
    while stream < 40_000
        && peer.try_frame(HEADERS, END_HEADERS, stream, GATED_BLOCK).await
        && peer.try_frame(DATA, 0, stream, &prefix(100_000)).await
        && peer.try_frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()).await
    {
        stream += 2;
    }
    drop(peer);

    server.charged(|bytes| bytes == 0).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
        assert!(Instant::now() < deadline, "tasks are left behind");
        tokio::task::yield_now().await;
    }
    assert_eq!(server.service.begun.load(SeqCst), 0);
    assert_eq!(server.connect().await.call(PROMPT, b"x").await.unwrap().code, 0);
}

#[tokio::test]
async fn pings_too_often_end_the_connection_with_the_words_that_clients_know() {
    let server = serve(64 * MIB, None).await;
    let mut peer = RawPeer::connect(server.address).await;
    for _ in 0..4 {
        peer.frame(PING, 0, 0, &[0; 8]).await;
    }
    let (code, words) = peer.goaway().await;
    assert_eq!((code, &words[..]), (Reason::ENHANCE_YOUR_CALM, &b"too_many_pings"[..]));
    assert_eq!(server.refused("too_many_pings"), 1);

    let server = serve_to(|options| {
        options.pings = PingPolicy { min_time: Duration::ZERO, permit_without_stream: true };
    })
    .await;
    let mut peer = RawPeer::connect(server.address).await;
    for _ in 0..100 {
        peer.frame(PING, 0, 0, &[0; 8]).await;
    }
    // Answered to the last.
    peer.frame(PING, 0, 0, b"the last").await;
    peer.until(|kind, flags, payload| kind == PING && flags == 1 && payload == b"the last").await;
}

#[tokio::test]
async fn frames_that_carry_nothing_in_masses_end_the_connection() {
    let server = serve(64 * MIB, None).await;
    let floods: [(u8, &[u8]); 4] = [(4, &[]), (8, &[0, 0, 0, 1]), (2, &[0, 0, 0, 3, 10]), (0xEE, &[0; 16])];
    for (count, (kind, payload)) in floods.into_iter().enumerate() {
        let mut peer = RawPeer::connect(server.address).await;
        let stream = if kind == 2 { 1 } else { 0 };
        let mut sent = 0;
        while peer.try_frame(kind, 0, stream, payload).await {
            sent += 1;
            assert!(sent < 1_000_000, "{kind}");
        }
        assert_eq!(server.refused("flood"), count as u64 + 1, "{kind}");
    }
    assert_eq!(server.connect().await.call(PROMPT, b"x").await.unwrap().code, 0);
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_given_up() {
    let server = serve_to(|options| {
        options.keepalive.time = Duration::from_millis(50);
        // For whoever answers, but not at once: here everybody has one thread.
        options.keepalive.timeout = Duration::from_secs(3);
    })
    .await;
    // One that answers stays.
    let mut alive = server.connect().await;
    assert_eq!(alive.call(PROMPT, b"x").await.unwrap().code, 0);
    // One that does not is pinged, and hung up on.
    let mut silent = RawPeer::connect(server.address).await;
    silent.until(|kind, flags, _| kind == PING && flags == 0).await;
    silent.stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(server.refused("unresponsive"), 1);
    assert_eq!(alive.call(PROMPT, b"x").await.unwrap().code, 0);
}

#[tokio::test]
async fn tls_on_a_port_without_it_has_a_name() {
    let server = serve(64 * MIB, None).await;
    let mut confused = TcpStream::connect(server.address).await.unwrap();
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[7; 502]].concat();
    confused.write_all(&hello).await.unwrap();
    // Whatever is sent back, the end comes.
    let _ = confused.read_to_end(&mut Vec::new()).await;
    assert_eq!(server.refused("tls_to_plain_port"), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_speak_is_hung_up_on() {
    let server = serve(64 * MIB, None).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    // The server's settings show that it has accepted the connection.
    silent.read_exact(&mut [0; 9]).await.unwrap();
    tokio::time::pause();
    silent.read_to_end(&mut Vec::new()).await.unwrap();
}
