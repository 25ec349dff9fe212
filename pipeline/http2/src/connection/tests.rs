//! Conversations written by hand, frame by frame.

mod floods;
mod limits;

use super::*;
use crate::frame::{Head, PREFACE, flag, put_head};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::time::Instant;

/// `POST http test /a`, in HPACK without tables.
const HEAD: &[u8] = b"\x83\x86\x04\x02/a\x01\x04test";

const OPTIONS: Options =
    Options { max_streams: 10, window: 65_535, max_frame: 1 << 20, max_header_list: 16 << 10 };

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_head(&mut frame, payload.len(), kind, flags, stream);
    frame.extend_from_slice(payload);
    frame
}

fn opening() -> Vec<u8> {
    [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])[..]].concat()
}

fn head_of(stream: u32, flags: u8) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flags, stream, HEAD)
}

/// What happened, in words.
type Told = Vec<String>;

/// A connection, and what it tells and says.
struct Talk {
    connection: Connection<&'static str>,
    now: Instant,
}

impl Talk {
    fn new() -> Self {
        Self::with(&OPTIONS)
    }

    /// After the opening, with nothing to be sent.
    fn with(options: &Options) -> Self {
        let mut talk = Self { connection: Connection::new(options), now: Instant::now() };
        assert!(talk.hear(&opening()).expect("no error").is_empty());
        let said = talk.said();
        assert_eq!(said.last().map(|(head, _)| (head.kind, head.flags)), Some((kind::SETTINGS, flag::ACK)));
        talk
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Result<Told, Fatal> {
        let mut told = Vec::new();
        while let Some(event) = self.connection.receive(&mut bytes, self.now)? {
            told.push(match event {
                Event::Request { stream, request, ended } => {
                    self.connection.keep(stream, "kept");
                    format!("{stream} asks {}{}", request.path, if ended { ", no body" } else { "" })
                }
                Event::Data { stream, bytes } => format!("{stream} sends {}", bytes.len()),
                Event::End { stream } => format!("{stream} ends"),
                Event::Reset { stream, reason, state } => format!("{stream} reset {reason} {state:?}"),
                Event::Ping => "ping".to_owned(),
            });
        }
        Ok(told)
    }

    fn said(&mut self) -> Vec<(Head, Vec<u8>)> {
        frames(&self.connection.take_out())
    }

    fn kinds(&mut self) -> Vec<(u8, u32)> {
        self.said().iter().map(|(head, _)| (head.kind, head.stream)).collect()
    }

    fn answer(&mut self, stream: u32, message: &'static [u8]) {
        let content_type = HeaderValue::from_static("application/grpc");
        self.connection.send_head(stream, StatusCode::OK, [(&CONTENT_TYPE, &content_type)], false);
        self.connection.send_data(stream, Bytes::from_static(message));
        self.connection.send_trailers(stream, &HeaderMap::new());
    }
}

/// Whole frames, or it panics.
fn frames(mut said: &[u8]) -> Vec<(Head, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = said.split_first_chunk() {
        let head = Head::parse(*head);
        let (payload, rest) = rest.split_at(head.len as usize);
        frames.push((head, payload.to_vec()));
        said = rest;
    }
    assert!(said.is_empty());
    frames
}

#[test]
fn a_request_is_told_as_it_comes_and_answered() {
    let mut talk = Talk::new();
    assert_eq!(talk.hear(&head_of(1, 0)), Ok(vec!["1 asks /a".to_owned()]));
    assert_eq!(talk.connection.kept(1), Some(&mut "kept"));
    let body =
        [frame(kind::DATA, 0, 1, &[7; 100]), frame(kind::DATA, flag::END_STREAM, 1, &[7; 50])].concat();
    assert_eq!(talk.hear(&body), Ok(vec!["1 sends 100".to_owned(), "1 sends 50".into(), "1 ends".into()]));
    assert_eq!(talk.connection.under_way(), 1);
    talk.answer(1, b"message");
    assert_eq!(talk.kinds(), [(kind::HEADERS, 1), (kind::DATA, 1), (kind::HEADERS, 1)]);
    assert_eq!(talk.connection.under_way(), 0);
    assert!(!talk.connection.is_open(1));
}

#[test]
fn the_first_words_are_our_settings() {
    let mut connection = Connection::<()>::new(&Options { window: 100_000, ..OPTIONS });
    let said = frames(&connection.take_out());
    assert_eq!(said[0].0.kind, kind::SETTINGS);
    let settings: Vec<_> = said[0].1.chunks(6).collect();
    assert_eq!(
        settings,
        [[0, 3, 0, 0, 0, 10], [0, 4, 0, 1, 0x86, 0xA0], [0, 5, 0, 0x10, 0, 0], [0, 6, 0, 0, 0x40, 0]]
    );
    assert_eq!(said[1].1, (100_000_u32 - 65_535).to_be_bytes());
}

#[test]
fn padding_and_priority_are_taken_off_and_trailers_end_a_body() {
    let mut talk = Talk::new();
    let flags = flag::PADDED | flag::PRIORITY | flag::END_HEADERS;
    let payload = [&[3, 0, 0, 0, 0, 9][..], HEAD, &[0; 3]].concat();
    assert_eq!(talk.hear(&frame(kind::HEADERS, flags, 1, &payload)), Ok(vec!["1 asks /a".to_owned()]));
    let padded = frame(kind::DATA, flag::PADDED, 1, &[&[5][..], &[7; 10], &[0; 5]].concat());
    assert_eq!(talk.hear(&padded), Ok(vec!["1 sends 10".to_owned()]));
    let only_padding = frame(kind::DATA, flag::PADDED, 1, &[2, 0, 0]);
    assert_eq!(talk.hear(&only_padding), Ok(vec![]));
    let trailers = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, b"\x00\x01x\x01y");
    assert_eq!(talk.hear(&trailers), Ok(vec!["1 ends".to_owned()]));
}

