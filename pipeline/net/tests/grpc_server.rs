//! The gRPC server against clients that are slow, greedy, broken or hostile, over real sockets.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use h2::Reason;
use http::HeaderMap;
use millrace_engine::extension::{Denied, Gate, ServerAuth, Unauthenticated};
use millrace_engine::failure::Reason as Why;
use millrace_engine::{BoxFuture, Failure, Fault, Identity};
use millrace_net::admission::Admission;
use millrace_net::grpc::{Code, PingPolicy, ServerOptions, Status};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use support::{Fixture, GATED, MESSAGE_MAX, PROMPT, framed, prefix, serve, serve_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_message_is_answered_with_a_message_and_its_status() {
    let server = serve(64 * MIB, None).await;
    let answer = server.connect().await.call(PROMPT, b"hello").await.unwrap();
    assert_eq!((answer.http, answer.code, &answer.message[..]), (200, 0, &b"5"[..]));
    assert_eq!(server.budget.used(), 0);
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_takes_nothing_new() {
    // given a call under way
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut under_way = client.begin(GATED, &[]).await;
    under_way.send(&framed(b"under way"));
    under_way.end();
    server.begun(1).await;

    // when the server stops
    let (address, service) = (server.address, server.service);
    let stopped = tokio::spawn(server.running.stop(Instant::now() + Duration::from_secs(20)));
    // … the listener is closed first
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    service.gate.add_permits(1);

    // then the call is answered, and both the connection and the server end
    assert_eq!(under_way.answer().await.unwrap().code, 0);
    client.connection.await.unwrap().unwrap();
    stopped.await.unwrap();
}

#[tokio::test]
async fn stopping_cuts_off_at_its_deadline_what_does_not_end() {
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut endless = client.begin(GATED, &[]).await;
    endless.send(&framed(b"never answered"));
    endless.end();
    server.begun(1).await;

    server.running.stop(Instant::now()).await;

    assert!(endless.answer().await.is_err());
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

#[tokio::test]
async fn a_request_that_stops_arriving_is_refused_after_a_minute() {
    // given half a message, charged as a whole
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut stalled = client.begin(PROMPT, &[]).await;
    stalled.send(&framed(&[7; 1000])[..500]);
    server.charged(|bytes| bytes == 1000).await;

    // when nothing more comes
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let answer = stalled.answer().await.unwrap();

    // then it is refused, and nothing is held
    assert_eq!(answer.code, Code::DeadlineExceeded as u8);
    assert!((55..=65).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(server.budget.used(), 0);
}

#[tokio::test]
async fn a_call_ends_when_its_client_has_stopped_waiting() {
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut call = client.begin(GATED, &[("grpc-timeout", "30S")]).await;
    call.send(&framed(b"slow"));
    call.end();
    server.begun(1).await;
    tokio::time::pause();
    assert_eq!(call.answer().await.unwrap().code, Code::DeadlineExceeded as u8);
    assert_eq!(server.budget.used(), 0);
}

#[tokio::test]
async fn over_budget_is_refused_with_a_delay_before_the_message_arrives() {
    // given a budget that is used up
    let server = serve(8 * MIB, None).await;
    let _used_up = server.budget.try_charge(8 * MIB).unwrap();
    let mut client = server.connect().await;

    // when only the prefix of a message has been sent
    let mut call = client.begin(PROMPT, &[]).await;
    call.send(&prefix(1 << 20));

    // then the answer is already there
    let answer = call.answer().await.unwrap();
    assert_eq!(answer.code, Code::Unavailable as u8);
    assert!(Status::from_trailers(&answer.headers).unwrap().retry_delay.is_some());
    assert_eq!(server.service.refused.load(SeqCst), 1);
    assert_eq!(server.service.begun.load(SeqCst), 0);
}

#[tokio::test]
async fn refused_messages_give_their_window_back() {
    // given a hundred messages that together are many times the connection's window
    let server = serve(8 * MIB, None).await;
    let used_up = server.budget.try_charge(8 * MIB).unwrap();
    let mut client = server.connect().await;
    for _ in 0..100 {
        let refused = client.call(PROMPT, &[7; 60_000]).await.unwrap();
        assert_eq!(refused.code, Code::Unavailable as u8);
    }

    // when there is room again
    drop(used_up);

    // then the connection still takes messages
    assert_eq!(client.call(PROMPT, &[7; 60_000]).await.unwrap().code, 0);
}

#[tokio::test]
async fn a_length_of_4_gib_is_refused_at_once_for_good_and_costs_nothing() {
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut lie = client.begin(PROMPT, &[]).await;
    lie.send(&prefix(u32::MAX));
    let answer = lie.answer().await.unwrap();
    assert_eq!(answer.code, Code::ResourceExhausted as u8);
    assert_eq!(Status::from_trailers(&answer.headers).unwrap().retry_delay, None);
    assert_eq!((server.budget.used(), server.budget.refused()), (0, 0));
}

#[tokio::test]
async fn a_message_is_charged_as_it_arrives_until_its_client_goes() {
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut announced = client.begin(PROMPT, &[]).await;
    announced.send(&prefix(3 << 20));
    announced.send(&[7; 300_000]);
    server.charged(|bytes| (300_000..=8 * 300_010).contains(&bytes)).await;

    client.hang_up();

    server.charged(|bytes| bytes == 0).await;
    assert_eq!(server.service.begun.load(SeqCst), 0);
}

#[tokio::test]
async fn large_messages_earn_a_larger_window_while_the_connection_lasts() {
    // given a connection that has sent a message larger than half the first window
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    assert_eq!(client.call(PROMPT, &[7; 200_000]).await.unwrap().code, 0);

    // when its next request comes
    assert_eq!(client.call(PROMPT, b"small").await.unwrap().code, 0);

    // then a lease is charged, and the client may send that much ahead
    server.charged(|bytes| bytes == 2 * MIB).await;
    let mut wide = client.begin(GATED, &[]).await;
    wide.body.reserve_capacity(1 << 20);
    while wide.body.capacity() < 1 << 20 {
        std::future::poll_fn(|context| wide.body.poll_capacity(context)).await.unwrap().unwrap();
    }

    client.hang_up();
    server.charged(|bytes| bytes == 0).await;
}

#[tokio::test]
async fn windows_stay_small_where_the_budget_has_no_room() {
    let server = serve(400_000, None).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        assert_eq!(client.call(PROMPT, &[7; 200_000]).await.unwrap().code, 0);
    }
    assert_eq!(server.budget.used(), 0);
}

#[tokio::test]
async fn a_client_keeps_to_itself_what_exceeds_the_requests_under_way() {
    let server = serve(64 * MIB, Some(2)).await;
    let mut client = server.connect().await;
    // The first answer shows that the server's settings have arrived.
    client.call(PROMPT, b"x").await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..5 {
        let mut client =
            support::Client { requests: client.requests.clone(), connection: tokio::spawn(async { Ok(()) }) };
        calls.push(tokio::spawn(async move { client.call(GATED, b"x").await.unwrap().code }));
    }
    server.begun(3).await;
    assert_eq!(server.service.begun.load(SeqCst), 3);
    server.service.gate.add_permits(5);
    for call in calls {
        assert_eq!(call.await.unwrap(), 0);
    }
    assert_eq!(client.call(PROMPT, b"x").await.unwrap().code, 0);
}

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
async fn a_head_beyond_its_limit_costs_the_request_and_not_the_connection() {
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut flood = client.begin(PROMPT, &[("x-padding", &"x".repeat(20_000))]).await;
    flood.end();
    match flood.answer().await {
        Ok(answer) => assert_eq!(answer.http, 431),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    assert_eq!(client.call(PROMPT, b"x").await.unwrap().code, 0);
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
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
        assert!(Instant::now() < deadline, "tasks are left behind");
        tokio::task::yield_now().await;
    }
    assert_eq!(server.service.begun.load(SeqCst), 0);
    assert_eq!(server.connect().await.call(PROMPT, b"x").await.unwrap().code, 0);
}

#[tokio::test]
async fn framing_that_is_not_one_message_is_refused() {
    let message = framed(b"hello");
    let two = [&message[..], &message].concat();
    let cases: [(&[u8], Code); 8] = [
        (b"", Code::Unknown),
        (&message[..3], Code::Unknown),
        (&message[..7], Code::Unknown),
        (&two, Code::InvalidArgument),
        (b"\0\0\0\0\x05hello!", Code::InvalidArgument),
        (b"\x02\0\0\0\x05hello", Code::Internal),
        (b"\x01\0\0\0\x05hello", Code::Internal),
        (&prefix(MESSAGE_MAX as u32 + 1), Code::ResourceExhausted),
    ];
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    for (body, code) in cases {
        let mut call = client.begin(PROMPT, &[]).await;
        call.send(body);
        call.end();
        assert_eq!(call.answer().await.unwrap().code, code as u8, "{body:?}");
    }
    assert_eq!((server.service.begun.load(SeqCst), server.service.refused.load(SeqCst)), (0, 8));
}

#[tokio::test]
async fn a_message_may_arrive_byte_by_byte() {
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    let mut call = client.begin(PROMPT, &[]).await;
    for byte in framed(b"slowly") {
        call.send(&[byte]);
        tokio::task::yield_now().await;
    }
    call.end();
    assert_eq!(&call.answer().await.unwrap().message[..], b"6");
}

/// Takes those whose `authorization` is `Bearer good`.
struct Bearer;

impl ServerAuth for Bearer {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Arc<Identity>, Denied>> {
        Box::pin(async move {
            match headers.get("authorization").map(|value| value.as_bytes()) {
                Some(b"Bearer good") => Ok(Arc::new(vec![("subject".into(), "somebody".into())])),
                _ => Err(Unauthenticated("who are you?".to_owned()).into()),
            }
        })
    }
}

struct Closed;

impl Gate for Closed {
    fn admit(&self) -> Result<(), Failure> {
        Err(Failure::transient(Fault::Us, Why::OverBudget, "come back later"))
    }
}

async fn serve_to(set: impl FnOnce(&mut ServerOptions)) -> Fixture {
    serve_with(([127, 0, 0, 1], 0).into(), 64 * MIB, set).await
}

#[tokio::test]
async fn whoever_does_not_say_who_it_is_is_refused_before_its_message() {
    let server =
        serve_to(|options| options.admission = Admission::default().with_auth(Arc::new(Bearer))).await;
    let mut client = server.connect().await;
    for headers in [&[][..], &[("authorization", "Bearer bad")]] {
        let mut call = client.begin(PROMPT, headers).await;
        call.send(&prefix(1 << 20));
        let answer = call.answer().await.unwrap();
        assert_eq!(answer.code, Code::Unauthenticated as u8);
        assert_eq!(Status::from_trailers(&answer.headers).unwrap().message, "who are you?");
    }
    assert_eq!((server.budget.used(), server.service.refused.load(SeqCst)), (0, 2));

    let mut call = client.begin(PROMPT, &[("authorization", "Bearer good")]).await;
    call.send(&framed(b"hello"));
    call.end();
    assert_eq!(call.answer().await.unwrap().code, 0);
    assert_eq!(*server.service.identities.lock().unwrap(), ["somebody"]);
}

#[tokio::test]
async fn a_closed_gate_turns_away_before_the_message() {
    let server =
        serve_to(|options| options.admission = Admission::default().with_gate(Arc::new(Closed))).await;
    let mut client = server.connect().await;
    let mut call = client.begin(PROMPT, &[]).await;
    call.send(&prefix(1 << 20));
    assert_eq!(call.answer().await.unwrap().code, Code::Unavailable as u8);
    assert_eq!(server.budget.used(), 0);
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
async fn an_old_connection_takes_nothing_new_and_finishes_what_is_under_way() {
    let server = serve_to(|options| options.keepalive.max_age = Some(Duration::from_millis(100))).await;
    let mut client = server.connect().await;
    let mut under_way = client.begin(GATED, &[]).await;
    under_way.send(&framed(b"x"));
    under_way.end();
    server.begun(1).await;
    // Until the server's farewell has arrived.
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.requests.clone().ready().await.is_ok() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.service.gate.add_permits(1);
    assert_eq!(under_way.answer().await.unwrap().code, 0);
    client.connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_under_way_on_an_old_connection_has_its_grace_and_no_more() {
    let server = serve_to(|options| {
        options.keepalive.max_age = Some(Duration::from_millis(50));
        options.keepalive.max_age_grace = Some(Duration::from_millis(50));
    })
    .await;
    let mut client = server.connect().await;
    let mut endless = client.begin(GATED, &[]).await;
    endless.send(&framed(b"x"));
    endless.end();
    assert!(endless.answer().await.is_err());
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_a_busy_one_is_not() {
    let server = serve_to(|options| options.keepalive.max_idle = Some(Duration::from_millis(200))).await;
    let mut client = server.connect().await;
    let mut under_way = client.begin(GATED, &[]).await;
    under_way.send(&framed(b"x"));
    under_way.end();
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.service.gate.add_permits(1);
    assert_eq!(under_way.answer().await.unwrap().code, 0);
    let answered = Instant::now();
    client.connection.await.unwrap().unwrap();
    assert!(answered.elapsed() >= Duration::from_millis(190), "{:?}", answered.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_given_up() {
    let server = serve_to(|options| {
        options.keepalive.time = Duration::from_millis(50);
        options.keepalive.timeout = Duration::from_millis(50);
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

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `POST http test /test.Service/Gated`, content type gRPC, in HPACK without tables.
const GATED_BLOCK: &[u8] = b"\x83\x86\x04\x13/test.Service/Gated\x01\x04test\x0f\x10\x10application/grpc";

/// A peer that writes frames by hand.
struct RawPeer {
    stream: TcpStream,
}

impl RawPeer {
    async fn connect(address: std::net::SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        Self { stream }
    }

    async fn headers(&mut self, stream: u32, block: &[u8], flags: u8) {
        self.frame(HEADERS, flags, stream, block).await;
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        assert!(self.try_frame(kind, flags, stream, payload).await, "the server hung up");
    }

    /// Whether the server was still there. What it sends is thrown away, so that it can go on sending.
    async fn try_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let (mut reader, mut writer) = self.stream.split();
        let mut thrown_away = [0; 4096];
        let writing = writer.write_all(&frame);
        tokio::pin!(writing);
        loop {
            tokio::select! {
                biased;
                written = &mut writing => return written.is_ok(),
                read = reader.read(&mut thrown_away) => if !matches!(read, Ok(1..)) {
                    return false;
                },
            }
        }
    }

    /// The server's GOAWAY: why, and in which words.
    async fn goaway(&mut self) -> (Reason, Vec<u8>) {
        let mut told = Vec::new();
        self.until(|kind, _, payload| {
            told = payload.to_vec();
            kind == GOAWAY
        })
        .await;
        (u32::from_be_bytes(told[4..8].try_into().unwrap()).into(), told[8..].to_vec())
    }

    /// Reads the server's frames up to one that is as expected.
    async fn until(&mut self, mut is_it: impl FnMut(u8, u8, &[u8]) -> bool) {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            if is_it(head[3], head[4], &payload) {
                return;
            }
        }
    }

    /// The next RST_STREAM of the server: of which stream, and why.
    async fn reset(&mut self) -> (u32, Reason) {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            if head[3] == RST_STREAM {
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                return (stream, u32::from_be_bytes(payload.try_into().unwrap()).into());
            }
        }
    }
}
