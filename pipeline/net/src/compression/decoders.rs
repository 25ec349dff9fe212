//! The decoders. Each is told how much to expect, and charges its output before it grows, and what it needs besides from
//! what the frames' heads say.

use super::bounds::Bounds;
use super::frames::{Lz4Frames, ZstdClaims};
use super::inflate::{InflateError, charged};
use super::{INFLATION, OFFLOAD_ABOVE};
use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use millrace_engine::Charge;
use std::io::{self, Read};

/// Inflating grows its buffer by at least this much.
const STEP_MIN: usize = 16 << 10;
/// What is read at a time while nothing is kept.
const MEASURED: usize = 8 << 10;
/// By how much the buffer grows when what the body says of its size was too little, room permitting. Rarely, because
/// each time all of it is moved, and what is left behind is not free for others at once.
const GROWTH: usize = 4;
/// How many bytes one byte can stand for, and so the most that is believed of what a body says of its size: in deflate
/// (RFC 1951, the longest match in two bits), and in zstd (a block of 128 KiB in four bytes).
const DEFLATE_DENSITY: usize = 1032;
const ZSTD_DENSITY: usize = 32 << 10;
/// The shortest gzip member.
const GZIP_MIN: usize = 18;
/// What the framed snappy decoder holds: one block of 64 KiB in either form.
const SNAPPY_BUFFERS: u64 = 160 << 10;
/// How many bytes one byte of a snappy block can stand for: its densest element makes 64 of three.
const SNAPPY_DENSITY: usize = 22;
/// How framed snappy begins.
const SNAPPY_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

type Inflated = Result<(Bytes, Charge), InflateError>;

pub(super) fn gzip(body: &[u8], expected: usize, bounds: &Bounds<'_>) -> Inflated {
    // All members together are no smaller than the last.
    if expected > bounds.limit && gzip_says(body) == Some(expected as u64) {
        return Err(InflateError::TooLarge(bounds.limit));
    }
    fill(|| Ok(MultiGzDecoder::new(body)), "gzip", expected, bounds)
}

/// By what the last member says of itself.
pub(super) fn gzip_expected(body: &[u8]) -> usize {
    expected(body, gzip_says(body), DEFLATE_DENSITY)
}

fn gzip_says(body: &[u8]) -> Option<u64> {
    let size = body.last_chunk().filter(|_| body.len() >= GZIP_MIN);
    size.map(|size| u64::from(u32::from_le_bytes(*size)))
}

/// By what the heads of the frames say.
pub(super) fn zstd_expected(body: &[u8], claims: ZstdClaims) -> usize {
    expected(body, Some(claims.content_bytes), ZSTD_DENSITY)
}

/// By what telemetry usually does.
pub(super) fn usual(body: &[u8]) -> usize {
    expected(body, None, 0)
}

pub(super) fn zlib(body: &[u8], expected: usize, bounds: &Bounds<'_>) -> Inflated {
    fill(|| Ok(ZlibDecoder::new(body)), "deflate", expected, bounds)
}

pub(super) fn zstd(body: &[u8], claims: ZstdClaims, expected: usize, bounds: &Bounds<'_>) -> Inflated {
    let (_working, bounds) = &bounds.work(claims.working_bytes())?;
    if claims.content_bytes > bounds.limit as u64 {
        return Err(InflateError::TooLarge(bounds.limit));
    }
    let decoder = || {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
        decoder.window_log_max(claims.window_log())?;
        Ok(decoder)
    };
    fill(decoder, "zstd", expected, bounds)
}

pub(super) fn is_framed_snappy(body: &[u8]) -> bool {
    body.starts_with(SNAPPY_IDENTIFIER)
}

pub(super) fn framed_snappy(body: &[u8], expected: usize, bounds: &Bounds<'_>) -> Inflated {
    let (_working, bounds) = &bounds.work(SNAPPY_BUFFERS)?;
    fill(|| Ok(snap::read::FrameDecoder::new(body)), "snappy", expected, bounds)
}

