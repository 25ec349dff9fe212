//! What a connection without HTTP/2 state answers: to each frame that every conversation begins with what the protocol
//! demands, to nothing else, and the same however reads divide them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_net::grpc::fuzzing::parked;
use std::iter::once;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fuzz_target!(|data: &[u8]| {
    let [size, frames @ ..] = data else { return };
    let stream = [PREFACE, SETTINGS, frames].concat();
    let expected = judge(&stream[PREFACE.len()..]);

    let (whole, _) = parked(once(&stream[..]));
    assert_eq!(whole, expected);
    let (divided, is_over) = parked(stream.chunks(1 + usize::from(*size)));
    // What is kept may exceed its limit for the time of a frame half read.
    assert!(divided == expected || is_over && expected.starts_with(&divided), "{divided:?} {expected:?}");
});

/// The answers up to the first frame that is not for here (RFC 9113, sections 6.5, 6.7 and 6.9).
fn judge(mut stream: &[u8]) -> Vec<u8> {
    let (mut answers, mut acknowledged, mut window) = (Vec::new(), false, 65_535_u64);
    while let Some((head, rest)) = stream.split_at_checked(9) {
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, is_ack) = (head[3], head[4] & 1 == 1);
        let is_connection = head[5] & 0x7F == 0 && head[6..9] == [0; 3];
        let is_size_right = match kind {
            4 if is_ack => len == 0,
            4 => len <= 512 && len.is_multiple_of(6),
            6 => len == 8,
            8 => len == 4,
            _ => false,
        };
        let (true, true, Some(payload)) = (is_connection, is_size_right, rest.get(..len)) else { break };
        match kind {
            4 if is_ack && acknowledged => break,
            4 if is_ack => acknowledged = true,
            4 if !payload.chunks(6).all(is_allowed) => break,
            4 => answers.extend([0, 0, 0, 4, 1, 0, 0, 0, 0]),
            6 if is_ack => {}
            6 => {
                answers.extend([0, 0, 8, 6, 1, 0, 0, 0, 0]);
                answers.extend(payload);
            }
            _ => {
                let wider = u32::from_be_bytes([payload[0] & 0x7F, payload[1], payload[2], payload[3]]);
                window += u64::from(wider);
                if wider == 0 || window > 0x7FFF_FFFF {
                    break;
                }
            }
        }
        stream = &rest[len..];
    }
    answers
}

fn is_allowed(setting: &[u8]) -> bool {
    let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
    match setting[..2] {
        [0, 2] | [0, 8] => value < 2,
        [0, 4] => value < 1 << 31,
        [0, 5] => (16_384..=16_777_215).contains(&value),
        _ => true,
    }
}