#[test]
fn however_reads_divide_it_the_same_is_told() {
    let stream = [
        head_of(1, 0),
        frame(kind::DATA, flag::PADDED, 1, &[&[5][..], &[7; 300], &[0; 5]].concat()),
        frame(kind::HEADERS, 0, 3, &HEAD[..3]),
        frame(kind::CONTINUATION, 0, 3, &[]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, &HEAD[3..]),
        frame(kind::PING, 0, 0, b"whatever"),
        frame(0xBE, 0, 9, &[1; 20]),
        frame(kind::DATA, flag::END_STREAM, 1, &[]),
        frame(kind::RST_STREAM, 0, 3, &8_u32.to_be_bytes()),
        frame(kind::GOAWAY, 0, 0, &[0; 12]),
    ]
    .concat();
    let expected =
        ["1 asks /a", "1 sends 300", "3 asks /a", "ping", "1 ends", "3 reset CANCEL Some(\"kept\")"];
    for size in 1..stream.len() {
        let mut talk = Talk::new();
        let (mut told, mut sent) = (Vec::new(), 0);
        for read in stream.chunks(size) {
            for event in talk.hear(read).expect("no error") {
                match event.strip_prefix("1 sends ") {
                    Some(len) => sent += len.parse::<usize>().expect("a number"),
                    None => told.push(event),
                }
                if sent == 300 {
                    sent = 0;
                    told.push("1 sends 300".to_owned());
                }
            }
        }
        assert_eq!(told, expected, "{size}");
        assert_eq!(talk.kinds(), [(kind::PING, 0)], "{size}");
        assert_eq!(talk.connection.partial.len(), 0);
    }
}

#[test]
fn answers_wait_for_both_windows_and_go_on_when_they_open() {
    let mut talk = Talk::new();
    // Given a stream's window of five bytes.
    talk.hear(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 5])).expect("no error");
    talk.hear(&head_of(1, flag::END_STREAM)).expect("no error");
    talk.said();
    talk.answer(1, b"message");
    assert_eq!(talk.kinds(), [(kind::HEADERS, 1), (kind::DATA, 1)]);
    assert_eq!((talk.connection.waiting(1), talk.connection.is_open(1)), (2, true));
    talk.hear(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).expect("no error");
    assert_eq!((talk.kinds(), talk.connection.waiting(1)), (vec![(kind::DATA, 1)], 1));
    // Settings change the windows of streams that are open, also below nothing.
    talk.hear(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).expect("no error");
    talk.hear(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 4])).expect("no error");
    talk.hear(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).expect("no error");
    assert_eq!(
        talk.said().last().map(|(head, payload)| (head.kind, payload.len())),
        Some((kind::SETTINGS, 0))
    );
    talk.hear(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])).expect("no error");
    assert_eq!(talk.kinds(), [(kind::SETTINGS, 0), (kind::DATA, 1), (kind::HEADERS, 1)]);
    assert!(!talk.connection.is_open(1));

    // Given a connection's window that is used up.
    talk.connection.window = 3;
    talk.connection.stream_window = 100;
    talk.hear(&head_of(3, flag::END_STREAM)).expect("no error");
    talk.answer(3, b"message");
    assert_eq!(talk.connection.waiting(3), 4);
    talk.hear(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])).expect("no error");
    assert_eq!(talk.connection.waiting(3), 0);
}