pub(super) fn snappy_block(body: &[u8], bounds: &Bounds<'_>) -> Inflated {
    let damaged = |error: snap::Error| InflateError::Damaged("snappy", error.into());
    let len = snap::raw::decompress_len(body).map_err(damaged)?;
    if body.is_empty() || len > body.len() * SNAPPY_DENSITY {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it claims more than its bytes can hold");
        return Err(InflateError::Damaged("snappy", error));
    }
    if len > bounds.limit {
        return Err(InflateError::TooLarge(bounds.limit));
    }
    let charge = charged(bounds.budget, len)?;
    let mut out = vec![0; len];
    snap::raw::Decoder::new().decompress(body, &mut out).map_err(damaged)?;
    Ok((Bytes::from(out), charge))
}

pub(super) fn lz4(body: &[u8], expected: usize, bounds: &Bounds<'_>) -> Inflated {
    let working = Lz4Frames::working_bytes(body).map_err(|error| InflateError::Damaged("lz4", error))?;
    let (_working, bounds) = &bounds.work(working)?;
    fill(|| Lz4Frames::new(body), "lz4", expected, bounds)
}

/// About how much a body inflates to: what it says itself, as far as that can be, or what telemetry usually does.
fn expected(body: &[u8], says: Option<u64>, density: usize) -> usize {
    let usual = body.len() * INFLATION;
    let says = says.and_then(|size| usize::try_from(size).ok());
    says.filter(|size| (1..=body.len().saturating_mul(density)).contains(size)).unwrap_or(usual.max(STEP_MIN))
}

/// All of what `decode` makes of a body, in one buffer, each growth of which is charged before it happens.
fn fill<R: Read>(
    decode: impl Fn() -> io::Result<R>,
    name: &'static str,
    expected: usize,
    bounds: &Bounds<'_>,
) -> Inflated {
    let decoder = || decode().map_err(|error| InflateError::Damaged(name, error));
    let (mut charge, first) = bounds.first(expected)?;
    let mut out = vec![0; first];
    let mut len = read_all(decoder()?, name, &mut out, &mut charge, bounds)?;
    if len > out.len() {
        // It had no room to move. Now that it is known how much it is, and charged, it begins once more.
        out = vec![0; len];
        charge.shrink_to(len as u64);
        len = read_all(decoder()?, name, &mut out, &mut charge, bounds)?;
        if len != out.len() {
            return Err(InflateError::Failed);
        }
    }
    out.truncate(len);
    if out.capacity() > 2 * len.max(1024) {
        out.shrink_to_fit();
        charge.shrink_to(len as u64);
    }
    Ok((Bytes::from(out), charge))
}

/// Reads all of `decoder` into a buffer that grows with it; how much that is. Where there is no room for it to move, the
/// buffer is given up and is empty, and what is read is only measured.
fn read_all(
    mut decoder: impl Read,
    name: &'static str,
    out: &mut Vec<u8>,
    charge: &mut Charge,
    bounds: &Bounds<'_>,
) -> Result<usize, InflateError> {
    let mut filled = 0;
    // Shows, when the buffer is full, whether there is more.
    let mut more = [0];
    loop {
        let is_full = filled == out.len();
        match read(&mut decoder, name, if is_full { &mut more } else { &mut out[filled..] })? {
            0 => return Ok(filled),
            _ if is_full => {
                if !grow(out, charge, bounds)? {
                    *out = Vec::new();
                    return measure(decoder, name, filled + 1, charge, bounds);
                }
                out[filled] = more[0];
                filled += 1;
            }
            read => filled += read,
        }
    }
}

/// Reads on behind the first `len` bytes, charging what all of them will take, and keeps nothing.
fn measure(
    mut decoder: impl Read,
    name: &'static str,
    mut len: usize,
    charge: &mut Charge,
    bounds: &Bounds<'_>,
) -> Result<usize, InflateError> {
    let mut unwanted = [0; MEASURED];
    let mut held = charge.bytes() as usize;
    loop {
        while held < len {
            let step = STEP_MIN.min(bounds.limit - held);
            if step == 0 {
                return Err(InflateError::TooLarge(bounds.limit));
            }
            if !hold(charge, step, held + step) {
                // Alone it would fit, or its limit would be less.
                return Err(InflateError::OverBudget);
            }
            held += step;
        }
        match read(&mut decoder, name, &mut unwanted)? {
            0 => return Ok(len),
            read => len += read,
        }
    }
}

