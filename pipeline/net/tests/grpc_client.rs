//! The gRPC client where a name has several addresses, and where servers move, refuse, freeze or go away.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use bytes::Bytes;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use millrace_engine::Tasks;
use millrace_engine::health::Health;
use millrace_net::grpc::{Balancing, CallError, Channel, ChannelOptions, Code, KeepAlive};
use millrace_net::{Endpoint, QUOTE_MAX};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use support::hostile::{Answer, Freezing, Name, answer, asleep, echoing, mute, once, verbose};
use support::{Fixture, Nobody, framed, serve, serve_at};
use tokio::net::UnixListener;
use tokio::time::timeout;

const PROMPT: &str = "/test.Service/Prompt";
const GATED: &str = "/test.Service/Gated";
const BUDGET: u64 = 64 << 20;

fn options(name: &Name) -> ChannelOptions {
    let endpoint = Endpoint::parse("moving.test:4317").unwrap();
    ChannelOptions { connector: name.connector(), ..ChannelOptions::new(endpoint) }
}

fn channel(options: ChannelOptions) -> Arc<Channel> {
    Arc::new(Channel::new(options, Tasks::new(Health::starting())))
}

async fn call(channel: &Channel, method: &'static str) -> Result<Bytes, CallError> {
    let uri = channel.uri(method).unwrap();
    let called = channel.unary(&uri, channel.headers(), &[Bytes::from_static(b"message")]).await;
    called.map(|reply| reply.message)
}

/// Calls in the background.
fn begin(channel: &Arc<Channel>, method: &'static str) -> tokio::task::JoinHandle<Result<Bytes, CallError>> {
    let channel = Arc::clone(channel);
    tokio::spawn(async move { call(&channel, method).await })
}

fn begun(server: &Fixture) -> usize {
    server.service.begun.load(SeqCst)
}

/// Repeats until it holds.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

/// Lets so much time pass at once. Everything is on this thread, so nothing is skipped but waiting.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}

/// Calls until each of the servers has got one.
async fn all_reached(channel: &Channel, servers: &[&Fixture]) {
    until("not all servers are reached", || async {
        call(channel, PROMPT).await.unwrap();
        servers.iter().all(|server| begun(server) > 0)
    })
    .await;
}

#[tokio::test]
async fn calls_go_round_over_all_addresses_of_a_name() {
    let servers = [serve(BUDGET, None).await, serve(BUDGET, None).await, serve(BUDGET, None).await];
    let name = Name::of(&servers.each_ref().map(|server| server.address));
    let channel = channel(options(&name));
    all_reached(&channel, &servers.each_ref()).await;
    let before = servers.each_ref().map(begun);
    for _ in 0..30 {
        call(&channel, PROMPT).await.unwrap();
    }
    for (server, before) in servers.iter().zip(before) {
        assert_eq!((begun(server) - before, server.accepted()), (10, 1));
    }
}

#[tokio::test]
async fn pick_first_makes_one_connection_to_the_first_that_answers() {
    let (first, second) = (serve(BUDGET, None).await, serve(BUDGET, None).await);
    let nobody = Nobody::new();
    let name = Name::of(&[nobody.address(), first.address, second.address]);
    let channel = channel(ChannelOptions { balancing: Balancing::PickFirst, ..options(&name) });
    for _ in 0..10 {
        call(&channel, PROMPT).await.unwrap();
    }
    assert_eq!((begun(&first), begun(&second), second.accepted()), (10, 0, 0));
}