#[test]
fn frames_are_no_longer_than_the_peer_takes() {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, flag::END_STREAM)).expect("no error");
    let long =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(&"x".repeat(40_000)).expect("text"))]);
    talk.connection.send_head(1, StatusCode::OK, &long, false);
    talk.connection.send_data(1, vec![7; 20_000].into());
    let said = talk.said();
    let shape: Vec<_> = said.iter().map(|(head, payload)| (head.kind, head.flags, payload.len())).collect();
    let block = 40_000 + 7;
    assert_eq!(
        shape,
        [
            (kind::HEADERS, 0, 16_384),
            (kind::CONTINUATION, 0, 16_384),
            (kind::CONTINUATION, flag::END_HEADERS, block - 2 * 16_384),
            (kind::DATA, 0, 16_384),
            (kind::DATA, 0, 20_000 - 16_384),
        ]
    );
    talk.hear(&frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0x80, 0])).expect("no error");
    talk.connection.send_data(1, vec![7; 20_000].into());
    assert_eq!(talk.kinds(), [(kind::SETTINGS, 0), (kind::DATA, 1)]);
}

#[test]
fn a_peer_that_wants_a_small_table_is_told_once_that_none_is_needed() {
    let mut talk = Talk::new();
    talk.hear(&frame(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).expect("no error");
    talk.hear(&[head_of(1, flag::END_STREAM), head_of(3, flag::END_STREAM)].concat()).expect("no error");
    talk.said();
    for (stream, first) in [(1, 0x20), (3, 0x88)] {
        talk.answer(stream, b"");
        assert_eq!(talk.said()[0].1[0], first);
    }
}

#[test]
fn credit_comes_in_halves_of_a_window_and_not_while_a_stream_is_held() {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, 0)).expect("no error");
    talk.hear(&frame(kind::DATA, 0, 1, &[0; 32_000])).expect("no error");
    assert_eq!(talk.kinds(), []);
    talk.hear(&frame(kind::DATA, 0, 1, &[0; 1000])).expect("no error");
    assert_eq!(talk.kinds(), [(kind::WINDOW_UPDATE, 1), (kind::WINDOW_UPDATE, 0)]);
    talk.connection.hold(1);
    talk.hear(&frame(kind::DATA, 0, 1, &[0; 60_000])).expect("no error");
    assert_eq!(talk.kinds(), []);
    talk.connection.release(1);
    assert_eq!(talk.kinds(), [(kind::WINDOW_UPDATE, 1), (kind::WINDOW_UPDATE, 0)]);
    // What was held of a stream that is reset is given back to the others.
    talk.connection.hold(1);
    talk.hear(&frame(kind::DATA, 0, 1, &[0; 60_000])).expect("no error");
    talk.hear(&frame(kind::RST_STREAM, 0, 1, &[0; 4])).expect("no error");
    assert_eq!(talk.kinds(), [(kind::WINDOW_UPDATE, 0)]);
}

#[test]
fn windows_grow_at_once_for_all_streams() {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, 0)).expect("no error");
    talk.connection.widen(1 << 20);
    assert_eq!(talk.kinds(), [(kind::SETTINGS, 0), (kind::WINDOW_UPDATE, 0)]);
    talk.connection.hold(1);
    talk.hear(&frame(kind::DATA, 0, 1, &vec![0; 1 << 20])).expect("within the window");
    talk.connection.widen(65_535);
    assert_eq!(talk.kinds(), [], "never smaller");
}