/// Reads what there is next, if there is anything.
fn read(decoder: &mut impl Read, name: &'static str, buffer: &mut [u8]) -> Result<usize, InflateError> {
    loop {
        match decoder.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map_err(|error| InflateError::Damaged(name, error)),
        }
    }
}

/// Makes room behind what there is, generously or, if the budget is nearly used up, for a little more. Whether there is
/// room: what there is may have to move, and is there twice meanwhile.
fn grow(out: &mut Vec<u8>, charge: &mut Charge, bounds: &Bounds<'_>) -> Result<bool, InflateError> {
    let len = out.len();
    if len == bounds.limit {
        return Err(InflateError::TooLarge(bounds.limit));
    }
    for step in [len * (GROWTH - 1), len / 2] {
        let step = step.max(STEP_MIN).min(bounds.limit - len);
        let most = len + step + len;
        // What there is never room for is not asked for, as it would be counted as refused.
        if most <= bounds.largest && hold(charge, step + len, len + step) {
            out.reserve_exact(step);
            out.resize(len + step, 0);
            charge.shrink_to((len + step) as u64);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Holds so much more for what is to take `len` bytes.
fn hold(charge: &mut Charge, more: usize, len: usize) -> bool {
    let more = more as u64;
    if len > OFFLOAD_ABOVE { charge.try_grow_sparing(more) } else { charge.try_grow(more) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Budget;
    use std::cell::Cell;

    /// Some of a counter's bytes, and how much has been read of them.
    struct Counted<'a> {
        len: usize,
        at: usize,
        read: &'a Cell<usize>,
    }

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(self.len - self.at);
            (self.at..).zip(&mut buffer[..len]).for_each(|(at, byte)| *byte = at as u8);
            self.at += len;
            self.read.set(self.read.get() + len);
            Ok(len)
        }
    }

    /// What becomes of a body of `len` bytes that is taken for a mebibyte, in a budget of 8 MiB where others hold so
    /// much; and how much has been read for that.
    fn filled(len: usize, held: u64) -> (Inflated, usize) {
        let budget = Budget::new(8 << 20);
        let _held = budget.try_charge(held).expect("room");
        let (read, bounds) = (Cell::new(0), Bounds::of(b"", 20 << 20, &budget));
        let inflated = fill(|| Ok(Counted { len, at: 0, read: &read }), "test", 1 << 20, &bounds);
        let charged = inflated.as_ref().map_or(0, |(_, charge)| charge.bytes());
        assert_eq!(budget.used(), held + charged);
        (inflated, read.get())
    }

    #[test]
    fn what_has_room_to_move_is_read_once_and_what_has_none_twice() {
        for (len, times) in [(1 << 20, 1), ((1 << 20) + 1, 1), (4 << 20, 1), ((4 << 20) + 1, 2), (6 << 20, 2)]
        {
            let (inflated, read) = filled(len, 0);
            let (bytes, _) = inflated.expect("it fits");
            assert_eq!((bytes.len(), read), (len, times * len));
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8), "{len}");
        }
    }

    #[test]
    fn no_further_than_there_is_room_is_it_read() {
        let (inflated, read) = filled(6 << 20, 3 << 20);
        assert!(matches!(inflated, Err(InflateError::OverBudget)), "{inflated:?}");
        // An eighth is left to others.
        assert!((3 << 20..(4 << 20) + 2 * MEASURED).contains(&read), "{read}");
    }

    #[test]
    fn what_is_beyond_the_limit_is_so_where_nothing_is_kept_as_well() {
        let largest = Bounds::of(b"", 20 << 20, &Budget::new(8 << 20)).limit;
        let (inflated, read) = filled(largest, 0);
        assert_eq!((inflated.expect("it fits").0.len(), read), (largest, 2 * largest));
        let (inflated, _) = filled(largest + 1, 0);
        assert!(matches!(inflated, Err(InflateError::TooLarge(most)) if most == largest), "{inflated:?}");
    }
}
