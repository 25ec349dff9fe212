//! A parked connection beside one that never parks: whatever a client sends, in whatever pieces, it is told the same.

use super::*;
use crate::admission::Admission;
use crate::coalesce::coalesce_watched;
use crate::connections::{Door, Windows};
use crate::grpc::{Call, Code, Keepalive, PingPolicy, Status};
use millrace_engine::health::Health;
use millrace_engine::{BoxFuture, Budget, Failure, Tasks};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `POST http test /test.Service/Echo`, content type gRPC, in HPACK without tables.
const BLOCK: &[u8] = b"\x83\x86\x04\x12/test.Service/Echo\x01\x04test\x0f\x10\x10application/grpc";
/// A message of two bytes.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 2, 7, 7];

struct Echo;

impl Unary for Echo {
    fn route(&self, path: &str) -> Option<u8> {
        (path == "/test.Service/Echo").then_some(0)
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Bytes, Status>> {
        Box::pin(async move { Ok(call.message) })
    }

    fn status(&self, failure: &Failure) -> Status {
        Status::new(Code::Unavailable, failure.message.clone())
    }

    fn refused(&self, _: &Status) {}
}

fn server(set: impl FnOnce(&mut ServerOptions)) -> Arc<Server<Echo>> {
    let budget = Budget::new(64 << 20);
    let mut options = ServerOptions {
        max_message: 1 << 20,
        max_streams: None,
        windows: Windows::new(budget.clone()),
        budget,
        door: Door::default(),
        admission: Admission::default(),
        keepalive: Keepalive::default(),
        pings: PingPolicy { min_time: Duration::ZERO, permit_without_stream: true },
    };
    set(&mut options);
    Server::new(Arc::new(Echo), options, Tasks::new(Health::starting())).0
}

/// One end of a conversation.
struct Talk {
    far: DuplexStream,
    told: Vec<u8>,
    ended: bool,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Talk {
    fn parked(server: &Arc<Server<Echo>>) -> Self {
        Self::with(server, |server, near, course| tokio::spawn(server.converse(near, course)))
    }

    /// With a server that makes its HTTP/2 state at once.
    fn awake(server: &Arc<Server<Echo>>) -> Self {
        Self::with(server, |server, near, course| {
            let (stream, flusher) = coalesce_watched(near, server.watch(&course));
            tokio::spawn(server.awake((stream, flusher, course)))
        })
    }

    fn with(
        server: &Arc<Server<Echo>>,
        spawn: impl FnOnce(Arc<Server<Echo>>, DuplexStream, Box<Course>) -> JoinHandle<()>,
    ) -> Self {
        let (near, far) = duplex(1 << 20);
        let (stop, stopping) = watch::channel(false);
        let course = Course::begin(&server.options, Peer(None), stopping);
        let task = spawn(Arc::clone(server), near, course);
        Self { far, told: Vec::new(), ended: false, stop, task }
    }

    /// Says something, and hears all that is said to it.
    async fn say(&mut self, bytes: &[u8]) {
        // It may have hung up.
        let _ = self.far.write_all(bytes).await;
        self.settle().await;
    }

    async fn settle(&mut self) {
        for _ in 0..40 {
            yield_now().await;
        }
        let mut room = [0; 4096];
        loop {
            let mut read = ReadBuf::new(&mut room);
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut self.far).poll_read(cx, &mut read))).await {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.told.extend_from_slice(read.filled());
                }
                outcome => return self.ended |= outcome.is_ready(),
            }
        }
    }

    /// The kinds of the frames that it was told, and their flags.
    fn frames(&self) -> Vec<(u8, u8)> {
        let mut frames = Vec::new();
        let mut rest = &self.told[..];
        while let [a, b, c, kind, flags, ..] = *rest {
            frames.push((kind, flags));
            rest = &rest[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
        }
        frames
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// What clients begin with: their settings, a wider window, and their word for ours.
fn opening() -> Vec<u8> {
    let settings = [&[0, 3, 0, 0, 0, 100][..], &[0, 4, 0, 1, 0, 0], &[0, 5, 0, 0, 0x40, 0]].concat();
    [PREFACE, &frame(4, 0, 0, &settings), &frame(8, 0, 0, &[0, 15, 0, 1]), &frame(4, 1, 0, &[])].concat()
}

fn request(stream: u32) -> Vec<u8> {
    [frame(1, 4, stream, BLOCK), frame(0, 1, stream, MESSAGE)].concat()
}

/// A frame that a client may send, should not, or must not.
fn any_frame(random: &mut fastrand::Rng, next: &mut u32) -> Vec<u8> {
    let mut stream = || {
        *next += 2;
        *next - 2
    };
    match random.u8(0..32) {
        0..4 => frame(6, 0, 0, &random.u64(..).to_be_bytes()),
        4 => frame(6, 1, 0, &random.u64(..).to_be_bytes()),
        5..8 => frame(8, 0, 0, &random.u32(1..1 << 20).to_be_bytes()),
        8 => frame(8, 0, 0, &[0x7F, 0xFF, 0xFF, random.u8(..)]),
        9 => frame(8, 0, 0, &[random.u8(..) & 0x80, 0, 0, 0]),
        10..12 => frame(4, 0, 0, &[0, random.u8(1..10), 0, 0, random.u8(..) & 0x40, 1]),
        12 => frame(4, 0, 0, &[0, random.u8(1..9), 0xFF, 0, 0, 2]),
        13 => frame(4, 0, 0, &vec![0; random.usize(..40)]),
        14 => frame(4, 0, 0, &[0; 600]),
        15 => frame(4, 1, 0, &[]),
        16 => frame(4, random.u8(..2), random.u32(..2), &[0; 6]),
        17 => frame(2, 0, random.u32(..9), &[0, 0, 0, 3, 10]),
        18 => frame(6, 0, random.u32(..2), &vec![0; random.usize(6..10)]),
        19 => frame(8, 0, random.u32(..6), &[0, 0, 0, 1]),
        20 => frame(3, 0, random.u32(..6), &[0, 0, 0, 8]),
        21 => frame(random.u8(10..), random.u8(..), random.u32(..3), &vec![1; random.usize(..60)]),
        22 => frame(7, 0, 0, &[0; 8]),
        23 => frame(random.u8(..10), random.u8(..), random.u32(..6), &vec![2; random.usize(..20)]),
        24 => (0..9).map(|_| random.u8(..)).collect(),
        _ => request(stream()),
    }
}

fn any_conversation(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = if random.u8(..8) == 0 { PREFACE.to_vec() } else { opening() };
    if random.u8(..16) == 0 {
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u8(..8);
    }
    let mut next = 1;
    for _ in 0..random.u8(..12) {
        bytes.extend(any_frame(random, &mut next));
    }
    if random.bool() {
        bytes.extend(request(next));
    }
    bytes.truncate(bytes.len() - random.usize(..8).saturating_sub(4));
    bytes
}

#[tokio::test(start_paused = true)]
async fn whatever_is_said_in_whatever_pieces_the_answers_are_those_of_a_server_that_never_parks() {
    let server = server(|_| ());
    for seed in 0..400 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let conversation = any_conversation(random);
        let (mut parked, mut awake) = (Talk::parked(&server), Talk::awake(&server));
        parked.settle().await;
        awake.settle().await;
        let longest = [1, 10, 100, 1000][random.usize(..4)];
        let mut rest = &conversation[..];
        while !rest.is_empty() {
            let piece;
            (piece, rest) = rest.split_at(random.usize(1..=longest).min(rest.len()));
            parked.say(piece).await;
            awake.say(piece).await;
            assert!(
                parked.told == awake.told,
                "{seed}: {conversation:x?}: {:?} {:?}",
                parked.frames(),
                awake.frames()
            );
            assert_eq!(parked.ended, awake.ended, "{seed}");
        }
        if random.bool() {
            for talk in [&parked, &awake] {
                talk.stop.send_replace(true);
            }
        } else {
            parked.far.shutdown().await.expect("a pipe");
            awake.far.shutdown().await.expect("a pipe");
        }
        parked.settle().await;
        awake.settle().await;
        assert!(
            parked.told == awake.told,
            "{seed}: {conversation:x?}: {:?} {:?}",
            parked.frames(),
            awake.frames()
        );
        assert_eq!(parked.ended, awake.ended, "{seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_pings_are_answered_and_nothing_of_them_is_kept() {
    let server = server(|_| ());
    let mut talk = Talk::parked(&server);
    talk.say(&opening()).await;
    talk.told.clear();
    for number in 0..900u64 {
        talk.say(&frame(6, 0, 0, &number.to_be_bytes())).await;
        assert_eq!(talk.told, frame(6, 1, 0, &number.to_be_bytes()));
        talk.told.clear();
    }
    talk.say(&request(1)).await;
    assert_eq!(talk.frames(), [(1, 4), (0, 0), (1, 5)], "the answer, and nothing that was said before");
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_is_told_to_go_and_may_finish_what_it_had_begun() {
    let server = server(|_| ());
    let mut talk = Talk::parked(&server);
    talk.say(&opening()).await;
    talk.told.clear();
    talk.stop.send_replace(true);
    talk.settle().await;
    // No more requests; those that are on their way are taken until the ping comes back.
    assert_eq!(talk.frames(), [(7, 0), (6, 0)]);
    let ping = talk.told[talk.told.len() - 8..].to_vec();
    talk.told.clear();
    talk.say(&request(1)).await;
    assert_eq!(talk.frames(), [(1, 4), (0, 0), (1, 5)]);
    talk.told.clear();
    talk.say(&frame(6, 1, 0, &ping)).await;
    assert_eq!(talk.frames(), [(7, 0)]);
    assert!(talk.ended);
    talk.task.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn parked_connections_age_and_grow_idle_like_others() {
    for set in [
        |options: &mut ServerOptions| options.keepalive.max_age = Some(Duration::from_secs(60)),
        |options: &mut ServerOptions| options.keepalive.max_idle = Some(Duration::from_secs(60)),
    ] {
        let mut talk = Talk::parked(&server(set));
        talk.say(&opening()).await;
        talk.told.clear();
        let begun = tokio::time::Instant::now();
        talk.far.read_exact(&mut [0; 17]).await.expect("a farewell");
        assert!((53..=67).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_client_that_answers_pings_stays_and_one_that_does_not_is_given_up() {
    let server = server(|options| {
        options.keepalive.time = Duration::from_secs(60);
        options.keepalive.timeout = Duration::from_secs(20);
    });
    let mut talk = Talk::parked(&server);
    talk.say(&opening()).await;
    let mut ping = [0; 17];
    for _ in 0..3 {
        talk.told.clear();
        talk.far.read_exact(&mut ping).await.expect("a ping");
        assert_eq!(ping[..9], [0, 0, 8, 6, 0, 0, 0, 0, 0]);
        talk.say(&frame(6, 1, 0, &ping[9..])).await;
    }
    talk.far.read_exact(&mut ping).await.expect("a ping");
    let begun = tokio::time::Instant::now();
    talk.far.read_to_end(&mut Vec::new()).await.expect("the end");
    assert_eq!(begun.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_take_its_answers_is_not_listened_to() {
    let server = server(|_| ());
    let (near, mut far) = duplex(1024);
    let (_stop, stopping) = watch::channel(false);
    let course = Course::begin(&server.options, Peer(None), stopping);
    let _task = tokio::spawn(Arc::clone(&server).converse(near, course));
    far.write_all(&opening()).await.expect("it listens");
    let pings = frame(6, 0, 0, &[7; 8]).repeat(1000);
    let flood = timeout(Duration::from_secs(5), far.write_all(&pings));
    assert!(flood.await.is_err(), "all of it was taken, and the answers are kept somewhere");
}

#[test]
fn the_greeting_is_what_h2_begins_with() {
    let greeting = server(|options| options.max_streams = Some(7)).greeting.clone();
    let (head, settings) = greeting.split_at(9);
    assert_eq!(head[..5], [0, 0, settings.len() as u8, 4, 0]);
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 7]), "{settings:?}");
}

/// Ten thousand of them are to take less than 150 MiB with all that they have.
#[tokio::test]
async fn the_task_of_a_parked_connection_is_small() {
    let (socket, _far) = UnixStream::pair().expect("a pair");
    let (_stop, stopping) = watch::channel(false);
    let connection = server(|_| ()).connection(Socket::Unix(socket), Peer(None), stopping);
    let size = size_of_val(&connection);
    assert!(size <= 1536, "{size}");
}