#[tokio::test]
async fn an_address_that_refuses_is_left_out_and_taken_in_when_it_is_there() {
    let (server, nobody) = (serve(BUDGET, None).await, Nobody::new());
    let name = Name::of(&[server.address, nobody.address()]);
    let channel = channel(options(&name));
    for _ in 0..10 {
        call(&channel, PROMPT).await.unwrap();
    }
    let late = serve_at(nobody.address(), BUDGET, None).await;
    until("the late one gets no calls", || async {
        call(&channel, PROMPT).await.unwrap();
        begun(&late) > 0
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_moves_is_followed_and_what_is_under_way_ends() {
    // given a call under way at the old place
    let (old, new) = (serve(BUDGET, None).await, serve(BUDGET, None).await);
    let name = Name::of(&[old.address]);
    let channel = channel(options(&name));
    let under_way = begin(&channel, GATED);
    old.begun(1).await;

    // when the name moves, and some time passes
    name.moves_to(&[new.address]);
    pass(Duration::from_secs(31)).await;
    until("the new one gets no calls", || async {
        call(&channel, PROMPT).await.unwrap();
        begun(&new) > 0
    })
    .await;

    // then the old place gets no new calls, and the call under way is answered from there
    let before = begun(&old);
    for _ in 0..5 {
        call(&channel, PROMPT).await.unwrap();
    }
    assert_eq!(begun(&old), before);
    old.service.gate.add_permits(1);
    under_way.await.unwrap().unwrap();
    // and its connection is closed, so that it can stop.
    timeout(Duration::from_secs(10), old.running.stop(Instant::now() + Duration::from_secs(60)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_is_asked_for_again_when_a_connection_breaks() {
    let (old, new) = (serve(BUDGET, None).await, serve(BUDGET, None).await);
    let name = Name::of(&[old.address]);
    let channel = channel(ChannelOptions { wait_for_ready: true, ..options(&name) });
    call(&channel, PROMPT).await.unwrap();
    let asked = name.asked();
    name.moves_to(&[new.address]);
    old.running.stop(Instant::now() + Duration::from_secs(10)).await;
    call(&channel, PROMPT).await.unwrap();
    assert!(begun(&new) == 1 && name.asked() > asked);
}

#[tokio::test]
async fn a_name_that_is_lost_costs_nothing_while_its_addresses_answer() {
    let server = serve(BUDGET, None).await;
    let name = Name::of(&[server.address]);
    let channel = channel(options(&name));
    call(&channel, PROMPT).await.unwrap();
    name.moves_to(&[]);
    pass(Duration::from_secs(61)).await;
    call(&channel, PROMPT).await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_name_without_addresses_says_so() {
    let error = call(&channel(options(&Name::of(&[]))), PROMPT).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)));
    let text = error.to_string();
    assert!(text.contains("cannot connect to moving.test:4317: cannot resolve `moving.test`"), "{text}");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_one_call_and_is_then_left_out() {
    let (one, two) = (serve(BUDGET, None).await, serve(BUDGET, None).await);
    let (mute, taken) = mute().await;
    let name = Name::of(&[one.address, mute, two.address]);
    let channel = channel(options(&name));
    let mut given_up = 0;
    for _ in 0..60 {
        // So long is not held against a server that is only slow.
        if timeout(Duration::from_secs(4), call(&channel, PROMPT)).await.is_err() {
            given_up += 1;
        }
    }
    assert_eq!((given_up, taken.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn an_impatient_caller_says_nothing_about_a_server() {
    let (server, (mute, taken)) = (serve(BUDGET, None).await, mute().await);
    let name = Name::of(&[server.address, mute]);
    let channel = channel(options(&name));
    let mut given_up = 0;
    for _ in 0..20 {
        if timeout(Duration::from_millis(50), call(&channel, PROMPT)).await.is_err() {
            given_up += 1;
        }
    }
    // The first calls may come before there is a connection to both, and the other one be slow as well.
    let taken = taken.load(SeqCst);
    assert!((6..=given_up).contains(&taken), "{taken} of {given_up}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_gets_no_calls() {
    let server = serve(BUDGET, None).await;
    let name = Name::of(&[asleep().await, server.address, asleep().await]);
    let channel = channel(options(&name));
    for _ in 0..20 {
        timeout(Duration::from_secs(10), call(&channel, PROMPT)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_froze_is_found_out_by_its_silence_and_its_calls_fail() {
    let server = Freezing::start().await;
    let channel = channel(options(&Name::of(&[server.address])));
    call(&channel, PROMPT).await.unwrap();
    // Two calls under way when it freezes.
    server.freeze();
    let (patient, impatient) = (begin(&channel, PROMPT), begin(&channel, PROMPT));
    pass(Duration::from_secs(2)).await;
    impatient.abort();
    // The one that is given up makes the server be asked whether it is there, which tells the other one.
    pass(Duration::from_secs(6)).await;
    let error = timeout(Duration::from_secs(10), patient).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Broken(_)), "{error}");
}

fn pings(timeout: Duration, permit_without_stream: bool) -> Option<KeepAlive> {
    Some(KeepAlive { time: Duration::from_secs(10), timeout, permit_without_stream })
}

#[tokio::test]
async fn keepalive_replaces_a_connection_that_is_dead() {
    let server = Freezing::start().await;
    let name = Name::of(&[server.address]);
    let keepalive = pings(Duration::from_secs(20), false);
    let channel = channel(ChannelOptions { keepalive, ..options(&name) });
    call(&channel, PROMPT).await.unwrap();
    server.freeze();
    let patient = begin(&channel, PROMPT);
    // A ping is due every ten seconds, and none is sent where something was answered since the last.
    pass(Duration::from_secs(29)).await;
    assert!(!patient.is_finished() && server.connections.load(SeqCst) == 1);
    pass(Duration::from_secs(15)).await;
    let error = timeout(Duration::from_secs(10), patient).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.status().code, Code::Unavailable);
    until("no new connection", || async { server.connections.load(SeqCst) >= 2 }).await;
}

#[tokio::test]
async fn keepalive_leaves_idle_connections_alone_unless_told_otherwise() {
    for (permit_without_stream, replaced) in [(false, false), (true, true)] {
        let server = Freezing::start().await;
        let name = Name::of(&[server.address]);
        let keepalive = pings(Duration::from_secs(10), permit_without_stream);
        let channel = channel(ChannelOptions { keepalive, ..options(&name) });
        call(&channel, PROMPT).await.unwrap();
        server.freeze();
        pass(Duration::from_secs(45)).await;
        assert_eq!(server.connections.load(SeqCst) > 1, replaced, "{permit_without_stream}");
    }
}

#[tokio::test]
async fn what_a_server_has_not_looked_at_goes_elsewhere_at_once() {
    for answer in [Answer::GoAway, Answer::Refused] {
        let server = serve(BUDGET, None).await;
        let (address, connections) = once(answer, server.address).await;
        let channel = channel(options(&Name::of(&[address, server.address])));
        for _ in 0..10 {
            call(&channel, PROMPT).await.unwrap();
        }
        assert!(connections.load(SeqCst) >= 1, "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_connected_to_again() {
    let server = serve(BUDGET, None).await;
    let (address, connections) = once(Answer::GoAway, server.address).await;
    let channel = channel(options(&Name::of(&[address])));
    call(&channel, PROMPT).await.unwrap();
    assert_eq!((connections.load(SeqCst), begun(&server)), (2, 1));
}

#[tokio::test]
async fn what_a_server_may_have_got_is_the_callers_to_send_again() {
    for answer in [Answer::Reset, Answer::Rst] {
        let server = serve(BUDGET, None).await;
        let (address, _) = once(answer, server.address).await;
        let channel = channel(options(&Name::of(&[address])));
        let error = call(&channel, PROMPT).await.unwrap_err();
        assert!(matches!(&error, CallError::Broken(status) if status.code == Code::Unavailable), "{error}");
        assert_eq!(begun(&server), 0);
    }
}

#[tokio::test]
async fn how_a_call_went_does_not_depend_on_how_long_its_answer_is() {
    let long = vec![0; 5 << 20];
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zip, &long).unwrap();
    let mut zipped = framed(&zip.finish().unwrap());
    assert!(zipped.len() < 64 << 10, "too long only when inflated");
    zipped[0] = 1;
    for (body, encoding) in [(framed(&long), "identity"), (zipped, "gzip")] {
        let body = Bytes::from(body);
        for status in [0, 3] {
            let address = verbose(body.clone(), encoding, status).await;
            let channel = channel(options(&Name::of(&[address])));
            // The connection is not harmed by the first.
            for _ in 0..2 {
                match (status, call(&channel, PROMPT).await) {
                    (0, Ok(message)) => assert!(message.is_empty(), "it is not kept"),
                    (3, Err(CallError::Answered(status))) => assert_eq!(status.code, Code::InvalidArgument),
                    (_, called) => panic!("{encoding}, {status}: {called:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_in_good_order_under_load_loses_no_call() {
    let (stays, goes) = (serve(BUDGET, None).await, serve(BUDGET, None).await);
    let name = Name::of(&[stays.address, goes.address]);
    let channel = channel(options(&name));
    all_reached(&channel, &[&stays, &goes]).await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let channel = Arc::clone(&channel);
            tokio::spawn(async move {
                for _ in 0..200 {
                    call(&channel, PROMPT).await.unwrap();
                }
            })
        })
        .collect();
    goes.running.stop(Instant::now() + Duration::from_secs(10)).await;
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_may_wait_waits_for_the_server() {
    let nobody = Nobody::new();
    let name = Name::of(&[nobody.address()]);
    let channel = channel(ChannelOptions { wait_for_ready: true, ..options(&name) });
    let waiting = begin(&channel, PROMPT);
    pass(Duration::from_secs(120)).await;
    assert!(!waiting.is_finished());
    let _server = serve_at(nobody.address(), BUDGET, None).await;
    timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_server_gets_no_more_calls_at_once_than_it_wants() {
    let server = serve(BUDGET, Some(2)).await;
    let channel = channel(options(&Name::of(&[server.address])));
    let calls: Vec<_> = (0..10).map(|_| begin(&channel, GATED)).collect();
    for round in 1..=5 {
        server.begun(2 * round).await;
        assert_eq!(begun(&server), 2 * round);
        server.service.gate.add_permits(2);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn sockets_are_spoken_to_like_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let abstract_name = format!("millrace-test-{}", std::process::id());
    let abstract_listener = UnixListener::bind(format!("\0{abstract_name}")).unwrap();
    for listener in [listener, abstract_listener] {
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().authority().unwrap(), "localhost");
                    answer(&mut respond);
                }
            }
        });
    }
    for endpoint in [format!("unix://{}", path.display()), format!("unix-abstract:{abstract_name}")] {
        let options = ChannelOptions::new(Endpoint::parse(&endpoint).unwrap());
        call(&channel(options), PROMPT).await.unwrap();
    }
}

#[tokio::test]
async fn a_channel_that_is_dropped_closes_its_connections() {
    let server = serve(BUDGET, None).await;
    let dropped = channel(options(&Name::of(&[server.address])));
    call(&dropped, PROMPT).await.unwrap();
    drop(dropped);
    timeout(Duration::from_secs(10), server.running.stop(Instant::now() + Duration::from_secs(60)))
        .await
        .unwrap();
}

#[tokio::test]
async fn credentials_that_a_server_repeats_go_no_further() {
    let long: &str = Box::leak("x".repeat(QUOTE_MAX - 20).into_boxed_str());
    // In headers, the percent sign is an escape of its own.
    for (words, said) in [
        ("%0Ano such token:%1B%20", "no such token: ***".to_owned()),
        ("", "***".to_owned()),
        (long, format!("{long}***")),
    ] {
        let mut credentials = HeaderValue::from_static("Bearer s3cret/t0ken");
        credentials.set_sensitive(true);
        let mut options = options(&Name::of(&[echoing(words).await]));
        options.headers.insert(AUTHORIZATION, credentials);
        let refused = call(&channel(options), PROMPT).await.unwrap_err();
        assert!(matches!(refused, CallError::Answered(_)), "{refused}");
        assert_eq!((refused.status().code, &*refused.status().message), (Code::Unauthenticated, &*said));
    }
}
