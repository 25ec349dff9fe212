//! What breaks a rule ends its stream, or the connection where the rule is the connection's.

use super::*;

/// What is said of frames after the opening and a request on stream 1: the reason for which the connection is ended, or
/// that for which a stream is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Connection(Reason),
    Stream(u32, Reason),
    Nothing,
}

use Verdict::{Connection as Whole, Nothing, Stream as One};

fn verdict(bytes: &[u8]) -> Verdict {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, 0)).expect("no error");
    match talk.hear(bytes) {
        Err(fatal) => Whole(fatal.reason),
        Ok(_) => {
            let reset = talk.said().into_iter().find(|(head, _)| head.kind == kind::RST_STREAM);
            reset.map_or(Nothing, |(head, payload)| {
                One(head.stream, Reason(u32::from_be_bytes(payload.try_into().expect("four bytes"))))
            })
        }
    }
}

#[test]
fn every_rule_of_frames_is_looked_after() {
    use Reason as R;
    let whole = flag::END_HEADERS;
    let cases: Vec<(&str, Vec<u8>, Verdict)> = vec![
        ("data on none", frame(kind::DATA, 0, 0, &[1]), Whole(R::PROTOCOL_ERROR)),
        ("data before its head", frame(kind::DATA, 0, 3, &[1]), Whole(R::PROTOCOL_ERROR)),
        ("padding beyond the frame", frame(kind::DATA, 8, 1, &[2, 0]), Whole(R::PROTOCOL_ERROR)),
        ("padded and empty", frame(kind::DATA, 8, 1, &[]), Whole(R::FRAME_SIZE_ERROR)),
        ("headers on none", frame(kind::HEADERS, whole, 0, HEAD), Whole(R::PROTOCOL_ERROR)),
        ("an even stream", frame(kind::HEADERS, whole, 2, HEAD), Whole(R::PROTOCOL_ERROR)),
        ("a damaged block", frame(kind::HEADERS, whole, 3, &[0x80]), Whole(R::COMPRESSION_ERROR)),
        ("headers padded beyond", frame(kind::HEADERS, whole | 8, 3, &[9, 0x83]), Whole(R::PROTOCOL_ERROR)),
        ("headers without priority", frame(kind::HEADERS, whole | 0x20, 3, &[0]), Whole(R::FRAME_SIZE_ERROR)),
        (
            "a loop",
            frame(kind::HEADERS, whole | 0x20, 3, &[&[0, 0, 0, 3, 0], HEAD].concat()),
            One(3, R::PROTOCOL_ERROR),
        ),
        ("an incomplete head", frame(kind::HEADERS, whole, 3, &[0x83]), One(3, R::PROTOCOL_ERROR)),
        ("headers twice", head_of(1, 0), One(1, R::PROTOCOL_ERROR)),
        ("pseudo-headers after a body", head_of(1, flag::END_STREAM), One(1, R::PROTOCOL_ERROR)),
        (
            "interrupted headers",
            [frame(kind::HEADERS, 0, 3, HEAD), frame(kind::PING, 0, 0, &[0; 8])].concat(),
            Whole(R::PROTOCOL_ERROR),
        ),
        (
            "another's continuation",
            [frame(kind::HEADERS, 0, 3, HEAD), frame(kind::CONTINUATION, 4, 1, &[])].concat(),
            Whole(R::PROTOCOL_ERROR),
        ),
        ("a continuation of nothing", frame(kind::CONTINUATION, whole, 1, HEAD), Whole(R::PROTOCOL_ERROR)),
        ("streams out of order", [head_of(5, 0), head_of(3, 0)].concat(), Whole(R::PROTOCOL_ERROR)),
        ("data after the end", frame(kind::DATA, 1, 1, &[1]).repeat(2), One(1, R::STREAM_CLOSED)),
        (
            "headers after the end",
            [frame(kind::DATA, 1, 1, &[1]), head_of(1, 0)].concat(),
            One(1, R::STREAM_CLOSED),
        ),
        (
            "headers after a reset",
            [frame(kind::RST_STREAM, 0, 1, &[0; 4]), head_of(1, 0)].concat(),
            Whole(R::STREAM_CLOSED),
        ),
        (
            "data after a reset",
            [frame(kind::RST_STREAM, 0, 1, &[0; 4]), frame(kind::DATA, 0, 1, &[1])].concat(),
            One(1, R::STREAM_CLOSED),
        ),
        ("a short priority", frame(kind::PRIORITY, 0, 1, &[0; 4]), One(1, R::FRAME_SIZE_ERROR)),
        ("a priority on none", frame(kind::PRIORITY, 0, 0, &[0; 5]), Whole(R::PROTOCOL_ERROR)),
        ("a priority loop", frame(kind::PRIORITY, 0, 7, &[0, 0, 0, 7, 0]), One(7, R::PROTOCOL_ERROR)),
        ("a priority", frame(kind::PRIORITY, 0, 7, &[0, 0, 0, 1, 0]), Nothing),
        ("a short reset", frame(kind::RST_STREAM, 0, 1, &[0; 3]), Whole(R::FRAME_SIZE_ERROR)),
        ("a reset of none", frame(kind::RST_STREAM, 0, 0, &[0; 4]), Whole(R::PROTOCOL_ERROR)),
        ("a reset of nothing", frame(kind::RST_STREAM, 0, 3, &[0; 4]), Whole(R::PROTOCOL_ERROR)),
        ("settings of a stream", frame(kind::SETTINGS, 0, 1, &[]), Whole(R::PROTOCOL_ERROR)),
        ("settings cut off", frame(kind::SETTINGS, 0, 0, &[0; 5]), Whole(R::FRAME_SIZE_ERROR)),
        ("an acknowledgement with content", frame(kind::SETTINGS, 1, 0, &[0; 6]), Whole(R::FRAME_SIZE_ERROR)),
        (
            "push neither on nor off",
            frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            Whole(R::PROTOCOL_ERROR),
        ),
        (
            "a window too large",
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            Whole(R::FLOW_CONTROL_ERROR),
        ),
        ("frames too small", frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), Whole(R::PROTOCOL_ERROR)),
        ("frames too large", frame(kind::SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]), Whole(R::PROTOCOL_ERROR)),
        ("an unknown setting", frame(kind::SETTINGS, 0, 0, &[9, 9, 1, 0, 0, 0]), Nothing),
        ("a push", frame(kind::PUSH_PROMISE, 4, 1, &[0; 8]), Whole(R::PROTOCOL_ERROR)),
        ("a ping of a stream", frame(kind::PING, 0, 1, &[0; 8]), Whole(R::PROTOCOL_ERROR)),
        ("a short ping", frame(kind::PING, 0, 0, &[0; 6]), Whole(R::FRAME_SIZE_ERROR)),
        ("a farewell of a stream", frame(kind::GOAWAY, 0, 1, &[0; 8]), Whole(R::PROTOCOL_ERROR)),
        ("a window of nothing", frame(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]), Whole(R::PROTOCOL_ERROR)),
        ("a short window", frame(kind::WINDOW_UPDATE, 0, 1, &[0; 3]), Whole(R::FRAME_SIZE_ERROR)),
        ("a window that does not grow", frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]), One(1, R::PROTOCOL_ERROR)),
        (
            "a connection that does not grow",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            Whole(R::PROTOCOL_ERROR),
        ),
        (
            "a stream's window too wide",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0x7F, 0xFF, 0xFF, 0xFF]),
            One(1, R::FLOW_CONTROL_ERROR),
        ),
        (
            "a connection's window too wide",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0x7F, 0xFF, 0xFF, 0xFF]),
            Whole(R::FLOW_CONTROL_ERROR),
        ),
        (
            "windows too wide by a setting",
            [
                frame(kind::WINDOW_UPDATE, 0, 1, &[0x7F, 0xFF, 0, 0]),
                frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 2, 0, 0]),
            ]
            .concat(),
            Whole(R::FLOW_CONTROL_ERROR),
        ),
        ("a frame too long", frame(kind::DATA, 0, 1, &vec![0; (1 << 20) + 1]), Whole(R::FRAME_SIZE_ERROR)),
        ("headers too long", frame(kind::HEADERS, whole, 3, &vec![0; 33 << 10]), Whole(R::ENHANCE_YOUR_CALM)),
        ("more data than the window", frame(kind::DATA, 0, 1, &[0; 65_536]), Whole(R::FLOW_CONTROL_ERROR)),
        ("an unknown frame", frame(0xEE, 0xFF, 0x7FFF_FFFF, &[1; 300]), Nothing),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(verdict(&bytes), expected, "{name}");
    }
}

