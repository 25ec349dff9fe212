//! Floods of HTTP/2 frames, written by hand: each ends with the connection closed or held back by its own window, and
//! never with memory.

use crate::support::http1::Connection;
use crate::support::{Collector, PATIENCE, Setup};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How long a flood lasts that nobody stops.
const FLOOD: Duration = Duration::from_secs(1);
/// How many frames are sent of each at least, unless somebody stops it.
const AT_LEAST: u64 = 128;
/// What a flood may add to the memory, whether it is stopped or not.
const GROWTH_MIB: u64 = 16;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of an export call, without indexing: the method, scheme, path and content type.
fn head() -> Vec<u8> {
    // Static table: 3 is `:method: POST`, 6 is `:scheme: http`; 4 is the name `:path`, 31 `content-type`.
    let mut block = vec![0x83, 0x86];
    let literals: [(u8, &[u8]); 2] =
        [(4, b"/opentelemetry.proto.collector.logs.v1.LogsService/Export"), (31, b"application/grpc")];
    for (name, value) in literals {
        // Four bits of prefix: larger numbers go on in the next byte.
        match name {
            ..15 => block.push(name),
            _ => block.extend([15, name - 15]),
        }
        block.push(value.len() as u8);
        block.extend_from_slice(value);
    }
    block
}

/// How a flood ended.
#[derive(Debug)]
struct Ended {
    frames: u64,
    /// The reason in the server's GOAWAY, if it sent one.
    goaway: Option<u32>,
    /// Whether the server closed the connection.
    closed: bool,
}

/// Sends frames until the server has had enough, or for as long as a flood lasts. Reads what the server says only
/// where `reads` says so.
async fn flood(collector: &Collector, reads: bool, next: impl FnMut(u64) -> Vec<u8>) -> Ended {
    flood_until(collector, reads, Duration::from_millis(200), next).await
}

/// The same of a flood that the server is to end, which waits for that.
async fn flood_to_the_end(collector: &Collector, next: impl FnMut(u64) -> Vec<u8>) -> Ended {
    let ended = flood_until(collector, true, PATIENCE, next).await;
    assert!(ended.closed, "{ended:?}");
    ended
}

/// Sends frames, and then waits for the end of the connection for so long.
async fn flood_until(
    collector: &Collector,
    reads: bool,
    farewell: Duration,
    mut next: impl FnMut(u64) -> Vec<u8>,
) -> Ended {
    let before = collector.resident_mib();
    let mut stream = TcpStream::connect(collector.setup.grpc).await.expect("a connection");
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("written");
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    let mut frames = 0;
    let until = Instant::now() + FLOOD;
    let sending = async {
        // Of these few the kernel takes all, however late it is.
        while frames < AT_LEAST || Instant::now() < until {
            let mut bytes = Vec::new();
            for _ in 0..64 {
                bytes.extend(next(frames));
                frames += 1;
            }
            if write.write_all(&bytes).await.is_err() {
                return true;
            }
        }
        false
    };
    let hearing = async {
        // Whoever does not read is not told, either.
        while reads && matches!(read.read_buf(&mut said).await, Ok(1..)) {
            if said.len() > 4 << 20 {
                said.clear();
            }
        }
        if !reads {
            std::future::pending::<()>().await;
        }
    };
    let mut closed = tokio::select! {
        sent = timeout(FLOOD, sending) => sent.unwrap_or(false),
        () = hearing => true,
    };
    // Whatever it has still to say
    closed |=
        timeout(farewell, async { while matches!(read.read_buf(&mut said).await, Ok(1..)) {} }).await.is_ok();
    let after = collector.resident_mib();
    assert!(after <= before + GROWTH_MIB, "{before} MiB became {after} after {frames} frames");
    collector.assert_serves().await;
    Ended { frames, goaway: goaway(&said), closed }
}

/// Finds the GOAWAY among frames.
fn goaway(mut said: &[u8]) -> Option<u32> {
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = said {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = rest.get(..len)?;
        if *kind == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().expect("four bytes")));
        }
        said = &rest[len..];
    }
    None
}

