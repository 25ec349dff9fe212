//! The watch over the frames of a peer whose HTTP/2 is hyper's: however reads divide them, the verdict is that of a reader that has all of
//! them before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_net::http::watched;
use std::iter::once;
use std::time::{Duration, Instant};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Patience comes back after a second; what took longer than this is not judged.
const SHORT: Duration = Duration::from_millis(500);

fuzz_target!(|data: &[u8]| {
    let [times, size, frames @ ..] = data else { return };
    // Often enough for patience to end.
    let frames = frames.repeat(1 << (times % 7));
    let stream = [PREFACE, &frames[..frames.len().min(64 << 10)]].concat();
    let expected = judge(&stream[PREFACE.len()..]);

    let begun = Instant::now();
    let whole = watched(once(&stream[..]));
    let chunked = watched(stream.chunks(1 + usize::from(*size)));
    let (before, after) = stream.split_at(usize::from(*size).min(stream.len()));
    let parted = watched([before, &[], after]);
    if begun.elapsed() < SHORT {
        assert_eq!(whole, expected);
        assert_eq!(chunked, expected, "in reads of {} bytes", 1 + usize::from(*size));
        assert_eq!(parted, expected, "after {size} bytes");
    }
});

/// As `docs/limits.md` has it: a thousand frames that carry nothing, ten more for each request, up to ten thousand.
fn judge(mut stream: &[u8]) -> (bool, u32) {
    let (mut patience, mut last) = (1_000_u32, 0);
    while let Some((head, rest)) = stream.split_at_checked(9) {
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let carries = match kind {
            0 => len > 0 || flags & 1 == 1,
            1 => {
                let id = u32::from_be_bytes([head[5] & 0x7F, head[6], head[7], head[8]]);
                last = last.max(id);
                patience = (patience + 10).min(10_000);
                true
            }
            _ => false,
        };
        if !carries {
            match patience.checked_sub(1) {
                Some(less) => patience = less,
                None => return (true, last),
            }
        }
        stream = rest.get(len..).unwrap_or_default();
    }
    (false, last)
}