#[test]
fn what_comes_after_the_answer_is_thrown_away_until_it_is_too_much() {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, 0)).expect("no error");
    talk.connection.send_head(1, StatusCode::OK, &HeaderMap::new(), true);
    assert_eq!(talk.kinds(), [(kind::HEADERS, 1)]);
    assert_eq!(talk.hear(&frame(kind::DATA, 0, 1, &[0; 30_000])), Ok(vec![]));
    assert_eq!(talk.kinds(), []);
    assert_eq!(talk.hear(&frame(kind::DATA, 0, 1, &[0; 3000])), Ok(vec![]));
    let said = talk.said();
    assert_eq!((said[0].0.kind, &said[0].1[..]), (kind::RST_STREAM, &[0; 4][..]), "no error");
    // What was on its way is no error either.
    let rest =
        [frame(kind::DATA, 0, 1, &[0; 100]), frame(kind::DATA, flag::END_STREAM, 1, &[0; 100])].concat();
    assert_eq!(talk.hear(&rest), Ok(vec![]));
    assert_eq!(talk.kinds(), []);

    // One that ends in time is not reset.
    talk.hear(&head_of(3, 0)).expect("no error");
    talk.connection.send_head(3, StatusCode::OK, &HeaderMap::new(), true);
    assert_eq!(talk.hear(&frame(kind::DATA, flag::END_STREAM, 3, &[0; 1000])), Ok(vec![]));
    assert_eq!((talk.kinds(), talk.connection.under_way()), (vec![(kind::HEADERS, 3)], 0));

    // One that takes too long is.
    talk.hear(&head_of(5, 0)).expect("no error");
    talk.connection.send_head(5, StatusCode::OK, &HeaderMap::new(), true);
    talk.connection.give_up(5);
    assert_eq!(talk.kinds(), [(kind::HEADERS, 5), (kind::RST_STREAM, 5)]);
}

#[test]
fn a_connection_is_shut_down_in_two_steps() {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, flag::END_STREAM)).expect("no error");
    talk.connection.shut_down();
    talk.connection.shut_down();
    let said = talk.said();
    assert_eq!(said[0].1[..8], [0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    assert_eq!((said.len(), said[1].0.kind), (2, kind::PING));
    // What was begun before it was heard is done.
    talk.hear(&head_of(3, flag::END_STREAM)).expect("no error");
    let pong = frame(kind::PING, flag::ACK, 0, &said[1].1);
    talk.hear(&pong).expect("no error");
    assert_eq!(talk.said()[0].1[..8], [0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(talk.hear(&[head_of(5, 0), frame(kind::DATA, 0, 5, &[1])].concat()), Ok(vec![]));
    assert!(!talk.connection.is_done());
    talk.answer(1, b"");
    talk.answer(3, b"");
    assert!(talk.connection.is_done());
    talk.hear(&pong).expect("no error");
    assert!(talk.said().iter().all(|(head, _)| head.kind == kind::HEADERS));
}

#[test]
fn a_peer_that_says_farewell_is_told_the_same_when_all_is_done() {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, flag::END_STREAM)).expect("no error");
    talk.hear(&frame(kind::GOAWAY, 0, 0, &[0; 8])).expect("no error");
    assert!(!talk.connection.is_done());
    talk.answer(1, b"");
    assert!(talk.connection.is_done());
    assert_eq!(talk.kinds().last(), Some(&(kind::GOAWAY, 0)));
}

#[test]
fn a_connection_at_rest_holds_little() {
    assert!(size_of::<Connection<Box<u8>>>() <= 512, "{}", size_of::<Connection<Box<u8>>>());
    let mut talk = Talk::new();
    for nth in 0..20 {
        // A client that has everything in its table, from one read in two pieces.
        let block = b"\x83\x86\x44\x02/a\x41\x04test\x5f\x10application/grpc\x40\x02te\x08trailers";
        let request = frame(kind::HEADERS, 4, 1 + 2 * nth, block);
        let (before, after) = request.split_at(20);
        talk.hear(before).expect("no error");
        talk.hear(after).expect("no error");
        talk.hear(&frame(kind::DATA, 1, 1 + 2 * nth, &[7; 100])).expect("no error");
        talk.answer(1 + 2 * nth, b"");
        talk.said();
    }
    talk.connection.settle();
    assert_eq!((talk.connection.partial.capacity(), talk.connection.out.capacity()), (0, 0));
}