async fn nowhere() -> Collector {
    let collector = Setup::to("nop: {}").start().await;
    // What everybody needs is not blamed on the floods.
    collector.assert_serves().await;
    collector
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let collector = nowhere().await;
    for end in [0, END_STREAM] {
        let ended = flood_to_the_end(&collector, |nth| {
            let stream = 1 + 2 * nth as u32;
            let head = frame(HEADERS, END_HEADERS | end, stream, &head());
            [head, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
        })
        .await;
        assert_eq!(ended.goaway, Some(11), "enhance your calm: {ended:?}");
    }
    collector.finish().await;
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let collector = nowhere().await;
    let filler = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat().repeat(10);
    flood_to_the_end(&collector, |nth| match nth {
        0 => frame(HEADERS, 0, 1, &head()),
        _ => frame(CONTINUATION, 0, 1, &filler),
    })
    .await;
    // Empty ones cost nothing but time, and are an attack all the same.
    flood_to_the_end(&collector, |nth| match nth {
        0 => frame(HEADERS, 0, 1, &head()),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
    collector.finish().await;
}

#[tokio::test]
async fn settings_and_pings_without_end_are_answered_or_held_back() {
    let collector = nowhere().await;
    for reads in [true, false] {
        for kind in [SETTINGS, PING] {
            let payload: &[u8] = if kind == PING { &[7; 8] } else { &[0, 3, 0, 0, 0, 100] };
            let ended = flood(&collector, reads, |_| frame(kind, 0, 0, payload)).await;
            assert!(ended.frames > 100, "{ended:?}");
        }
    }
    collector.finish().await;
}

#[tokio::test]
async fn frames_that_say_nothing_cost_nothing() {
    let collector = nowhere().await;
    let open = |nth: u64, frame: Vec<u8>| match nth {
        0 => self::frame(HEADERS, END_HEADERS, 1, &head()),
        _ => frame,
    };
    let empty = flood(&collector, true, |nth| open(nth, frame(DATA, 0, 1, &[]))).await;
    assert!(empty.frames > 100, "{empty:?}");
    let updates =
        flood(&collector, true, |nth| open(nth, frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes()))).await;
    assert!(updates.frames > 100, "{updates:?}");
    let priorities =
        flood(&collector, true, |nth| frame(PRIORITY, 0, 1 + 2 * nth as u32, &[0, 0, 0, 0, 9])).await;
    assert!(priorities.frames > 100, "{priorities:?}");
    let unknown = flood(&collector, true, |_| frame(0xee, 0xff, 0, &[1; 100])).await;
    assert!(unknown.frames > 100, "{unknown:?}");
    collector.finish().await;
}

#[tokio::test]
async fn streams_beyond_the_limit_and_windows_beyond_sense_are_refused() {
    let collector = nowhere().await;
    // Open and never finished: at most so many are under way, and further ones are reset.
    let ended = flood(&collector, true, |nth| frame(HEADERS, END_HEADERS, 1 + 2 * nth as u32, &head())).await;
    assert!(ended.frames > 100, "{ended:?}");
    let overflow =
        flood_to_the_end(&collector, |_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes())).await;
    assert_eq!(overflow.goaway, Some(3), "flow control: {overflow:?}");
    collector.finish().await;
}

#[tokio::test]
async fn other_protocols_are_shown_the_door() {
    let collector = nowhere().await;
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc];
    let texts: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", &hello, &[0; 64], b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"];
    for text in texts {
        let mut connection = Connection::open(collector.setup.grpc).await.expect("a connection");
        // It may be closed before everything is written.
        let _ = connection.write(text).await;
        assert_eq!(connection.closed().await, None, "{text:02x?}");
    }
    for text in [PREFACE, &hello, &[0; 64]] {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        let _ = connection.write(text).await;
        let answer = connection.closed().await;
        assert!(matches!(answer, None | Some(400 | 505)), "{answer:?} to {text:02x?}");
    }
    collector.finish().await;
}
