//! The server's side of HTTP/2: whatever is read, in whatever pieces, the same happens; what is said is frames, within
//! the peer's windows, and never much more than what was heard.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_http2::{Connection, Event, Options, Reason};
use std::time::Instant;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const OPTIONS: Options =
    Options { max_streams: 5, window: 65_535, max_frame: 1 << 20, max_header_list: 1000 };

fuzz_target!(|data: &[u8]| {
    let [size, frames @ ..] = data else { return };
    let stream = [PREFACE, SETTINGS, frames].concat();
    let now = Instant::now();
    let whole = follow(&stream, stream.len(), now);
    let divided = follow(&stream, 1 + usize::from(*size), now);
    assert_eq!(whole, divided);
    assert!(whole.said.len() <= 1000 + 20 * stream.len());
});

/// What has happened, as far as it does not depend on where reads end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    told: Vec<Told>,
    said: Vec<u8>,
    ended: Option<Reason>,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Request(u32, String, usize, bool),
    Data(u32, Vec<u8>),
    End(u32),
    Reset(u32, Reason),
    Ping,
}

fn follow(stream: &[u8], size: usize, now: Instant) -> Outcome {
    let mut http2 = Connection::<()>::new(&OPTIONS);
    let mut outcome = Outcome::default();
    for mut read in stream.chunks(size) {
        loop {
            match http2.receive(&mut read, now) {
                Ok(None) => break,
                Ok(Some(event)) => tell(&mut outcome.told, event, &mut http2),
                Err(fatal) => {
                    outcome.ended = Some(fatal.reason);
                    http2.fail(fatal);
                    break;
                }
            }
        }
        let said = http2.take_out();
        read_frames(&said, &mut outcome.said);
        http2.settle();
    }
    outcome
}

fn tell(told: &mut Vec<Told>, event: Event<'_, ()>, http2: &mut Connection<()>) {
    let event = match event {
        Event::Request { stream, request, ended } => {
            http2.keep(stream, ());
            answer(http2, ended.then_some(stream));
            Told::Request(stream, request.path.to_string(), request.headers.len(), ended)
        }
        Event::Data { stream, bytes } => match told.last_mut() {
            Some(Told::Data(last, before)) if *last == stream => return before.extend_from_slice(bytes),
            _ => Told::Data(stream, bytes.to_vec()),
        },
        Event::End { stream } => {
            answer(http2, Some(stream));
            Told::End(stream)
        }
        Event::Reset { stream, reason, .. } => Told::Reset(stream, reason),
        Event::Ping => Told::Ping,
    };
    told.push(event);
}

fn answer(http2: &mut Connection<()>, stream: Option<u32>) {
    if let Some(stream) = stream {
        http2.send_head(stream, http::StatusCode::OK, [], false);
        http2.send_data(stream, bytes::Bytes::from_static(b"message"));
        http2.send_trailers(stream, []);
    }
}

/// Whole frames only, of kinds that servers send. Credit depends on where reads end, and is left out.
fn read_frames(mut said: &[u8], kept: &mut Vec<u8>) {
    while let Some((head, rest)) = said.split_at_checked(9) {
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        assert!(len <= 1 << 24 && matches!(head[3], 0 | 1 | 3 | 4 | 6..=9), "{head:?}");
        let (payload, rest) = rest.split_at(len);
        let is_right = match head[3] {
            3 | 8 => len == 4,
            4 => len % 6 == 0,
            6 => len == 8,
            7 => len >= 8,
            _ => len <= 16_384,
        };
        assert!(is_right, "{head:?}");
        if head[3] != 8 {
            kept.extend_from_slice(head);
            kept.extend_from_slice(payload);
        }
        said = rest;
    }
    assert!(said.is_empty());
}
