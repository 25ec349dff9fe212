//! Masses of what is in form: each ends the connection before it costs much.

use super::*;

/// How many frames are taken before the connection is ended, and in which words.
fn taken(frames: impl Fn(u32) -> Vec<u8>) -> (u32, &'static str) {
    let mut talk = Talk::new();
    talk.hear(&head_of(1, 0)).expect("no error");
    for nth in 0..100_000 {
        if let Err(Fatal { reason, words }) = talk.hear(&frames(nth)) {
            assert_eq!(reason, Reason::ENHANCE_YOUR_CALM);
            return (nth, words);
        }
        // What it says is taken away, as long as it says it.
        drop(talk.said());
        assert!(talk.connection.partial.capacity() < 64 << 10);
    }
    panic!("it never ends");
}

#[test]
fn frames_that_carry_nothing() {
    for (kind, flags, stream, payload) in [
        (kind::SETTINGS, 0, 0, &[][..]),
        (kind::PING, 0, 0, &[0; 8]),
        (kind::PING, flag::ACK, 0, &[0; 8]),
        (kind::DATA, 0, 1, &[]),
        (kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        (kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 10]),
        (0xEE, 0, 0, &[0; 16]),
    ] {
        let (taken, words) = taken(|_| frame(kind, flags, stream, payload));
        assert_eq!((taken, words), (1009, "too many frames that carry nothing"), "{kind}");
    }
}

#[test]
fn requests_that_are_reset_at_once() {
    let (taken, words) = taken(|nth| {
        let stream = 3 + 2 * nth;
        [head_of(stream, 0), frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    assert_eq!((taken, words), (100, "too many requests are reset before they are answered"));
}

#[test]
fn requests_that_are_reset_when_they_are_over() {
    let mut talk = Talk::new();
    let ended = (0..1000).find(|nth| {
        let stream = 1 + 2 * nth;
        talk.hear(&head_of(stream, flag::END_STREAM)).expect("no error");
        talk.answer(stream, b"");
        drop(talk.said());
        talk.hear(&frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())).is_err()
    });
    assert_eq!(ended, Some(100));
    // Those that were refused before they ended have to be reset.
    let mut talk = Talk::new();
    for stream in (1..10_000).step_by(2) {
        talk.hear(&head_of(stream, 0)).expect("no error");
        talk.connection.send_head(stream, StatusCode::OK, &HeaderMap::new(), true);
        drop(talk.said());
        talk.hear(&frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())).expect("no error");
    }
}

#[test]
fn requests_that_are_none() {
    let (taken, words) = taken(|nth| frame(kind::HEADERS, flag::END_HEADERS, 3 + 2 * nth, &[0x83]));
    assert_eq!((taken, words), (1024, "too many streams are in error"));
}

#[test]
fn headers_without_end() {
    let filler = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let (taken, words) = taken(|nth| match nth {
        0 => frame(kind::HEADERS, 0, 3, HEAD),
        _ => frame(kind::CONTINUATION, 0, 3, &filler),
    });
    assert_eq!((taken, words), (1 + ((32 << 10) - HEAD.len() as u32) / 104, "a header block is too long"));
}

#[test]
fn noise_never_panics_and_never_grows() {
    for seed in 0..2_000 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut talk = Talk::new();
        for _ in 0..40 {
            let payload: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            let bytes = match random.u8(..4) {
                0 => head_of(random.u32(..8), random.u8(..2)),
                1 => frame(random.u8(..11), random.u8(..), random.u32(..8), &payload),
                2 => frame(kind::DATA, random.u8(..) & 9, random.u32(..8), &payload),
                _ => payload,
            };
            if let Err(fatal) = talk.hear(&bytes) {
                talk.connection.fail(fatal);
                assert_eq!(talk.hear(&head_of(99, 0)), Ok(vec![]), "nothing is looked at any more");
                break;
            }
            talk.answer(random.u32(..8), b"message");
            drop(talk.said());
        }
        drop(talk.said());
    }
}
