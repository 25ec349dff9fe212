//! Conversations written by hand, frame by frame, with the time that timers go by.

mod pieces;

use super::*;
use crate::admission::Admission;
use crate::connections::{Door, Windows};
use crate::grpc::{Call, Code, Keepalive, PingPolicy, Status, framed};
use bytes::Bytes;
use millrace_engine::health::Health;
use millrace_engine::{BoxFuture, Budget, Failure, Tasks};
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt as _, DuplexStream, ReadBuf, duplex};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `POST http test /test.Service/Echo`, content type gRPC, in HPACK without tables.
const BLOCK: &[u8] = b"\x83\x86\x04\x12/test.Service/Echo\x01\x04test\x0f\x10\x10application/grpc";
/// A message of two bytes.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 2, 7, 7];

/// How long a slow call takes.
const SLOW: Duration = Duration::from_secs(150);

struct Echo;

impl Unary for Echo {
    fn route(&self, path: &str) -> Option<u8> {
        ["/test.Service/Echo", "/test.Service/Slow", "/test.Service/Take", "/test.Service/Told"]
            .iter()
            .position(|known| *known == path)
            .map(|at| at as u8)
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Bytes, Status>> {
        Box::pin(async move {
            match call.route {
                0 => return Ok(call.message),
                1 => sleep(SLOW).await,
                3 => return Ok(pieces::told(&call.message)),
                _ => {}
            }
            Ok(Bytes::new())
        })
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
    fn with(server: &Arc<Server<Echo>>) -> Self {
        let (near, far) = duplex(1 << 20);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(Arc::clone(server).converse(near, Peer(None), stopping));
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

/// The same for another method of four letters.
fn block(method: &[u8]) -> Vec<u8> {
    let at = BLOCK.windows(4).position(|four| four == b"Echo").expect("it is there");
    [&BLOCK[..at], method, &BLOCK[at + 4..]].concat()
}

fn request(stream: u32) -> Vec<u8> {
    [frame(1, 4, stream, BLOCK), frame(0, 1, stream, MESSAGE)].concat()
}

#[tokio::test(start_paused = true)]
async fn many_pings_are_answered() {
    let server = server(|_| ());
    let mut talk = Talk::with(&server);
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
async fn a_connection_is_told_to_go_and_may_finish_what_it_had_begun() {
    let server = server(|_| ());
    let mut talk = Talk::with(&server);
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
async fn connections_age_and_grow_idle_before_their_first_request_and_after() {
    for set in [
        |options: &mut ServerOptions| options.keepalive.max_age = Some(Duration::from_secs(60)),
        |options: &mut ServerOptions| options.keepalive.max_idle = Some(Duration::from_secs(60)),
    ] {
        for requests in [0, 1] {
            let mut talk = Talk::with(&server(set));
            talk.say(&opening()).await;
            if requests > 0 {
                talk.say(&request(1)).await;
            }
            talk.told.clear();
            let begun = tokio::time::Instant::now();
            talk.far.read_exact(&mut [0; 17]).await.expect("a farewell");
            assert!((53..=67).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_is_not_idle() {
    let mut talk = Talk::with(&server(|options| options.keepalive.max_idle = Some(Duration::from_secs(60))));
    talk.say(&opening()).await;
    talk.say(&[frame(1, 4, 1, &block(b"Slow")), frame(0, 1, 1, MESSAGE)].concat()).await;
    talk.told.clear();
    let begun = tokio::time::Instant::now();
    talk.far.read_exact(&mut [0; 9]).await.expect("an answer");
    assert_eq!(begun.elapsed(), SLOW, "and no farewell before");
    talk.settle().await;
    talk.far.read_exact(&mut [0; 17]).await.expect("a farewell");
    assert_eq!(begun.elapsed(), SLOW + Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_is_given_up() {
    let server = server(|options| {
        options.keepalive.time = Duration::from_secs(60);
        options.keepalive.timeout = Duration::from_secs(20);
    });
    let mut talk = Talk::with(&server);
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
    let _task = tokio::spawn(Arc::clone(&server).converse(near, Peer(None), stopping));
    far.write_all(&opening()).await.expect("it listens");
    let pings = frame(6, 0, 0, &[7; 8]).repeat(1000);
    let flood = timeout(Duration::from_secs(5), far.write_all(&pings));
    assert!(flood.await.is_err(), "all of it was taken, and the answers are kept somewhere");
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_say_that_it_speaks_http2_has_ten_seconds() {
    let mut talk = Talk::with(&server(|_| ()));
    talk.say(&PREFACE[..10]).await;
    let begun = tokio::time::Instant::now();
    talk.far.read_to_end(&mut Vec::new()).await.expect("the end");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_same_is_answered_in_whatever_pieces_it_is_said() {
    let whole = [opening(), request(1), request(3), frame(6, 0, 0, &[7; 8])].concat();
    for size in 1..whole.len() {
        let mut talk = Talk::with(&server(|_| ()));
        for piece in whole.chunks(size) {
            talk.say(piece).await;
        }
        let mut frames = talk.frames();
        frames.sort_unstable();
        let answers = [(0, 0), (0, 0), (1, 4), (1, 4), (1, 5), (1, 5), (4, 0), (4, 1), (6, 1)];
        assert_eq!(frames, answers, "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_that_never_ends_is_reset_after_a_minute() {
    let mut talk = Talk::with(&server(|_| ()));
    talk.say(&opening()).await;
    talk.say(&[frame(1, 4, 1, BLOCK), frame(0, 0, 1, &[9, 0, 0, 0, 0])].concat()).await;
    assert_eq!(talk.frames().last(), Some(&(1, 5)), "an answer, and no reset");
    talk.told.clear();
    let begun = tokio::time::Instant::now();
    let mut reset = [0; 13];
    talk.far.read_exact(&mut reset).await.expect("a reset");
    assert_eq!((reset, begun.elapsed().as_secs()), ([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0], 60));
}

/// A window is leased with the second large request.
#[tokio::test(start_paused = true)]
async fn a_window_leaves_what_comes_through_it_the_room_that_there_is_without_it() {
    let budget = Budget::new(4 << 20);
    let server = server(|options| {
        options.max_message = 4 << 20;
        options.windows = Windows::new(budget.clone());
        options.budget = budget.clone();
    });
    let mut talk = Talk::with(&server);
    talk.say(&opening()).await;
    // It is all that there is, but for an eighth and the connection.
    let zeros = vec![0; 3 << 20];
    let whole = framed(&zeros);
    let packed = crate::Encoding::Gzip.compress(zeros.chunks(1 << 20), zeros.len()).expect("compresses");
    let mut packed = framed(&packed).to_vec();
    packed[0] = 1;
    let is_packed = [&block(b"Take")[..], b"\x00\x0dgrpc-encoding\x04gzip"].concat();
    for (stream, is_whole) in [(1, true), (3, true), (5, false), (7, true), (9, true), (11, false)] {
        let (block, message) =
            if is_whole { (block(b"Take"), &whole[..]) } else { (is_packed.clone(), &packed[..]) };
        talk.say(&frame(1, 4, stream, &block)).await;
        assert_eq!(budget.used(), 0, "{stream}: nothing has come yet");
        for piece in message.chunks(16 << 10) {
            talk.say(&frame(0, 0, stream, piece)).await;
        }
        talk.told.clear();
        talk.say(&frame(0, 1, stream, &[])).await;
        // What is large is inflated elsewhere.
        if talk.told.is_empty() {
            talk.told.push(talk.far.read_u8().await.expect("an answer"));
            talk.settle().await;
        }
        assert_eq!(talk.frames(), [(1, 4), (0, 0), (1, 5)], "{stream}: an answer, and no refusal");
    }
}

/// Ten thousand of them are to take less than 100 MiB with all that they have.
#[tokio::test]
async fn the_task_of_a_connection_is_small() {
    let (socket, _far) = UnixStream::pair().expect("a pair");
    let (_stop, stopping) = watch::channel(false);
    let connection = server(|_| ()).connection(Socket::Unix(socket), Peer(None), stopping);
    let size = size_of_val(&connection) + size_of::<Driver<Echo, crate::stream::Stream>>();
    assert!(size <= 2048, "{size}");
}