#[test]
fn what_is_no_http2_fails_at_the_first_wrong_byte() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0x16, 3, 1], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"] {
        let mut connection = Connection::<()>::new(&OPTIONS);
        let outcome = connection.receive(&mut &bytes[..], Instant::now()).map(|_| ());
        assert_eq!(outcome.map_err(|fatal| fatal.reason), Err(Reason::PROTOCOL_ERROR));
        assert!(!connection.is_greeted());
    }
    let mut connection = Connection::<()>::new(&OPTIONS);
    let bytes = [PREFACE, &frame(kind::SETTINGS, flag::ACK, 0, &[])[..]].concat();
    assert!(connection.receive(&mut &bytes[..], Instant::now()).is_err(), "the first frame must be settings");
    assert!(connection.is_greeted());
}

#[test]
fn a_body_is_as_long_as_it_said() {
    let head = |length: &str, flags| {
        let field = [b"\x0f\x0d", &[length.len() as u8][..], length.as_bytes()].concat();
        frame(kind::HEADERS, flag::END_HEADERS | flags, 1, &[HEAD, &field].concat())
    };
    for (length, body, is_right) in [("5", 5, true), ("5", 4, false), ("5", 6, false), ("0", 0, true)] {
        let mut talk = Talk::new();
        talk.hear(&head(length, 0)).expect("no error");
        talk.hear(&frame(kind::DATA, flag::END_STREAM, 1, &vec![0; body])).expect("no error");
        let is_reset = talk.kinds().contains(&(kind::RST_STREAM, 1));
        assert_eq!(is_reset, !is_right, "{length} {body}");
    }
    let mut talk = Talk::new();
    assert_eq!(talk.hear(&head("5", flag::END_STREAM)), Ok(vec![]));
    assert_eq!(talk.kinds(), [(kind::RST_STREAM, 1)]);
}

