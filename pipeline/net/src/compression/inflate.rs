//! The decoders. Each charges its output before it grows, and what it needs besides from what the frames' heads say.

use super::frames::{self, Lz4Frames};
use super::{INFLATION, InflateError, OFFLOAD_ABOVE, charged};
use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use millrace_engine::{Budget, Charge};
use std::io::{self, Read};

/// Inflating grows its buffer by at least this much.
const STEP_MIN: usize = 16 << 10;
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

pub(super) fn gzip(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    fill(MultiGzDecoder::new(body), "gzip", gzip_expected(body), limit, budget)
}

/// By what the last member says of itself.
pub(super) fn gzip_expected(body: &[u8]) -> usize {
    let size = body.last_chunk().filter(|_| body.len() >= GZIP_MIN).map(|size| u32::from_le_bytes(*size));
    expected(body, size.map(u64::from), DEFLATE_DENSITY)
}

/// By what the heads of the frames say.
pub(super) fn zstd_expected(body: &[u8]) -> usize {
    expected(body, frames::zstd(body).ok().and_then(zstd_size), ZSTD_DENSITY)
}

fn zstd_size(claims: frames::ZstdClaims) -> Option<u64> {
    Some(claims.content_bytes).filter(|size| *size > 0)
}

pub(super) fn zlib(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    fill(ZlibDecoder::new(body), "deflate", expected(body, None, 0), limit, budget)
}

pub(super) fn zstd(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let damaged = |error| InflateError::Damaged("zstd", error);
    let claims = frames::zstd(body).map_err(damaged)?;
    if claims.content_bytes > limit as u64 {
        return Err(InflateError::TooLarge(limit));
    }
    let _working = budget.try_charge(claims.working_bytes()).ok_or(InflateError::OverBudget)?;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
    decoder.window_log_max(claims.window_log()).map_err(damaged)?;
    fill(decoder, "zstd", expected(body, zstd_size(claims), ZSTD_DENSITY), limit, budget)
}

pub(super) fn is_framed_snappy(body: &[u8]) -> bool {
    body.starts_with(SNAPPY_IDENTIFIER)
}

pub(super) fn framed_snappy(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let _working = budget.try_charge(SNAPPY_BUFFERS).ok_or(InflateError::OverBudget)?;
    fill(snap::read::FrameDecoder::new(body), "snappy", expected(body, None, 0), limit, budget)
}

pub(super) fn snappy_block(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let damaged = |error: snap::Error| InflateError::Damaged("snappy", error.into());
    let len = snap::raw::decompress_len(body).map_err(damaged)?;
    if body.is_empty() || len > body.len() * SNAPPY_DENSITY {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it claims more than its bytes can hold");
        return Err(InflateError::Damaged("snappy", error));
    }
    if len > limit {
        return Err(InflateError::TooLarge(limit));
    }
    let charge = charged(budget, len)?;
    let mut out = vec![0; len];
    snap::raw::Decoder::new().decompress(body, &mut out).map_err(damaged)?;
    Ok((Bytes::from(out), charge))
}

pub(super) fn lz4(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let frames = Lz4Frames::new(body).map_err(|error| InflateError::Damaged("lz4", error))?;
    let _working = budget.try_charge(frames.working_bytes()).ok_or(InflateError::OverBudget)?;
    fill(frames, "lz4", expected(body, None, 0), limit, budget)
}

/// About how much a body inflates to: what it says itself, as far as that can be, or what telemetry usually does.
fn expected(body: &[u8], says: Option<u64>, density: usize) -> usize {
    let usual = body.len() * INFLATION;
    let says = says.and_then(|size| usize::try_from(size).ok());
    says.filter(|size| (1..=body.len().saturating_mul(density)).contains(size)).unwrap_or(usual.max(STEP_MIN))
}

/// Reads all of `decoder`, charging each growth of the buffer before it happens.
fn fill(
    mut decoder: impl Read,
    name: &'static str,
    expected: usize,
    limit: usize,
    budget: &Budget,
) -> Inflated {
    let first = expected.min(limit);
    let mut charge = charged(budget, first)?;
    let mut out = vec![0; first];
    let mut filled = 0;
    // Shows, when the buffer is full, whether there is more.
    let mut more = [0];
    loop {
        let is_full = filled == out.len();
        match decoder.read(if is_full { &mut more } else { &mut out[filled..] }) {
            Ok(0) => break,
            Ok(_) if is_full => {
                grow(&mut out, &mut charge, limit)?;
                out[filled] = more[0];
                filled += 1;
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(InflateError::Damaged(name, error)),
        }
    }
    out.truncate(filled);
    if out.capacity() > 2 * filled.max(1024) {
        out.shrink_to_fit();
        charge.shrink_to(filled as u64);
    }
    Ok((Bytes::from(out), charge))
}

/// Makes room behind what there is, generously or, if the budget is nearly used up, for a little more.
fn grow(out: &mut Vec<u8>, charge: &mut Charge, limit: usize) -> Result<(), InflateError> {
    let len = out.len();
    if len == limit {
        return Err(InflateError::TooLarge(limit));
    }
    let step = |step: usize| step.max(STEP_MIN).min(limit - len);
    for step in [step(len * (GROWTH - 1)), step(len / 2)] {
        // What there is may have to move, and is there twice meanwhile.
        let more = (step + len) as u64;
        let is_large = len + step > OFFLOAD_ABOVE;
        if if is_large { charge.try_grow_sparing(more) } else { charge.try_grow(more) } {
            out.reserve_exact(step);
            out.resize(len + step, 0);
            charge.shrink_to((len + step) as u64);
            return Ok(());
        }
    }
    Err(InflateError::OverBudget)
}
