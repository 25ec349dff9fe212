//! The gRPC server against clients that are slow, greedy, broken or hostile, over real sockets.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use http::HeaderMap;
use millrace_engine::extension::{Denied, Gate, ServerAuth, Unauthenticated};
use millrace_engine::failure::Reason as Why;
use millrace_engine::{BoxFuture, Failure, Fault, Identity};
use millrace_net::admission::Admission;
use millrace_net::grpc::{Code, Status};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use support::{GATED, MESSAGE_MAX, PROMPT, framed, prefix, serve, serve_to};
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
    let stopped = tokio::spawn(server.running.stop(Instant::now() + Duration::from_secs(60)));
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
async fn large_messages_earn_a_larger_window() {
    // given a connection that has sent a message larger than half the first window
    let server = serve(64 * MIB, None).await;
    let mut client = server.connect().await;
    assert_eq!(client.call(PROMPT, &[7; 200_000]).await.unwrap().code, 0);

    // when its next request comes
    assert_eq!(client.call(PROMPT, b"small").await.unwrap().code, 0);

    // then the client may send that much ahead, for which nothing is charged before it comes
    let mut wide = client.begin(GATED, &[]).await;
    wide.body.reserve_capacity(1 << 20);
    while wide.body.capacity() < 1 << 20 {
        std::future::poll_fn(|context| wide.body.poll_capacity(context)).await.unwrap().unwrap();
    }
    assert_eq!(server.budget.used(), 0);
}

#[tokio::test]
async fn windows_stay_small_where_the_budget_has_no_room() {
    let server = serve(400_000, None).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        assert_eq!(client.call(PROMPT, &[7; 200_000]).await.unwrap().code, 0);
    }
    let mut narrow = client.begin(GATED, &[]).await;
    narrow.body.reserve_capacity(1 << 20);
    std::future::poll_fn(|context| narrow.body.poll_capacity(context)).await.unwrap().unwrap();
    assert!((1..1 << 16).contains(&narrow.body.capacity()), "{}", narrow.body.capacity());
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
async fn an_old_connection_takes_nothing_new_and_finishes_what_is_under_way() {
    let server = serve_to(|options| options.keepalive.max_age = Some(Duration::from_secs(1))).await;
    let mut client = server.connect().await;
    let mut under_way = client.begin(GATED, &[]).await;
    under_way.send(&framed(b"x"));
    under_way.end();
    server.begun(1).await;
    // Until the server's farewell has arrived.
    let deadline = Instant::now() + Duration::from_secs(60);
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
        options.keepalive.max_age = Some(Duration::from_secs(1));
        options.keepalive.max_age_grace = Some(Duration::from_millis(50));
    })
    .await;
    let mut client = server.connect().await;
    let mut endless = client.begin(GATED, &[]).await;
    endless.send(&framed(b"x"));
    endless.end();
    assert!(endless.answer().await.is_err());
}