#[test]
fn streams_and_headers_beyond_the_limit_are_refused_and_the_table_goes_on() {
    let mut talk = Talk::with(&Options { max_streams: 1, ..OPTIONS });
    talk.hear(&head_of(1, 0)).expect("no error");
    // Refused, and yet its authority is known from now on.
    let indexing = b"\x83\x86\x04\x02/a\x41\x04test";
    assert_eq!(talk.hear(&frame(kind::HEADERS, flag::END_HEADERS, 3, indexing)), Ok(vec![]));
    let said = talk.said();
    assert_eq!(said[0].1, Reason::REFUSED_STREAM.0.to_be_bytes());
    talk.hear(&frame(kind::RST_STREAM, 0, 1, &[0; 4])).expect("no error");
    let known = b"\x83\x86\x04\x02/a\xbe";
    assert_eq!(talk.hear(&frame(kind::HEADERS, 5, 5, known)), Ok(vec!["5 asks /a, no body".to_owned()]));
    talk.answer(5, b"");
    talk.said();
    let long = [HEAD, b"\x00\x01x\x7f\x81\x7f", &[b'y'; 16_384]].concat();
    assert_eq!(talk.hear(&frame(kind::HEADERS, 5, 7, &long)), Ok(vec![]));
    assert_eq!(talk.kinds(), [(kind::HEADERS, 7), (kind::RST_STREAM, 7)], "431");
    assert_eq!(talk.hear(&frame(kind::HEADERS, 5, 9, known)), Ok(vec!["9 asks /a, no body".to_owned()]));
}

#[test]
fn a_stream_that_somebody_works_on_counts_until_that_is_done() {
    let mut talk = Talk::with(&Options { max_streams: 1, ..OPTIONS });
    talk.hear(&head_of(1, flag::END_STREAM)).expect("no error");
    talk.connection.work(1);
    talk.hear(&frame(kind::RST_STREAM, 0, 1, &[0; 4])).expect("no error");
    assert_eq!(talk.connection.under_way(), 1);
    assert_eq!(talk.hear(&head_of(3, 0)), Ok(vec![]));
    assert_eq!(talk.kinds(), [(kind::RST_STREAM, 3)]);
    talk.connection.worked(1);
    assert_eq!(talk.hear(&head_of(5, 0)), Ok(vec!["5 asks /a".to_owned()]));
}
